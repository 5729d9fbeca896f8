"""AWS event streams (`application/vnd.amazon.eventstream`): from bytes to messages with headers and a payload.

A message is: its length and that of its headers, each in four bytes; a CRC-32 of these eight; the headers; the payload; a
CRC-32 of all before it (https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html). A length says how much is to come,
so it is believed only after its own CRC has been looked at, and up to a limit.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Mapping
from typing import Final

import attrs

_PRELUDE: Final = 12
_CRC: Final = 4
_SMALLEST: Final = _PRELUDE + _CRC

# How many bytes the value of a header has, by its type; 6 and 7 say it themselves, in two bytes before it.
_FIXED: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _TEXT = 6, 7


class BadEvents(ValueError):
    """The bytes are no event stream, or one of its messages is larger than the limit; the message says which."""


@attrs.frozen
class Message:
    """One message. Of its headers those that are text."""

    headers: Mapping[str, str]
    payload: bytes = attrs.field(repr=False)


class MessageParser:
    """Cuts a stream into messages, holding back the bytes after the last one: at most `max_bytes`."""

    __slots__ = ("_held", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._held = bytearray()

    @property
    def rest(self) -> int:
        """How many bytes came after the last whole message."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that these bytes complete. Raises BadEvents."""
        self._held += data
        messages = []
        while (length := self._next_length()) and length <= len(self._held):
            messages.append(parsed(bytes(self._held[:length])))
            del self._held[:length]
        return messages

    def _next_length(self) -> int:
        """Return the length of the message that begins what is held, 0 as long as it has not been told."""
        if len(self._held) < _PRELUDE:
            return 0
        length = _number(self._held[:4])
        if _number(self._held[8:12]) != crc32(self._held[:8]):
            raise BadEvents("a checksum in the stream is wrong")
        if not _SMALLEST <= length <= self.max_bytes or _number(self._held[4:8]) > length - _SMALLEST:
            raise BadEvents(f"a message of the stream claims to be {length} bytes long")
        return length


def parsed(raw: bytes) -> Message:
    """Return what one whole message says, whose lengths have been looked at. Raises BadEvents."""
    if _number(raw[-_CRC:]) != crc32(raw[:-_CRC]):
        raise BadEvents("a checksum in the stream is wrong")
    end = _PRELUDE + _number(raw[4:8])
    return Message(_headers(raw[_PRELUDE:end]), raw[end:-_CRC])


def _headers(raw: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    at = 0
    try:
        while at < len(raw):
            name = raw[at + 1 : at + 1 + raw[at]]
            at += 1 + raw[at]
            kind, at = raw[at], at + 1
            size = _FIXED.get(kind, 0)
            if kind in {_BYTES, _TEXT}:
                size, at = _number(raw[at : at + 2]), at + 2
            elif kind not in _FIXED:
                raise BadEvents("the headers of a message of the stream cannot be read")
            if kind == _TEXT:
                headers[name.decode()] = raw[at : at + size].decode()
            at += size
    except (IndexError, UnicodeDecodeError) as error:
        raise BadEvents("the headers of a message of the stream cannot be read") from error
    if at != len(raw):
        raise BadEvents("the headers of a message of the stream cannot be read")
    return headers


def _number(raw: bytes | bytearray) -> int:
    return int.from_bytes(raw, "big")
