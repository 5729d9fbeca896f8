"""What chat and Responses streams have in common: cutting events out, reading one, and the torn end of one.

A provider, or a proxy before it, may also answer with no stream at all: an error in JSON, a page, a whole answer. It has
no events in it, so it is found out at its first empty line or at its end, and told for what it is.
"""

from __future__ import annotations

from typing import Final

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, NotJSON, decoded
from adaptors.sse import EventTooLarge, ServerEvent, SSEParser, parsed
from adaptors.wires.openai_errors import broken_answer, error_inside
from adaptors.wires.openai_json import read_document


def whole_events(parser: SSEParser, data: bytes) -> bytes:
    """Return the bytes of the events that are whole by now. Raises AnswerFailed: one is too large."""
    try:
        return parser.whole_events(data)
    except EventTooLarge as error:
        raise AnswerFailed(broken_answer(f"The provider's stream went past a limit: {error}.")) from error


def decoded_event(event: ServerEvent, data: bytes) -> dict[str, Json]:
    """Return what an event holds. Raises AnswerFailed: it is no JSON object, or an error."""
    try:
        document = decoded(data)
    except NotJSON as error:
        raise AnswerFailed(broken_answer("The provider sent something that is not JSON within its stream.")) from error
    failure = error_inside(document, data, event_name=event.name)
    if failure is not None:
        raise AnswerFailed(failure)
    if not isinstance(document, dict):
        raise AnswerFailed(broken_answer("The provider sent JSON that is no object within its stream."))
    return document


def passed_over(event: ServerEvent) -> bytes:
    """Return the bytes of an event without data, which goes on unread. Raises AnswerFailed: it is no event at all."""
    if all(line[:1] in {b"", b":"} or line.partition(b":")[0] in _FIELDS for line in event.raw.splitlines()):
        return event.raw
    raise _no_events(event.raw)


_FIELDS: Final = frozenset({b"event", b"id", b"retry", b"\xef\xbb\xbf"})


def _no_events(rest: bytes) -> AnswerFailed:
    """Return the failure of bytes that are no event. Raises AnswerFailed itself if they are an error in JSON."""
    start = rest.lstrip()[:1]
    if start == b"<":
        return AnswerFailed(broken_answer("The provider sent a page of HTML or XML where a stream of events was due."))
    if start == b"{" and _is_json(rest):
        read_document(rest)
        return AnswerFailed(broken_answer("The provider sent one JSON body where a stream of events was due."))
    return AnswerFailed(broken_answer("The provider sent something that is no event within its stream."))


def last_event(rest: bytes) -> bytes:
    """Return the event that a stream ended in, if only its empty line is missing; nothing, if nothing is left over.

    JSON tells where it ends, so such an event is known to be whole. Raises AnswerFailed: it is torn.
    """
    lines = rest.splitlines()
    if all(not line or line.startswith(b":") for line in lines):
        return b""
    event = parsed(rest)
    if rest.lstrip()[:1] in {b"{", b"<"}:
        raise _no_events(rest)
    if event.data != b"[DONE]" and not _is_json(event.data):
        raise AnswerFailed(broken_answer("The provider's stream broke off in the middle of an event."))
    return rest.rstrip(b"\r\n") + b"\n\n"


def _is_json(data: bytes | None) -> bool:
    try:
        return data is not None and decoded(data) is not None
    except NotJSON:
        return False


def incomplete() -> AnswerFailed:
    """Return the failure of a stream that ended cleanly, and too early."""
    return AnswerFailed(broken_answer("The provider's stream ended before the answer was complete."))


def with_data(event: ServerEvent, data: bytes) -> bytes:
    """Return the event's bytes with other data; all else in it stays, unless its data came in several lines."""
    if event.data is not None and event.raw.count(event.data) == 1:
        return event.raw.replace(event.data, data)
    name = b"event: " + event.name + b"\n" if event.name else b""
    return name + b"".join(b"data: " + line + b"\n" for line in data.splitlines()) + b"\n"
