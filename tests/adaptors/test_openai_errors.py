"""An error answer is told truly and cleanly, whatever its body holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptors.failure import BodyState, FailureKind
from adaptors.values import Headers
from adaptors.wires.openai_errors import MAX_WORDS_BYTES, read_failure

WHOLE = BodyState.WHOLE


def body(document: Any) -> bytes:
    return json.dumps(document).encode()


# Shapes as providers document or send them: OpenAI, xAI (code beside a string), FastAPI (vLLM, many others), Mistral's
# 422, Google's list, Zhipu's numbers as strings, OpenRouter's metadata.
SHAPES: list[tuple[Any, tuple[str, str | None, str | None, str | None]]] = [
    ({"error": {"message": "m", "type": "t", "param": "p", "code": "c"}}, ("m", "t", "c", "p")),
    ({"error": {"message": "m", "type": "t", "param": None, "code": None}}, ("m", "t", None, None)),
    ({"error": "m"}, ("m", None, None, None)),
    ({"code": "c", "error": "m"}, ("m", None, "c", None)),
    ({"message": "m", "type": "t", "code": 1211}, ("m", "t", "1211", None)),
    ({"detail": "m"}, ("m", None, None, None)),
    ({"detail": [{"loc": ["body"], "msg": "a"}, {"msg": "b"}]}, ("a; b", None, None, None)),
    ({"object": "error", "message": {"detail": [{"msg": "m"}]}, "type": "t"}, ("m", "t", None, None)),
    ([{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}], ("m", None, "400", None)),
    ({"error": {"code": "1113", "message": "m"}}, ("m", None, "1113", None)),
    ({"error": {"message": "m", "code": 402, "metadata": {"raw": "r"}}, "user_id": "u"}, ("m", None, "402", None)),
    ({"error": {"error": {"message": "m"}}}, ("m", None, None, None)),
    ({"error": {"object": "error", "type": "t", "message": "m"}}, ("m", "t", None, None)),
    ({"error": {"code": 1, "msg": "m"}}, ("m", None, "1", None)),
]


@pytest.mark.parametrize(("document", "words"), SHAPES)
def test_the_providers_words_are_found_wherever_they_stand(
    document: Any, words: tuple[str, str | None, str | None, str | None]
) -> None:
    """Message, type, code and param, of every shape that is met."""
    failure = read_failure(500, (), body(document), WHOLE)
    assert (failure.message, failure.type, failure.code, failure.param) == words


@pytest.mark.parametrize(
    ("document", "raw"),
    [
        (b'{"error": {"message":"m",\n "x": [1]} }', b'{"message":"m",\n "x": [1]}'),
        (b'{"error":"m"}', None),
        (b'{"error":{"code":1}}', None),
        (b'{"message":"m"}', None),
        (b'[{"error":{"message":"m"}}]', None),
        (b'{"error":{"message":"<html>"}}', None),
        (b'{"error":{"message":"' + b"m" * MAX_WORDS_BYTES + b'"}}', None),
    ],
)
def test_an_error_object_of_openais_shape_is_kept_as_it_came(document: bytes, raw: bytes | None) -> None:
    """A client of the same wire gets it unchanged; nothing else goes to a client raw."""
    assert read_failure(400, (), document, WHOLE).raw == raw


KINDS: list[tuple[int, Any, FailureKind]] = [
    (400, {}, FailureKind.BAD_REQUEST),
    (400, {"code": "context_length_exceeded"}, FailureKind.BAD_REQUEST),
    (400, {"message": "Incorrect API key provided: sk-***. "}, FailureKind.UNAUTHORIZED),
    (400, {"message": "An API key may be passed in the header"}, FailureKind.BAD_REQUEST),
    (401, {}, FailureKind.UNAUTHORIZED),
    (402, {}, FailureKind.QUOTA_EXHAUSTED),
    (403, {}, FailureKind.FORBIDDEN),
    (403, {"code": "unsupported_country_region_territory"}, FailureKind.FORBIDDEN),
    (403, {"message": "Your API key is disabled"}, FailureKind.UNAUTHORIZED),
    (403, {"code": "invalid_api_key"}, FailureKind.UNAUTHORIZED),
    (403, {"code": "insufficient_quota"}, FailureKind.QUOTA_EXHAUSTED),
    (404, {}, FailureKind.NOT_FOUND),
    (405, {}, FailureKind.BAD_REQUEST),
    (408, {}, FailureKind.TIMEOUT),
    (409, {}, FailureKind.CONFLICT),
    (413, {}, FailureKind.TOO_LARGE),
    (415, {}, FailureKind.BAD_REQUEST),
    (422, {}, FailureKind.BAD_REQUEST),
    (429, {}, FailureKind.RATE_LIMITED),
    (429, {"code": "rate_limit_exceeded"}, FailureKind.RATE_LIMITED),
    (429, {"code": "insufficient_quota"}, FailureKind.QUOTA_EXHAUSTED),
    (429, {"type": "insufficient_quota"}, FailureKind.QUOTA_EXHAUSTED),
    (429, {"type": "exceeded_current_quota_error"}, FailureKind.QUOTA_EXHAUSTED),
    (500, {}, FailureKind.SERVER_ERROR),
    (502, {}, FailureKind.SERVER_ERROR),
    (503, {}, FailureKind.OVERLOADED),
    (504, {}, FailureKind.TIMEOUT),
    (529, {}, FailureKind.OVERLOADED),
    (599, {}, FailureKind.SERVER_ERROR),
]


@pytest.mark.parametrize(("status", "error", "kind"), KINDS)
def test_what_an_error_means_follows_from_its_status_and_its_words(status: int, error: Any, kind: FailureKind) -> None:
    """One table; the status stays the provider's."""
    failure = read_failure(status, (), body({"error": {"message": "m", **error}}), WHOLE)
    assert (failure.kind, failure.status) == (kind, status)


@pytest.mark.parametrize("status", [100, 204, 302, 304, 600, 999])
def test_a_status_that_is_no_error_becomes_one(status: int) -> None:
    """A redirect or a status nobody knows is the provider's fault, and told as 502."""
    failure = read_failure(status, (), b"", WHOLE)
    assert (failure.kind, failure.status) == (FailureKind.BROKEN_ANSWER, 502)


LENGTH: Headers = ((b"content-length", b"512"),)
HTML: Headers = ((b"content-type", b"text/html; charset=utf-8"),)
PAGE = b"<html><body>Secret gateway page</body></html>"
BODIES: list[tuple[Headers, bytes, BodyState, str]] = [
    ((), b"", BodyState.EMPTY, "with an empty body."),
    ((), b" \n", WHOLE, "with an empty body."),
    (LENGTH, b"x" * 64, BodyState.TRUNCATED, "with a body that broke off after 64 of 512 bytes."),
    ((), b"x" * 64, BodyState.TRUNCATED, "with a body that broke off after 64 bytes."),
    ((*LENGTH, (b"content-encoding", b"gzip")), b"x", BodyState.TRUNCATED, "broke off after 1 bytes."),
    (((b"content-length", b"many"),), b"x", BodyState.TRUNCATED, "broke off after 1 bytes."),
    ((), b"x" * 99, BodyState.TOO_LARGE, "with a body that is too large for an error (99 bytes read)."),
    (LENGTH, b"x" * 9, BodyState.TOO_SLOW, "with a body that did not arrive in time (9 of 512 bytes read)."),
    (HTML, PAGE, WHOLE, f"with a body that is not JSON (text/html, {len(PAGE)} bytes)."),
    (((b"content-type", b"<script>"),), b"hello", WHOLE, "with a body that is not JSON (5 bytes)."),
    ((), b"{}", WHOLE, "with a body of JSON in which no message stands (2 bytes)."),
    ((), b"[]", WHOLE, "with a body of JSON in which no message stands (2 bytes)."),
    ((), b'{"error":{"message":""}}', WHOLE, "with a body of JSON in which no message stands (24 bytes)."),
    ((), body({"error": PAGE.decode()}), WHOLE, "in which no message stands"),
    ((), b'{"error":{"mess', BodyState.TRUNCATED, "broke off after 15 bytes."),
    ((), b"[" * 100_000, WHOLE, "that is not JSON"),
    ((), b"\xff\xfe", WHOLE, "that is not JSON"),
]


@pytest.mark.parametrize(("headers", "content", "state", "told"), BODIES)
@pytest.mark.parametrize("status", [429, 503])
def test_a_body_without_words_is_told_by_what_came_instead(
    headers: Headers, content: bytes, state: BodyState, told: str, status: int
) -> None:
    """Empty, broken off, too large, too slow, a page, garbage: the sentence says which, and the status stays."""
    failure = read_failure(status, headers, content, state)
    assert failure.message.startswith(f"The provider answered {status} with ")
    assert told in failure.message
    assert "<" not in failure.message
    assert "Secret" not in failure.message
    assert failure.status == status
    assert failure.raw is None


def test_words_that_came_whole_are_told_although_the_connection_broke() -> None:
    """A close that was rude takes nothing from a message that is complete."""
    assert read_failure(429, LENGTH, body({"error": {"message": "m"}}), BodyState.TRUNCATED).message == "m"


def test_a_message_is_short_and_printable() -> None:
    """At most 8 KiB of it, cut between characters; no control characters, no half surrogates."""
    failure = read_failure(400, (), body({"error": {"message": "é" * 9000}}), WHOLE)
    assert failure.message == "é" * (MAX_WORDS_BYTES // 2)
    dirty = read_failure(400, (), b'{"error":{"message":" a\\u0000\\u001b[31mb\\ud83d\\n"}}', WHOLE)
    assert dirty.message == "a [31mb?"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"20")], 20.0),
        ([(b"retry-after", b"0")], 0.0),
        ([(b"retry-after", b"1.5")], 1.5),
        ([(b"retry-after-ms", b"1500"), (b"retry-after", b"2")], 1.5),
        ([(b"retry-after", b"Wed, 21 Oct 2026 07:28:00 GMT")], None),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"inf")], None),
        ([(b"retry-after-ms", b"soon"), (b"retry-after", b"3")], 3.0),
        ([], None),
    ],
)
def test_the_time_to_wait_is_read_where_it_needs_no_clock(headers: list[tuple[bytes, bytes]], seconds: float) -> None:
    """Milliseconds first, then seconds; a date is left to the client, who gets the header."""
    failure = read_failure(429, tuple(headers), body({"error": {"message": "m"}}), WHOLE)
    assert failure.retry_after == seconds


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        (b"1s", 1.0),
        (b"6m0s", 360.0),
        (b"1h0m2.5s", 3602.5),
        (b"20ms", 0.02),
        (b"10", 10.0),
        (b"0", 0.0),
        (b"1763712000000", None),
        (b"2026-11-21T12:00:00Z", None),
        (b"48h", None),
        (b"", None),
    ],
)
def test_a_429_without_advice_is_read_by_its_limits(reset: bytes, seconds: float | None) -> None:
    """The limit that is used up says when it is full again; a moment in time says nothing without a clock."""
    limits = ((b"x-ratelimit-remaining-requests", b"0"), (b"x-ratelimit-reset-requests", reset))
    failure = read_failure(429, limits, body({"error": {"message": "m"}}), WHOLE)
    assert failure.retry_after == seconds


def test_limits_are_no_advice_where_waiting_does_not_help() -> None:
    """Neither one that is not used up, nor with another error, nor where the money is gone; advice comes first."""
    left = ((b"x-ratelimit-remaining-tokens", b"7"), (b"x-ratelimit-reset-tokens", b"9s"))
    gone = ((b"x-ratelimit-remaining-tokens", b"0"), (b"x-ratelimit-reset-tokens", b"9s"))
    words = body({"error": {"message": "m"}})
    assert read_failure(429, left, words, WHOLE).retry_after is None
    assert read_failure(500, gone, words, WHOLE).retry_after is None
    broke = body({"error": {"message": "m", "code": "insufficient_quota"}})
    assert read_failure(429, gone, broke, WHOLE).retry_after is None
    assert read_failure(429, (*gone, (b"retry-after", b"2")), words, WHOLE).retry_after == 2
    both = (*gone, (b"x-ratelimit-remaining-requests", b"0"), (b"x-ratelimit-reset-requests", b"30s"))
    assert read_failure(429, both, b"", BodyState.TRUNCATED).retry_after == 30


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9), st.just("<html>")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["error", "message", "detail", "code", "type", "param", "msg", "x"]), inner),
    ),
    max_leaves=10,
)


@given(
    st.one_of(st.binary(max_size=60), json_values.map(body)), st.sampled_from(list(BodyState)), st.integers(400, 599)
)
def test_no_body_makes_the_reading_fail(content: bytes, state: BodyState, status: int) -> None:
    """Whatever the bytes hold, there is a message, it is clean, and the status stays."""
    failure = read_failure(status, (), content, state)
    assert failure.message.strip()
    assert failure.status == status
    assert "<html" not in failure.message.lower()
    failure.message.encode()
