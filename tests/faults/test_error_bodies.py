"""An error answer is read within bounds and closed, whatever the read did, before anybody is told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio

from adaptors import registry
from adaptors.values import Header
from relay_trio.errors import AnswerBroken, UpstreamFailed
from relay_trio.relay.attempt import ERROR_BODY_MAX_BYTES, ERROR_BODY_S, read_failure
from relay_trio.scopes.phase import PhaseClock

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]


@attrs.define
class ErrorAnswer:
    """An error answer whose body does something; `closed` counts how often it was closed."""

    read: Callable[[], Awaitable[bytes]]
    status: int = 429
    headers: list[Header] = attrs.field(factory=lambda: [(b"retry-after", b"7")])
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
async def test_it_is_closed_before_its_failure_is_known(body: Callable[[], Awaitable[bytes]], said: str) -> None:
    """And the failure keeps the status and the advice, within five seconds and 64 KiB, and says what came of the body."""
    answer = ErrorAnswer(body)
    failed = await read_failure(answer, registry.load()["openai"], PhaseClock(trio.current_time()))

    assert answer.closed == 1
    assert (failed.failure.status, failed.failure.retry_after) == (429, 7)
    assert said in failed.failure.message
    assert failed.failure.ours
    assert trio.current_time() <= ERROR_BODY_S
    assert answer.taken <= ERROR_BODY_MAX_BYTES + 10_000


async def test_it_is_closed_when_the_request_is_cancelled() -> None:
    """The client that leaves while the error is being read leaves nothing open."""
    answer = ErrorAnswer(never_comes)
    with trio.move_on_after(1):
        await read_failure(answer, registry.load()["openai"], PhaseClock(trio.current_time()))

    assert answer.closed == 1


async def test_an_unknown_encoding_is_closed_too() -> None:
    """Nothing of it is read."""
    answer = ErrorAnswer(never_comes, headers=[(b"content-encoding", b"x-secret")])
    failed = await read_failure(answer, registry.load()["openai"], PhaseClock(trio.current_time()))

    assert (answer.closed, failed.failure.status) == (1, 429)
