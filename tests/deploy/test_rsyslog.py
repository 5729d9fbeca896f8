"""Promises of the log before a real collector: each line arrives in fields, and a collector that stands still holds up nobody."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from debian import DEPLOY, Daemon, daemon, needs, run, wait_listening
from serving import KEY, ask, environment

from relay_trio.testing.fake_client import FakeClient, connect

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock, needs("rsyslogd", "rsyslog"), needs("logger", "bsdutils")]

FILE = DEPLOY / "rsyslog.conf"
BODY = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
SMALL_BUFFER = {"RELAY_LOG_BUFFER_BYTES": "64KiB"}


def configuration(directory: Path) -> Path:
    """Return the project's file with every path in this directory."""
    text = FILE.read_text()
    for path in ("/run/relay-trio", "/var/log/relay-trio"):
        text = text.replace(path, str(directory / path.rpartition("/")[2]))
    file = directory / "rsyslog.conf"
    file.write_text(f'global(workDirectory="{directory}")\n{text}')
    return file


@attrs.define(eq=False)
class Collected:
    """A relay whose log rsyslog collects."""

    directory: Path
    address: tuple[str, int]
    rsyslog: Daemon
    relay: Daemon

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return what rsyslog has written so far: `requests`, or `events`."""
        path = self.directory / f"relay-trio-{name}.jsonl"
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    async def wait_lines(self, name: str, count: int) -> list[dict[str, Any]]:
        """Return the lines when there are so many."""
        async with connect(self.address) as client:
            while len(lines := self.lines(name)) < count:
                await ask(client, "GET", "/livez")  # which is not logged
        return lines


@asynccontextmanager
async def collected(directory: Path, way: str, **variables: str) -> AsyncIterator[Collected]:
    """Run rsyslog, and a relay that writes to it by a pipe or by a file."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        host, port = free.getsockname()
    relay = shlex.join([sys.executable, "-m", "relay_trio", "serve", "--listen", f"{host}:{port}"])
    log = directory / "relay-trio.jsonl"
    log.touch()
    to = {
        "pipe": f"{relay} | logger --socket {directory}/relay-trio.log.sock --size 192KiB --tag relay-trio",
        "file": f"exec {relay} >> {log}",
    }[way]
    words = ("rsyslogd", "-n", "-f", configuration(directory), "-i", directory / "pid")
    configured = environment({"RELAY_API_KEYS": KEY, **variables})
    async with daemon(*words) as rsyslog:
        while not (directory / "relay-trio.log.sock").exists():
            assert rsyslog.process.returncode is None, rsyslog.output.decode()
            await _moment()
        async with daemon("sh", "-c", to, cwd=directory, variables=configured) as running:
            await wait_listening((host, port), running)
            yield Collected(directory, (host, port), rsyslog, running)


async def _moment() -> None:
    """Let others run: rsyslog says by nothing but its socket that it has started."""
    await trio.lowlevel.checkpoint()


async def ask_demo(client: FakeClient, key: str = KEY) -> int:
    return (await ask(client, "POST", "/v1/chat/completions", key, BODY)).status


def test_rsyslog_takes_the_file(tmp_path: Path) -> None:
    """Read by rsyslogd itself, with nothing to complain of."""
    done = run("rsyslogd", "-N1", "-f", configuration(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "error" not in done.stdout.lower(), done.stdout


@pytest.mark.parametrize("way", ["pipe", "file"])
async def test_every_line_arrives_in_fields(tmp_path: Path, way: str) -> None:
    """Requests with their fields in a file of their own, all other lines whole in another, and none that was not understood."""
    async with collected(tmp_path, way) as log:
        async with connect(log.address) as client:
            assert [await ask_demo(client) for _ in range(3)] == [200] * 3
            assert await ask_demo(client, "sk-of-a-stranger-0123456789") == 401
        requests = await log.wait_lines("requests", 4)
        assert [(line["status"], line["outcome"]) for line in requests] == [
            *[("200", "completed")] * 3,
            ("401", "rejected"),
        ]
        assert {line["key"] for line in requests[:3]} == {"key-1"}
        assert len({line["request_id"] for line in requests}) == 4
        events = await log.wait_lines("events", 5)
        assert {"starting", "limits"} <= {line["event"] for line in events}
        assert not (tmp_path / "relay-trio-unread.log").exists()


async def test_a_collector_that_stands_still_delays_no_request(tmp_path: Path) -> None:
    """It is stopped under load: every request is answered meanwhile. Afterwards its lines and the dropped ones are all there were."""
    async with collected(tmp_path, "pipe", **SMALL_BUFFER) as log, connect(log.address) as client:
        assert await ask_demo(client) == 200
        await log.wait_lines("requests", 1)
        log.rsyslog.process.send_signal(signal.SIGSTOP)
        asked, dropped = 1, 0
        while dropped < 100:
            for _ in range(100):
                assert await ask_demo(client) == 200
            asked += 100
            dropped = (await ask(client, "GET", "/api/monitor/health")).json()["log"]["dropped"]
        log.rsyslog.process.send_signal(signal.SIGCONT)
        while dropped not in [line.get("total") for line in log.lines("events")]:  # in `log_lines_dropped`
            await ask(client, "GET", "/livez")
        requests = await log.wait_lines("requests", asked - dropped)
        page = (await ask(client, "GET", "/metrics")).body.data.decode()
        stalls = re.search(r"^relay_loop_stall_seconds_count (\d+)", page, re.MULTILINE)
        assert stalls is not None
        # On a machine that stands still itself, a line that says so may be among the dropped ones.
        assert 0 <= len(requests) - (asked - dropped) <= int(stalls[1])
