"""An error answer is read within bounds and closed, whatever the read did, before anybody is told of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from stand import open_with

from adaptors import registry
from adaptors.dialects.table import DIALECTS
from adaptors.failure import BodyState, FailureKind
from adaptors.protocol import Dialect
from adaptors.values import Header, Headers
from relay_trio.errors import AnswerBroken, UpstreamAnswered, UpstreamFailed
from relay_trio.relay.attempt import ERROR_BODY_MAX_BYTES, ERROR_BODY_S, read_failure
from relay_trio.relay.report import tell
from relay_trio.scopes.phase import PhaseClock
from relay_trio.testing.answers import Answer
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.fake_client import Response, connect
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream
from relay_trio.testing.oracle import Snapshot, wait_settled
from relay_trio.testing.relay import RelayUnderTest
from relay_trio.testing.script import Behaviour

pytestmark = pytest.mark.anyio


@attrs.define
class ErrorAnswer:
    """An error answer whose body does something; `closed` counts how often it was closed."""

    read: Callable[[], Awaitable[bytes]]
    status: int = 429
    headers: list[Header] = attrs.field(factory=lambda: [(b"retry-after", b"7")])
    fields: dict[bytes, bytes] = attrs.field(factory=lambda: {b"retry-after": b"7"})
    reused: bool = False
    ended: bool = False
    closed: int = 0
    taken: int = 0

    async def receive(self) -> bytes:
        data = await self.read()
        self.taken += len(data)
        return data

    async def aclose(self) -> None:
        self.closed += 1


async def breaks() -> bytes:
    raise UpstreamFailed("The connection to the provider broke in the middle of its answer.", phase="answer")


async def is_nonsense() -> bytes:
    raise AnswerBroken("The provider's answer is not valid HTTP.", phase="answer")


async def is_empty() -> bytes:
    return b""


async def never_comes() -> bytes:
    await trio.sleep_forever()
    raise AssertionError("unreachable")


async def never_ends() -> bytes:
    await trio.lowlevel.checkpoint()
    return b"x" * 10_000


async def drips() -> bytes:
    await trio.sleep(1)
    return b"x"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (breaks, "broke off"),
        (is_nonsense, "is damaged or compressed in an unknown way"),
        (is_empty, "empty body"),
        (never_comes, "did not arrive in time"),
        (never_ends, "too large for an error"),
        (drips, "did not arrive in time"),
    ],
)
@pytest.mark.usefixtures("nothing_left_open")
async def test_it_is_closed_before_its_failure_is_known(body: Callable[[], Awaitable[bytes]], said: str) -> None:
    """And the failure keeps the status and the advice, within five seconds and 64 KiB, and says what came of the body."""
    answer = ErrorAnswer(body)
    failed = await read_failure(answer, registry.load()["openai"], PhaseClock())

    assert answer.closed == 1
    assert (failed.failure.status, failed.failure.retry_after) == (429, 7)
    assert said in failed.failure.message
    assert failed.failure.ours
    assert trio.current_time() <= ERROR_BODY_S
    assert answer.taken <= ERROR_BODY_MAX_BYTES + 10_000


@pytest.mark.usefixtures("nothing_left_open")
async def test_it_is_closed_when_the_request_is_cancelled() -> None:
    """The client that leaves while the error is being read leaves nothing open."""
    answer = ErrorAnswer(never_comes)
    with trio.move_on_after(1):
        await read_failure(answer, registry.load()["openai"], PhaseClock())

    assert answer.closed == 1


@pytest.mark.usefixtures("nothing_left_open")
async def test_an_unknown_encoding_is_closed_too() -> None:
    """Nothing of it is read."""
    answer = ErrorAnswer(never_comes, headers=[(b"content-encoding", b"x-secret")])
    failed = await read_failure(answer, registry.load()["openai"], PhaseClock())

    assert (answer.closed, failed.failure.status) == (1, 429)


# Each provider's adaptor, over real sockets, to each kind of client


@attrs.frozen
class Client:
    """How a client of one format asks, and where its errors say what they are."""

    path: str
    body: dict[str, object]
    type_of: Callable[[dict[str, Any]], str]
    rate_limited: str

    def requests(self) -> list[tuple[str, dict[str, object]]]:
        """Return the path and the body of a request for a whole answer, and of one for a stream."""
        if self.path.endswith(":generateContent"):
            return [(self.path, self.body), (self.path.replace(":generate", ":streamGenerate") + "?alt=sse", self.body)]
        return [(self.path, self.body), (self.path, {**self.body, "stream": True})]


QUESTION: list[dict[str, object]] = [{"role": "user", "content": "q"}]
CLIENTS: dict[str, Client] = {
    "chat.completions": Client(
        "/v1/chat/completions",
        {"model": "m", "messages": QUESTION},
        lambda document: str(document["error"]["type"]),
        "rate_limit_error",
    ),
    "responses": Client(
        "/v1/responses",
        {"model": "m", "input": "q"},
        lambda document: str(document["error"]["type"]),
        "rate_limit_error",
    ),
    "messages": Client(
        "/v1/messages",
        {"model": "m", "max_tokens": 9, "messages": QUESTION},
        lambda document: str(document["type"] == "error" and document["error"]["type"]),
        "rate_limit_error",
    ),
    "models.generate_content": Client(
        "/v1beta/models/m:generateContent",
        {"contents": [{"parts": [{"text": "q"}]}]},
        lambda document: str(document["error"]["status"]),
        "RESOURCE_EXHAUSTED",
    ),
}
OWN_ENDPOINTS = {
    "openai_chat": ("chat.completions",),
    "openai_responses": ("responses",),
    "anthropic": ("messages",),
    "gemini": ("models.generate_content",),
}
ADAPTORS = ("openai", "xai", "anthropic", "gemini")
PAIRS = [
    (adaptor, endpoint)
    for adaptor in ADAPTORS
    for found in [registry.BUILT_IN[adaptor]]
    for endpoint in [*(name for own in found.dialects for name in OWN_ENDPOINTS[own]), *found.translates]
    if endpoint in CLIENTS
]
"""Every provider with every kind of client that it can serve."""


async def is_a_page(conversation: Conversation) -> None:
    """Answer with a web page."""
    headers: Headers = ((b"content-type", b"text/html"), (b"retry-after", b"7"))
    await conversation.send_in_place(conversation.fault.status, headers, b"<html><body>Bad gateway</body></html>")


async def is_of_100_mb(conversation: Conversation) -> None:
    """Send 100 MB of an error, as long as anybody listens."""
    headers: Headers = ((b"content-type", b"application/json"), (b"retry-after", b"7"))
    piece = b'{"error":{"message":"' + b"x" * (1024 * 1024)
    conversation.replace_answer(Answer(conversation.fault.status, headers, (piece,) * 100))
    await conversation.send_answer()


async def breaks_off(conversation: Conversation) -> None:
    """Announce more than comes."""
    await conversation.send(b'HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 900\r\n\r\n{"error":{"mess')
    conversation.link.close()


async def hangs(conversation: Conversation) -> None:
    """Announce more than comes, and stay."""
    await conversation.send(b'HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 900\r\n\r\n{"error":{"mess')
    await conversation.silence()


async def is_reset(conversation: Conversation) -> None:
    """Break the connection in the middle of a chunk."""
    await conversation.send(b"HTTP/1.1 429 X\r\nretry-after: 7\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{")
    conversation.link.reset()


def with_status(behaviour: Behaviour, status: int) -> Behaviour:
    """Return the behaviour with another status."""

    async def run(conversation: Conversation) -> None:
        conversation.fault = attrs.evolve(conversation.fault, status=status)
        assert callable(behaviour)
        await behaviour(conversation)

    return run


BODIES: dict[str, tuple[Behaviour, str]] = {
    "breaks off": (breaks_off, "broke off"),
    "is reset": (is_reset, "broke off"),
    "hangs": (hangs, "did not arrive in time"),
    "is a page": (with_status(is_a_page, 429), "is not JSON"),
    "is of 100 MB": (with_status(is_of_100_mb, 429), "too large for an error"),
}


def channel_of(adaptor: str, upstream: FakeUpstream) -> str:
    version = "/v1" if adaptor in {"openai", "xai"} else ""
    return f"""
        [[channels]]
        name = "main"
        adaptor = "{adaptor}"
        base_url = "{upstream.url}{version}"
        api_keys = ["sk-the-providers-own-0123456789"]
    """


@pytest.mark.parametrize(("adaptor", "endpoint"), PAIRS)
async def test_every_client_is_told_of_every_body(tmp_path: Path, adaptor: str, endpoint: str) -> None:
    """A typed error with its advice in the caller's own dialect, in time, streamed or not; then nothing is left open."""
    client = CLIENTS[endpoint]
    async with open_fake_upstream() as upstream, open_with(tmp_path, channel_of(adaptor, upstream)) as relay:
        await asked(relay, *client.requests()[0])  # what is made once for good is there before the first look
        await upstream.wait_no_connections()
        before = Snapshot.take()
        for name, (behaviour, said) in BODIES.items():
            upstream.script.always = behaviour
            for path, body in client.requests():
                answer, after_s = await asked(relay, path, body)
                assert answer.status == 429, name
                assert client.type_of(answer.json()) == client.rate_limited, name
                assert said in answer.json()["error"]["message"], name
                assert answer.head.get("retry-after") == "7", name
                assert after_s <= ERROR_BODY_S + 1, name
        await upstream.wait_no_connections()
        await trio.sleep(1000)  # trio forgets the deadlines of scopes that were left when their time comes
        assert await wait_settled(before) == ""
        assert {line["left_open"] for line in relay.finished()} == {0}
        assert {line["outcome"] for line in relay.finished()[1:]} == {"upstream_error"}


async def asked(relay: RelayUnderTest, path: str, body: dict[str, object]) -> tuple[Response, float]:
    """Ask on a connection of its own; return the answer and after how long it was there, once all is closed."""
    async with connect(relay.url) as client:
        start = trio.current_time()
        await client.post_json(path, body, relay.key)
        answer = await client.read_response()
        after_s = trio.current_time() - start
    with trio.fail_after(6):
        while relay.live():  # noqa: ASYNC110 - counts wake nobody
            await trio.sleep(0.05)
    return answer, after_s


# What providers document, to each kind of client


@attrs.frozen
class Documented:
    """An error as a provider documents it, and what it means."""

    adaptor: str
    status: int
    body: str
    kind: FailureKind
    headers: Headers = ()
    retry_after: float | None = None


DOCUMENTED = [
    # https://platform.openai.com/docs/guides/error-codes and .../rate-limits
    Documented(
        "openai",
        429,
        '{"error":{"message":"Rate limit reached for gpt-5","type":"requests","param":null,"code":"rate_limit_exceeded"}}',
        FailureKind.RATE_LIMITED,
        ((b"x-ratelimit-remaining-requests", b"0"), (b"x-ratelimit-reset-requests", b"6m0s")),
        360,
    ),
    Documented(
        "openai",
        429,
        '{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,'
        '"code":"insufficient_quota"}}',
        FailureKind.QUOTA_EXHAUSTED,
    ),
    Documented(
        "openai",
        503,
        '{"error":{"message":"Slow down","type":"server_error","param":null,"code":"server_is_overloaded"}}',
        FailureKind.OVERLOADED,
        ((b"retry-after-ms", b"1500"),),
        1.5,
    ),
    # https://docs.x.ai/docs/key-information/debugging
    Documented(
        "xai",
        429,
        '{"code":"Some resource has been exhausted","error":"Too many requests for team t and model grok-4."}',
        FailureKind.RATE_LIMITED,
    ),
    Documented(
        "xai",
        400,
        '{"code":"Client specified an invalid argument","error":"Argument not supported on this model: stop"}',
        FailureKind.BAD_REQUEST,
    ),
    # https://docs.claude.com/en/api/errors
    Documented(
        "anthropic",
        429,
        '{"type":"error","error":{"type":"rate_limit_error","message":"Number of requests has exceeded your limit"},'
        '"request_id":"req_011"}',
        FailureKind.RATE_LIMITED,
        ((b"retry-after", b"12"), (b"anthropic-ratelimit-requests-remaining", b"0")),
        12,
    ),
    Documented(
        "anthropic",
        529,
        '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_011"}',
        FailureKind.OVERLOADED,
    ),
    Documented(
        "anthropic",
        413,
        '{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}',
        FailureKind.TOO_LARGE,
    ),
    Documented(
        "anthropic",
        404,
        '{"type":"error","error":{"type":"not_found_error","message":"model: claude-0"}}',
        FailureKind.NOT_FOUND,
    ),
    # https://ai.google.dev/gemini-api/docs/troubleshooting, google/rpc/error_details.proto
    Documented(
        "gemini",
        429,
        '{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED","details":'
        '[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"12s"}]}}',
        FailureKind.RATE_LIMITED,
        (),
        12,
    ),
    Documented(
        "gemini",
        503,
        '[{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}]',
        FailureKind.OVERLOADED,
    ),
    Documented(
        "gemini",
        504,
        '{"error":{"code":504,"message":"Deadline expired","status":"DEADLINE_EXCEEDED"}}',
        FailureKind.TIMEOUT,
    ),
    Documented(
        "gemini",
        400,
        '{"error":{"code":400,"message":"Invalid JSON payload","status":"INVALID_ARGUMENT"}}',
        FailureKind.BAD_REQUEST,
    ),
]

# What a client of another format than the provider's is told: status and type.
TOLD: dict[str, dict[FailureKind, str]] = {
    "openai": {
        FailureKind.BAD_REQUEST: "invalid_request_error",
        FailureKind.NOT_FOUND: "not_found_error",
        FailureKind.TOO_LARGE: "request_too_large",
        FailureKind.RATE_LIMITED: "rate_limit_error",
        FailureKind.OVERLOADED: "overloaded_error",
        FailureKind.TIMEOUT: "timeout_error",
    },
    "anthropic": {
        FailureKind.BAD_REQUEST: "invalid_request_error",
        FailureKind.NOT_FOUND: "not_found_error",
        FailureKind.TOO_LARGE: "request_too_large",
        FailureKind.RATE_LIMITED: "rate_limit_error",
        FailureKind.QUOTA_EXHAUSTED: "rate_limit_error",
        FailureKind.OVERLOADED: "overloaded_error",
        FailureKind.TIMEOUT: "timeout_error",
    },
    "gemini": {
        FailureKind.BAD_REQUEST: "INVALID_ARGUMENT",
        FailureKind.NOT_FOUND: "NOT_FOUND",
        FailureKind.TOO_LARGE: "FAILED_PRECONDITION",
        FailureKind.RATE_LIMITED: "RESOURCE_EXHAUSTED",
        FailureKind.QUOTA_EXHAUSTED: "RESOURCE_EXHAUSTED",
        FailureKind.OVERLOADED: "UNAVAILABLE",
        FailureKind.TIMEOUT: "DEADLINE_EXCEEDED",
    },
}


@pytest.mark.parametrize("told", DOCUMENTED, ids=lambda told: f"{told.adaptor}-{told.status}")
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_a_documented_error_is_told_in_the_clients_words(dialect: Dialect, told: Documented) -> None:
    """With its message and its advice; on the same wire as the provider's own object, else in the dialect's own type.

    529 is no status for others than Anthropic's clients: they get 503, with the provider's word as the code.
    """
    failure = registry.BUILT_IN[told.adaptor].failure(told.status, told.headers, told.body.encode(), BodyState.WHOLE)
    assert (failure.kind, failure.retry_after) == (told.kind, told.retry_after)
    error = tell(UpstreamAnswered(failure, headers=told.headers), "req-1", str, dialect.error_format)
    document = json.loads(dialect.error_body(error.report))
    same_wire = failure.format == dialect.error_format
    assert error.report.status == (503 if told.status == 529 and not same_wire else told.status)
    assert document["error"]["message"] == failure.message
    advised = dict(error.headers).get(b"retry-after")
    assert (advised is None) == (told.retry_after is None)
    if told.retry_after is not None:
        assert float(advised or 0) >= told.retry_after
    theirs = json.loads(told.body)
    theirs = theirs[0] if isinstance(theirs, list) else theirs
    if same_wire and isinstance(theirs.get("error"), dict) and not told.body.startswith("["):
        assert document["error"] == theirs["error"]
    elif not same_wire:
        assert (
            document["error"]["status" if dialect.error_format == "gemini" else "type"]
            == (TOLD[dialect.error_format][told.kind])
        )
    if told.status == 529 and dialect.error_format == "openai":
        assert document["error"]["code"] == "overloaded_error"
