r"""Forms (`multipart/form-data`, RFC 7578) as bytes: where the value of a field stands, wherever in the form it comes.

The form is not taken apart: a part's head is read, its content is stepped over. So a field's value can be changed with
every other byte left as it came. Line ends are CRLF; names are quoted, with `\"`, `%22` or neither inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_MAX_PARTS: Final = 1000
"""More than any form of the API has: 16 images and a dozen fields; the bound keeps a hostile one from taking long."""
_MAX_PART_HEAD_BYTES: Final = 16_384
"""As much as a whole request head is allowed in common servers (nginx: 4 x 8 KiB)."""

_BOUNDARY = re.compile(rb';[ \t]*boundary=(?:"((?:[^"\\]|\\.){1,512})"|([^;" \t\r\n]{1,512}))', re.IGNORECASE)
_NAME = re.compile(rb';[ \t]*name=(?:"((?:[^"\\\r\n]|\\.)*)"|([^;" \t\r\n]+))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"^content-disposition:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


class BadForm(ValueError):
    """The body is no form that can be read; the message says where, without a full stop."""


def boundary_of(content_type: bytes) -> bytes:
    """Return the boundary that the content type names. Raises BadForm."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BadForm("its content type names no boundary")
    return re.sub(rb"\\(.)", rb"\1", found[1]) if found[1] is not None else found[2]


def field_spans(body: bytes, content_type: bytes, name: bytes) -> list[tuple[int, int]]:
    """Return where each value of this field starts and ends, in their order. Raises BadForm."""
    return [span for part, span in _parts(body, boundary_of(content_type)) if part == name]


def field(body: bytes, content_type: bytes, name: bytes) -> bytes | None:
    """Return the value of this field, or None; of several, the last one. Raises BadForm."""
    spans = field_spans(body, content_type, name)
    return body[slice(*spans[-1])] if spans else None


def with_field(body: bytes, content_type: bytes, name: bytes, value: bytes) -> bytes:
    """Return the form with every value of this field changed, and no other byte. Raises BadForm."""
    for start, end in reversed(field_spans(body, content_type, name)):
        body = body[:start] + value + body[end:]
    return body


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield each part's name, and where its content starts and ends."""
    delimiter = b"--" + boundary
    at = 0 if body.startswith(delimiter) else _found(body, b"\r\n" + delimiter, 0) + 2
    for _ in range(_MAX_PARTS):
        at += len(delimiter)
        if body.startswith(b"--", at):
            return
        head_end = _found(body, b"\r\n\r\n", at)
        if head_end - at > _MAX_PART_HEAD_BYTES:
            raise BadForm(f"the head of a part is longer than {_MAX_PART_HEAD_BYTES} bytes")
        end = _found(body, b"\r\n" + delimiter, head_end + 2)
        yield _name(body[at:head_end]), (min(head_end + 4, end), end)
        at = end + 2
    raise BadForm(f"it has more than {_MAX_PARTS} parts")


def _found(body: bytes, mark: bytes, start: int) -> int:
    at = body.find(mark, start)
    if at < 0:
        raise BadForm("it breaks off before its last boundary")
    return at


def _name(head: bytes) -> bytes:
    disposition = _DISPOSITION.search(head.replace(b"\r\n", b"\n"))
    found = _NAME.search(disposition[1]) if disposition else None
    if found is None:
        return b""
    quoted, token = found.groups()
    return re.sub(rb"\\(.)", rb"\1", quoted) if quoted is not None else token
