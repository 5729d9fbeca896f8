"""What a request was made of is freed the moment it ends, whatever its end was: nothing waits for the collector.

A circle of references is freed by the cyclic collector alone, which walks thousands of live streams to find it, and which
an idle process does not run at all. The relay makes none, so that errors cost no more than answers, and memory goes at once.
"""

from __future__ import annotations

import gc
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from stand import CHAT, PATIENCE_S, STREAM, UNARY, Stand, open_pair, open_stand

from relay_trio.testing import shapes
from relay_trio.testing.fake_client import connect
from relay_trio.testing.oracle import Snapshot
from relay_trio.testing.relay import CLIENT_KEY

pytestmark = pytest.mark.anyio

ENDS = (
    "answer", "error-event", "bad-json", "giant-line", "empty-error", "text-error", "retry-after-seconds", "garbage",
    "length-too-large", "close-delimited", "torn-last-event", "gzip-corrupt", "html-200", "drip-body",
)  # fmt: skip
BOTH = pytest.mark.parametrize("request_bytes", [STREAM, UNARY], ids=["stream", "unary"])


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


@contextmanager
def all_circles() -> Iterator[list[str]]:
    """Yield a list that holds, after the block, what of the relay's own only the collector could free."""
    found: list[str] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += [_name(thing) for thing in gc.garbage if _is_the_relays(thing)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _is_the_relays(thing: object) -> bool:
    if isinstance(thing, types.FrameType):
        return _is_product(thing.f_globals.get("__name__", ""))
    return _is_product(type(thing).__module__)


def _is_product(module: str) -> bool:
    return module.startswith(("relay_trio.", "adaptors.")) and not module.startswith("relay_trio.testing")


def _name(thing: object) -> str:
    return thing.f_code.co_qualname if isinstance(thing, types.FrameType) else type(thing).__qualname__


async def ask_and_leave(stand: Stand, request_bytes: bytes, *, after_s: float = PATIENCE_S) -> None:
    """Ask on a connection of its own, read the answer for so long, leave, and wait until the relay is at rest."""
    async with connect(stand.address) as client:
        await client.send(request_bytes)
        with trio.move_on_after(after_s):
            await client.read_response()
    await stand.rest()


@BOTH
@pytest.mark.parametrize("end", ENDS)
async def test_an_answered_request_leaves_no_circle(tmp_path: Path, end: str, request_bytes: bytes) -> None:
    """However the provider behaves: request, frames, connections of both sides are freed without the collector."""
    async with open_stand(tmp_path, end) as stand:
        with all_circles() as circles:
            await ask_and_leave(stand, request_bytes)

        assert circles == []


@BOTH
async def test_an_attempt_that_was_followed_by_another_leaves_no_circle(tmp_path: Path, request_bytes: bytes) -> None:
    """The failure is told in the log and forgotten."""
    async with open_pair(tmp_path, "empty-error") as stand:
        with all_circles() as circles:
            await ask_and_leave(stand, request_bytes)

        assert circles == []


@BOTH
async def test_a_client_that_leaves_leaves_no_circle(tmp_path: Path, request_bytes: bytes) -> None:
    """The cancellation passes through all frames of the request, and none of them keeps it."""
    async with open_stand(tmp_path, "drip-body") as stand:
        with all_circles() as circles:
            await ask_and_leave(stand, request_bytes, after_s=2)

        assert circles == []


@BOTH
async def test_a_deadline_leaves_no_circle(tmp_path: Path, request_bytes: bytes) -> None:
    """Nor does the error that tells of it."""
    async with open_stand(tmp_path, "drip-body", limits="total = 1") as stand:
        with all_circles() as circles:
            await ask_and_leave(stand, request_bytes)

        assert circles == []


async def test_a_request_that_never_left_leaves_no_circle(tmp_path: Path) -> None:
    """A key that is not ours, a body that is none, a model that does not exist."""
    wrong_key = shapes.chat(key="sk-not-ours-0123456789abcdef")
    no_json = shapes.post(CHAT, b"{", key=CLIENT_KEY)
    async with open_stand(tmp_path) as stand:
        with all_circles() as circles:
            for request_bytes in (wrong_key, no_json, b"nonsense\r\n\r\n"):
                await ask_and_leave(stand, request_bytes)

        assert circles == []
