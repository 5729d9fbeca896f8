"""JSON as bytes: what a document holds, and where in it a member stands, so that one value changes and no other byte.

Decoding is lenient where clients and providers are: NaN and lone surrogates, which msgspec refuses and the standard
library takes, pass. Finding a member is exact: only the top level of an object counts, whatever stands deeper or
inside strings.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypeAlias

import msgspec

Json: TypeAlias = Any
"""Whatever JSON can hold."""

_KEY = re.compile(rb'[ \t\r\n]*("(?:[^"\\]|\\.)*+")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_AFTER_VALUE = re.compile(rb"[ \t\r\n]*([,}])")
_STRING_VALUE = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*+")', re.DOTALL)

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises: bytes that are no UTF-8 and deep nesting have errors of their own."""

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode


class NotJSON(ValueError):
    """The bytes are no JSON, or not the JSON that is wanted; the message says where and why, without a full stop."""


def decoded(document: bytes) -> Json:
    """Return what the document says. Raises NotJSON."""
    try:
        return msgspec.json.decode(document)
    except UNREADABLE:
        return _decoded_leniently(document)


def _decoded_leniently(document: bytes) -> Json:
    text = _text(document)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        byte = len(text[: error.pos].encode())
        raise NotJSON(f"{error.msg} at line {error.lineno}, column {error.colno} (byte {byte})") from error
    except RecursionError as error:
        raise NotJSON("it is nested too deeply") from error
    except ValueError as error:  # an integer of more digits than Python converts (sys.set_int_max_str_digits)
        raise NotJSON("it holds a number that is too long") from error


def _text(document: bytes) -> str:
    try:
        return document.decode()
    except UnicodeDecodeError as error:
        raise NotJSON(f"it is not UTF-8 (byte {error.start})") from error


def encoded(value: Json) -> bytes:
    """Return the compact UTF-8 form. A lone surrogate, which UTF-8 cannot hold, becomes `?`."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def member_span(document: bytes, key: str) -> tuple[int, int] | None:
    """Return where the value of the top-level member `key` starts and ends, or None if there is none.

    `document` is JSON; `key` is ASCII. Raises NotJSON: no object, or one in which a member stands twice. Of those,
    parsers take the first or the last, so nobody can say which one counts (RFC 8259 section 4).
    """
    found = _plain_span(document, b'"' + key.encode() + b'"')
    if found is not None:
        return found
    try:
        members = _decode_members(document)
    except UNREADABLE as error:
        raise NotJSON("it is no JSON object that can be changed") from error
    return _spans(document, members).get(key) if key in members else None


def _plain_span(document: bytes, quoted: bytes) -> tuple[int, int] | None:
    """Return the span where it is plain to see: one such key, a text as its value, nothing nested before it.

    A brace in a string before it, or a key that may be spelt with escapes, only sends the search the long way.
    """
    at = document.find(quoted)
    if at < 0 or document.count(b"{", 0, at) != 1 or document.find(b"[", 0, at) >= 0:
        return None
    value = _STRING_VALUE.match(document, at + len(quoted))
    if value is None or document.find(quoted, at + 1) >= 0 or b"\\u00" in document:
        return None
    return value.span(1)


def _spans(document: bytes, members: dict[str, msgspec.Raw]) -> dict[str, tuple[int, int]]:
    """Walk the top level, stepping over each value by its known length.

    The bytes at each step are compared with the value that was decoded: the only way for them to differ is a member
    that stands twice.
    """
    view = memoryview(document)
    spans: dict[str, tuple[int, int]] = {}
    at = document.index(b"{") + 1
    last = b"}"
    for _ in members:
        found = _KEY.match(document, at)
        if found is None:
            raise _twice()
        key, start = msgspec.json.decode(found[1], type=str), found.end()
        value = memoryview(members[key])
        after = _AFTER_VALUE.match(document, start + len(value))
        if key in spans or after is None or view[start : start + len(value)] != value:
            raise _twice()
        spans[key] = (start, start + len(value))
        at, last = after.end(), after[1]
    if last != b"}":
        raise _twice()
    return spans


def _twice() -> NotJSON:
    return NotJSON("one of its members stands twice")


def with_member(document: bytes, key: str, value: bytes) -> bytes:
    """Return the document with the top-level member `key` set to the JSON text `value`; all other bytes stay.

    A member that is not there yet is put in at the end. Raises NotJSON.
    """
    span = member_span(document, key)
    if span is not None:
        return document[: span[0]] + value + document[span[1] :]
    end = document.rindex(b"}")
    comma = b"" if document[:end].rstrip().endswith(b"{") else b","
    return document[:end] + comma + _encode(key) + b":" + value + document[end:]
