"""What a request may say that a format has no words for: looked for here, and named alike by every writer.

The law: what the answer would be wrong without is refused, by `refuse`; anything else is left out and named, by `lost`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from adaptors.translation.conversation import (
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    refused,
)

_LOST: Final[Mapping[str, Callable[[ChatRequest], bool]]] = MappingProxyType(
    {
        "top_k": lambda request: request.top_k is not None,
        "seed": lambda request: request.seed is not None,
        "presence_penalty": lambda request: bool(request.presence_penalty),
        "frequency_penalty": lambda request: bool(request.frequency_penalty),
        "is_error": lambda request: any(isinstance(part, ToolResult) and part.is_error for part in _parts(request)),
        "citations": lambda request: any(isinstance(part, Text) and part.citations for part in _parts(request)),
        "cache_control": lambda request: any(_mark(part) for part in (*_parts(request), *request.tools)),
    }
)

_REFUSED: Final[Mapping[str, tuple[Callable[[ChatRequest], bool], str]]] = MappingProxyType(
    {
        "n": (
            lambda request: request.candidates != 1,
            "More than one answer (`n`, `candidateCount`) cannot be had from this model's provider.",
        ),
        "logprobs": (
            lambda request: request.logprobs is not None,
            "The probabilities of tokens (`logprobs`) cannot be had from this model's provider.",
        ),
        "input_audio": (
            lambda request: any(_is_audio(part) for part in _parts(request)),
            "Sound (`input_audio`) cannot be heard by this model's provider.",
        ),
    }
)


def lost(request: ChatRequest, lacking: Iterable[str]) -> Iterator[str]:
    """Yield those of the fields that the format lacks which the request fills."""
    return (name for name in lacking if _LOST[name](request))


def lost_openai_fields(request: ChatRequest, known: Container[str] = ()) -> Iterator[str]:
    """Yield OpenAI's own fields that the format lacks, but for those that make no difference elsewhere."""
    return (name for name in request.openai if name not in known and name not in _OPENAI_ALONE)


_OPENAI_ALONE: Final = frozenset({"store", "safety_identifier"})
"""Without `store` the answer is the same, and whom `safety_identifier` names is the request's `user` too."""


def refuse(request: ChatRequest, lacking: Iterable[str]) -> None:
    """Raise BadBody, if the request fills one of the fields that the format lacks."""
    for name in lacking:
        fills, why = _REFUSED[name]
        if fills(request):
            raise refused(name, why)


def _parts(request: ChatRequest) -> Iterator[Part]:
    for message in request.messages:
        for part in message.parts:
            yield part
            if isinstance(part, ToolResult):
                yield from part.parts


def _is_audio(part: Part) -> bool:
    return isinstance(part, Document) and part.media_type.startswith("audio/")


def _mark(part: Part | Tool) -> bool:
    return not isinstance(part, Refusal | Thinking | ToolCall) and part.cache is not None


# Cache marks.


def with_last_marked(parts: tuple[Part, ...], mark: object) -> tuple[Part, ...]:
    """Return the parts, the last that can have a mark with this one, unless it has its own."""
    for at in range(len(parts) - 1, -1, -1):
        part = parts[at]
        if isinstance(part, Text | Image | Document | ToolResult):
            marked = part if part.cache is not None else msgspec.structs.replace(part, cache=mark)
            return (*parts[:at], marked, *parts[at + 1 :])
    return parts


def without_marks(request: ChatRequest) -> ChatRequest:
    """Return the request without cache marks, for a provider that would refuse them."""
    messages = tuple(Message(turn.role, tuple(map(_unmarked, turn.parts))) for turn in request.messages)
    tools = tuple(msgspec.structs.replace(tool, cache=None) for tool in request.tools)
    return msgspec.structs.replace(request, messages=messages, tools=tools)


def _unmarked(part: Part) -> Part:
    if isinstance(part, ToolResult):
        shown = tuple(msgspec.structs.replace(shown, cache=None) for shown in part.parts)
        return msgspec.structs.replace(part, cache=None, parts=shown)
    return msgspec.structs.replace(part, cache=None) if isinstance(part, Text | Image | Document) else part
