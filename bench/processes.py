"""Processes of a measurement: started on a core, watched through /proc, and ended with all their children.

Only what was started here is ever ended: by its process group, which it was given at its start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

GATEWAY_CORE = "0"
RIG_CORE = "1" if (os.cpu_count() or 1) > 1 else "0"
BOTH_CORES = f"{GATEWAY_CORE},{RIG_CORE}"

_END_S = 6.0
"""A process that does not end by SIGTERM in this time is killed."""


def end_as_interrupted() -> None:
    """Let SIGTERM and SIGHUP end this program as Ctrl-C does: by way of what ends the processes it has started."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish
            signal.signal(number, end)


@attrs.frozen
class Usage:
    """What a process and its descendants hold and have used."""

    cpu_us: float
    resident_kib: int
    descriptors: int
    threads: int


class Process:
    """A started process. Its output goes to a file, or through a pipe to a reader on the rig's core."""

    def __init__(
        self, name: str, popen: subprocess.Popen[bytes], log: Path, reader: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.name = name
        self._log = log
        self.pid = popen.pid
        self._popen = popen
        self._reader = reader

    @property
    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def usage(self) -> Usage:
        """Return the sums over the process and its descendants."""
        each = [_usage_of(pid) for pid in _descendants(self.pid)]
        return Usage(
            cpu_us=sum(u.cpu_us for u in each),
            resident_kib=sum(u.resident_kib for u in each),
            descriptors=sum(u.descriptors for u in each),
            threads=sum(u.threads for u in each),
        )

    def end(self) -> None:
        """End the process group, kindly and then surely."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(_END_S)
        if self._reader is not None:
            self._reader.wait(_END_S)

    def last_words(self) -> str:
        """Return the line of its log that says most of a failure: to be asked for after its end, when a reader writes."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        told = [[line for line in lines if word in line.lower()] for word in ("exception", "error", "")]
        return next((found[-1] for found in told if found), "nothing")


def start(
    name: str, command: Sequence[str], *, core: str, log: Path, environ: Mapping[str, str] | None = None
) -> Process:
    """Start a process on a core; what it says goes to the file `log`."""
    with log.open("wb") as output:
        return Process(name, _popen(command, core, output.fileno(), output.fileno(), environ), log)


def start_piped(
    name: str, command: Sequence[str], *, core: str, log: Path, environ: Mapping[str, str] | None = None
) -> Process:
    """Start a process whose stdout is a pipe with a reader on the rig's core: a log collector, as in production.

    The reader keeps the end of what it read, and writes it to `log` when the process has ended.
    """
    with log.open("ab") as output:
        reader = subprocess.Popen(
            ["taskset", "-c", RIG_CORE, "tail", "-c", "65536"],
            stdin=subprocess.PIPE,
            stdout=output.fileno(),
            start_new_session=True,
        )
        assert reader.stdin is not None
        with reader.stdin as pipe:
            popen = _popen(command, core, pipe.fileno(), output.fileno(), environ)
    return Process(name, popen, log, reader)


def _popen(
    command: Sequence[str], core: str, output: int, errors: int, environ: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["taskset", "-c", core, *command],
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        start_new_session=True,
    )


def free_port() -> int:
    """Return a port that nobody listens on, from below the range that connections take theirs from."""
    for port in range(20000 + os.getpid() % 5000, 32000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                if port not in _handed_out:
                    _handed_out.add(port)
                    return port
    raise RuntimeError("no free port")


_handed_out: set[int] = set()


def wait_listening(process: Process, port: int, *, within_s: float) -> None:
    """Return when the port takes connections. Raises RuntimeError when the process ended or took too long."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if process.has_ended:
            raise RuntimeError(f"{process.name} ended at its start")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"{process.name} did not listen within {within_s:g} s")


# /proc


def _descendants(root: int) -> list[int]:
    """Return the process and what descends from it; by parents, as a kernel need not list children in /proc."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, _listing("/proc")):
        stat = _text(f"/proc/{name}/stat").rpartition(")")[2].split()
        if stat:
            children.setdefault(int(stat[1]), []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _usage_of(pid: int) -> Usage:
    tasks = _listing(f"/proc/{pid}/task")
    # schedstat: nanoseconds on a CPU (kernel.org, Documentation/scheduler/sched-stats), finer than stat's clock ticks
    on_cpu = [_text(f"/proc/{pid}/task/{task}/schedstat").split() for task in tasks]
    resident = _text(f"/proc/{pid}/statm").split()
    return Usage(
        cpu_us=sum(int(fields[0]) for fields in on_cpu if fields) / 1000,
        resident_kib=int(resident[1]) * os.sysconf("SC_PAGE_SIZE") // 1024 if resident else 0,
        descriptors=len(_listing(f"/proc/{pid}/fd")),
        threads=len(tasks),
    )


def _listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
