"""Bytes as they arrive, cut where lines end: only whole lines leave, so that the lines of several writers never mix."""

from __future__ import annotations

import attrs

MAX_LINE_BYTES = 1024 * 1024
"""Four times what our own log makes of a line at most; a longer one comes from something else, and is cut."""


@attrs.frozen
class CutLine:
    """The beginning of a line that was too long, and how long it was."""

    beginning: bytes
    size: int


class WholeLines:
    """Takes blocks of bytes and gives whole lines; holds at most one unfinished line of bounded size."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._held = bytearray()
        self._size = 0

    def feed(self, block: bytes) -> list[bytes | CutLine]:
        """The lines that this block completes, several in one piece of bytes, without the last one's newline."""
        first, newline, others = block.partition(b"\n")
        self._hold(first)
        if not newline:
            return []
        pieces = [self._take_line()]
        whole, newline, unfinished = others.rpartition(b"\n")
        if newline:
            pieces.append(whole)
        self._hold(unfinished)
        return [piece for piece in pieces if piece]

    def finish(self) -> list[bytes | CutLine]:
        """The line that was never finished, if there is one."""
        return [self._take_line()] if self._size else []

    def _hold(self, part: bytes) -> None:
        self._size += len(part)
        self._held += part[: self._max - len(self._held)]

    def _take_line(self) -> bytes | CutLine:
        line, size = bytes(self._held), self._size
        self._held.clear()
        self._size = 0
        return line if len(line) == size else CutLine(line, size)
