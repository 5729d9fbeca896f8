"""Workers that die are replaced, workers that are told to end are let finish, and no line of theirs is torn."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import structlog
import trio

from relay_trio.edge import supervisor as module
from relay_trio.edge.supervisor import BackOff, Supervisor, WorkerPlan, WorkersNotSupportedError, run_workers
from relay_trio.edge.worker_seat import VARIABLE
from relay_trio.telemetry.log import configure
from relay_trio.telemetry.log_writer import LogStatistics
from relay_trio.telemetry.redaction import Redactor

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.real_clock,
    pytest.mark.skipif(sys.platform == "win32", reason="several workers need POSIX"),
]

ROOT = Path(__file__).parents[2]

SEAT = f"""
import json, os, signal, socket, sys, time
slot, runtime, listening, link = json.loads(os.environ[{VARIABLE!r}])
def say(text):
    os.write(1, text.encode() + b"\\n")
def ready():
    os.write(link, b"r")
def on(name, do):
    signal.signal(getattr(signal, name), do)
def wait():
    while True:
        signal.pause()
"""
"""What every worker here begins with. Signals are set before the worker is ready, as the real one does."""

OBEDIENT = SEAT + "on('SIGTERM', lambda *_: sys.exit(0)); ready(); wait()"
STUBBORN = SEAT + "on('SIGTERM', lambda *_: say('no')); ready(); wait()"


class WatchedLog:
    """A sink in memory whose lines can be waited for."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.waiting_bytes = 0
        self._grown = trio.Event()

    def write(self, line: bytes) -> None:
        self.lines += line.split(b"\n")
        self._grown.set()
        self._grown = trio.Event()

    def statistics(self) -> LogStatistics:
        return LogStatistics(len(self.lines), 0, 0, self.waiting_bytes)

    def events(self, event: str) -> list[dict[str, object]]:
        return [line for line in map(_as_object, self.lines) if line.get("event") == event]

    async def wait_for(self, event: str, number: int = 1) -> list[dict[str, object]]:
        await self._wait_until(lambda: len(self.events(event)) >= number)
        return self.events(event)

    async def wait_for_line(self, line: bytes, number: int = 1) -> None:
        await self._wait_until(lambda: self.lines.count(line) >= number)

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._grown.wait()


def _as_object(line: bytes) -> dict[str, object]:
    return json.loads(line) if line.startswith(b"{") else {}


@pytest.fixture
def log() -> Iterator[WatchedLog]:
    before = structlog.get_config()
    log = WatchedLog()
    configure(log, Redactor())
    yield log
    structlog.configure(**before)


class Run:
    """A supervisor at work inside the test."""

    def __init__(self) -> None:
        self.exit_status: int | None = None

    async def run(self, supervisor: Supervisor) -> None:
        self.exit_status = await supervisor.run()


@contextlib.asynccontextmanager
async def supervised(
    log: WatchedLog, code: str, *, count: int = 1, drain_s: float = 60, listening: tuple[socket.socket, ...] = ()
) -> AsyncIterator[Run]:
    """Workers that run this code, for as long as the block takes and then until they have ended."""
    plan = WorkerPlan(count, (sys.executable, "-c", code), listening, drain_s)
    run = Run()
    with module._runtime_directory() as runtime:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.run, Supervisor(plan, log, runtime))
            yield run


def number(line: dict[str, object], field: str = "worker_pid") -> int:
    value = line[field]
    assert isinstance(value, int)
    return value


async def test_a_killed_worker_is_replaced(log: WatchedLog) -> None:
    """Another one takes its seat, the others go on, and the end is as good as if nothing had been."""
    async with supervised(log, OBEDIENT, count=2) as run:
        first, second = await log.wait_for("worker_ready", 2)
        os.kill(number(first), signal.SIGKILL)
        (died,) = await log.wait_for("worker_died")
        assert (died["worker_pid"], died["signal"], died["level"]) == (first["worker_pid"], "SIGKILL", "error")
        *_, successor = await log.wait_for("worker_ready", 3)
        assert successor["slot"] == first["slot"]
        os.kill(number(second), 0)
        signal.raise_signal(signal.SIGTERM)
    assert run.exit_status == 0
    assert [(line.get("status"), line["level"]) for line in log.events("worker_died")[1:]] == [(0, "info")] * 2


async def test_a_worker_that_ends_by_itself_is_replaced(log: WatchedLog) -> None:
    """Also with status 0: as long as nobody told us to end, the seat is to be filled."""
    code = SEAT + (
        "on('SIGTERM', lambda *_: sys.exit(0)); lives = open(runtime + '/lives', 'a+b'); lives.write(b'x'); ready()\n"
        "if lives.tell() < 3: sys.exit(0)\n"
        "wait()"
    )
    async with supervised(log, code) as run:
        await log.wait_for("worker_ready", 3)
        signal.raise_signal(signal.SIGTERM)
    assert run.exit_status == 0


async def test_a_drain_waits_for_the_workers(log: WatchedLog) -> None:
    """After SIGTERM or the first SIGINT a worker finishes what it does, and its last lines arrive."""
    code = SEAT + "on('SIGTERM', lambda *_: [say('finished'), sys.exit(0)]); ready(); wait()"
    for name in ("SIGTERM", "SIGINT"):
        async with supervised(log, code, count=2) as run:
            await log.wait_for("worker_ready", 2)
            signal.raise_signal(signal.Signals[name])
        assert run.exit_status == 0
        assert log.lines.count(b"finished") == 2
        log.lines.clear()


async def test_a_worker_that_fails_in_the_drain_fails_the_run(log: WatchedLog) -> None:
    """Whoever started us learns that something was cut."""
    code = SEAT + "on('SIGTERM', lambda *_: sys.exit(slot * 3)); ready(); wait()"
    async with supervised(log, code, count=2) as run:
        await log.wait_for("worker_ready", 2)
        signal.raise_signal(signal.SIGTERM)
    assert run.exit_status == 1


async def test_a_worker_that_outlives_the_drain_is_killed(log: WatchedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the drain's time and the grace there is an end; exit status 1."""
    monkeypatch.setattr(module, "DRAIN_GRACE_S", 0)
    async with supervised(log, STUBBORN, drain_s=0.2) as run:
        await log.wait_for("worker_ready")
        signal.raise_signal(signal.SIGTERM)
    assert run.exit_status == 1
    assert log.events("worker_died")[0]["signal"] == "SIGKILL"


@pytest.mark.parametrize("second", ["SIGTERM", "SIGINT"])
async def test_a_second_signal_ends_at_once(log: WatchedLog, second: str) -> None:
    """Whoever asks twice does not want to wait: the workers are killed; exit status 1."""
    async with supervised(log, STUBBORN, drain_s=3_600) as run:
        await log.wait_for("worker_ready")
        signal.raise_signal(signal.SIGTERM)
        await log.wait_for_line(b"no")
        signal.raise_signal(signal.Signals[second])
    assert run.exit_status == 1
    assert log.events("workers_killed")[0]["why"] == f"a second signal ({second})"


async def test_a_worker_that_has_not_served_may_be_ended_by_the_signal(log: WatchedLog) -> None:
    """SIGTERM before its handler stands kills it, and nothing was lost: exit status 0."""
    async with supervised(log, SEAT + "say('starting'); wait()") as run:
        await log.wait_for_line(b"starting")
        signal.raise_signal(signal.SIGTERM)
    assert run.exit_status == 0


async def test_a_reload_reaches_every_worker(log: WatchedLog) -> None:
    """SIGHUP goes to those that serve at once, and to those that start as soon as they serve: it kills none."""
    code = SEAT + (
        "on('SIGTERM', lambda *_: sys.exit(0))\n"
        "if slot: say('starting'); signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]);"
        " say('waits'); signal.sigwait([signal.SIGUSR1])\n"
        "on('SIGHUP', lambda *_: say('reloaded %d' % slot)); ready(); wait()"
    )
    async with supervised(log, code, count=2) as run:
        await log.wait_for("worker_ready")
        await log.wait_for_line(b"waits")
        signal.raise_signal(signal.SIGHUP)
        await log.wait_for_line(b"reloaded 0")
        late = next(line for line in log.events("worker_started") if line["slot"] == 1)
        os.kill(number(late), signal.SIGUSR1)
        await log.wait_for_line(b"reloaded 1")
        signal.raise_signal(signal.SIGTERM)
    assert run.exit_status == 0
    assert len(log.events("worker_started")) == 2


async def test_workers_that_cannot_start_end_the_run(log: WatchedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five starts in a row that came to nothing, and nobody serves: exit status 2, not a loop for ever."""
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0)
    async with supervised(log, SEAT + "sys.exit(3)") as run:
        pass
    assert run.exit_status == 2
    assert [line["status"] for line in log.events("worker_died")] == [3] * 5


async def test_a_command_that_does_not_exist_ends_the_run(log: WatchedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot even be executed counts as a start that came to nothing."""
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0)
    monkeypatch.setattr(sys, "executable", "/does/not/exist")
    async with supervised(log, "") as run:
        pass
    assert run.exit_status == 2
    assert log.events("worker_not_started")[0]["exception"] == "FileNotFoundError"


async def test_what_works_is_not_ended_by_what_cannot_start(log: WatchedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another worker serves, a seat that cannot be filled is tried again and again, and costs nothing else."""
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0)
    code = SEAT + (
        "on('SIGTERM', lambda *_: sys.exit(0))\n"
        "if slot: server = socket.socket(fileno=listening[0]); server.accept(); sys.exit(3)\n"
        "ready(); wait()"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with supervised(log, code, count=2, listening=(server,)) as run:
            await log.wait_for("worker_ready")
            for deaths in range(1, 8):
                with socket.create_connection(server.getsockname()):
                    await log.wait_for("worker_died", deaths)
            signal.raise_signal(signal.SIGTERM)
    assert run.exit_status == 0


async def test_a_worker_that_hangs_in_its_start_is_killed(log: WatchedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its word in time it is replaced; one that gave its word may live for ever."""
    monkeypatch.setattr(module, "START_LIMIT_S", 0.1)
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0)
    async with supervised(log, SEAT + "wait()") as run:
        pass
    assert run.exit_status == 2
    assert {line["signal"] for line in log.events("worker_died")} == {"SIGKILL"}


ANSWERING = (
    SEAT
    + """
on('SIGTERM', lambda *_: sys.exit(0))
server = socket.socket(fileno=listening[0])
ready()
while True:
    connection, _ = server.accept()
    connection.sendall(str(os.getpid()).encode())
    connection.recv(1)
    connection.close()
"""
)


async def ask_pid(server: socket.socket) -> int:
    stream = await trio.open_tcp_stream(*server.getsockname())
    async with stream:
        return int(await stream.receive_some())


async def test_the_listening_socket_outlives_its_workers(log: WatchedLog) -> None:
    """A connection made while no worker lives is served by the next one: nobody is refused."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with supervised(log, ANSWERING, listening=(server,)) as run:
            first = await ask_pid(server)
            os.kill(first, signal.SIGKILL)
            assert await ask_pid(server) != first
            signal.raise_signal(signal.SIGTERM)
    assert run.exit_status == 0


async def test_lines_of_many_writers_stay_whole(log: WatchedLog) -> None:
    """However they are chopped and however long they are, the lines of two workers never mix."""
    code = SEAT + (
        "on('SIGTERM', lambda *_: sys.exit(0))\n"
        "text = b''.join(b'%d:%d:' % (slot, i) + b'%d' % slot * 9000 + b'\\n' for i in range(100))\n"
        "for at in range(0, len(text), 7001): os.write(1, text[at:at + 7001])\n"
        "ready(); wait()"
    )
    async with supervised(log, code, count=2) as run:
        await log.wait_for("worker_ready", 2)
        await log.wait_for_line(b"0:99:" + b"0" * 9000)
        await log.wait_for_line(b"1:99:" + b"1" * 9000)
        signal.raise_signal(signal.SIGTERM)
    assert run.exit_status == 0
    for slot in (b"0", b"1"):
        mine = [line for line in log.lines if line.startswith(slot + b":")]
        assert mine == [slot + b":%d:" % count + slot * 9000 for count in range(100)]


async def test_a_dead_worker_s_torn_line_ends_where_it_was_torn(log: WatchedLog) -> None:
    """Its unfinished line is a line of its own; what follows begins on a new one."""
    code = SEAT + "ready(); os.write(1, b'whole\\ntorn'); os.kill(os.getpid(), signal.SIGKILL)"
    async with supervised(log, code):
        await log.wait_for_line(b"torn")
        await log.wait_for_line(b"torn", 2)
        signal.raise_signal(signal.SIGTERM)
    assert b"whole" in log.lines


async def test_a_line_without_end_is_cut(log: WatchedLog) -> None:
    """More than a mebibyte without a newline is told as one short line, and the next line is whole."""
    code = SEAT + "on('SIGTERM', lambda *_: sys.exit(0)); say('x' * 3_000_000); say('next'); ready(); wait()"
    async with supervised(log, code):
        await log.wait_for_line(b"next")
        signal.raise_signal(signal.SIGTERM)
    (cut,) = log.events("log_line_cut")
    assert cut["size"] == 3_000_000
    assert max(map(len, log.lines)) < 20_000


async def test_a_full_log_holds_the_workers_lines_back(log: WatchedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """While our own output is stuck, lines stay with their writers; deaths are seen, workers replaced, signals heard."""
    code = SEAT + (
        "on('SIGTERM', lambda *_: os._exit(0)); os.set_blocking(1, False)\n"
        "try:\n"
        "    while True: say('x' * 1000)\n"
        "except BlockingIOError: ready(); wait()"
    )
    log.waiting_bytes = 8_000_000
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.1)
    async with supervised(log, code) as run:
        (first,) = await log.wait_for("worker_ready")
        os.kill(number(first), signal.SIGKILL)
        await log.wait_for("worker_ready", 2)
        signal.raise_signal(signal.SIGTERM)
    assert run.exit_status == 0
    assert b"x" * 1000 not in log.lines
    assert [line["lines_lost"] for line in log.events("worker_died")] == [True, True]


async def test_the_last_words_of_the_dead_are_read(log: WatchedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker wrote before it died arrives, even when its supervisor comes to read it only later."""
    monkeypatch.setattr(module, "LAST_WORDS_S", 60)
    code = ANSWERING.replace("sys.exit(0)", "[say('last words'), os._exit(0)]")
    log.waiting_bytes = 8_000_000
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with supervised(log, code, listening=(server,)) as run:
            stream = await trio.open_tcp_stream(*server.getsockname())
            async with stream:
                assert await stream.receive_some()
                signal.raise_signal(signal.SIGTERM)
                assert await stream.receive_some() == b""
            log.waiting_bytes = 0
    assert run.exit_status == 0
    assert b"last words" in log.lines
    assert "lines_lost" not in log.events("worker_died")[0]


async def test_what_the_dead_leave_is_cleared_away(log: WatchedLog) -> None:
    """The socket and the live numbers of a dead worker go, its counters stay; at the end the directory goes."""
    code = SEAT + (
        "metrics = os.path.join(runtime, 'metrics')\n"
        "for name in (f'{runtime}/{os.getpid()}.sock', f'{metrics}/gauge_livesum_0.db', f'{metrics}/counter_0.db'):\n"
        "    open(name, 'w').close()\n"
        "say(json.dumps({'event': 'here', 'runtime': runtime, 'same': os.environ['PROMETHEUS_MULTIPROC_DIR'] == metrics}))\n"
        "ready(); wait()"
    )
    async with supervised(log, code):
        (here,) = await log.wait_for("here")
        runtime = Path(str(here["runtime"]))
        assert here["same"] is True
        assert mode_of(runtime) == 0o700
        (ready,) = await log.wait_for("worker_ready")
        signal.raise_signal(signal.SIGTERM)
        await log.wait_for("supervisor_ended")
        assert names_below(runtime) == ["counter_0.db", "lock", "metrics"]
        assert number(ready) > 0
    assert names_below(runtime) == []


def names_below(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*"))


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_delay_doubles_up_to_its_limit_and_starts_anew() -> None:
    """0.1 s, doubled with each early death up to 30 s; a long life makes the next delay short again."""
    back_off = BackOff()
    delays = [back_off.after_death(1, served=True) for _ in range(12)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30])
    assert back_off.after_death(61, served=True) == pytest.approx(0.1)
    assert back_off.failed_starts == 0


def test_failed_starts_are_counted_in_a_row() -> None:
    """One worker that served ends the row."""
    back_off = BackOff()
    for served in (False, False, True, False):
        back_off.after_death(0, served=served)
    assert back_off.failed_starts == 1


def test_windows_is_told_plainly(log: WatchedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no POSIX the refusal says what to do."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(WorkersNotSupportedError, match="RELAY_WORKERS=1"):
        run_workers(WorkerPlan(2, ("x",), (), 1), log)


# From outside, as a process manager sees it

SUPERVISOR = """
import socket, sys
from relay_trio.edge.supervisor import WorkerPlan, run_workers
from relay_trio.telemetry.log import catch_all, configure
from relay_trio.telemetry.log_writer import LogWriter
from relay_trio.telemetry.redaction import Redactor
listening = socket.socket(fileno=int(sys.argv[1]))
writer = LogWriter(1)
configure(writer, Redactor())
writer.start()
plan = WorkerPlan(1, (sys.executable, "-c", sys.argv[2]), (listening,), 60)
status = run_workers(plan, writer)
writer.close(0.5)
sys.exit(status)
"""


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@contextlib.contextmanager
def supervisor_process(server: socket.socket, code: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", SUPERVISOR, str(server.fileno()), code]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, pass_fds=[server.fileno()]) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_a_supervisor_whose_output_is_blocked_still_supervises(server: socket.socket) -> None:
    """Nobody reads its stdout, and its workers talk without end: a death is repaired, SIGTERM ends all with status 0."""
    code = ANSWERING.replace(
        "ready()\n",
        "ready()\nimport threading\ntalk = lambda: [say('x' * 1000) for _ in range(10**9)]\n"
        "threading.Thread(target=talk, daemon=True).start()\n",
    )
    with supervisor_process(server, code) as process:
        first = await ask_pid(server)
        os.kill(first, signal.SIGKILL)
        assert await ask_pid(server) != first
        process.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(process.wait) == 0


async def test_no_worker_outlives_its_supervisor(server: socket.socket) -> None:
    """When the supervisor is killed, the link tells its workers, and they go."""
    code = ANSWERING.replace(
        "ready()\n",
        "ready()\nimport threading\n"
        "threading.Thread(target=lambda: [os.read(link, 1), os._exit(0)], daemon=True).start()\n",
    )
    with supervisor_process(server, code) as process:
        stream = await trio.open_tcp_stream(*server.getsockname())
        async with stream:
            assert await stream.receive_some()
            process.kill()
            assert await stream.receive_some() == b""


async def test_a_killed_supervisor_s_directory_goes_with_its_last_worker(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The next supervisor to start removes it, but not while a worker still uses it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with supervisor_process(server, ANSWERING) as process:
        worker = await ask_pid(server)
        (left_behind,) = directories_in(tmp_path)
        process.kill()
        await trio.to_thread.run_sync(process.wait)
    with module._runtime_directory():
        assert left_behind in directories_in(tmp_path)
    os.kill(worker, signal.SIGKILL)
    await trio.to_thread.run_sync(wait_unlocked, tmp_path / left_behind / "lock")
    with module._runtime_directory() as runtime:
        assert directories_in(tmp_path) == [runtime.path.name]
    assert directories_in(tmp_path) == []


async def test_a_supervisor_that_fails_takes_its_workers_with_it(log: WatchedLog) -> None:
    """Cancelled, or ended by an error of its own, it leaves no process behind, not even a dead one."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_supervise_stubborn, log)
        (ready,) = await log.wait_for("worker_ready")
        nursery.cancel_scope.cancel(reason="the supervisor fails")
    with pytest.raises(ProcessLookupError):
        os.kill(number(ready), 0)


async def _supervise_stubborn(log: WatchedLog) -> None:
    async with supervised(log, STUBBORN):
        pass


def directories_in(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir()]


def wait_unlocked(path: Path) -> None:
    """Wait until the last process that held the lock is gone: a dying process closes one descriptor after the other."""
    with path.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
