"""Which dialect a client speaks follows from its path and, where providers share one, from its headers."""

from __future__ import annotations

import pytest

from relay_trio.edge.dialect import place_of

VERSION = {b"anthropic-version": b"2023-06-01"}

PLACES = [
    ("POST", b"/v1/chat/completions", {}, "openai_chat", "chat.completions", b"/chat/completions"),
    ("POST", b"/v1/chat/completions", VERSION, "openai_chat", "chat.completions", b"/chat/completions"),
    ("POST", b"/responses", {}, "openai_responses", "responses", b"/responses"),
    ("POST", b"/v1/messages", {}, "anthropic", "messages", b"/messages"),
    ("POST", b"/v1/v1/messages", {}, "anthropic", "messages", b"/messages"),
    ("POST", b"/messages", VERSION, "anthropic", "messages", b"/messages"),
    ("POST", b"/v1/messages/count_tokens", {}, "anthropic", "messages.count_tokens", b"/messages/count_tokens"),
    ("GET", b"/v1/messages/batches/b/results", {}, "anthropic", "messages.batches.results", b"/messages/batches/b/results"),
    ("GET", b"/v1/models", {}, "openai_chat", "models.list", b"/models"),
    ("GET", b"/v1/models", VERSION, "anthropic", "models.list", b"/models"),
    ("GET", b"/v1/models/a/b", VERSION, "anthropic", "models.stored", b"/models/a/b"),
    ("POST", b"/v1/files", {}, "openai_chat", "files", b"/files"),
    ("POST", b"/v1/files", VERSION, "anthropic", "files", b"/files"),
    ("GET", b"/v1/messages", {}, "anthropic", None, b"/messages"),
    ("GET", b"/v1/nothing", VERSION, "openai_chat", None, b"/nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "raw_path", "fields", "dialect", "endpoint", "path"), PLACES)
def test_a_place_has_a_dialect(  # noqa: PLR0917 - columns of the table
    method: str, raw_path: bytes, fields: dict[bytes, bytes], dialect: str, endpoint: str | None, path: bytes
) -> None:
    """Also where the method or the path is wrong: the error wants a form, too."""
    place = place_of(method, raw_path, fields)
    found = None if place.endpoint is None else place.endpoint.name
    assert (place.dialect.name, found, place.path) == (dialect, endpoint, path)


def test_a_wrong_method_is_told_which_are_right() -> None:
    """By the table of the API that the path belongs to."""
    assert place_of("GET", b"/v1/messages", {}).methods() == ("POST",)
    assert place_of("GET", b"/v1/embeddings", {}).methods() == ("POST",)
    assert place_of("GET", b"/v1/nothing", {}).methods() == ()
