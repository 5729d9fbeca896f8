"""Requests of `/chat/completions`, read and written (https://platform.openai.com/docs/api-reference/chat/create)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from adaptors.bodies import BadBody
from adaptors.jsonbytes import Json, encoded
from adaptors.translation.carrier import unpacked
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
from adaptors.translation.reading import document_of, objects, optional, want, words

_READ: Final = frozenset(
    {
        *("model", "messages", "tools", "tool_choice", "parallel_tool_calls", "max_tokens", "max_completion_tokens"),
        *("temperature", "top_p", "top_k", "stop", "response_format", "reasoning_effort", "user", "safety_identifier"),
        *("stream", "stream_options", "n", "logprobs", "modalities", "store"),
    }
)
"""Fields that are understood here, or mean nothing beyond this API: without `store` the answer is the same."""

_REFUSED: Final[dict[str, str]] = {
    "functions": "`functions` is the old form of `tools` and cannot be translated for this model; use `tools`.",
    "logprobs": "`logprobs` cannot be had from this model's provider.",
    "top_logprobs": "`top_logprobs` cannot be had from this model's provider.",
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
    if (optional(document, "n", int) or 1) != 1:
        raise refused("n", "`n` other than 1 cannot be had from this model's provider.")
    if "audio" in words(document.get("modalities"), "modalities"):
        raise refused("modalities", "`modalities` other than text cannot be had from this model's provider.")
    limit = optional(document, "max_completion_tokens", int)
    return ChatRequest(
        model=want(document.get("model"), str, "model"),
        messages=tuple(_message(where, message) for where, message in objects(document.get("messages"), "messages")),
        tools=tuple(_tool(where, tool) for where, tool in objects(document.get("tools"), "tools")),
        tool_choice=_tool_choice(document.get("tool_choice")),
        parallel=optional(document, "parallel_tool_calls", bool),
        max_tokens=optional(document, "max_tokens", int) if limit is None else limit,
        temperature=optional(document, "temperature", float),
        top_p=optional(document, "top_p", float),
        top_k=optional(document, "top_k", int),
        stop=words(document.get("stop"), "stop"),
        output=_output(optional(document, "response_format", dict)),
        reasoning=_reasoning(optional(document, "reasoning_effort", str)),
        user=optional(document, "safety_identifier", str) or optional(document, "user", str),
        stream=document.get("stream") is True,
        dropped=tuple(name for name, value in document.items() if name not in _READ and value not in (None, [], {})),
    )


def _message(where: str, message: dict[str, Json]) -> Message:
    role, content = message.get("role"), message.get("content")
    if role in {"system", "developer"}:
        return Message("system", tuple(_parts(f"{where}.content", content)))
    if role == "user":
        return Message("user", tuple(_parts(f"{where}.content", content)))
    if role == "assistant":
        return Message("assistant", tuple(_assistant_parts(where, message)))
    if role == "tool":
        call_id, _ = unpacked(want(message.get("tool_call_id"), str, f"{where}.tool_call_id"))
        parts = tuple(_parts(f"{where}.content", content))
        shown = tuple(Text(part.text) if isinstance(part, Refusal) else part for part in parts)
        return Message("user", (ToolResult(call_id, shown),))
    raise BadBody(f"`{where}.role` is none that is known here.", param=f"{where}.role", code="invalid_value")


def _assistant_parts(where: str, message: dict[str, Json]) -> Iterator[Part]:
    """Yield thoughts, words and calls. The thoughts before the first call come first of all, as they were had."""
    calls = [(place, *_call(place, call)) for place, call in objects(message.get("tool_calls"), f"{where}.tool_calls")]
    if calls and calls[0][2]:
        yield from calls[0][2]
    elif text := message.get("reasoning_content"):
        yield Thinking(want(text, str, f"{where}.reasoning_content"))
    yield from _parts(f"{where}.content", message.get("content"))
    if refusal := optional(message, "refusal", str, f"{where}."):
        yield Refusal(refusal)
    for at, (_, call, thoughts) in enumerate(calls):
        if at:
            yield from thoughts
        yield call


def _call(where: str, call: dict[str, Json]) -> tuple[ToolCall, tuple[Thinking, ...]]:
    function = call.get("function")
    if not isinstance(function, dict):
        raise refused(f"{where}.type", f"`{where}` is a tool call that is no function; it cannot be translated.")
    call_id, thoughts = unpacked(want(call.get("id"), str, f"{where}.id"))
    name = want(function.get("name"), str, f"{where}.function.name")
    arguments = optional(function, "arguments", str, f"{where}.function.") or ""
    return ToolCall(call_id, name, arguments), thoughts


def _parts(where: str, content: Json) -> Iterator[Text | Refusal | Image | Document]:
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for place, part in objects(content, where):
        yield _part(place, part)


def _part(where: str, part: dict[str, Json]) -> Text | Refusal | Image | Document:
    kind = part.get("type")
    if kind == "text":
        return Text(want(part.get("text"), str, f"{where}.text"))
    if kind == "refusal":
        return Refusal(want(part.get("refusal"), str, f"{where}.refusal"))
    if kind == "image_url":
        image = want(part.get("image_url"), dict, f"{where}.image_url")
        return _image(want(image.get("url"), str, f"{where}.image_url.url"))
    if kind == "file":
        return _file(where, want(part.get("file"), dict, f"{where}.file"))
    raise refused(f"{where}.type", f"`{where}` is of a type that cannot be translated for this model's provider.")


_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w-]+=[^;,]*)*;base64,", re.IGNORECASE)


def _image(url: str) -> Image:
    data = _DATA_URL.match(url)
    return Image(url=url) if data is None else Image(data[1] or "image/png", url[data.end() :])


def _file(where: str, file: dict[str, Json]) -> Document:
    content = optional(file, "file_data", str, f"{where}.file.")
    if content is None:
        raise refused(
            f"{where}.file.file_id",
            f"`{where}.file` is stored and cannot be had by another provider; send `file_data`.",
        )
    data = _DATA_URL.match(content)
    title = optional(file, "filename", str, f"{where}.file.") or ""
    if data is None:
        return Document("application/pdf", content, title=title)
    return Document(data[1] or "application/pdf", content[data.end() :], title=title)


def _tool(where: str, tool: dict[str, Json]) -> Tool:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise refused(f"{where}.type", f"`{where}` is a tool that is no function; it cannot be translated.")
    return Tool(
        name=want(function.get("name"), str, f"{where}.function.name"),
        description=optional(function, "description", str, f"{where}.function.") or "",
        schema=optional(function, "parameters", dict, f"{where}.function."),
        strict=optional(function, "strict", bool, f"{where}.function."),
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


def _reasoning(effort: str | None) -> Reasoning | None:
    return None if effort is None else Reasoning(effort)


# Written: what a provider is asked for.


class Options:
    """What a provider of this API wants said its own way."""

    __slots__ = ("limit_field", "replays_reasoning", "takes_effort")

    def __init__(self, *, limit_field: str, takes_effort: bool, replays_reasoning: bool) -> None:
        self.limit_field = limit_field
        self.takes_effort = takes_effort
        self.replays_reasoning = replays_reasoning


_MAX_STOPS: Final = 4
_EFFORT_OF_WORD: Final = {"max": "high", "xhigh": "high"}
_LOW_BUDGET, _MEDIUM_BUDGET = 4096, 16_384


def write_chat_request(request: ChatRequest, model: str, options: Options) -> tuple[Json, tuple[str, ...]]:
    """Return the body and the names of what was left out. Raises BadBody: what the answer would be wrong without."""
    dropped = list(request.dropped)
    if len(request.stop) > _MAX_STOPS:
        raise refused("stop_sequences", f"More than {_MAX_STOPS} stop sequences cannot be had from this provider.")
    body: dict[str, Json] = {"model": model, "messages": list(_written_messages(request, options))}
    fields = {
        "tools": [_written_tool(tool) for tool in request.tools] or None,
        "tool_choice": _written_choice(request.tool_choice) if request.tools else None,
        "parallel_tool_calls": request.parallel if request.tools else None,
        options.limit_field: request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
        "response_format": _written_output(request.output),
        "reasoning_effort": _written_effort(request.reasoning, options, dropped),
        "user": request.user,
        "stream": True if request.stream else None,
        "stream_options": {"include_usage": True} if request.stream else None,
    }
    if request.top_k is not None:
        dropped.append("top_k")
    body.update({name: value for name, value in fields.items() if value is not None})
    return body, tuple(dropped)


def _written_messages(request: ChatRequest, options: Options) -> Iterator[Json]:
    for message in request.messages:
        if message.role == "assistant":
            yield written_assistant(message.parts, replays_reasoning=options.replays_reasoning)
        elif message.role == "system":
            yield {"role": "system", "content": "\n\n".join(_texts(message.parts))}
        else:
            yield from _written_user(message.parts)


def _texts(parts: tuple[Part, ...]) -> list[str]:
    return [part.text for part in parts if isinstance(part, Text)]


def _written_user(parts: tuple[Part, ...]) -> Iterator[Json]:
    """Yield results first, each a message of its own; pictures in them follow, since only a user can show any."""
    rest: list[Part] = []
    for part in parts:
        if isinstance(part, ToolResult):
            yield {"role": "tool", "tool_call_id": part.id, "content": "\n".join(_texts(part.parts))}
            rest += [shown for shown in part.parts if not isinstance(shown, Text)]
    rest += [part for part in parts if not isinstance(part, ToolResult)]
    if len(rest) == 1 and isinstance(rest[0], Text):
        yield {"role": "user", "content": rest[0].text}
    elif rest:
        yield {"role": "user", "content": [_written_part(part) for part in rest]}


def _written_part(part: Part) -> Json:
    match part:
        case Text(text) | Refusal(text):
            return {"type": "text", "text": text}
        case Image(media_type=media_type, data=data, url=url):
            return {"type": "image_url", "image_url": {"url": url or f"data:{media_type};base64,{data}"}}
        case Document(media_type=media_type, data=data, url=url, title=title) if not url:
            file = {"filename": title or "document.pdf", "file_data": f"data:{media_type};base64,{data}"}
            return {"type": "file", "file": file}
        case _:
            raise refused("messages", "A document at an address cannot be had by this model's provider; send its data.")


def written_assistant(parts: tuple[Part, ...], *, replays_reasoning: bool) -> Json:
    """Return the assistant's message."""
    calls = [part for part in parts if isinstance(part, ToolCall)]
    message: dict[str, Json] = {"role": "assistant", "content": "".join(_texts(parts)) or None}
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
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


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
    if reasoning is None or reasoning == Reasoning():
        return None
    if not options.takes_effort:
        if reasoning.effort != "none":
            dropped.append("thinking")
        return None
    if reasoning.effort:
        return _EFFORT_OF_WORD.get(reasoning.effort, reasoning.effort)
    return "low" if reasoning.budget < _LOW_BUDGET else "medium" if reasoning.budget < _MEDIUM_BUDGET else "high"


def chat_body(request: ChatRequest, model: str, options: Options) -> tuple[bytes, tuple[str, ...]]:
    """Return the same as bytes."""
    body, dropped = write_chat_request(request, model, options)
    return encoded(body), dropped
