"""The paths of the Gemini API (https://ai.google.dev/api), below the version: `/models/{name}:{method}` and a few more.

The model stands in the path, and the method after the last colon says whether a stream is wanted. The version is kept in
the path, for it says which fields there are; clients that leave it out get the one that has them all.
"""

from __future__ import annotations

import re
from typing import Final

from adaptors.paths import PathTable
from adaptors.values import BodyKind, Endpoint

DIALECT: Final = "gemini"
GENERATE: Final = "gemini_generate"
JSON: Final = "gemini_json"
DEFAULT_VERSION: Final = b"/v1beta"

_POST, _GET = ("POST",), ("GET",)


def _method(name: str, wire: str | None, title: str) -> Endpoint:
    return Endpoint(title, _POST, f"/models/{{id+}}:{name}", BodyKind.JSON, wire, model_in_path=True)


GEMINI_ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    _method("generateContent", GENERATE, "models.generate_content"),
    _method("streamGenerateContent", GENERATE, "models.stream_generate_content"),
    _method("countTokens", JSON, "models.count_tokens"),
    _method("embedContent", JSON, "models.embed_content"),
    _method("batchEmbedContents", JSON, "models.batch_embed_contents"),
    _method("predict", JSON, "models.predict"),
    _method("predictLongRunning", JSON, "models.predict_long_running"),
    _method("batchGenerateContent", JSON, "models.batch_generate_content"),
    Endpoint("models.list", _GET, "/models", BodyKind.NONE),
    Endpoint("models.stored", _GET, "/models/{id+}", BodyKind.NONE),
)

GEMINI_PATHS: Final = PathTable(
    GEMINI_ENDPOINTS,
    {"batches": None, "cachedContents": None, "files": None, "models": None, "operations": None, "tunedModels": None},
)

_ALT = re.compile(rb"(?:^|&)(?:alt|%24alt|\$alt)=[^&]*")
_VERSIONED = re.compile(rb"(?:/v1(?:beta|alpha)?(?=/v1))*(/v1(?:beta|alpha)?[0-9]*)?(/.*)", re.DOTALL)
_MODEL = re.compile(rb"/models/(.+):([A-Za-z]+)", re.DOTALL)
_CALLS: Final = re.compile(rb"/models/.+:[A-Za-z]+", re.DOTALL)


def split_version(path: bytes) -> tuple[bytes, bytes]:
    """Return the version with its slash, or nothing, and the path below it."""
    found = _VERSIONED.fullmatch(path)
    return (found[1] or b"", found[2]) if found else (b"", path)


def is_gemini(method: bytes, version: bytes, path: bytes, *, named: bool) -> bool:
    """Say whether a path (below the version) is one of this API's: by itself, or because the client says so.

    The SDK asks for `/v1/models/...`, where OpenAI's models are too; only a POST with a method after a colon is Gemini's.
    """
    if version not in {b"", b"/v1"}:
        return True
    if method == b"POST" and _CALLS.fullmatch(path):
        return True
    return named and bool(GEMINI_PATHS.allowed_methods(path))


def asked_by_path(path: bytes) -> tuple[str | None, bool]:
    """Return the model that a path names, and whether a stream is asked for."""
    found = _MODEL.fullmatch(split_version(path)[1])
    if found is None:
        return None, False
    return unquoted(found[1]), found[2] == b"streamGenerateContent"


def asks_for_events(query: bytes) -> bool:
    """Say whether a stream is wanted as events and not as one JSON array."""
    return bool(query) and any(found[0].endswith(b"=sse") for found in _ALT.finditer(query))


def asking_for_events(query: bytes) -> bytes:
    """Return the query with the wish for events in it, in the place of any other."""
    if asks_for_events(query):
        return query
    rest = _ALT.sub(b"", query).lstrip(b"&")
    return rest + (b"&" if rest else b"") + b"alt=sse"


def with_model(path: bytes, model: str) -> bytes:
    """Return the path with another model in it, as it stands in a URL."""
    version, below = split_version(path)
    found = _MODEL.fullmatch(below)
    if found is None:
        return path
    return version + b"/models/" + quoted(model) + b":" + found[2]


def unquoted(name: bytes) -> str:
    """Return what an escaped name says (RFC 3986, section 2.1)."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), name).decode("utf-8", "replace")


_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")


def quoted(model: str) -> bytes:
    """Return the name as it stands in a path: all but letters, digits and what names are made of is escaped."""
    return re.sub(rb"[^A-Za-z0-9._~/@-]", lambda found: b"%%%02X" % found[0][0], model.encode())
