"""Server-sent events as bytes: where whole events end, and what each one says.

The law is the WHATWG's event stream format (https://html.spec.whatwg.org/multipage/server-sent-events.html): a line ends
with CR, LF or CRLF and with nothing else (U+2028 stands inside JSON and ends no line), an event ends with an empty line,
and an event without a data field is dropped. The raw bytes are kept, so that what is not understood can still be passed
on unchanged.

Finding the end of the last whole event in a block costs one search from behind; only a block that must be understood
is taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

_BOUNDARY = re.compile(rb"\n\n|\n\r\n?|\r\r\n?")
_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """One event is larger than the limit, in bytes."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"an event of the stream is larger than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


@attrs.frozen
class ServerEvent:
    """One event. `data` is None where the format says to drop it: a comment, a lone `id`, an empty line.

    `raw` are the bytes it came in, with the empty line that ends it. `name` is empty where the event has none.
    """

    name: bytes
    data: bytes | None
    raw: bytes = attrs.field(repr=False)


def last_boundary(buffer: bytes | bytearray, start: int = 0) -> int:
    """Return where the last whole event in the buffer ends, searching from `start`; 0 if none ends there."""
    at = buffer.rfind(b"\n\n", start)
    cut = at + 2 if at >= 0 else 0
    if buffer.find(b"\r", start) < 0:
        return cut
    return max(cut, _after(buffer, b"\n\r", start), _after(buffer, b"\r\r", start))


def _after(buffer: bytes | bytearray, boundary: bytes, start: int) -> int:
    at = buffer.rfind(boundary, start)
    if at < 0:
        return 0
    return at + 3 if buffer[at + 2 : at + 3] == b"\n" else at + 2


def raw_events(block: bytes) -> Iterator[bytes]:
    """Yield the bytes of each event of a block of whole events."""
    if b"\r" in block:
        yield from _raw_events_by_any_line_end(block)
        return
    pieces = block.split(b"\n\n")
    for piece in pieces[:-1]:
        yield piece + b"\n\n"
    if pieces[-1]:
        yield pieces[-1]


def _raw_events_by_any_line_end(block: bytes) -> Iterator[bytes]:
    start = 0
    for boundary in _BOUNDARY.finditer(block):
        yield block[start : boundary.end()]
        start = boundary.end()
    if start < len(block):
        yield block[start:]


def parsed(raw: bytes) -> ServerEvent:
    """Return what one event says."""
    name, data = b"", []
    for line in raw.splitlines():  # of bytes: ends a line at CR, LF and CRLF only
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return ServerEvent(name, b"\n".join(data) if data else None, raw)


class SSEParser:
    """Cuts a stream into whole events, holding back the bytes after the last one.

    Feed it with `feed`, or, where the events need not be understood, with `whole_events`. What is held is at most one
    event, of at most `max_event_bytes`.
    """

    __slots__ = ("_at_start", "_held", "max_event_bytes")

    def __init__(self, max_event_bytes: int) -> None:
        self.max_event_bytes = max_event_bytes
        self._held = bytearray()
        self._at_start = True

    @property
    def rest(self) -> bytes:
        """What came after the last whole event."""
        return bytes(self._held)

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the events that these bytes complete. Raises EventTooLarge."""
        return self.events(self.whole_events(data))

    def whole_events(self, data: bytes) -> bytes:
        """Return the bytes up to the end of the last whole event, from what was held and this. Raises EventTooLarge."""
        block = self._joined(data) if self._held else self._cut(data)
        if len(self._held) > self.max_event_bytes:
            raise EventTooLarge(self.max_event_bytes)
        if len(block) > self.max_event_bytes:
            self._check_each(block)
        return block

    def _cut(self, data: bytes) -> bytes:
        cut = last_boundary(data)
        if cut == len(data):
            return data
        self._held += data[cut:]
        return data[:cut]

    def _joined(self, data: bytes) -> bytes:
        searched = len(self._held) - 1  # the last byte held may be the first of a boundary
        self._held += data
        cut = last_boundary(self._held, searched)
        block = bytes(self._held[:cut])
        del self._held[:cut]
        return block

    def _check_each(self, block: bytes) -> None:
        if any(len(raw) > self.max_event_bytes for raw in raw_events(block)):
            raise EventTooLarge(self.max_event_bytes)

    def events(self, block: bytes) -> list[ServerEvent]:
        """Return the events of a block that `whole_events` gave; each block once, in its order."""
        events = [parsed(raw) for raw in raw_events(block)]
        if events and self._at_start:
            self._at_start = False
            if block.startswith(_BOM):  # one byte order mark, at the very start, is no part of the first line
                events[0] = attrs.evolve(parsed(events[0].raw[len(_BOM) :]), raw=events[0].raw)
        return events
