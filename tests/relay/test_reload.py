"""A configuration that is read again: new requests see it, live ones go on, and a bad one changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from stand import UNARY, Stand, channel_table, open_with

from adaptors import registry
from relay_trio.assembly import Process
from relay_trio.settings.load import load
from relay_trio.settings.model import Settings
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.fake_client import connect
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream
from relay_trio.testing.oracle import Snapshot
from relay_trio.testing.relay import CLIENT_KEY

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]  # it is read in a thread


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


@attrs.frozen(eq=False)
class Reloading:
    """A relay whose file is rewritten."""

    stand: Stand
    file: Path

    async def rewrite(self, text: str | bytes, event: str) -> dict[str, object]:
        """Write the file, ask for it to be read, and return the line that says what came of it."""
        before = len(self.stand.relay.lines(event))
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.stand.relay.running.reload()
        with trio.fail_after(30):
            while len(self.stand.relay.lines(event)) == before:  # noqa: ASYNC110 - a log in memory wakes nobody
                await trio.sleep(0.01)
        return self.stand.relay.lines(event)[-1]


@asynccontextmanager
async def reloading(directory: Path, upstream: FakeUpstream) -> AsyncIterator[Reloading]:
    """Run a relay that reads `again.toml` when it is told to."""
    file = directory / "again.toml"

    def read() -> Settings:
        variables = {"RELAY_API_KEYS": CLIENT_KEY, "RELAY_LISTEN": "127.0.0.1:0"}
        return load(variables, file, lambda _: "x" * 32, providers=tuple(registry.load().values()))

    async with open_with(directory, channel_table("main", upstream)) as relay:
        process: Process = relay.process
        object.__setattr__(process, "load", read)
        yield Reloading(Stand(relay, upstream), file)


async def test_new_requests_see_the_new_state_and_live_ones_go_on(tmp_path: Path) -> None:
    """A request takes the snapshot of its start, and keeps it to its end."""
    async with open_fake_upstream() as first, open_fake_upstream() as second, reloading(tmp_path, first) as again:
        reloaded = trio.Event()

        async def answers_after_the_reload(c: Conversation) -> None:
            await reloaded.wait()
            await c.send_answer()

        first.script.enqueue(answers_after_the_reload)
        async with connect(again.stand.address) as client:
            await client.send(UNARY)
            await first.wait_requests(1)
            line = await again.rewrite(channel_table("other", second), "configuration_loaded")
            assert (line["channels"], line["keys"], line.get("needs_restart")) == (["other"], 1, None)
            assert (await again.stand.ask(UNARY)).status == 200
            assert second.request_count == 1
            reloaded.set()
            assert (await client.read_response()).status == 200
        await again.stand.line(2)
        assert [line["channel"] for line in again.stand.relay.finished()] == ["other", "main"]


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe",
        "[relay",
        "[relay]\ntotal = 5",
        "[relay.limits]\ntotal = 0",
        '[[channels]]\nname = "x"',
        "[relay]\nmax_concurrency = " + "9" * 5000,
        "x = " + "[" * 100_000,
    ],
    ids=["not-text", "not-toml", "unknown", "refused", "incomplete", "giant-number", "nested"],
)
async def test_a_bad_file_changes_nothing_and_is_reported(tmp_path: Path, text: str | bytes) -> None:
    """Whatever is in it: the relay goes on, and takes the next good one."""
    async with open_fake_upstream() as upstream, reloading(tmp_path, upstream) as again:
        line = await again.rewrite(text, "configuration_rejected")
        assert (line["level"], bool(line["problems"])) == ("error", True)
        assert (await again.stand.ask(UNARY)).status == 200
        await again.rewrite(channel_table("renamed", upstream), "configuration_loaded")
        assert (await again.stand.ask(UNARY)).status == 200
        await again.stand.line(2)
        assert [line["channel"] for line in again.stand.relay.finished()] == ["main", "renamed"]


async def test_what_only_a_restart_can_follow_is_named(tmp_path: Path) -> None:
    """The clocks among it that are read at the start."""
    changed = "[relay]\nmax_queue = 7\n[relay.limits]\nqueue = 5\nclient_idle = 6\ntotal = 100\n"
    async with open_fake_upstream() as upstream, reloading(tmp_path, upstream) as again:
        line = await again.rewrite(changed + channel_table("main", upstream), "configuration_loaded")
        assert line["needs_restart"] == ["max_queue", "limits.queue", "limits.client_idle", "limits.drain_s"]
