"""Requests of `/responses`, read and written (https://platform.openai.com/docs/api-reference/responses/create).

OpenAI may keep a conversation and be told of it by an id alone. Another provider has no such memory, so what builds on it is
refused, and whatever must come back to a provider goes into the items themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from adaptors.jsonbytes import UNREADABLE, Json
from adaptors.translation.chat_request import SHARED_FIELDS
from adaptors.translation.conversation import (
    ChatRequest,
    Message,
    OutputFormat,
    Reasoning,
    Text,
    Tool,
    ToolChoice,
    refused,
)
from adaptors.translation.effort import effort_of
from adaptors.translation.losses import lost, lost_openai_fields, refuse
from adaptors.translation.reading import document_of, objects, optional, want, words
from adaptors.translation.responses_content import read_input, written_items

_SHARED: Final = SHARED_FIELDS - {"store", "verbosity"}
"""Fields that `/chat/completions` has under the same name. `verbosity` stands inside `text` here, and `store` stays here: an
answer that was translated cannot be had later under its id."""

_READ: Final = _SHARED | {
    *("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens"),
    *("temperature", "top_p", "top_logprobs", "include", "text", "reasoning", "user", "stream", "stream_options"),
    *("truncation", "store", "background", "max_tool_calls"),
}
"""Fields that are understood here, or mean nothing beyond this API: `max_tool_calls` counts OpenAI's own tools alone."""

_KEPT_ELSEWHERE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "previous_response_id": "earlier responses; send their items in `input`",
        "conversation": "conversations; send the items in `input`",
        "prompt": "prompt templates; send the text in `instructions` or `input`",
        "background": "responses to fetch later; leave `background` out",
    }
)
"""Fields that build on what one provider keeps, and what another does not keep."""

_LOGPROBS: Final = "message.output_text.logprobs"
_ENCRYPTED: Final = "reasoning.encrypted_content"


# Read: what a client asks for.


def read_responses_request(body: bytes | None) -> ChatRequest:
    """Return what the client asks for. Raises BadBody: what is no such request, or cannot be said elsewhere."""
    document = document_of(body)
    for name, what in _KEPT_ELSEWHERE.items():
        if document.get(name):
            raise refused(name, f"`{name}`: this model's provider keeps no {what}.")
    wanted = optional(document, "text", dict) or {}
    dropped: list[str] = []
    messages = tuple(_messages(document, dropped))
    return ChatRequest(
        model=want(document.get("model"), str, "model"),
        messages=messages,
        tools=tuple(_tool(where, tool) for where, tool in objects(document.get("tools"), "tools")),
        tool_choice=_tool_choice(document.get("tool_choice")),
        parallel=optional(document, "parallel_tool_calls", bool),
        max_tokens=optional(document, "max_output_tokens", int),
        temperature=optional(document, "temperature", float),
        top_p=optional(document, "top_p", float),
        logprobs=_logprobs(document),
        output=_output(optional(wanted, "format", dict, "text.")),
        reasoning=_reasoning(optional(document, "reasoning", dict)),
        user=optional(document, "safety_identifier", str) or optional(document, "user", str),
        stream=document.get("stream") is True,
        openai=_shared(document, wanted),
        dropped=(*dropped, *_left_out(document)),
    )


def _messages(document: dict[str, Json], dropped: list[str]) -> Iterator[Message]:
    if instructions := optional(document, "instructions", str):
        yield Message("system", (Text(instructions),))
    yield from read_input(document.get("input"), dropped)


def _left_out(document: dict[str, Json]) -> Iterator[str]:
    """Yield the fields that are not understood; of the understood ones those whose wish is not met."""
    for name, value in document.items():
        if name not in _READ and name not in _KEPT_ELSEWHERE and value not in (None, [], {}):
            yield name
    if document.get("store") is True:
        yield "store"
    if document.get("truncation") not in (None, "disabled"):
        yield "truncation"


def _shared(document: dict[str, Json], wanted: dict[str, Json]) -> dict[str, Json]:
    said = {name: document[name] for name in _SHARED if document.get(name) not in (None, {})}
    verbosity = optional(wanted, "verbosity", str, "text.")
    return said if verbosity is None else {**said, "verbosity": verbosity}


def _logprobs(document: dict[str, Json]) -> int | None:
    top = optional(document, "top_logprobs", int) or 0
    return top if top or _LOGPROBS in words(document.get("include"), "include") else None


def _tool(where: str, tool: dict[str, Json]) -> Tool:
    kind = want(tool.get("type"), str, f"{where}.type")
    if kind != "function":
        why = f"`{where}` is of the type `{kind[:40]}`, not `function`; this model's provider has no tool like it."
        raise refused(f"{where}.type", why)
    return Tool(
        name=want(tool.get("name"), str, f"{where}.name"),
        description=optional(tool, "description", str, f"{where}.") or "",
        schema=optional(tool, "parameters", dict, f"{where}."),
        strict=optional(tool, "strict", bool, f"{where}."),
    )


_MODES: Final[dict[str, Any]] = {"auto": "auto", "none": "none", "required": "any"}


def _tool_choice(choice: Json) -> ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, str) and choice in _MODES:
        return ToolChoice(_MODES[choice])
    if not isinstance(choice, dict) or choice.get("type") != "function":
        raise refused("tool_choice", "`tool_choice` is of a kind that cannot be translated for this model's provider.")
    return ToolChoice("one", want(choice.get("name"), str, "tool_choice.name"))


def _output(wanted: dict[str, Json] | None) -> OutputFormat | None:
    kind = None if wanted is None else wanted.get("type")
    if wanted is None or kind == "text":
        return None
    if kind == "json_object":
        return OutputFormat()
    if kind != "json_schema":
        raise refused("text.format.type", "`text.format.type` is none that is known here.")
    return OutputFormat(
        schema=want(wanted.get("schema"), dict, "text.format.schema"),
        name=optional(wanted, "name", str, "text.format.") or "",
        strict=optional(wanted, "strict", bool, "text.format."),
    )


def _reasoning(wanted: dict[str, Json] | None) -> Reasoning | None:
    if not wanted:
        return None
    shown = wanted.get("summary") or wanted.get("generate_summary")
    return Reasoning(optional(wanted, "effort", str, "reasoning.") or "", shown=True if shown else None)


# Repeated: what the answer says of its request.

_SAID: Final[Mapping[str, Json]] = MappingProxyType(
    {
        "background": False,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": None,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": None,
        "truncation": "disabled",
        "user": None,
    }
)
"""What a response object repeats, and what it says where nothing was asked for."""


_decode_said = msgspec.json.Decoder(msgspec.defstruct("_Said", [(name, Any, None) for name in _SAID])).decode


def responses_echo(body: bytes | None) -> Mapping[str, Json]:
    """Return what the answers to this request repeat of it. Nothing is stored, whatever was wished."""
    said = {name: value for name, value in _said(body or b"{}").items() if value is not None}
    for name in ("reasoning", "text"):
        if isinstance(said.get(name), dict):
            said[name] = {**_SAID[name], **said[name]}
    return {**_SAID, **said, "store": False}


def _said(body: bytes) -> dict[str, Json]:
    """Return what is repeated, where it is said; the conversation, which may be long, is stepped over."""
    try:
        return msgspec.structs.asdict(_decode_said(body))
    except UNREADABLE:
        document = document_of(body)  # what msgspec refuses and others take (NaN, lone surrogates)
        return {name: document.get(name) for name in _SAID}


# Written: what a provider is asked for.

_MIN_TOKENS: Final = 16
"""The API answers 400 to a lower `max_output_tokens` ("Expected a value >= 16")."""


def write_responses_request(
    request: ChatRequest, model: str, *, origin: str, reasons: bool, shared_fields: frozenset[str]
) -> tuple[Json, tuple[str, ...]]:
    """Return the body and the names of what was left out. Raises BadBody: what the answer would be wrong without.

    `origin` is whose sealed thoughts the provider can read. `shared_fields` are those of OpenAI's own fields that it knows.
    `reasons` says of the model that it takes an effort: only such a one may be asked for its thoughts, sealed ("Encrypted
    content is not supported with this model" is what others answer).
    """
    refuse(request, _REFUSED)
    if request.stop:
        raise refused("stop", "Stop sequences cannot be had from this model's provider.")
    dropped = [*request.dropped, *lost(request, _LACKING), *lost_openai_fields(request, shared_fields)]
    shared = {name: value for name, value in request.openai.items() if name in shared_fields}
    instructions, turns = _split_instructions(request.messages)
    fields = {
        "instructions": instructions,
        "input": list(written_items(turns, origin)),
        "tools": [_written_tool(tool) for tool in request.tools] or None,
        "tool_choice": _written_choice(request.tool_choice) if request.tools else None,
        "parallel_tool_calls": request.parallel if request.tools else None,
        "max_output_tokens": _written_limit(request.max_tokens, dropped),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_logprobs": request.logprobs or None,
        "text": _written_text(request.output, shared.pop("verbosity", None)),
        "reasoning": _written_reasoning(request.reasoning, dropped, reasons=reasons),
        "user": None if request.user == shared.get("safety_identifier") else request.user,
        **{name: value for name, value in shared.items() if name in _SHARED},
        "stream": True if request.stream else None,
        "store": False,
        "include": [*([_ENCRYPTED] if reasons else ()), *([] if request.logprobs is None else [_LOGPROBS])] or None,
    }
    return {"model": model} | {name: value for name, value in fields.items() if value is not None}, tuple(dropped)


_LACKING: Final = ("top_k", "seed", "presence_penalty", "frequency_penalty", "is_error", "cache_control")
_REFUSED: Final = ("n", "input_audio")


def _written_limit(limit: int | None, dropped: list[str]) -> int | None:
    if limit is None or limit >= _MIN_TOKENS:
        return limit
    dropped.append("max_tokens")
    return _MIN_TOKENS


def _split_instructions(messages: tuple[Message, ...]) -> tuple[str | None, tuple[Message, ...]]:
    """Return what stands before the conversation, and the conversation."""
    first = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    texts = [part.text for message in messages[:first] for part in message.parts if isinstance(part, Text)]
    return "\n\n".join(texts) or None, messages[first:]


def _written_tool(tool: Tool) -> Json:
    """Return a tool. Here a function is strict unless it says otherwise; in no other format is it so."""
    written = {"type": "function", "name": tool.name, "description": tool.description or None}
    schema = tool.schema or {"type": "object", "properties": {}}
    given = {name: value for name, value in written.items() if value is not None}
    return {**given, "parameters": schema, "strict": tool.strict is True}


def _written_choice(choice: ToolChoice | None) -> Json:
    if choice is None:
        return None
    if choice.mode == "one":
        return {"type": "function", "name": choice.name}
    return "required" if choice.mode == "any" else choice.mode


def _written_text(output: OutputFormat | None, verbosity: Json) -> Json:
    written = {"format": None if output is None else _written_format(output), "verbosity": verbosity}
    return {name: value for name, value in written.items() if value is not None} or None


def _written_format(output: OutputFormat) -> Json:
    if output.schema is None:
        return {"type": "json_object"}
    form: dict[str, Json] = {"type": "json_schema", "name": output.name or "answer", "schema": output.schema}
    return form if output.strict is None else {**form, "strict": output.strict}


def _written_reasoning(reasoning: Reasoning | None, dropped: list[str], *, reasons: bool) -> Json:
    if reasoning is None:
        return None
    if not reasons:
        if reasoning.effort != "none":
            dropped.append("thinking")
        return None
    effort = reasoning.effort or (effort_of(reasoning.budget) if reasoning.budget else None)
    written = {"effort": effort, "summary": "auto" if reasoning.shown else None}
    return {name: value for name, value in written.items() if value} or None
