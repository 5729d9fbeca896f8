"""What adaptors do alike: headers that go up, and listings of models, whoever made them."""

from __future__ import annotations

import pytest

from adaptors.alike import IDENTITY, headers_up
from adaptors.endpoints import match
from adaptors.failure import AnswerFailed
from adaptors.registry import BUILT_IN
from adaptors.values import Call, Headers

KEY = (b"authorization", b"Bearer k")

LISTINGS = {
    "anthropic": (b'{"data": [%b]}', b"id", b"m", "m"),
    "bedrock": (b'{"modelSummaries": [%b]}', b"modelId", b"m", "m"),
    "gemini": (b'{"models": [%b]}', b"name", b"models/m", "m"),
    "openai": (b'{"data": [%b]}', b"id", b"m", "m"),
    "vertex": (b'{"publisherModels": [%b]}', b"name", b"publishers/google/models/m", "m"),
}


def going_up(method: bytes, path: bytes, headers: Headers, body: bytes | None) -> Headers:
    endpoint = match(method, path)
    assert endpoint is not None
    return headers_up(Call(endpoint, "openai_chat", method, path, b"", headers, body), (KEY,))


def test_ours_stand_in_the_place_of_the_clients() -> None:
    """What the client says of the same things goes, also where it says it twice; all else keeps its order."""
    came = (
        *((b"x-b", b"1"), (b"authorization", b"a"), (b"x-a", b"2"), (b"accept-encoding", b"gzip")),
        *((b"x-b", b"3"), (b"authorization", b"b"), (b"content-length", b"9")),
    )
    assert going_up(b"POST", b"/chat/completions", came, b"{}") == (
        (b"x-b", b"1"),
        (b"x-a", b"2"),
        (b"x-b", b"3"),
        IDENTITY,
        KEY,
    )


def test_what_no_wire_reads_keeps_its_encoding_and_its_length() -> None:
    """Without a body here its length is not ours to tell."""
    came = ((b"accept-encoding", b"br"), (b"content-length", b"9"))
    assert going_up(b"GET", b"/files/f/content", came, None) == (*came, KEY)


@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_gives_the_names_that_are_some(name: str) -> None:
    """What is no model, and a model with no name, are left out."""
    listing, field, listed, model = LISTINGS[name]
    entries = (b'{"%b": "%b"}' % (field, listed), b'{"%b": ""}' % field, b'{"%b": 7}' % field, b"{}", b"null", b"[1]")
    assert BUILT_IN[name].models(listing % b", ".join(entries)) == (model,)


@pytest.mark.parametrize("name", LISTINGS)
@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>", "not JSON"),
        (b"", "not JSON"),
        (b"{}", "no list"),
        (b"7", "no list"),
        (b'{"data": {"id": "m"}}', "no list"),
    ],
)
def test_what_is_no_listing_says_so(name: str, body: bytes, why: str) -> None:
    """Which of the two it is not."""
    with pytest.raises(AnswerFailed) as raised:
        BUILT_IN[name].models(body)
    assert why in raised.value.failure.message


def test_only_openais_like_may_list_without_an_object() -> None:
    """Servers on one's own machine do, some of them strings; others have an answer of their own making."""
    assert BUILT_IN["openai"].models(b'["m", {"name": "n"}, ""]') == ("m", "n")
    assert BUILT_IN["openai"].models(b'{"models": [{"id": "m"}]}') == ("m",)
    with pytest.raises(AnswerFailed, match="no list"):
        BUILT_IN["anthropic"].models(b'[{"id": "m"}]')
