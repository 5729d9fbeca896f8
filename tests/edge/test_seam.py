"""The one place where hypercorn is changed. These tests fail loudly when hypercorn changes there, before anything else does."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import hypercorn.trio.run
import pytest
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config, Sockets
from hypercorn.trio.tcp_server import TCPServer as StockConnection

from relay_trio.edge import seam
from relay_trio.edge.accepting import GatedListener
from relay_trio.edge.connection import ClientConnection
from relay_trio.edge.listening import open_listeners
from relay_trio.testing.fake_client import connect
from relay_trio.testing.relay import open_relay_under_test, settings_for

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
GET = b"GET /livez HTTP/1.1\r\nhost: relay.test\r\n\r\n"


@asynccontextmanager
async def plain_hypercorn(app: Callable[..., Awaitable[None]]) -> AsyncIterator[tuple[str, int]]:
    """Run hypercorn as it comes, with this application; yield where it listens."""
    listeners = open_listeners(("127.0.0.1:0",))
    config = Config()
    config.accesslog = config.errorlog = None
    config.graceful_timeout = 0
    stop = trio.Event()

    async def serve() -> None:
        await hypercorn.trio.run.worker_serve(
            ASGIWrapper(app),
            config,
            sockets=Sockets([], listeners, []),
            shutdown_trigger=stop.wait,
        )

    host, port = listeners[0].getsockname()[:2]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield host, port
        stop.set()


async def no_lifespan(scope: dict[str, Any], _receive: object, _send: object) -> None:
    """Be an application that is never asked for more than its lifespan, which it does not want."""
    assert scope["type"] == "lifespan", "a request went past what stands at the seam"
    raise NotImplementedError  # hypercorn takes that for a no


def test_hypercorn_is_the_one_that_was_read() -> None:
    """The range in pyproject.toml names one minor version, and that is what is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (wanted,) = [line for line in project["dependencies"] if line.startswith("hypercorn")]
    lowest = re.fullmatch(r"hypercorn>=0\.(\d+),<0\.(\d+)", wanted)
    assert lowest is not None, wanted
    assert int(lowest[2]) == int(lowest[1]) + 1
    assert metadata.version("hypercorn").startswith(f"0.{lowest[1]}.")


async def test_hypercorn_asks_its_own_module_for_the_connection_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """`TCPServer` is looked up in `hypercorn.trio.run` when a server starts, and awaited for each accepted stream."""
    made: list[tuple[object, ...]] = []

    class Recorder:
        def __init__(self, *arguments: object) -> None:
            made.append(arguments)

        def __await__(self) -> Any:
            return trio.sleep(0).__await__()  # noqa: ASYNC105, ASYNC115 - whoever awaits this object does it

    monkeypatch.setattr(hypercorn.trio.run, "TCPServer", Recorder)
    async with plain_hypercorn(no_lifespan) as address, connect(address) as client:
        assert await client.link.at_end()
    ((app, config, context, state, stream),) = made
    assert isinstance(app, ASGIWrapper)
    assert isinstance(config, Config)
    assert isinstance(stream, trio.SocketStream)
    assert isinstance(state, dict)
    assert context.terminated.is_set()  # type: ignore[attr-defined] # what we read of it to know of a shutdown


def test_our_class_takes_what_the_stock_class_takes() -> None:
    """The same arguments in the same order: that is the whole interface."""
    assert list(inspect.signature(StockConnection).parameters) == list(inspect.signature(ClientConnection).parameters)


async def test_a_request_through_plain_worker_serve_reaches_our_class(tmp_path: Path) -> None:
    """Once installed, hypercorn's own entry point serves our connections from listeners behind our gate."""
    assert seam.install() == ("hypercorn.trio.run: TCPServer -> ClientConnection, trio.SocketListener -> GatedListener")
    async with open_relay_under_test(settings_for(tmp_path)) as relay, connect((relay.host, relay.port)) as client:
        await client.send(GET)
        assert (await client.read_response()).status == 200
        (connection,) = relay.running.connections.live
        assert isinstance(connection, ClientConnection)
        assert relay.live()["client_connections"] == 1
    assert hypercorn.trio.run.trio.SocketListener is GatedListener  # type: ignore[attr-defined]


@pytest.mark.parametrize("gone", ["TCPServer", "trio.SocketListener", "trio.serve_listeners"])
def test_without_the_seam_nothing_starts(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stock class breaks guarantees G1 and G3, so a relay that would run on it says so and does not."""
    source = inspect.getsource(hypercorn.trio.run.worker_serve).replace(gone, "something_else")
    monkeypatch.setattr(inspect, "getsource", lambda _: source)
    with pytest.raises(seam.SeamMissing, match=gone):
        seam.install()


def test_without_the_entry_point_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the function is gone altogether."""
    monkeypatch.delattr(hypercorn.trio.run, "worker_serve")
    with pytest.raises(seam.SeamMissing):
        seam.install()
