"""The formats that a conversation is written in, one row each: what a client may speak, a provider, or both.

A request is read by its client's format and written by the provider's adaptor, which alone knows its quirks; an answer is
read by the provider's format and written by the client's. A new format is a new row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from adaptors.bodies import BadBody
from adaptors.jsonbytes import Json
from adaptors.translation.chat_answer import ChatReader, ChatWriter, read_chat_reply, write_chat_reply
from adaptors.translation.chat_request import read_chat_request
from adaptors.translation.conversation import ChatRequest, Reply
from adaptors.translation.fetched import with_data
from adaptors.translation.frame import Frame, StreamReader, StreamWriter
from adaptors.translation.gemini_answer import GenerateReader, read_generate_reply
from adaptors.translation.gemini_request import read_generate_request
from adaptors.translation.gemini_writer import GenerateWriter, write_generate_reply
from adaptors.translation.messages_answer import (
    MessagesReader,
    MessagesWriter,
    read_messages_reply,
    write_messages_reply,
)
from adaptors.translation.messages_request import read_messages_request
from adaptors.translation.responses_answer import write_responses_reply
from adaptors.translation.responses_reader import ResponsesReader, read_responses_reply
from adaptors.translation.responses_request import read_responses_request, responses_echo
from adaptors.translation.responses_writer import ResponsesWriter
from adaptors.values import Call
from adaptors.wires.gemini_generate import candidates_asked_for
from adaptors.wires.openai_chat import choices_asked_for


@attrs.frozen
class Format:
    """How requests of a wire are read, and how its answers are read and written."""

    endpoints: tuple[str, ...]
    """The endpoints whose calls are such requests."""
    read_request: Callable[[Call], ChatRequest]
    """Raises BadBody: what is no such request, or cannot be said in any other format."""
    reader: Callable[[Frame], StreamReader]
    writer: Callable[[Frame], StreamWriter]
    read_reply: Callable[[bytes], Reply]
    """Raises AnswerFailed: it is no such answer, or an error inside a 200."""
    write_reply: Callable[[Reply, Frame], bytes]
    echo: Callable[[Call], Mapping[str, Json]] = lambda _: {}
    """What answers repeat of their request."""
    candidates: Callable[[Call], int] = lambda _: 1
    """How many answers are asked for."""


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "openai_chat": Format(
            endpoints=("chat.completions",),
            read_request=lambda call: read_chat_request(call.body),
            reader=lambda _: ChatReader(),
            writer=ChatWriter,
            read_reply=read_chat_reply,
            write_reply=write_chat_reply,
            candidates=choices_asked_for,
        ),
        "anthropic_messages": Format(
            endpoints=("messages",),
            read_request=lambda call: read_messages_request(call.body),
            reader=lambda _: MessagesReader(),
            writer=MessagesWriter,
            read_reply=read_messages_reply,
            write_reply=write_messages_reply,
        ),
        "openai_responses": Format(
            endpoints=("responses",),
            read_request=lambda call: read_responses_request(call.body),
            reader=lambda _: ResponsesReader(),
            writer=ResponsesWriter,
            read_reply=read_responses_reply,
            write_reply=write_responses_reply,
            echo=lambda call: responses_echo(call.body),
        ),
        "gemini_generate": Format(
            endpoints=("models.generate_content", "models.stream_generate_content"),
            read_request=read_generate_request,
            reader=lambda frame: GenerateReader(frame.candidates),
            writer=GenerateWriter,
            read_reply=read_generate_reply,
            write_reply=write_generate_reply,
            candidates=candidates_asked_for,
        ),
    }
)


_TRANSLATED: Final = frozenset(name for row in FORMATS.values() for name in row.endpoints)


def is_translated(call: Call, own: tuple[str, ...]) -> bool:
    """Whether a provider that speaks these wires itself must have this call translated."""
    return call.endpoint.wire not in own and call.endpoint.name in _TRANSLATED


def translated_endpoints(own: tuple[str, ...]) -> tuple[str, ...]:
    """Return the endpoints whose calls can be translated for a provider that speaks these wires itself."""
    return tuple(name for wire, row in FORMATS.items() if wire not in own for name in row.endpoints)


def request_of(call: Call) -> ChatRequest:
    """Return what a call asks for. Raises BadBody: what is no such request, or cannot be said elsewhere."""
    row = FORMATS.get(call.endpoint.wire or "")
    if row is None:
        raise BadBody("This path cannot be translated for the model's provider.", param="model")
    request = row.read_request(call)
    return with_data(request, call.fetched) if call.fetched else request
