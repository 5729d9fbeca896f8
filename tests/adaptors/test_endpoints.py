"""The paths of the OpenAI API are known, and their neighbours are told apart."""

from __future__ import annotations

import re
from pathlib import Path

import openai
import pytest

from adaptors.endpoints import (
    ENDPOINTS,
    allowed_methods,
    body_kind,
    match,
    nearest,
    normalise,
    stored_id,
    wire_of,
)
from adaptors.values import BodyKind, Endpoint

RESOURCES = Path(openai.__file__).parent / "resources"
_CALL = re.compile(r'self\._(get|post|put|patch|delete|get_api_list)\(\s*(?:f|path_template\(\s*)?"(/[^"?]*)')
_VERBS = {"get_api_list": b"GET"}


def sdk_calls() -> list[tuple[bytes, bytes]]:
    """Return method and path of every call that the official SDK makes, out of its own sources."""
    found = {
        (_VERBS.get(verb, verb.upper().encode()), re.sub(r"\{[^}]*\}", "x_1", path).encode())
        for source in RESOURCES.rglob("*.py")
        for verb, path in _CALL.findall(source.read_text())
    }
    return sorted(found)


def test_the_sources_of_the_sdk_are_read_right() -> None:
    """The test below stands on this reading."""
    calls = sdk_calls()
    assert len(calls) > 100
    assert (b"POST", b"/chat/completions") in calls
    assert (b"GET", b"/responses/x_1/input_items") in calls


@pytest.mark.parametrize(("method", "path"), sdk_calls())
def test_every_path_of_the_official_sdk_is_known(method: bytes, path: bytes) -> None:
    """By name or by family."""
    assert match(method, path) is not None
    assert method.decode() in allowed_methods(path)


def test_the_table_names_each_path_once() -> None:
    """No row stands in the shadow of another one, and no path's literal segment is taken for an id."""
    for endpoint in ENDPOINTS:
        path = re.sub(r"\{id\+?\}", "x_1", endpoint.template).encode()
        for method in endpoint.methods:
            assert match(method.encode(), path) is endpoint


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        (b"POST", b"/chat/completions", "chat.completions"),
        (b"POST", b"//chat//completions/", "chat.completions"),
        (b"GET", b"/responses/resp_1", "responses.stored"),
        (b"POST", b"/responses/compact", "responses.compact"),
        (b"GET", b"/models/meta-llama/Llama-3", "models.stored"),
        (b"DELETE", b"/models/ft%3Ax", "models.stored"),
        (b"GET", b"/vector_stores", "vector_stores.list"),
        (b"GET", b"/vector_stores/vs_1/files", "vector_stores.*"),
        (b"PATCH", b"/files/file_1/something_new", "files.*"),
        (b"POST", b"/images/something_new", "images.*"),
        (b"POST", b"/videos/something_new", "videos.*"),
        (b"PUT", b"/files/file_1", "files.*"),
        (b"GET", b"/fine_tuning/jobs/ftjob-1/events", "fine_tuning.jobs.*"),
        (b"GET", b"/fine_tuning/checkpoints/x/permissions", "fine_tuning.*"),
        (b"GET", b"/organization/usage/completions", "organization.*"),
    ],
)
def test_a_path_is_found(method: bytes, path: bytes, name: str) -> None:
    """The table's own row first; below a known family anything goes."""
    endpoint = match(method, path)
    assert endpoint is not None
    assert endpoint.name == name


@pytest.mark.parametrize(
    "path",
    [b"/", b"", b"chat/completions", b"/chatcompletions", b"/chat/completionsx", b"/v2/chat/completions", b"/%", b"/\xff",
     b"/files" + b"/x" * 9000, b"/modelsx", b"/model/x"],
)  # fmt: skip
def test_what_belongs_to_no_family_is_unknown(path: bytes) -> None:
    """Then no method is allowed either: a 404, not a 405."""
    assert match(b"POST", path) is None
    assert allowed_methods(path) == ()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        (b"PUT", b"/chat/completions", ("GET", "POST")),
        (b"GET", b"/embeddings", ("POST",)),
        (b"POST", b"/models", ("GET",)),
        (b"\xff", b"/models", ("GET",)),
    ],
)
def test_a_wrong_method_is_told_from_a_wrong_path(method: bytes, path: bytes, allowed: tuple[str, ...]) -> None:
    """The path exists by name: a 405 that says what it takes. Below an id the provider says it."""
    assert match(method, path) is None
    assert allowed_methods(path) == allowed


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        (b"/v1/chat/completion", "/v1/chat/completions"),
        (b"/v1/chat", "/v1/chat/completions"),
        (b"/v1/v1/chat/complete", "/v1/chat/completions"),
        (b"/v1/embedding", "/v1/embeddings"),
        (b"/v1/model", "/v1/models"),
        (b"/response", "/v1/responses"),
        (b"/zzz", None),
        (b"/" + b"chat" * 1000, None),
        (b"/\xff\xfe", None),
    ],
)
def test_the_nearest_path_is_named(path: bytes, meant: str | None) -> None:
    """For the sentence of a 404; a guess that is far off is none."""
    assert nearest(path) == meant


@pytest.mark.parametrize(
    ("path", "below"),
    [
        (b"/v1/models", b"/models"),
        (b"/models", b"/models"),
        (b"/v1/v1/models", b"/models"),
        (b"/v1", b"/"),
        (b"/v1/", b"/"),
        (b"/v1beta/models", b"/v1beta/models"),
    ],
)
def test_the_version_prefix_may_be_left_out_or_doubled(path: bytes, below: bytes) -> None:
    """As base URLs with and without it make it so."""
    assert normalise(path) == below


def known(method: bytes, path: bytes) -> Endpoint:
    endpoint = match(method, path)
    assert endpoint is not None
    return endpoint


FORM = b"multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("method", "path", "content_type", "kind"),
    [
        (b"POST", b"/chat/completions", b"application/json", BodyKind.JSON),
        (b"POST", b"/chat/completions", b"", BodyKind.JSON),
        (b"POST", b"/images/edits", FORM, BodyKind.MULTIPART_MODEL),
        (b"POST", b"/images/edits", b"application/json", BodyKind.JSON),
        (b"POST", b"/videos", b"Multipart/Form-Data; boundary=x", BodyKind.MULTIPART_MODEL),
        (b"POST", b"/files", FORM, BodyKind.UPLOAD),
        (b"POST", b"/uploads/u/parts", FORM, BodyKind.UPLOAD),
        (b"GET", b"/files", b"", BodyKind.NONE),
        (b"DELETE", b"/files/x", b"application/json", BodyKind.NONE),
        (b"POST", b"/skills", FORM, BodyKind.UPLOAD),
        (b"POST", b"/vector_stores/vs/files", b"application/json; charset=utf-8", BodyKind.JSON),
        (b"POST", b"/realtime/calls", b"application/sdp", BodyKind.UPLOAD),
        (b"POST", b"/evals/x", b"application/vnd.x+json", BodyKind.JSON),
        (b"POST", b"/evals/x", b"", BodyKind.UPLOAD),
    ],
)
def test_a_body_is_taken_by_its_path_and_its_type(
    method: bytes, path: bytes, content_type: bytes, kind: BodyKind
) -> None:
    """Read whole where it names a model or is JSON; streamed up where it may be large."""
    assert body_kind(known(method, path), content_type) is kind


@pytest.mark.parametrize(
    ("path", "stream", "wire"),
    [
        (b"/chat/completions", True, "openai_chat"),
        (b"/completions", False, "openai_chat"),
        (b"/responses", True, "openai_responses"),
        (b"/embeddings", False, "openai_json"),
        (b"/images/generations", False, "openai_json"),
        (b"/images/generations", True, None),
        (b"/audio/transcriptions", True, None),
        (b"/audio/speech", False, None),
    ],
)
def test_the_wire_follows_from_path_and_stream(path: bytes, stream: bool, wire: str | None) -> None:  # noqa: FBT001
    """The streams of images, transcriptions and speech are read by none."""
    assert wire_of(known(b"POST", path), stream=stream) == wire


@pytest.mark.parametrize(
    ("method", "path", "kind", "stored"),
    [
        (b"GET", b"/responses/resp_1", "response", "resp_1"),
        (b"POST", b"/responses/resp_1/cancel", "response", "resp_1"),
        (b"GET", b"/files/file-1/content", "file", "file-1"),
        (b"GET", b"/vector_stores/vs_1/files/file-1", "vector_store", "vs_1"),
        (b"POST", b"/fine_tuning/jobs/ftjob-1/pause", "fine_tuning_job", "ftjob-1"),
        (b"POST", b"/threads/thread_1/runs", "thread", "thread_1"),
        (b"POST", b"/responses", "response", None),
        (b"GET", b"/models/gpt-4o", None, None),
    ],
)
def test_the_stored_object_that_a_path_addresses_is_known(
    method: bytes, path: bytes, kind: str | None, stored: str | None
) -> None:
    """Its kind and its id: it lives with the channel that made it."""
    endpoint = known(method, path)
    assert (endpoint.stored, stored_id(endpoint, path)) == (kind, stored)
