"""hypercorn's process with our drain around it: the listener stays open until the last live request has ended.

first SIGTERM or SIGINT   /readyz says 503, new requests get 503, monitoring answers on, live streams go on
no live request left, or RELAY_DRAIN_TIMEOUT over: the rest is cancelled, each with its dialect's error event
then                      hypercorn's own shutdown: listeners closed, idle connections ended, lifespan ended
second signal             at once, exit status 1

Where a successor accepts in our place (`succession`), the listeners are closed at once, and what comes over the connections
that are here is served: each is closed after its next answer, or when it was idle for as long as any may be.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config, Sockets
from hypercorn.trio.run import worker_serve

from relay_trio.edge.accepting import GATE
from relay_trio.edge.app import App, Running
from relay_trio.edge.succession import Succession
from relay_trio.edge.worker_seat import SupervisorLink
from relay_trio.errors import Ended
from relay_trio.relay.services import Drain, Log
from relay_trio.settings.model import CLEANUP_S, Settings
from relay_trio.telemetry.log import HypercornLogger

BACKLOG = 2048
"""Connections that the kernel keeps until they are accepted; it takes at most net.core.somaxconn."""
_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2", "SIGBREAK")
_SHUTDOWN_S = 3.0
"""hypercorn's own shutdown, when nothing is live any more."""


def hypercorn_config(settings: Settings) -> Config:
    """Return hypercorn's configuration: what is ours is switched off there."""
    config = Config()
    config.logger_class = HypercornLogger
    config.accesslog = None
    config.include_server_header = False
    config.startup_timeout = 60
    if settings.tls_cert is not None and settings.tls_key is not None:
        config.certfile = str(settings.tls_cert)
        config.keyfile = str(settings.tls_key)
        config.alpn_protocols = ["http/1.1"]
    return config


class Server:
    """Serves one application until it is told to stop. `end_at_once` ends the process; a test passes something milder."""

    def __init__(self, app: App, settings: Settings, drain: Drain, log: Log, end_at_once: Callable[[], None]) -> None:
        self._app = app
        self._settings = settings
        self._drain = drain
        self._log = log
        self._end_at_once = end_at_once
        self._why = ""
        self._end_begun = trio.Event()
        self._patience = trio.CancelScope()
        """For connections that are only kept: it ends when new requests are refused anyway."""
        self._drained = trio.Event()
        self._crashed = False

    async def serve(
        self,
        sockets: list[socket.socket],
        ready: Callable[[], None],
        succession: Succession | None = None,
        link: SupervisorLink | None = None,
    ) -> int:
        """Serve until a signal has been obeyed; return the exit status: 0 if no live request was cut.

        `ready` is called when connections are accepted. A worker has a link to its supervisor, a lone process its
        place in a succession.
        """
        config = hypercorn_config(self._settings)
        secure = config.ssl_enabled
        listening = Sockets(sockets if secure else [], [] if secure else sockets, [])
        succession = Succession() if succession is None else succession
        names = [name for name in _SIGNALS if hasattr(signal, name)]
        with trio.open_signal_receiver(*(getattr(signal, name) for name in names)) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals, nursery, succession, name="signals")
                nursery.start_soon(self._follow, link, name="supervisor watch")
                nursery.start_soon(self._drain_when_told, succession, name="drain")
                nursery.start_soon(succession.start_successors, name="successors")
                await nursery.start(self._run_hypercorn, config, listening, name="hypercorn")
                ready()
                succession.serving()
                nursery.start_soon(self._give_way, succession, name="succession")
                nursery.start_soon(self._see_off, succession, name="predecessor")
                nursery.start_soon(succession.be_watched, name="service manager")
                await self._drained.wait()
                with trio.move_on_after(_SHUTDOWN_S + CLEANUP_S):
                    await self._ended.wait()
                nursery.cancel_scope.cancel(reason="the server has ended")
        return 1 if self._drain.cut or self._crashed else 0

    async def _run_hypercorn(  # noqa: ASYNC114, ASYNC128 - hypercorn says when it has started
        self, config: Config, sockets: Sockets, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self._ended = trio.Event()
        try:
            await worker_serve(
                ASGIWrapper(self._app),  # type: ignore[arg-type] # hypercorn's TypedDicts say what ours are
                config,
                sockets=sockets,
                shutdown_trigger=self._drained.wait,
                task_status=task_status,
            )
        except BaseExceptionGroup as group:
            crashed, rest = group.split(SystemExit)
            if rest is not None or crashed is None:
                raise
            self._crashed = True  # the application has said of what
        finally:
            self._drained.set()
            self._ended.set()

    async def _obey(self, signals: AsyncIterator[int], nursery: trio.Nursery, succession: Succession) -> None:
        async for number in signals:
            running, name = self._app.running, signal.Signals(number).name
            if name == "SIGHUP":
                if running is not None:
                    running.reload()
            elif name == "SIGUSR2":
                succession.restart()
            elif self._drain.draining:
                self._log.warning("server_ended_at_once", signal=name)
                self._end_at_once()
                nursery.cancel_scope.cancel(reason="a second signal")
            else:
                self.begin_drain(name)

    async def _follow(self, link: SupervisorLink | None) -> None:
        if link is None:
            await trio.sleep_forever()
        elif await link.wait_told_to_leave():
            self.leave("another supervisor's workers serve")
            await link.wait_told_to_leave()
        self.begin_drain("the supervisor has died")
        await trio.sleep_forever()

    async def _give_way(self, succession: Succession) -> None:
        successor = await succession.wait_taken(self._count_sockets)
        self.leave(f"pid {successor} serves")
        await trio.sleep_forever()  # whoever counts tasks expects this one

    async def _see_off(self, succession: Succession) -> None:
        await succession.see_predecessor_off(self._count_sockets)
        await trio.sleep_forever()

    def _count_sockets(self, change: int) -> None:
        self._drain.sockets += change

    def begin_drain(self, why: str) -> None:
        """From now on no new request is taken."""
        if not self._drain.draining:
            self._drain.draining = True
            self._patience.cancel(reason=why)
            self._begin_end(why)

    def leave(self, why: str) -> None:
        """From now on another process accepts, also while we drain. Who has a connection here may still use it once."""
        if not self._drain.left:
            self._drain.left = True
            self._count_sockets(-GATE.stop())
            self._log.info("listeners_closed", why=why)
            self._begin_end(why)

    def _begin_end(self, why: str) -> None:
        if not self._end_begun.is_set():
            self._why = why
            self._end_begun.set()

    async def _drain_when_told(self, succession: Succession) -> None:
        """Let live requests end, cut the rest. The task is there from the start, as whoever counts tasks expects."""
        await self._end_begun.wait()
        succession.ending()
        running, why = self._app.running, self._why
        if running is not None:
            limit = self._settings.limits.drain_s
            live = _live_requests(running)
            self._log.info("drain_started", why=why, live=live, limit_s=limit)
            with trio.move_on_after(limit):
                await self._wait_at_rest(running)
                await succession.wait_alone()
            _cut(running)
            with trio.move_on_after(CLEANUP_S):
                await _wait_no_requests(running)
            self._log.info("drain_ended", live=live, finished=self._drain.finished, cut=self._drain.cut)
        self._drained.set()

    async def _wait_at_rest(self, running: Running) -> None:
        if self._drain.left:
            with self._patience:
                await GATE.wait_empty()
        await _wait_no_requests(running)


def _live_requests(running: Running) -> int:
    return sum(1 for scope in running.services.registry if scope.name == "request")


async def _wait_no_requests(running: Running) -> None:
    await running.services.registry.wait_until(lambda: not _live_requests(running))


def _cut(running: Running) -> None:
    """End what the drain's time was too short for; each client gets its dialect's error."""
    for scope in running.services.registry:
        if scope.name == "request":
            scope.cancel(Ended.DRAINED)


def end_process_at_once() -> None:
    """End the process now, with exit status 1. What the log's thread has not written is lost, and nothing else."""
    os._exit(1)
