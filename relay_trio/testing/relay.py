"""The relay as it is, in the trio run of a test: hypercorn, the seam, our connection class, on a loopback socket.

Nothing is replaced, and no thread is in the path of a request, so a virtual clock may jump over fifteen minutes while real
bytes go over real sockets.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import msgspec
import trio
import trio.testing
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Sockets
from hypercorn.trio.run import worker_serve

from adaptors import registry
from relay_trio.assembly import Process, build_app, secrets_of
from relay_trio.edge import seam
from relay_trio.edge.app import App, Running
from relay_trio.edge.listening import open_listeners
from relay_trio.edge.server import hypercorn_config
from relay_trio.relay.services import Drain
from relay_trio.settings.load import load
from relay_trio.settings.model import Settings
from relay_trio.telemetry.log import configure
from relay_trio.telemetry.log_writer import MemoryLog
from relay_trio.telemetry.redaction import Redactor

CLIENT_KEY = "sk-test-client-key-0123456789abcdef"


@attrs.frozen(eq=False)
class RelayUnderTest:
    """A running relay: where it listens, what it logged, and what it holds."""

    host: str
    port: int
    app: App
    process: Process
    log: MemoryLog
    key: str = CLIENT_KEY

    @property
    def url(self) -> str:
        """Its address, as a client would write it, without `/v1`."""
        scheme = "https" if self.process.settings.tls_cert is not None else "http"
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def running(self) -> Running:
        """What it works with."""
        assert self.app.running is not None, "it runs inside the block only"
        return self.app.running

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return what it logged, all or one event's lines."""
        lines: list[dict[str, Any]] = [msgspec.json.decode(line) for line in self.log.lines]
        return lines if event is None else [line for line in lines if line["event"] == event]

    def finished(self) -> list[dict[str, Any]]:
        """Return the `request_finished` lines, monitoring left out."""
        return [line for line in self.lines("request_finished") if line["level"] == "info"]

    async def wait_at_rest(self) -> None:
        """Return when no request is live and every count of the balance is even but for open client connections."""
        services = self.running.services
        await services.registry.wait_until(lambda: not len(services.registry))
        await trio.testing.wait_all_tasks_blocked()

    def live(self) -> dict[str, int]:
        """Return what is open now, by kind, without what is zero."""
        counts = self.running.services.balance.counts()
        return {kind: count.live for kind, count in counts.items() if count.live}


def settings_for(directory: Path, toml: str = "", environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a `relay.toml` with this text, on a free loopback port, with the test's client key."""
    path = directory / f"relay-{secrets.token_hex(4)}.toml"
    path.write_text(toml, encoding="utf-8")
    variables = {"RELAY_API_KEYS": CLIENT_KEY, "RELAY_LISTEN": "127.0.0.1:0", **(environ or {})}
    adaptors = tuple(registry.load().values())
    return load(variables, path, secrets.token_hex, providers=adaptors)


@asynccontextmanager
async def open_relay_under_test(
    settings: Settings, *, path: Path | None = None, reload_from: Settings | None = None
) -> AsyncIterator[RelayUnderTest]:
    """Run the relay inside the block. When it ends, everything of it has ended."""
    seam.install()
    log = MemoryLog()
    redactor = Redactor(secrets_of(settings))
    configure(log, redactor, level="debug")
    process = Process(
        settings=settings,
        adaptors=registry.load(),
        load=lambda: reload_from or settings,
        path=path,
        sink=log,
        redactor=redactor,
        drain=Drain(),
    )
    app = build_app(process)
    listeners = open_listeners(settings.listen)
    config = hypercorn_config(settings)
    sockets = Sockets(listeners if config.ssl_enabled else [], [] if config.ssl_enabled else listeners, [])
    host, port = listeners[0].getsockname()[:2]
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_serve, app, config, sockets, stop)
        await app.wait_started()
        try:
            yield RelayUnderTest(host, port, app, process, log)
        finally:
            config.graceful_timeout = 0
            stop.set()


async def _serve(app: App, config: Any, sockets: Sockets, stop: trio.Event) -> None:
    await worker_serve(ASGIWrapper(app), config, sockets=sockets, shutdown_trigger=stop.wait)  # type: ignore[arg-type] # hypercorn's TypedDicts say what ours are
