"""Keeps a number of workers alive over one set of listening sockets, and is the one process that their manager sees.

Each worker is a process of its own with a numbered seat (`worker_seat`). The supervisor starts it, waits for its word
that it serves, copies its lines, starts another one in its place when it dies, and passes signals on. It reads no
request and holds no connection: while it does nothing, the workers lose nothing.

hypercorn has workers too, but does not supervise: one that dies ends the whole server, with exit status 0.

    SIGTERM, SIGINT    drain: the workers get SIGTERM and the drain's time; then they are killed
    another of them    the workers are killed at once; exit status 1
    SIGHUP             passed on to every worker that serves
    SIGUSR2            a successor is started, which takes our place when all its workers serve (`succession`)
    exit status        0: all workers ended with 0; 1: one did not; 2: none could start
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import attrs
import trio

from relay_trio.edge.succession import Succession
from relay_trio.edge.whole_lines import CutLine, WholeLines
from relay_trio.edge.worker_seat import LEAVE, READY, WorkerSeat, metrics_directory
from relay_trio.scopes.shielded import shielded
from relay_trio.telemetry.log import get_logger
from relay_trio.telemetry.log_writer import LogSink
from relay_trio.telemetry.metrics import forget_dead_worker

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 30.0
SETTLED_S = 60.0
"""A worker that lived this long died of something else than its start: its successor starts without much delay."""

MAX_FAILED_STARTS = 5
"""In a row, with no worker serving: then the cause is the machine or the configuration, and whoever started us has to
know. While another worker serves we go on trying: a file that was broken meanwhile must not end what works."""

START_LIMIT_S = 60.0
"""A worker that has not said by then that it serves hangs, and is killed. A start takes a second or two."""

DRAIN_GRACE_S = 10.0
"""Beyond the drain's own time: the workers' clean-up (5 s at most) and their last lines."""

LAST_WORDS_S = 2.0
"""How long what a dead worker wrote is still read: longer only if our own stdout is blocked."""

PREFIX = "relay-trio-"
LOCK = "lock"

PAUSE_BYTES = 1024 * 1024
"""With so much waiting for our stdout, the workers' lines stay in their pipes and the workers' own logs drop and count
what does not fit. The rest of our buffer is for what the supervisor itself has to say."""

PAUSE_S = 0.05
BLOCK_BYTES = 64 * 1024
CUT_LINE_SHOWN_CHARACTERS = 8 * 1024

NOT_ON_WINDOWS = (
    "Several workers need POSIX, where child processes inherit sockets and get signals: set RELAY_WORKERS=1."
)

_log = get_logger()


class WorkersNotSupportedError(Exception):
    """This platform cannot run several workers."""


@attrs.frozen
class WorkerPlan:
    """What to keep running. `command` starts one worker; it finds its seat in its environment."""

    count: int
    command: tuple[str, ...]
    listening: tuple[socket.socket, ...]
    drain_s: float
    environment: Mapping[str, str] = attrs.field(factory=lambda: dict(os.environ))
    succession: Succession = attrs.field(factory=Succession)


@attrs.define
class BackOff:
    """How long to wait before the next start in a seat, and how many starts in a row came to nothing."""

    failed_starts: int = 0
    _deaths: int = 0

    def after_death(self, lived_s: float, *, served: bool) -> float:
        """The delay in seconds after a worker that lived so long."""
        self.failed_starts = 0 if served else self.failed_starts + 1
        if lived_s >= SETTLED_S:
            self._deaths = 0
        self._deaths += 1
        return min(FIRST_DELAY_S * 2.0 ** min(self._deaths - 1, 20), MAX_DELAY_S)


def run_workers(plan: WorkerPlan, sink: LogSink) -> int:
    """Run until the workers have ended; returns the exit status.

    To be called in the main thread, with the log configured onto `sink`, which also gets the workers' lines.
    """
    if sys.platform == "win32":
        raise WorkersNotSupportedError(NOT_ON_WINDOWS)
    with _runtime_directory() as runtime:
        return trio.run(Supervisor(plan, sink, runtime).run)


@attrs.frozen
class Runtime:
    """The directory that the workers of one supervisor share, and the lock that says that one of them lives."""

    path: Path
    lock_fd: int


@attrs.define(eq=False)
class _Worker:
    """One process in a seat."""

    seat: WorkerSeat
    process: trio.Process
    link: trio.socket.SocketType
    started_at: float
    serves: bool = False
    missed_reload: bool = False
    copied: trio.Event = attrs.field(factory=trio.Event)
    """Set when all that it wrote has been read."""

    def leave(self) -> None:
        """Tell it that others accept. One that does not serve yet has no connection to wait for."""
        if self.serves:
            with contextlib.suppress(OSError):
                os.write(self.link.fileno(), LEAVE)
        else:
            self.process.terminate()


class Supervisor:
    """The state of one run: who lives, whether we are ending, and how the ended ones ended."""

    def __init__(self, plan: WorkerPlan, sink: LogSink, runtime: Runtime) -> None:
        self._plan = plan
        self._sink = sink
        self._runtime = runtime
        self._live: dict[int, _Worker] = {}  # by slot: at most plan.count
        self._served: set[int] = set()  # slots whose worker has served at least once
        self._ending = trio.Event()
        self._all_serve = trio.Event()
        self._told_to_end = False
        self._end_signal = "SIGTERM"
        self._exit_status = 0

    def __repr__(self) -> str:
        serving = sum(worker.serves for worker in self._live.values())
        return f"<Supervisor: {serving} of {self._plan.count} serving, ending={self._ending.is_set()}>"

    async def run(self) -> int:
        """Keep the seats filled until told to end; returns the exit status."""
        with trio.open_signal_receiver(*_signals("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2")) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals)
                nursery.start_soon(self._kill_after_the_drain)
                nursery.start_soon(self._give_way)
                nursery.start_soon(self._see_off)
                nursery.start_soon(self._plan.succession.start_successors)
                nursery.start_soon(self._plan.succession.be_watched)
                async with trio.open_nursery() as seats:
                    for slot in range(self._plan.count):
                        seats.start_soon(self._keep_seat, slot)
                with trio.move_on_after(self._plan.drain_s):
                    await self._plan.succession.wait_alone()
                nursery.cancel_scope.cancel(reason="all workers have ended")
        _log.info("supervisor_ended", exit_status=self._exit_status)
        return self._exit_status

    # Signals

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            name = signal.Signals(number).name
            if name == "SIGHUP":
                self._reload_all()
            elif name == "SIGUSR2":
                self._plan.succession.restart()
            elif not self._told_to_end:
                self._end(name)
            else:
                self._kill_all(f"a second signal ({name})")
                self._plan.succession.forget_predecessor()
                self._exit_status = 1

    def _end(self, why: str) -> None:
        self._told_to_end = True
        self._begin_end(why)
        for worker in self._live.values():
            worker.process.terminate()

    def _begin_end(self, why: str) -> None:
        _log.info("workers_draining", why=why, workers=len(self._live), limit_s=self._plan.drain_s + DRAIN_GRACE_S)
        self._ending.set()
        self._plan.succession.ending()

    async def _see_off(self) -> None:
        await self._all_serve.wait()
        await self._plan.succession.see_predecessor_off(lambda _: None)

    async def _give_way(self) -> None:
        """When another one's workers accept, let ours end with their last connections."""
        await self._all_serve.wait()
        successor = await self._plan.succession.wait_taken(lambda _: None)
        self._begin_end(f"pid {successor} serves")
        for worker in self._live.values():
            worker.leave()

    async def _kill_after_the_drain(self) -> None:
        await self._ending.wait()
        await trio.sleep(self._plan.drain_s + DRAIN_GRACE_S)
        self._kill_all("they outlived the drain")

    def _kill_all(self, why: str) -> None:
        _log.warning("workers_killed", why=why, workers=len(self._live))
        self._end_signal = "SIGKILL"
        for worker in self._live.values():
            worker.process.kill()

    def _reload_all(self) -> None:
        for worker in self._live.values():
            if worker.serves:
                worker.process.send_signal(signal.Signals["SIGHUP"])
            else:
                worker.missed_reload = True  # before its handler stands, the signal's default would kill it

    # One seat

    async def _keep_seat(self, slot: int) -> None:
        """Start a worker in this seat whenever there is none, until we are ending."""
        back_off = BackOff()
        while not self._ending.is_set():
            started_at = trio.current_time()
            served = await self._start_and_attend(slot)
            delay_s = back_off.after_death(trio.current_time() - started_at, served=served)
            if back_off.failed_starts >= MAX_FAILED_STARTS and not self._anyone_serves() and not self._ending.is_set():
                _log.critical("workers_cannot_start", slot=slot, attempts=back_off.failed_starts)
                self._exit_status = 2
                self._end("workers_cannot_start")
            with trio.move_on_after(delay_s):
                await self._ending.wait()

    async def _start_and_attend(self, slot: int) -> bool:
        """One worker's whole life in this seat; whether it ever served."""
        try:
            worker = await self._start(slot)
        except OSError as error:
            _log.error("worker_not_started", slot=slot, exc_info=error)
            return False
        self._live[slot] = worker
        _log.info("worker_started", slot=slot, worker_pid=worker.process.pid)
        if self._ending.is_set():  # the signal came while the process was being made
            worker.process.send_signal(signal.Signals[self._end_signal])
        try:
            await self._attend(worker)
        finally:
            if worker.process.returncode is None:  # only if this very process fails: no worker shall outlive it
                worker.process.kill()
                with shielded():
                    await worker.process.wait()  # noqa: ASYNC102 - `shielded` is a shield with a bound
            del self._live[slot]
        self._bury(worker)
        return worker.serves

    async def _start(self, slot: int) -> _Worker:
        if sys.platform == "win32":  # for the type checker: run_workers has refused before
            raise WorkersNotSupportedError(NOT_ON_WINDOWS)
        ours, theirs = socket.socketpair()
        with theirs:
            listening_fds = tuple(listening.fileno() for listening in self._plan.listening)
            seat = WorkerSeat(slot, self._runtime.path, listening_fds, theirs.fileno())
            environment = {
                **self._plan.environment,
                "PROMETHEUS_MULTIPROC_DIR": str(metrics_directory(self._runtime.path)),
            }
            seat.write(environment)
            try:
                process = await trio.lowlevel.open_process(
                    self._plan.command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    env=environment,
                    pass_fds=(*listening_fds, seat.link_fd, self._runtime.lock_fd),
                    process_group=0,  # a terminal's Ctrl-C comes to us alone, and the workers get one SIGTERM
                )
            except BaseException:
                ours.close()
                raise
        return _Worker(seat, process, trio.socket.from_stdlib_socket(ours), trio.current_time())

    async def _attend(self, worker: _Worker) -> None:
        """Copy what it writes and wait for its word, until it has died and its last words are read."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._copy_lines, worker)
            nursery.start_soon(self._await_ready, worker)
            await worker.process.wait()
            with trio.move_on_after(LAST_WORDS_S):
                await worker.copied.wait()
            nursery.cancel_scope.cancel(reason="the worker has died")

    async def _await_ready(self, worker: _Worker) -> None:
        """Hold the link open, which tells the worker that we live; without its word in time, kill it."""
        with worker.link, trio.move_on_after(START_LIMIT_S) as limit:
            if await _receive_one(worker.link) == READY:
                limit.deadline = float("inf")
                self._welcome(worker)
            await trio.sleep_forever()
        if limit.cancelled_caught:
            _log.error("worker_killed", worker_pid=worker.process.pid, why=f"not ready within {START_LIMIT_S:.0f} s")
            worker.process.kill()

    def _welcome(self, worker: _Worker) -> None:
        worker.serves = True
        ready_ms = round((trio.current_time() - worker.started_at) * 1000)
        _log.info("worker_ready", slot=worker.seat.slot, worker_pid=worker.process.pid, ready_ms=ready_ms)
        self._served.add(worker.seat.slot)
        if len(self._served) == self._plan.count and not self._all_serve.is_set():
            self._all_serve.set()
            self._plan.succession.serving()
        if worker.missed_reload:
            worker.process.send_signal(signal.Signals["SIGHUP"])

    def _bury(self, worker: _Worker) -> None:
        """Say how it ended, and clear away what a successor or a sibling would stumble over."""
        status, pid = worker.process.returncode, worker.process.pid
        clean = status == 0 or (not worker.serves and status == -signal.SIGTERM)  # it had nothing to drain
        if self._ending.is_set() and not clean:
            self._exit_status = self._exit_status or 1
        (_log.info if clean and self._ending.is_set() else _log.error)(
            "worker_died",
            slot=worker.seat.slot,
            worker_pid=pid,
            lived_s=round(trio.current_time() - worker.started_at, 1),
            served=worker.serves,
            lines_lost=None if worker.copied.is_set() else True,
            **_how_it_ended(status),
        )
        forget_dead_worker(metrics_directory(self._runtime.path), worker.seat.slot)
        (self._runtime.path / f"{pid}.sock").unlink(missing_ok=True)

    def _anyone_serves(self) -> bool:
        return any(worker.serves for worker in self._live.values())

    # Lines

    async def _copy_lines(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        lines = WholeLines()
        async with worker.process.stdout as stdout:
            while block := await self._receive_when_there_is_room(stdout):
                self._write(worker, lines.feed(bytes(block)))
        self._write(worker, lines.finish())
        worker.copied.set()

    def _write(self, worker: _Worker, pieces: list[bytes | CutLine]) -> None:
        for piece in pieces:
            if isinstance(piece, CutLine):
                text = piece.beginning.decode("utf-8", "replace")[:CUT_LINE_SHOWN_CHARACTERS]
                _log.warning("log_line_cut", worker_pid=worker.process.pid, size=piece.size, text=text)
            else:
                self._sink.write(piece)

    async def _receive_when_there_is_room(self, stdout: trio.abc.ReceiveStream) -> bytes | bytearray:
        while self._sink.statistics().waiting_bytes > PAUSE_BYTES:  # noqa: ASYNC110 - a thread empties it
            await trio.sleep(PAUSE_S)
        return await stdout.receive_some(BLOCK_BYTES)


async def _receive_one(link: trio.socket.SocketType) -> bytes:
    """The one byte a worker says, or nothing if it has gone."""
    try:
        return await link.recv(1)
    except OSError:
        return b""


def _how_it_ended(status: int | None) -> dict[str, object]:
    if status is not None and status < 0:
        with contextlib.suppress(ValueError):
            return {"signal": signal.Signals(-status).name}
    return {"status": status}


def _signals(*names: str) -> list[signal.Signals]:
    """By name, since Windows lacks some of them."""
    return [signal.Signals[name] for name in names]


@contextlib.contextmanager
def _runtime_directory() -> Iterator[Runtime]:
    """A directory for this user alone, gone at the end: the workers' sockets and the files they count in.

    A supervisor that is killed leaves its directory behind. So each holds a lock in its own, and its workers with it,
    and the next one to start removes those whose lock nobody holds any more.
    """
    path = Path(_make_directory())
    _remove_abandoned(path.parent, owner=path.stat().st_uid)
    metrics_directory(path).mkdir(mode=0o700)
    lock_fd = os.open(path / "new lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _try_lock(lock_fd)
        (path / "new lock").rename(path / LOCK)  # only now does it count: nobody finds it there without its holder
        yield Runtime(path, lock_fd)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock_fd)


def _remove_abandoned(parent: Path, *, owner: int) -> None:
    for lock in parent.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError):  # another user's, or just being removed
            fd = os.open(lock, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                if os.fstat(fd).st_uid == owner and _try_lock(fd):
                    shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(fd)


def _try_lock(fd: int) -> bool:
    """Hold this file as long as it is open, here or in a process that inherited it; False if another one does."""
    fcntl = importlib.import_module("fcntl")  # absent on Windows, where nobody comes here
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _make_directory() -> str:
    """In TMPDIR or /tmp; in a container with a read-only root, where neither can be written, in shared memory."""
    for parent in (None, "/dev/shm", "/run"):  # noqa: S108 - mkdtemp makes a private directory in it
        with contextlib.suppress(OSError):
            return tempfile.mkdtemp(prefix=PREFIX, dir=parent)
    raise WorkersNotSupportedError(
        "Several workers need a writable directory for their sockets: set TMPDIR, or mount a tmpfs at /tmp."
    )
