"""Writing a line never waits and never raises; what cannot be written is counted and told."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator

import pytest

from relay_trio.telemetry import log_writer
from relay_trio.telemetry.log_writer import LogWriter, MemoryLog


class Pipe:
    """A pipe whose reader decides when it reads."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()

    def fill(self) -> int:
        """Put in as much as it holds, so that the next write blocks; returns how much that was."""
        filled = 0
        os.set_blocking(self.write_fd, False)
        try:
            while True:
                filled += os.write(self.write_fd, b"." * 1024)
        except BlockingIOError:
            return filled
        finally:
            os.set_blocking(self.write_fd, True)

    def lines(self) -> list[bytes]:
        """Everything written, after our writing end is closed."""
        os.close(self.write_fd)
        self.write_fd = -1
        with os.fdopen(self.read_fd, "rb", closefd=False) as reader:
            return reader.read().splitlines()

    def close(self) -> None:
        for fd in (self.read_fd, self.write_fd):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_arrive_whole_and_in_order(pipe: Pipe) -> None:
    """What was written before close arrives, one line each, in the order of writing."""
    writer = LogWriter(pipe.write_fd)
    writer.write(b"before the start")
    writer.start()
    for number in range(100):
        writer.write(b"line %d" % number)
    assert writer.close()
    assert pipe.lines() == [b"before the start", *(b"line %d" % number for number in range(100))]
    assert repr(writer) == f"<LogWriter fd={writer._fd}: 101 written, 0 dropped, 0 B waiting>"


def test_a_line_wakes_the_sleeping_thread(pipe: Pipe) -> None:
    """Lines arrive while the process goes on, not only at its end; between them the thread sleeps."""
    writer = LogWriter(pipe.write_fd)
    writer.start()
    for line in (b"first", b"second"):
        while not writer._asleep:
            os.sched_yield()
        writer.write(line)
        assert os.read(pipe.read_fd, 100) == line + b"\n"
    assert writer.close()


def test_a_full_buffer_drops_lines_and_says_so(pipe: Pipe) -> None:
    """Beyond the limit lines are dropped and counted, and a line with the count follows when there is room."""
    writer = LogWriter(pipe.write_fd, max_bytes=1_000)
    for number in range(30):
        writer.write(b"%099d." % number)
    assert writer.statistics() == log_writer.LogStatistics(0, 20, 2_000, 1_000)
    writer.start()
    assert writer.close()
    *kept, told = pipe.lines()
    assert kept == [b"%099d." % number for number in range(10)]
    assert json.loads(told)["event"] == "log_lines_dropped"
    assert json.loads(told)["lines"] == 20
    assert json.loads(told)["total"] == 20


def test_dropped_lines_are_told_once(pipe: Pipe) -> None:
    """The count in the line is of what was dropped since the last such line."""
    writer = LogWriter(pipe.write_fd, max_bytes=10)
    for _ in range(2):
        writer.write(b"0123456789")
        writer.write(b"too much")
        assert writer._write_batch()
    told = [json.loads(line) for line in pipe.lines() if line.startswith(b"{")]
    assert [(line["lines"], line["total"]) for line in told] == [(1, 1), (1, 2)]


def test_a_reader_who_does_not_read_blocks_nobody(pipe: Pipe) -> None:
    """With a full pipe lines are taken up to the limit, close gives up at its limit, and a late reader gets them."""
    filled = pipe.fill()
    writer = LogWriter(pipe.write_fd)
    writer.start()
    writer.write(b"patience")
    assert not writer.close(timeout_s=0)
    assert writer.statistics().waiting_bytes == len(b"patience")
    while filled:
        filled -= len(os.read(pipe.read_fd, filled))
    assert writer.close(timeout_s=60)
    assert pipe.lines() == [b"patience"]


def test_a_closed_pipe_is_survived(pipe: Pipe) -> None:
    """EPIPE loses the lines it hit, counted; when there is a reader again the next line arrives, and the count."""
    writer = LogWriter(os.dup(pipe.write_fd))
    os.close(pipe.read_fd)
    pipe.read_fd = -1
    writer.write(b"lost")
    assert not writer._write_batch()
    assert writer.statistics() == log_writer.LogStatistics(0, 1, 4, 0)

    new_reader, new_end = os.pipe()
    os.dup2(new_end, writer._fd)
    os.close(new_end)
    writer.write(b"found")
    assert writer._write_batch()
    os.close(writer._fd)
    with os.fdopen(new_reader, "rb") as reader:
        found, told = reader.read().splitlines()
    assert found == b"found"
    assert json.loads(told)["lines"] == 1


def test_the_thread_outlives_a_closed_pipe(pipe: Pipe) -> None:
    """The thread itself goes on after a failed write, and ends when it is told to."""
    os.close(pipe.read_fd)
    pipe.read_fd = -1
    writer = LogWriter(pipe.write_fd)
    writer.start()
    writer.write(b"lost")
    assert writer.close(timeout_s=60)
    assert writer.statistics().dropped == 1


def test_a_line_torn_by_a_full_disk_does_not_spoil_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a write that broke off inside a line, the next line begins on a line of its own; whole lines count."""
    disk = bytearray()
    room = [10]

    def write_until_full(_fd: int, data: memoryview) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = bytes(data[: room[0]])
        room[0] -= len(taken)
        disk.extend(taken)
        return len(taken)

    monkeypatch.setattr(os, "write", write_until_full)
    writer = LogWriter(99)
    for line in (b"first", b"second", b"third"):
        writer.write(line)
    assert not writer._write_batch()
    assert writer.statistics() == log_writer.LogStatistics(1, 2, 11, 0)
    room[0] = 1_000
    writer.write(b"fourth")
    assert writer._write_batch()
    first, torn, fourth, told = bytes(disk).splitlines()
    assert (first, torn, fourth) == (b"first", b"seco", b"fourth")
    assert json.loads(told)["lines"] == 2


def test_a_descriptor_made_non_blocking_by_others_is_waited_for(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag is shared with other processes: when somebody has set it, we wait for room instead of losing lines."""
    write = os.write
    refusals = [BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")] * 3

    def refuse_at_first(fd: int, data: memoryview) -> int:
        if refusals:
            raise refusals.pop()
        return write(fd, data)

    monkeypatch.setattr(os, "write", refuse_at_first)
    writer = LogWriter(pipe.write_fd)
    writer.write(b"in the end")
    assert writer._write_batch()
    assert pipe.lines() == [b"in the end"]


def test_the_blocking_flag_is_never_touched(pipe: Pipe) -> None:
    """A descriptor that blocked before goes on blocking."""
    writer = LogWriter(pipe.write_fd)
    writer.start()
    writer.write(b"line")
    assert writer.close()
    assert os.get_blocking(pipe.write_fd)


def test_a_finalizer_may_log_while_its_thread_writes(pipe: Pipe) -> None:
    """The lock is reentrant: a collection inside `write` may run a finalizer that writes."""
    writer = LogWriter(pipe.write_fd)
    with writer._lock:
        writer.write(b"from within")
    assert writer.statistics().waiting_bytes == len(b"from within")


def test_every_line_of_every_thread_is_accounted_for(pipe: Pipe) -> None:
    """Written plus dropped is what was given, also when many threads write at once."""
    writer = LogWriter(pipe.write_fd, max_bytes=2_000)
    reader = threading.Thread(target=lambda: collected.extend(os.fdopen(pipe.read_fd, "rb", closefd=False)))
    collected: list[bytes] = []
    reader.start()
    writer.start()

    def write_many() -> None:
        for _ in range(500):
            writer.write(b"x" * 50)

    threads = [threading.Thread(target=write_many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.close(timeout_s=60)
    os.close(pipe.write_fd)
    pipe.write_fd = -1
    reader.join()
    now = writer.statistics()
    assert now.written + now.dropped == 4_000
    assert now.waiting_bytes == 0
    assert collected.count(b"x" * 50 + b"\n") == now.written


def test_memory_log_keeps_the_newest_lines() -> None:
    """The sink for tests is bounded as well."""
    log = MemoryLog(max_lines=2)
    for line in (b"1", b"2", b"3"):
        log.write(line)
    assert list(log.lines) == [b"2", b"3"]
    assert log.statistics().written == 3
