"""What chat and Responses streams have in common: cutting events out, reading one, and the torn end of one."""

from __future__ import annotations

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, NotJSON, decoded
from adaptors.sse import EventTooLarge, ServerEvent, SSEParser, parsed
from adaptors.wires.openai_errors import broken_answer, error_inside


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


def last_event(rest: bytes) -> bytes:
    """Return the event that a stream ended in, if only its empty line is missing; nothing, if nothing is left over.

    JSON tells where it ends, so such an event is known to be whole. Raises AnswerFailed: it is torn.
    """
    lines = rest.splitlines()
    if all(not line or line.startswith(b":") for line in lines):
        return b""
    event = parsed(rest)
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
    """Return the event's bytes with other data; what stands beside the data, and the line ends, stay."""
    if event.data is not None and event.raw.count(event.data) == 1:
        return event.raw.replace(event.data, data)
    name = b"event: " + event.name + b"\n" if event.name else b""
    return name + b"".join(b"data: " + line + b"\n" for line in data.splitlines()) + b"\n"
