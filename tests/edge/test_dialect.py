"""Which dialect a client speaks follows from its path and, where providers share one, from its headers."""

from __future__ import annotations

import pytest

from adaptors.dialects.gemini import GEMINI, GEMINI_ARRAY
from relay_trio.edge.dialect import place_of

VERSION = {b"anthropic-version": b"2023-06-01"}

GOOGLE = {b"x-goog-api-key": b"k"}
_GENERATE = b"/models/gemini-x:generateContent"
_STREAM = b"/models/gemini-x:streamGenerateContent"

PLACES = [
    ("POST", b"/v1/chat/completions", b"", {}, ("openai_chat", "chat.completions", b"/chat/completions")),
    ("POST", b"/v1/chat/completions", b"", VERSION, ("openai_chat", "chat.completions", b"/chat/completions")),
    ("POST", b"/v1/chat/completions", b"", GOOGLE, ("openai_chat", "chat.completions", b"/chat/completions")),
    ("POST", b"/responses", b"", {}, ("openai_responses", "responses", b"/responses")),
    ("POST", b"/v1/messages", b"", {}, ("anthropic", "messages", b"/messages")),
    ("POST", b"/v1/v1/messages", b"", {}, ("anthropic", "messages", b"/messages")),
    ("POST", b"/messages", b"", VERSION, ("anthropic", "messages", b"/messages")),
    ("POST", b"/v1/messages/count_tokens", b"", {}, ("anthropic", "messages.count_tokens", b"/messages/count_tokens")),
    ("GET", b"/v1/messages/batches/b/results", b"", {},
     ("anthropic", "messages.batches.results", b"/messages/batches/b/results")),
    ("GET", b"/v1/models", b"", {}, ("openai_chat", "models.list", b"/models")),
    ("GET", b"/v1/models", b"", VERSION, ("anthropic", "models.list", b"/models")),
    ("GET", b"/v1/models", b"", GOOGLE, ("gemini", "models.list", b"/v1/models")),
    ("GET", b"/v1/models", b"x=1&key=k", {}, ("gemini", "models.list", b"/v1/models")),
    ("GET", b"/v1/models", b"monkey=1", {}, ("openai_chat", "models.list", b"/models")),
    ("GET", b"/v1beta/models", b"", {}, ("gemini", "models.list", b"/v1beta/models")),
    ("GET", b"/v1/models/a/b", b"", VERSION, ("anthropic", "models.stored", b"/models/a/b")),
    ("GET", b"/v1/models/ft:gpt:x", b"", {}, ("openai_chat", "models.stored", b"/models/ft:gpt:x")),
    ("POST", b"/v1/files", b"", {}, ("openai_chat", "files", b"/files")),
    ("POST", b"/v1/files", b"", VERSION, ("anthropic", "files", b"/files")),
    ("POST", b"/v1beta" + _GENERATE, b"", {}, ("gemini", "models.generate_content", b"/v1beta" + _GENERATE)),
    ("POST", b"/v1" + _GENERATE, b"", {}, ("gemini", "models.generate_content", b"/v1" + _GENERATE)),
    ("POST", b"/v1beta/v1" + _GENERATE, b"", {}, ("gemini", "models.generate_content", b"/v1" + _GENERATE)),
    ("POST", _STREAM, b"alt=sse", {}, ("gemini", "models.stream_generate_content", _STREAM)),
    ("GET", b"/v1/messages", b"", {}, ("anthropic", None, b"/messages")),
    ("GET", b"/v1/nothing", b"", VERSION, ("openai_chat", None, b"/nothing")),
    ("GET", b"/v1beta/nothing", b"", {}, ("gemini", None, b"/v1beta/nothing")),
]  # fmt: skip


@pytest.mark.parametrize(("method", "raw_path", "query", "fields", "wanted"), PLACES)
def test_a_place_has_a_dialect(
    method: str, raw_path: bytes, query: bytes, fields: dict[bytes, bytes], wanted: tuple[str, str | None, bytes]
) -> None:
    """Also where the method or the path is wrong: the error wants a form, too."""
    place = place_of(method, raw_path, query, fields)
    found = None if place.endpoint is None else place.endpoint.name
    assert (place.dialect.name, found, place.path) == wanted


def test_a_gemini_stream_is_an_array_unless_events_are_asked_for() -> None:
    """The form of its errors follows."""
    assert place_of("POST", b"/v1beta" + _STREAM, b"", {}).dialect is GEMINI_ARRAY
    assert place_of("POST", b"/v1beta" + _STREAM, b"alt=sse", {}).dialect is GEMINI
    assert place_of("POST", b"/v1beta" + _GENERATE, b"", {}).dialect is GEMINI


def test_a_wrong_method_is_told_which_are_right() -> None:
    """By the table of the API that the path belongs to."""
    assert place_of("GET", b"/v1/messages", b"", {}).methods() == ("POST",)
    assert place_of("GET", b"/v1/embeddings", b"", {}).methods() == ("POST",)
    assert place_of("PUT", b"/v1beta/models", b"", {}).methods()
    assert place_of("GET", b"/v1/nothing", b"", {}).methods() == ()
