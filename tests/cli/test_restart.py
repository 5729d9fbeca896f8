"""Promises of a restart: a successor takes the listening sockets over while the old relay ends with its last connection.

Processes as an operator starts them, over one run directory; clients that ask all the time, with and without keep-alive.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from serving import KEY, Running, ask, served

from relay_trio.edge.succession import find_predecessor
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.fake_client import FakeClient, connect
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.real_clock,
    pytest.mark.skipif(sys.platform == "win32", reason="descriptors are handed over as POSIX has it"),
]

SERVE = ("-m", "relay_trio", "serve")
BODY = {"model": "fake-small", "messages": [{"role": "user", "content": "hi"}]}
PACE_S = 0.02
"""What the provider takes for an answer makes the rate: some fifty a second for each client that waits for its own."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@attrs.define
class Site:
    """One address and one run directory, in which one relay after the other is started."""

    directory: Path
    upstream: FakeUpstream
    workers: int = 1
    port: int = attrs.field(factory=free_port)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def run_directory(self) -> Path:
        return self.directory / "run"

    def variables(self) -> dict[str, str]:
        return {
            "OPENAI_API_KEY": "sk-of-the-provider-0123456789",
            "OPENAI_BASE_URL": self.upstream.base_url(),
            "RELAY_API_KEYS": KEY,
            "RELAY_LISTEN": f"127.0.0.1:{self.port}",
            "RELAY_RUN_DIRECTORY": str(self.run_directory),
            "RELAY_WORKERS": str(self.workers),
        }

    @asynccontextmanager
    async def relay(
        self,
        variables: Mapping[str, str] | None = None,
        program: str = sys.executable,
        words: tuple[str, ...] = SERVE,
    ) -> AsyncIterator[Running]:
        """Start a relay here, which is the serving one when the block begins."""
        async with served(self.directory, words, {**self.variables(), **(variables or {})}, program=program) as relay:
            for number in range(1, self.workers + 1):
                await relay.line("ready", number)
            yield relay


@asynccontextmanager
async def open_site(directory: Path, workers: int = 1) -> AsyncIterator[Site]:
    async with open_fake_upstream(_answer) as upstream:
        yield Site(directory, upstream, workers)


async def _answer(conversation: Conversation) -> None:
    """Answer at an even pace; a stream stops after its first words until the test lets it go on."""
    name = conversation.request.asked().fields["messages"][0]["content"]
    if name not in HELD:
        await conversation.link.pause(PACE_S)
        await conversation.send_answer()
        return
    held = HELD[name]
    await conversation.send_head()
    first, second, *rest = conversation.answer.pieces
    await conversation.send_pieces(first, second)
    held.begun.set()
    await held.go_on.wait()
    await conversation.send_pieces(*rest)
    await conversation.send_end()


@attrs.define(eq=False)
class Held:
    """A live stream, and how it ended."""

    name: str
    begun: trio.Event = attrs.field(factory=trio.Event)
    go_on: trio.Event = attrs.field(factory=trio.Event)
    last: str = ""
    pid: int | None = None

    async def read(self, address: tuple[str, int]) -> None:
        """Have it answered to its end."""
        async with connect(address) as client:
            body = {**BODY, "stream": True, "messages": [{"role": "user", "content": self.name}]}
            await client.post_json("/v1/chat/completions", body, KEY)
            await client.read_head()
            self.last = (await client.read_events()).data[-1]


HELD: dict[str, Held] = {}
"""The streams of the test that runs, by what they ask."""


@pytest.fixture(autouse=True)
def no_stream() -> None:
    HELD.clear()


async def begin_stream(site: Site, nursery: trio.Nursery) -> Held:
    """Return a stream that lives."""
    held = Held(f"stream {len(HELD)}")
    HELD[held.name] = held
    nursery.start_soon(held.read, site.address)
    await held.begun.wait()
    return held


@attrs.define(eq=False)
class Visitor:
    """A client that asks again and again, and reconnects only where an answer told it to."""

    address: tuple[str, int]
    keeps: bool
    answers: int = 0
    stopped: bool = False
    gone: trio.Event = attrs.field(factory=trio.Event)

    async def stop(self) -> None:
        """Let it ask no more, and wait until it has its last answer."""
        self.stopped = True
        await self.gone.wait()

    async def visit(self) -> None:
        """Ask until stopped. Each question must be answered, with 200 and whole."""
        while not self.stopped:
            async with connect(self.address) as client:
                while await self._ask(client) and not self.stopped:
                    pass
        self.gone.set()

    async def _ask(self, client: FakeClient) -> bool:
        """Ask once; return whether the connection may be used again."""
        response = await ask(client, "POST", "/v1/chat/completions", KEY, BODY)
        assert response.status == 200, response
        assert response.body.complete
        self.answers += 1
        return self.keeps and response.head.get("connection") != "close"


# A restart


@pytest.mark.parametrize(("workers", "restarts"), [(1, 10), (2, 2)])
async def test_restarts_refuse_nobody_and_cut_nothing(tmp_path: Path, workers: int, restarts: int) -> None:
    """Under a steady flow and live streams each request is answered and each stream whole, whoever serves meanwhile."""
    async with (
        open_site(tmp_path, workers) as site,
        trio.open_nursery() as nursery,
        AsyncExitStack() as processes,
    ):
        relays = [await processes.enter_async_context(site.relay())]
        visitors = [Visitor(site.address, keeps=False), Visitor(site.address, keeps=True)]
        streams: list[Held] = []
        for visitor in visitors:
            nursery.start_soon(visitor.visit)
        for _ in range(restarts):
            streams.append(await begin_stream(site, nursery))
            relays.append(await processes.enter_async_context(site.relay()))
            await relays[-2].line("drain_started", workers)
        for stream in streams:
            stream.go_on.set()
        statuses = [await relay.process.wait() for relay in relays[:-1]]
        for visitor in visitors:
            await visitor.stop()
        ends = [line for relay in relays for line in relay.all("drain_ended")]
        assert statuses == [0] * restarts
        assert [stream.last for stream in streams] == ["[DONE]"] * restarts
        assert all(visitor.answers > restarts for visitor in visitors)
        assert len(ends) == restarts * workers
        assert sum(line["cut"] for line in ends) == 0
        assert sum(line["finished"] for line in ends) >= restarts
        assert await relays[-1].end() == 0


async def test_who_waits_in_the_queue_is_served_by_the_successor(tmp_path: Path) -> None:
    """A relay that is full lets clients wait where nobody has accepted them. Its end resets none of them."""
    few = ("-c", 'ulimit -n 206; exec "$0" "$@"', sys.executable, *SERVE)  # (206 - 200) / 2 connections
    async with open_site(tmp_path) as site, site.relay(program="sh", words=few) as full:
        assert (await full.line("descriptors"))["streams_per_worker"] == 3
        async with trio.open_nursery() as nursery:
            streams = [await begin_stream(site, nursery) for _ in range(3)]
            async with connect(site.address) as waiting:
                await waiting.post_json("/v1/chat/completions", BODY, KEY)
                async with site.relay() as successor:
                    assert (await waiting.read_response()).status == 200
                    for stream in streams:
                        stream.go_on.set()
                    assert await full.process.wait() == 0
                    assert await successor.end() == 0
        assert [stream.last for stream in streams] == ["[DONE]"] * 3


async def test_a_successor_that_does_not_come_to_serve_changes_nothing(tmp_path: Path) -> None:
    """It had the sockets, and died: the old one says so and goes on, and the next successor takes its place."""
    async with open_site(tmp_path) as site, site.relay() as relay:
        await trio.to_thread.run_sync(_take_and_die, site.run_directory)
        await relay.line("successor_failed")
        assert (await relay.ask("GET", "/readyz")).status == 200
        assert (await relay.json("/api/monitor/health"))["status"] == "ok"
        async with site.relay() as successor:
            assert await relay.process.wait() == 0
            assert (await successor.line("taking_over"))["from_pid"] == relay.process.pid
            assert await successor.end() == 0


def _take_and_die(directory: Path) -> None:
    predecessor = find_predecessor(directory)
    assert predecessor is not None
    for sock in (*predecessor.listening, predecessor._link):
        sock.close()


async def test_a_successor_helps_a_relay_that_drains(tmp_path: Path) -> None:
    """After SIGTERM new requests get 503; as soon as a successor serves, it has them all."""
    async with open_site(tmp_path) as site, trio.open_nursery() as nursery, site.relay() as relay:
        stream = await begin_stream(site, nursery)
        relay.tell("SIGTERM")
        await relay.line("drain_started")
        assert (await _status(site)) == 503
        async with site.relay() as successor:
            await relay.line("listeners_closed")
            assert [await _status(site) for _ in range(20)] == [200] * 20
            stream.go_on.set()
            assert await relay.process.wait() == 0
            assert await successor.end() == 0


async def _status(site: Site) -> int:
    async with connect(site.address) as client:
        return (await ask(client, "POST", "/v1/chat/completions", KEY, BODY)).status


async def test_a_signal_restarts_the_program(tmp_path: Path) -> None:
    """SIGUSR2: the same command is started anew, serves, and lets the one that was told go."""
    async with open_site(tmp_path) as site, site.relay() as relay:
        relay.tell("SIGUSR2")
        successor = (await relay.line("successor_started"))["successor_pid"]
        assert (await relay.line("drain_started"))["why"] == f"pid {successor} serves"
        assert await relay.process.wait() == 0
        assert (await relay.line("ready", 2))["pid"] == successor
        async with connect(site.address) as client:
            assert (await ask(client, "GET", "/readyz")).status == 200
            os.kill(successor, signal.SIGTERM)
            await client.wait_closed()


async def test_a_restart_without_a_run_directory_is_refused(tmp_path: Path) -> None:
    """Nobody could find this process: it says what is missing, and serves on."""
    async with served(tmp_path, variables={"RELAY_API_KEYS": KEY}) as relay:
        await relay.line("ready")
        relay.tell("SIGUSR2")
        assert "RELAY_RUN_DIRECTORY" in (await relay.line("restart_refused"))["why"]
        assert (await relay.ask("GET", "/readyz")).status == 200
        assert await relay.end() == 0


UNFIT = {
    "open": "may be written by others",
    "file": "is no directory",
    "missing/inside": "cannot be used: No such file or directory",
    "long" * 30: "is too long",
}


@pytest.mark.parametrize("name", UNFIT, ids=lambda name: name[:8])
async def test_a_directory_that_will_not_do_is_told(tmp_path: Path, name: str) -> None:
    """Who may write there could hand us sockets of their own, and some cannot hold a socket: status 2 and a sentence."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").touch()
    async with served(tmp_path, SERVE, {"RELAY_RUN_DIRECTORY": str(tmp_path / name)}) as relay:
        assert await relay.process.wait() == 2
        await relay.printed(r"^relay-trio: RELAY_RUN_DIRECTORY.*" + UNFIT[name])


# The service manager


@attrs.define(eq=False)
class Manager:
    """A service manager, and what it was told since one last asked."""

    messages: list[list[str]] = attrs.field(factory=list)
    _grown: trio.Event = attrs.field(factory=trio.Event)

    async def listen(self, sock: trio.socket.SocketType) -> None:
        """Take messages as they come: the kernel keeps only a few."""
        while True:
            self.messages.append((await sock.recv(4096)).decode().split("\n"))
            self._grown.set()
            self._grown = trio.Event()

    async def told(self, wanted: str) -> list[str]:
        """Return the lines of the next message with this line, and forget those up to it."""
        while True:
            while self.messages:
                lines = self.messages.pop(0)
                if wanted in lines:
                    return lines
            await self._grown.wait()


@asynccontextmanager
async def open_manager(directory: Path) -> AsyncIterator[Manager]:
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as sock:
        await sock.bind(str(directory / "notify"))
        async with trio.open_nursery() as nursery:
            manager = Manager()
            nursery.start_soon(manager.listen, sock)
            yield manager
            nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_service_manager_is_told(tmp_path: Path, workers: int) -> None:
    """Ready and which process is the main one, alive, restarting, stopping: once for the service, not for each worker."""
    async with open_site(tmp_path, workers) as site, open_manager(tmp_path) as manager:
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        async with site.relay(variables) as relay:
            assert f"MAINPID={relay.process.pid}" in await manager.told("READY=1")
            await manager.told("WATCHDOG=1")
            relay.tell("SIGUSR2")
            await manager.told("RELOADING=1")
            successor = (await relay.line("successor_started"))["successor_pid"]
            assert f"MAINPID={successor}" in await manager.told("READY=1")
            assert await relay.process.wait() == 0
            await manager.told("WATCHDOG=1")
            os.kill(successor, signal.SIGTERM)
            await manager.told("STOPPING=1")


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_stop_waits_for_the_one_before(tmp_path: Path, workers: int) -> None:
    """When its main process ends, a service manager kills the rest: so that one stays while a predecessor still has a stream."""
    async with (
        open_site(tmp_path, workers) as site,
        open_manager(tmp_path) as manager,
        trio.open_nursery() as nursery,
        site.relay({"NOTIFY_SOCKET": str(tmp_path / "notify")}) as relay,
    ):
        stream = await begin_stream(site, nursery)
        relay.tell("SIGUSR2")
        successor = (await relay.line("successor_started"))["successor_pid"]
        await relay.line("listeners_closed", workers)
        os.kill(successor, signal.SIGTERM)
        await manager.told("STOPPING=1")
        assert not relay.all("successor_ended")
        os.kill(successor, 0)
        stream.go_on.set()
        await relay.wait_ended()
    assert stream.last == "[DONE]"
    assert sum(line["cut"] for line in relay.all("drain_ended")) == 0
    order = [line["pid"] for line in relay.all("drain_ended" if workers == 1 else "supervisor_ended")]
    assert order == [relay.process.pid, successor]


async def test_what_a_killed_relay_leaves_is_no_predecessor(tmp_path: Path) -> None:
    """Its socket still stands in the run directory, and nobody answers there: the next one starts as the first one did."""
    async with open_site(tmp_path) as site:
        async with site.relay() as relay:
            relay.process.kill()
            await relay.process.wait()
        assert (site.run_directory / "relay.sock").exists()
        async with site.relay() as relay:
            assert not relay.all("taking_over")
            assert await relay.end() == 0


async def test_sockets_of_the_service_manager_are_served(tmp_path: Path) -> None:
    """Socket activation (sd_listen_fds(3)): we bind nothing, and serve what is given to us, and so does a successor."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = ("-c", ACTIVATE, str(server.fileno()), *SERVE)
        variables = {
            "RELAY_API_KEYS": KEY,
            "RELAY_LISTEN": "127.0.0.1:1",  # which nobody may bind without being asked to
            "RELAY_RUN_DIRECTORY": str(tmp_path / "run"),
        }
        async with served(tmp_path, words, variables, pass_fds=(server.fileno(),)) as relay:
            host, port = server.getsockname()
            assert (await relay.line("ready"))["listening"] == [f"{host}:{port}"]
            assert (await relay.ask("GET", "/livez")).status == 200
            relay.tell("SIGUSR2")
            assert await relay.process.wait() == 0
            assert (await relay.line("ready", 2))["listening"] == [f"{host}:{port}"]
            assert (await relay.ask("GET", "/livez")).status == 200


ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
"""What systemd does before it starts a service: its sockets follow on the standard descriptors."""
