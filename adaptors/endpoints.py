"""The paths of the OpenAI API, in one table: what each takes as its body, and which wire reads its answer.

Paths are those below the version prefix (https://platform.openai.com/docs/api-reference, and the sources of openai-python
3.52, whose paths a test holds against this table). A path that is not in the table but lies below a known family goes
through unread, so that what the provider adds tomorrow works today; what belongs to no family is refused by the relay,
which then names the nearest path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adaptors.paths import PathTable, tidied
from adaptors.paths import nearest as nearest_of
from adaptors.values import BodyKind, Endpoint

# Members of an Enum by their own names: before Python 3.12 each look into the class costs a call.
_NONE, _JSON, _FORM, _UPLOAD, _BY_TYPE = (
    BodyKind.NONE,
    BodyKind.JSON,
    BodyKind.MULTIPART_MODEL,
    BodyKind.UPLOAD,
    BodyKind.BY_TYPE,
)
_POST, _GET, _GET_DELETE = ("POST",), ("GET",), ("GET", "DELETE")


def _made_by_json(kind: str, root: str) -> tuple[Endpoint, ...]:
    """Return the endpoints that make an object of this kind and list those there are."""
    name = root.removeprefix("/").replace("/", ".")
    return Endpoint(name, _POST, root, _JSON, "openai_json", kind), Endpoint(f"{name}.list", _GET, root, _NONE)


# {id} stands for one segment, {id+} for the rest of the path: names of models may hold slashes.
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    # answers of models
    Endpoint("chat.completions", _POST, "/chat/completions", _JSON, "openai_chat", "completion", model_required=True),
    Endpoint("completions", _POST, "/completions", _JSON, "openai_chat", model_required=True),
    Endpoint("responses", _POST, "/responses", _JSON, "openai_responses", "response"),
    Endpoint("responses.compact", _POST, "/responses/compact", _JSON, "openai_json", "response"),
    Endpoint("responses.input_tokens", _POST, "/responses/input_tokens", _JSON, "openai_json"),
    Endpoint("embeddings", _POST, "/embeddings", _JSON, "openai_json", model_required=True),
    Endpoint("moderations", _POST, "/moderations", _JSON, "openai_json"),
    Endpoint("images.generations", _POST, "/images/generations", _JSON, "openai_json"),
    Endpoint("images.edits", _POST, "/images/edits", _FORM, "openai_json"),
    Endpoint("images.variations", _POST, "/images/variations", _FORM, "openai_json"),
    Endpoint("audio.speech", _POST, "/audio/speech", _JSON, model_required=True),  # answers in sound
    # answers in JSON, plain text, SubRip or WebVTT
    Endpoint("audio.transcriptions", _POST, "/audio/transcriptions", _FORM, model_required=True),
    Endpoint("audio.translations", _POST, "/audio/translations", _FORM, model_required=True),
    Endpoint("videos", _POST, "/videos", _FORM, "openai_json", "video"),
    Endpoint("videos.edits", _POST, "/videos/edits", _FORM, "openai_json", "video"),
    Endpoint("videos.extensions", _POST, "/videos/extensions", _FORM, "openai_json", "video"),
    Endpoint("videos.remix", _POST, "/videos/{id}/remix", _FORM, "openai_json", "video"),
    # what is stored of them
    Endpoint("chat.completions.list", _GET, "/chat/completions", _NONE),
    Endpoint("chat.completions.stored", _GET_DELETE, "/chat/completions/{id}", _NONE, stored="completion"),
    Endpoint("chat.completions.update", _POST, "/chat/completions/{id}", _JSON, stored="completion"),
    Endpoint("chat.completions.messages", _GET, "/chat/completions/{id}/messages", _NONE, stored="completion"),
    # xAI's: a completion that is had once, later (https://docs.x.ai/docs/guides/deferred-chat-completions)
    Endpoint(
        "chat.completions.deferred", _GET, "/chat/deferred-completion/{id}", _NONE, "openai_json", "deferred_completion"
    ),
    Endpoint("responses.stored", _GET, "/responses/{id}", _NONE, "openai_responses", "response"),
    Endpoint("responses.delete", ("DELETE",), "/responses/{id}", _NONE, stored="response"),
    Endpoint("responses.cancel", _POST, "/responses/{id}/cancel", _JSON, stored="response"),
    Endpoint("responses.input_items", _GET, "/responses/{id}/input_items", _NONE, stored="response"),
    Endpoint("videos.list", _GET, "/videos", _NONE),
    Endpoint("videos.stored", _GET_DELETE, "/videos/{id}", _NONE, stored="video"),
    Endpoint("videos.content", _GET, "/videos/{id}/content", _NONE, stored="video"),
    # files, and what is made of them
    Endpoint("files", _POST, "/files", _UPLOAD, "openai_json", "file"),
    Endpoint("files.list", _GET, "/files", _NONE),
    Endpoint("files.stored", _GET_DELETE, "/files/{id}", _NONE, stored="file"),
    Endpoint("files.content", _GET, "/files/{id}/content", _NONE, stored="file"),
    Endpoint("uploads", _POST, "/uploads", _JSON, "openai_json", "upload"),
    Endpoint("uploads.parts", _POST, "/uploads/{id}/parts", _UPLOAD, stored="upload"),
    Endpoint("uploads.complete", _POST, "/uploads/{id}/complete", _JSON, "openai_json", "upload"),
    Endpoint("uploads.cancel", _POST, "/uploads/{id}/cancel", _JSON, stored="upload"),
    Endpoint("batches", _POST, "/batches", _JSON, "openai_json", "batch"),
    Endpoint("batches.list", _GET, "/batches", _NONE),
    Endpoint("batches.stored", _GET, "/batches/{id}", _NONE, stored="batch"),
    Endpoint("batches.cancel", _POST, "/batches/{id}/cancel", _JSON, stored="batch"),
    *_made_by_json("vector_store", "/vector_stores"),
    *_made_by_json("fine_tuning_job", "/fine_tuning/jobs"),
    *_made_by_json("eval", "/evals"),
    *_made_by_json("container", "/containers"),
    *_made_by_json("conversation", "/conversations"),
    *_made_by_json("assistant", "/assistants"),
    *_made_by_json("thread", "/threads"),
    # live speech: the keys and sessions for it; the talk itself is no HTTP
    Endpoint("realtime.sessions", _POST, "/realtime/sessions", _JSON, "openai_json"),
    Endpoint("realtime.transcription_sessions", _POST, "/realtime/transcription_sessions", _JSON, "openai_json"),
    Endpoint("realtime.client_secrets", _POST, "/realtime/client_secrets", _JSON, "openai_json"),
    # models
    Endpoint("models.list", _GET, "/models", _NONE),
    Endpoint("models.stored", _GET_DELETE, "/models/{id+}", _NONE),
)

# Every other path below these goes through unread; the kind of stored object is what its next segment names, if any.
_FAMILIES: Final[Mapping[str, str | None]] = {
    "agents": None,
    "assistants": "assistant",
    "audio": None,
    "batches": "batch",
    "chat/completions": None,
    "chatkit": None,
    "containers": "container",
    "content_provenance_checks": None,
    "conversations": "conversation",
    "decisions": None,
    "evals": "eval",
    "files": "file",
    "fine_tuning": None,
    "fine_tuning/jobs": "fine_tuning_job",
    "images": None,
    "live": None,
    "organization": None,
    "projects": None,
    "realtime": None,
    "responses": "response",
    "safety": None,
    "skills": "skill",
    "threads": "thread",
    "uploads": "upload",
    "vaults": None,
    "vector_stores": "vector_store",
    "videos": "video",
    "webhook_endpoints": None,
    "webhook_event_types": None,
}

OPENAI_PATHS: Final = PathTable(ENDPOINTS, _FAMILIES)

match = OPENAI_PATHS.match
allowed_methods = OPENAI_PATHS.allowed_methods


def normalise(path: bytes) -> bytes:
    """Return the path below the version prefix, which clients leave out, or double (`/v1/v1/messages`)."""
    while path.startswith(b"/v1/") or path == b"/v1":
        path = path[3:]
    return path or b"/"


def nearest(path: bytes) -> str | None:
    """Return the path of OpenAI's API, with its version prefix, that was probably meant by an unknown one."""
    found = nearest_of(normalise(path), OPENAI_PATHS.nameable)
    return "/v1" + found if found else None


def body_kind(endpoint: Endpoint, content_type: bytes) -> BodyKind:
    """Return how to take this request's body: never BY_TYPE. Forms and JSON of one path may stand for each other."""
    kind = endpoint.body
    if kind is _JSON or kind is _FORM:
        return _FORM if content_type[:19].lower() == b"multipart/form-data" else _JSON
    if kind is _BY_TYPE:
        return _JSON if _is_json(content_type) else _UPLOAD
    return kind


def _is_json(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type == b"application/json" or media_type.endswith(b"+json")


def wire_of(endpoint: Endpoint, *, stream: bool) -> str | None:
    """Return the wire that reads this answer, or None: then its own framing proves that it is whole.

    The streamed forms of images, transcriptions and speech are read by no wire.
    """
    return None if stream and endpoint.wire in _UNARY_WIRES else endpoint.wire


_UNARY_WIRES: Final = frozenset({"openai_json", "anthropic_json", "gemini_json"})


def stored_id(endpoint: Endpoint, path: bytes) -> str | None:
    """Return the id of the stored object that the path (below the version prefix) addresses."""
    if endpoint.stored is None or "{id" not in endpoint.template:
        return None
    segments = tidied(path).decode("latin-1").split("/")
    places = [at for at, part in enumerate(endpoint.template.split("/")) if part in {"{id}", "{id+}"}]
    if not places or places[0] >= len(segments):
        return None
    return segments[places[0]]
