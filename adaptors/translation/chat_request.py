"""Requests of `/chat/completions`, read and written (https://platform.openai.com/docs/api-reference/chat/create)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from adaptors.bodies import BadBody
from adaptors.jsonbytes import Json
from adaptors.translation.carrier import unpacked
from adaptors.translation.chat_content import (
    MARK,
    read_annotations,
    read_parts,
    written_content,
    written_part,
    written_result,
)
from adaptors.translation.conversation import (
    ChatRequest,
    Document,
    Image,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    refused,
)
from adaptors.translation.effort import effort_of
from adaptors.translation.losses import lost, lost_openai_fields, with_last_marked, without_marks
from adaptors.translation.reading import document_of, objects, optional, want, words

SHARED_FIELDS: Final = frozenset(
    {
        *("metadata", "service_tier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("safety_identifier", "verbosity", "moderation", "store"),
    }
)
"""What this format and `/responses` say alike (openai-python, completion_create_params.py, response_create_params.py)."""

_READ: Final = SHARED_FIELDS | {
    *("model", "messages", "tools", "tool_choice", "parallel_tool_calls", "max_tokens", "max_completion_tokens"),
    *("temperature", "top_p", "top_k", "stop", "response_format", "reasoning_effort", "user", "stream"),
    *("stream_options", "n", "logprobs", "top_logprobs", "seed", "presence_penalty", "frequency_penalty", "modalities"),
    MARK,
}

_REFUSED: Final[dict[str, str]] = {
    "functions": "`functions` is the old form of `tools` and cannot be translated for this model; use `tools`.",
    "audio": "`audio` cannot be had from this model's provider.",
    "web_search_options": "`web_search_options` cannot be translated for this model's provider.",
}
"""Fields without which the answer would be a wrong one."""


# Read: what a client asks for.


def read_chat_request(body: bytes | None) -> ChatRequest:
    """Return what the client asks for. Raises BadBody: what is no such request, or cannot be said elsewhere."""
    document = document_of(body)
    for name, why in _REFUSED.items():
        if document.get(name):
            raise refused(name, why)
    if "audio" in words(document.get("modalities"), "modalities"):
        raise refused("modalities", "`modalities` other than text cannot be had from this model's provider.")
    limit = optional(document, "max_completion_tokens", int)
    return ChatRequest(
        model=want(document.get("model"), str, "model"),
        messages=_messages(document),
        tools=tuple(_tool(where, tool) for where, tool in objects(document.get("tools"), "tools")),
        tool_choice=_tool_choice(document.get("tool_choice")),
        parallel=optional(document, "parallel_tool_calls", bool),
        max_tokens=optional(document, "max_tokens", int) if limit is None else limit,
        temperature=optional(document, "temperature", float),
        top_p=optional(document, "top_p", float),
        top_k=optional(document, "top_k", int),
        stop=words(document.get("stop"), "stop"),
        seed=optional(document, "seed", int),
        presence_penalty=optional(document, "presence_penalty", float),
        frequency_penalty=optional(document, "frequency_penalty", float),
        candidates=optional(document, "n", int) or 1,
        logprobs=_logprobs(document),
        output=_output(optional(document, "response_format", dict)),
        reasoning=_reasoning(document),
        user=optional(document, "safety_identifier", str) or optional(document, "user", str),
        stream=document.get("stream") is True,
        openai={name: value for name, value in document.items() if name in SHARED_FIELDS and value not in _NOTHING},
        dropped=tuple(_unread(document)),
    )


def _unread(document: dict[str, Json]) -> Iterator[str]:
    """Yield what is passed over: fields of the request, and of its messages what other formats have no place for."""
    yield from (name for name, value in document.items() if value not in _NOTHING and not _is_read(name, value))
    spoken = [message for _, message in objects(document.get("messages"), "messages") if message.get("role") != "tool"]
    yield from (f"messages.{name}" for name in ("name", "audio") if any(message.get(name) for message in spoken))


def _is_read(name: str, value: Json) -> bool:
    return name in _READ or (name in {"reasoning", "thinking"} and isinstance(value, dict))


_NOTHING: Final[tuple[Json, ...]] = (None, [], {})


def _logprobs(document: dict[str, Json]) -> int | None:
    others = optional(document, "top_logprobs", int)
    if optional(document, "logprobs", bool):
        return others or 0
    if others:
        raise BadBody("`top_logprobs` wants `logprobs` to be true.", param="top_logprobs", code="invalid_value")
    return None


def _messages(document: dict[str, Json]) -> tuple[Message, ...]:
    """Return the turns; a mark on the whole request is one on the last part of all, as OpenRouter has it."""
    messages = tuple(_message(where, message) for where, message in objects(document.get("messages"), "messages"))
    mark = optional(document, MARK, dict)
    if mark is None or not messages:
        return messages
    return (*messages[:-1], Message(messages[-1].role, with_last_marked(messages[-1].parts, mark)))


def _message(where: str, message: dict[str, Json]) -> Message:
    role = message.get("role")
    if role in ("system", "developer"):
        return Message("system", read_parts(where, message))
    if role == "user":
        return Message("user", read_parts(where, message))
    if role == "assistant":
        return Message("assistant", tuple(_assistant_parts(where, message)))
    if role == "tool":
        return Message("user", (_result(where, message),))
    raise BadBody(f"`{where}.role` is none that is known here.", param=f"{where}.role", code="invalid_value")


def _result(where: str, message: dict[str, Json]) -> ToolResult:
    """Return what a tool gave; a mark on a part of it is one on all, as OpenRouter has it for Anthropic's models."""
    call_id, _ = unpacked(want(message.get("tool_call_id"), str, f"{where}.tool_call_id"))
    shown = [part for part in read_parts(where, message) if isinstance(part, Text | Image | Document | Refusal)]
    mark = next((part.cache for part in reversed(shown) if not isinstance(part, Refusal) and part.cache), None)
    parts = (Text(part.text) if isinstance(part, Text | Refusal) else part for part in shown)
    return ToolResult(call_id, tuple(parts), cache=mark)


def _assistant_parts(where: str, message: dict[str, Json]) -> Iterator[Part]:
    """Yield thoughts, words and calls. The thoughts before the first call come first of all, as they were had."""
    if message.get("function_call"):
        raise refused(f"{where}.function_call", f"`{where}.function_call` is the old form of `tool_calls`; use those.")
    calls = [(place, *_call(place, call)) for place, call in objects(message.get("tool_calls"), f"{where}.tool_calls")]
    if calls and calls[0][2]:
        yield from calls[0][2]
    elif text := message.get("reasoning_content"):
        yield Thinking(want(text, str, f"{where}.reasoning_content"))
    yield from _cited(read_parts(where, message), message.get("annotations"))
    if refusal := optional(message, "refusal", str, f"{where}."):
        yield Refusal(refusal)
    for at, (_, call, thoughts) in enumerate(calls):
        if at:
            yield from thoughts
        yield call


def _cited(parts: tuple[Part, ...], annotations: Json) -> Iterator[Part]:
    """Yield the parts, the first words of which have the citations: where there are any, there is one text."""
    citations = read_annotations(annotations)
    for part in parts:
        if citations and isinstance(part, Text):
            yield msgspec.structs.replace(part, citations=citations)
            citations = ()
        else:
            yield part


def _call(where: str, call: dict[str, Json]) -> tuple[ToolCall, tuple[Thinking, ...]]:
    function = call.get("function")
    if not isinstance(function, dict):
        raise refused(f"{where}.type", f"`{where}` is a tool call that is no function; it cannot be translated.")
    call_id, thoughts = unpacked(want(call.get("id"), str, f"{where}.id"))
    name = want(function.get("name"), str, f"{where}.function.name")
    arguments = optional(function, "arguments", str, f"{where}.function.") or ""
    return ToolCall(call_id, name, arguments), thoughts


def _tool(where: str, tool: dict[str, Json]) -> Tool:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise refused(f"{where}.type", f"`{where}` is a tool that is no function; it cannot be translated.")
    return Tool(
        name=want(function.get("name"), str, f"{where}.function.name"),
        description=optional(function, "description", str, f"{where}.function.") or "",
        schema=optional(function, "parameters", dict, f"{where}.function."),
        strict=optional(function, "strict", bool, f"{where}.function."),
        cache=optional(tool, MARK, dict, f"{where}.") or optional(function, MARK, dict, f"{where}.function."),
    )


_MODES: Final[dict[str, Any]] = {"auto": "auto", "none": "none", "required": "any"}


def _tool_choice(choice: Json) -> ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, str) and choice in _MODES:
        return ToolChoice(_MODES[choice])
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict):
        raise refused("tool_choice", "`tool_choice` is of a kind that cannot be translated for this model's provider.")
    return ToolChoice("one", want(function.get("name"), str, "tool_choice.function.name"))


def _output(wanted: dict[str, Json] | None) -> OutputFormat | None:
    if wanted is None or wanted.get("type") == "text":
        return None
    if wanted.get("type") == "json_object":
        return OutputFormat()
    if wanted.get("type") != "json_schema":
        raise refused("response_format.type", "`response_format.type` is none that is known here.")
    schema = want(wanted.get("json_schema"), dict, "response_format.json_schema")
    return OutputFormat(
        schema=want(schema.get("schema"), dict, "response_format.json_schema.schema"),
        name=optional(schema, "name", str, "response_format.json_schema.") or "",
        strict=optional(schema, "strict", bool, "response_format.json_schema."),
    )


def _reasoning(document: dict[str, Json]) -> Reasoning | None:
    """Return how much to think: in OpenAI's word, or as clients of other providers say it over this API.

    `reasoning`: https://openrouter.ai/docs/use-cases/reasoning-tokens. `thinking`: Anthropic, DeepSeek, Zhipu and others, as
    https://platform.claude.com/docs/en/api/openai-sdk has it.
    """
    effort = optional(document, "reasoning_effort", str)
    if effort is not None:
        return Reasoning(effort)
    said, thinking = document.get("reasoning"), document.get("thinking")
    if isinstance(said, dict):
        return _openrouters(said)
    if not isinstance(thinking, dict):
        return None
    if thinking.get("type") == "disabled":
        return Reasoning("none")
    return Reasoning(budget=optional(thinking, "budget_tokens", int, "thinking.") or 0)


def _openrouters(said: dict[str, Json]) -> Reasoning:
    if said.get("enabled") is False:
        return Reasoning("none")
    hidden = optional(said, "exclude", bool, "reasoning.")
    return Reasoning(
        effort=optional(said, "effort", str, "reasoning.") or "",
        budget=optional(said, "max_tokens", int, "reasoning.") or 0,
        shown=None if hidden is None else not hidden,
    )


# Written: what a provider is asked for.


class Options:
    """What a provider of this API wants said its own way."""

    __slots__ = ("limit_field", "replays_reasoning", "seed_field", "shared_fields", "takes_effort", "takes_marks")

    def __init__(
        self,
        *,
        limit_field: str,
        takes_effort: bool,
        replays_reasoning: bool,
        takes_marks: bool = False,
        shared_fields: frozenset[str] = frozenset(),
        seed_field: str = "seed",
    ) -> None:
        """Make the options. `takes_marks`: of what may be cached. `shared_fields`: those of OpenAI's that it knows."""
        self.limit_field = limit_field
        self.takes_effort = takes_effort
        self.replays_reasoning = replays_reasoning
        self.takes_marks = takes_marks
        self.shared_fields = shared_fields
        self.seed_field = seed_field


_LACKING: Final = ("top_k", "is_error", "citations")
_MAX_STOPS: Final = 4
_EFFORT_OF_WORD: Final = {"max": "high", "xhigh": "high"}


def write_chat_request(request: ChatRequest, model: str, options: Options) -> tuple[Json, tuple[str, ...]]:
    """Return the body and the names of what was left out. Raises BadBody: what the answer would be wrong without."""
    if len(request.stop) > _MAX_STOPS:
        raise refused("stop_sequences", f"More than {_MAX_STOPS} stop sequences cannot be had from this provider.")
    dropped = [*request.dropped, *lost(request, _LACKING if options.takes_marks else (*_LACKING, MARK))]
    request = request if options.takes_marks else without_marks(request)
    shared = _written_shared(request, options, dropped)
    body: dict[str, Json] = {"model": model, "messages": list(_written_messages(request, options))}
    fields = {
        "tools": [_written_tool(tool) for tool in request.tools] or None,
        "tool_choice": _written_choice(request.tool_choice) if request.tools else None,
        "parallel_tool_calls": request.parallel if request.tools else None,
        options.limit_field: request.max_tokens,
        **_written_sampling(request, options),
        "response_format": _written_output(request.output),
        "reasoning_effort": _written_effort(request.reasoning, options, dropped),
        "user": None if request.user == shared.get("safety_identifier") else request.user,
        **shared,
        "stream": True if request.stream else None,
        "stream_options": {"include_usage": True} if request.stream else None,
    }
    body.update({name: value for name, value in fields.items() if value is not None})
    return body, tuple(dropped)


def _written_sampling(request: ChatRequest, options: Options) -> dict[str, Json]:
    return {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
        options.seed_field: request.seed,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "n": request.candidates if request.candidates != 1 else None,
        "logprobs": None if request.logprobs is None else True,
        "top_logprobs": request.logprobs or None,
    }


def _written_shared(request: ChatRequest, options: Options, dropped: list[str]) -> dict[str, Json]:
    """Return OpenAI's own fields as far as the provider knows them."""
    dropped += lost_openai_fields(request, options.shared_fields)
    return {name: value for name, value in request.openai.items() if name in options.shared_fields}


def _written_messages(request: ChatRequest, options: Options) -> Iterator[Json]:
    for message in request.messages:
        if message.role == "assistant":
            yield written_assistant(message.parts, replays_reasoning=options.replays_reasoning)
        elif message.role == "system":
            yield {"role": "system", "content": written_content(_texts(message.parts), "\n\n")}
        else:
            yield from _written_user(message.parts)


def _texts(parts: tuple[Part, ...]) -> tuple[Text, ...]:
    return tuple(part for part in parts if isinstance(part, Text))


def _written_user(parts: tuple[Part, ...]) -> Iterator[Json]:
    """Yield results first, each a message of its own; pictures in them follow, since only a user can show any."""
    rest: list[Part] = []
    for part in parts:
        if isinstance(part, ToolResult):
            yield written_result(part)
            rest += [shown for shown in part.parts if not isinstance(shown, Text)]
    rest += [part for part in parts if not isinstance(part, ToolResult)]
    if len(rest) == 1 and isinstance(rest[0], Text):
        yield {"role": "user", "content": written_content((rest[0],), "")}
    elif rest:
        yield {"role": "user", "content": [written_part(part) for part in rest]}


def written_assistant(parts: tuple[Part, ...], *, replays_reasoning: bool) -> Json:
    """Return the assistant's message."""
    calls = [part for part in parts if isinstance(part, ToolCall)]
    message: dict[str, Json] = {"role": "assistant", "content": written_content(_texts(parts), "") or None}
    if refusal := "".join(part.text for part in parts if isinstance(part, Refusal)):
        message["refusal"] = refusal
    thoughts = "".join(part.text for part in parts if isinstance(part, Thinking))
    if thoughts and replays_reasoning:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = [written_call(call) for call in calls]
    elif message["content"] is None and not refusal:
        message["content"] = ""
    return message


def written_call(call: ToolCall) -> Json:
    """Return a tool call."""
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call.id, "type": "function", "function": function}


def _written_tool(tool: Tool) -> Json:
    function = {"name": tool.name, "description": tool.description or None, "parameters": tool.schema}
    function["strict"] = tool.strict
    said = {name: value for name, value in function.items() if value is not None}
    written = {"type": "function", "function": said}
    return written if tool.cache is None else {**written, MARK: tool.cache}


def _written_choice(choice: ToolChoice | None) -> Json:
    if choice is None:
        return None
    if choice.mode == "one":
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice.mode == "any" else choice.mode


def _written_output(output: OutputFormat | None) -> Json:
    if output is None:
        return None
    if output.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Json] = {"name": output.name or "answer", "schema": output.schema}
    if output.strict is not None:
        schema["strict"] = output.strict
    return {"type": "json_schema", "json_schema": schema}


def _written_effort(reasoning: Reasoning | None, options: Options, dropped: list[str]) -> str | None:
    if reasoning is None or not (reasoning.effort or reasoning.budget):
        return None
    if not options.takes_effort:
        if reasoning.effort != "none":
            dropped.append("thinking")
        return None
    if reasoning.effort:
        return _EFFORT_OF_WORD.get(reasoning.effort, reasoning.effort)
    return effort_of(reasoning.budget)
