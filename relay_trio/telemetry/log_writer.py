"""Where log lines go: a bounded buffer, and one thread that writes it out. Writing a line never waits.

A request must not be slower because somebody reads our stdout slowly, or not at all. So `write` puts the line into a
buffer, and a thread of its own carries the buffer to the descriptor with ordinary blocking writes. When the buffer is
full the line is dropped and counted, and a line that says how many were dropped follows as soon as there is room.

The descriptor is never made non-blocking: that flag belongs to the open file, which other processes share (POSIX,
fcntl F_SETFL), and a shell or a sibling that suddenly gets EAGAIN loses its own output.
"""

from __future__ import annotations

import atexit
import collections
import os
import queue
import threading
from typing import Protocol

import attrs

from relay_trio.telemetry.json_line import render, utc_timestamp

BUFFER_BYTES = 8 * 1024 * 1024
"""Some 12,000 lines of 700 bytes: more than a second of a fully loaded worker, less than anybody misses in memory."""

LINGER_S = 0.02
"""How long the thread gathers lines before it writes them. Waking it for each line would cost every request a futex
call and a fight for the interpreter lock; at 20 ms it wakes at most 50 times a second, whatever the load."""

RETRY_S = 1.0
"""The pause after a failed write (closed pipe, full disk), in which lines are gathered for the next attempt."""

BATCH_BYTES = 256 * 1024
"""Written by one call. Larger ones win nothing, and what a failed call held is lost."""


@attrs.frozen
class LogStatistics:
    """What became of the lines so far; `waiting_bytes` is what the buffer holds now."""

    written: int
    dropped: int
    dropped_bytes: int
    waiting_bytes: int


class LogSink(Protocol):
    """What a logger writes to."""

    def write(self, line: bytes) -> None:
        """Take one line, without its newline. Never waits, never raises."""

    def statistics(self) -> LogStatistics:
        """What became of the lines so far."""


class LogWriter:
    """A sink that writes to a descriptor, from a thread between `start()` and `close()`.

    `write` may be called from any thread, from a signal handler and from a finalizer: the lock is reentrant, because
    the garbage collector may run a finalizer that logs while this very thread is inside `write`.
    """

    def __init__(self, fd: int, *, max_bytes: int = BUFFER_BYTES) -> None:
        self._fd = fd
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._lines: collections.deque[bytes] = collections.deque()  # bounded by max_bytes
        self._waiting_bytes = 0
        self._written = 0
        self._dropped = 0
        self._dropped_bytes = 0
        self._dropped_told = 0
        self._asleep = False
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()  # reentrant too (library reference, queue)
        self._closing = threading.Event()
        self._torn = False
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        now = self.statistics()
        return f"<LogWriter fd={self._fd}: {now.written} written, {now.dropped} dropped, {now.waiting_bytes} B waiting>"

    def write(self, line: bytes) -> None:
        """Take one line, without its newline; drop and count it if the buffer has no room."""
        size = len(line)
        with self._lock:
            if self._waiting_bytes + size > self._max_bytes:
                self._count_dropped(1, size)
                return
            self._waiting_bytes += size
            self._lines.append(line)
            if self._asleep:
                self._asleep = False
                self._bell.put(None)

    def statistics(self) -> LogStatistics:
        """What became of the lines so far."""
        return LogStatistics(self._written, self._dropped, self._dropped_bytes, self._waiting_bytes)

    def start(self) -> None:
        """Start the thread. It is a daemon, so that a reader who never reads cannot keep the process alive.

        The interpreter's exit closes it. Whoever lets exceptions out of the process leaves it at that: the crash is
        told by a hook that runs when all else is done.
        """
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self, timeout_s: float = 1.0) -> bool:
        """Write out what waits and end the thread; after `timeout_s` seconds give up. True if all was written.

        What is written after it stays in the buffer.
        """
        atexit.unregister(self.close)
        if self._thread is None:
            return self._waiting_bytes == 0
        self._closing.set()
        self._bell.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and self._waiting_bytes == 0

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wait_for_lines()
            self._closing.wait(LINGER_S)
            while self._lines:
                if not self._write_batch() and self._closing.wait(RETRY_S):
                    break
        while self._lines and self._write_batch():
            pass
        self._tell_dropped()

    def _wait_for_lines(self) -> None:
        with self._lock:
            if self._lines or self._closing.is_set():
                return
            self._asleep = True
        self._bell.get()

    def _write_batch(self) -> bool:
        """Write the oldest lines. False if some were lost, and it is wise to wait before the next attempt."""
        batch, size = self._take_batch()
        lines_written = self._write_lines(b"\n".join(batch) + b"\n", len(batch))
        self._finish(batch[lines_written:], size, lines_written)
        return lines_written == len(batch) and self._tell_dropped()

    def _take_batch(self) -> tuple[list[bytes], int]:
        batch = [self._lines.popleft()]
        size = len(batch[0])
        while self._lines and size + len(self._lines[0]) <= BATCH_BYTES:
            batch.append(self._lines.popleft())
            size += len(batch[-1])
        return batch, size

    def _finish(self, lost: list[bytes], size: int, lines_written: int) -> None:
        with self._lock:
            self._waiting_bytes -= size
            self._written += lines_written
            if lost:
                self._count_dropped(len(lost), sum(map(len, lost)))

    def _count_dropped(self, lines: int, size: int) -> None:
        self._dropped += lines
        self._dropped_bytes += size

    def _tell_dropped(self) -> bool:
        """Say how many lines were dropped since it was said last. True if there was nothing to say, or it was said."""
        dropped = self._dropped
        if dropped == self._dropped_told:
            return True
        line = {"timestamp": utc_timestamp(), "level": "warning", "event": "log_lines_dropped", "pid": os.getpid()}
        if not self._write_lines(render(line | {"lines": dropped - self._dropped_told, "total": dropped}) + b"\n", 1):
            return False
        self._dropped_told = dropped
        return True

    def _write_lines(self, block: bytes, lines: int) -> int:
        """Write the block; how many of its lines got out whole. Fewer if its pipe is closed or its disk full."""
        before = 1 if self._torn else 0
        block = b"\n" * before + block
        sent = self._send(block)
        self._torn = not block.endswith(b"\n", 0, sent) if sent else self._torn
        return lines if sent == len(block) else max(0, block.count(b"\n", 0, sent) - before)

    def _send(self, block: bytes) -> int:
        """Write until all is out or the descriptor refuses; how many bytes got out."""
        rest = memoryview(block)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # somebody else made the shared file non-blocking: poll, and leave their flag alone
                if self._closing.wait(LINGER_S):
                    break
            except OSError:
                break
        return len(block) - len(rest)


class MemoryLog:
    """A sink that keeps the newest lines in memory, for tests."""

    def __init__(self, *, max_lines: int = 10_000) -> None:
        self.lines: collections.deque[bytes] = collections.deque(maxlen=max_lines)
        self._written = 0

    def write(self, line: bytes) -> None:
        """Keep the line; beyond `max_lines` the oldest goes."""
        self.lines.append(line)
        self._written += 1

    def statistics(self) -> LogStatistics:
        """What became of the lines so far; nothing is ever dropped."""
        return LogStatistics(self._written, 0, 0, 0)
