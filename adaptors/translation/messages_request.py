"""Requests of Anthropic's `/messages`, read and written (https://docs.claude.com/en/api/messages)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from adaptors.bodies import BadBody
from adaptors.jsonbytes import Json, NotJSON, decoded, encoded
from adaptors.translation.carrier import sealed, unsealed
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
    ThinkingSigned,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    refused,
)
from adaptors.translation.reading import document_of, objects, optional, want, words

ORIGIN: Final = "anthropic_messages"

_READ: Final = frozenset(
    {
        *("model", "messages", "system", "tools", "tool_choice", "max_tokens", "temperature", "top_p", "top_k"),
        *("stop_sequences", "thinking", "output_config", "metadata", "stream"),
    }
)
_REFUSED: Final[dict[str, str]] = {
    "mcp_servers": "`mcp_servers` cannot be reached by this model's provider.",
    "container": "`container` belongs to another provider than this model's.",
}

_CACHE_CONTROL = re.compile(rb'"cache_control"\s*:')
"""It may stand on any block; inside a text its quotes would be escaped."""


# Read: what a client asks for.


def read_messages_request(body: bytes | None) -> ChatRequest:
    """Return what the client asks for. Raises BadBody: what is no such request, or cannot be said elsewhere."""
    document = document_of(body)
    for name, why in _REFUSED.items():
        if document.get(name):
            raise refused(name, why)
    system = tuple(_parts("system", document.get("system")))
    turns = tuple(_message(where, message) for where, message in objects(document.get("messages"), "messages"))
    choice = optional(document, "tool_choice", dict) or {}
    dropped = [name for name, value in document.items() if name not in _READ and value not in (None, [], {})]
    if _CACHE_CONTROL.search(body or b"") and "cache_control" not in dropped:
        dropped.append("cache_control")
    return ChatRequest(
        model=want(document.get("model"), str, "model"),
        messages=(Message("system", system), *turns) if system else turns,
        tools=tuple(_tool(where, tool) for where, tool in objects(document.get("tools"), "tools")),
        tool_choice=_tool_choice(choice),
        parallel=False if choice.get("disable_parallel_tool_use") is True else None,
        max_tokens=want(document.get("max_tokens"), int, "max_tokens"),
        temperature=optional(document, "temperature", float),
        top_p=optional(document, "top_p", float),
        top_k=optional(document, "top_k", int),
        stop=words(document.get("stop_sequences"), "stop_sequences"),
        output=_output(optional(document, "output_config", dict)),
        reasoning=_reasoning(optional(document, "thinking", dict), optional(document, "output_config", dict)),
        user=optional(optional(document, "metadata", dict) or {}, "user_id", str, "metadata."),
        stream=document.get("stream") is True,
        dropped=tuple(dropped),
    )


def _message(where: str, message: dict[str, Json]) -> Message:
    role: Any = message.get("role")
    if role not in {"user", "assistant", "system"}:
        raise BadBody(f"`{where}.role` is none that is known here.", param=f"{where}.role", code="invalid_value")
    return Message(role, tuple(_parts(f"{where}.content", message.get("content"))))


def _parts(where: str, content: Json) -> Iterator[Part]:
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for place, block in objects(content, where):
        yield _part(place, block)


def _part(where: str, block: dict[str, Json]) -> Part:
    match block.get("type"):
        case "text":
            return Text(want(block.get("text"), str, f"{where}.text"))
        case "image":
            return _image(where, want(block.get("source"), dict, f"{where}.source"))
        case "document":
            return _document(where, block, want(block.get("source"), dict, f"{where}.source"))
        case "thinking":
            text = want(block.get("thinking"), str, f"{where}.thinking")
            return _thought(text, optional(block, "signature", str, f"{where}.") or "")
        case "redacted_thinking":
            return Thinking(hidden=want(block.get("data"), str, f"{where}.data"), origin=ORIGIN)
        case "tool_use":
            arguments = encoded(want(block.get("input"), dict, f"{where}.input")).decode()
            call_id, name = want(block.get("id"), str, f"{where}.id"), want(block.get("name"), str, f"{where}.name")
            return ToolCall(call_id, name, arguments)
        case "tool_result":
            return _result(where, block)
        case _:
            raise refused(
                f"{where}.type", f"`{where}` is of a type that cannot be translated for this model's provider."
            )


def _thought(text: str, signature: str) -> Thinking:
    """Return a thought: Anthropic's own, or another provider's whose signature it was given to keep."""
    kept = unsealed(signature)
    if kept is None:
        return Thinking(text, signature, origin=ORIGIN)
    return Thinking(text, kept[0].signature, kept[0].hidden, kept[0].origin) if kept else Thinking(text)


def _image(where: str, source: dict[str, Json]) -> Image:
    if source.get("type") == "url":
        return Image(url=want(source.get("url"), str, f"{where}.source.url"))
    return Image(*_base64(where, source))


def _base64(where: str, source: dict[str, Json]) -> tuple[str, str]:
    if source.get("type") != "base64":
        raise refused(
            f"{where}.source.type", f"`{where}.source` is stored and cannot be had by another provider; send its data."
        )
    media_type = want(source.get("media_type"), str, f"{where}.source.media_type")
    return media_type, want(source.get("data"), str, f"{where}.source.data")


def _document(where: str, block: dict[str, Json], source: dict[str, Json]) -> Text | Document:
    title = optional(block, "title", str, f"{where}.") or ""
    if source.get("type") == "text":
        return Text(want(source.get("data"), str, f"{where}.source.data"))
    if source.get("type") == "url":
        return Document(url=want(source.get("url"), str, f"{where}.source.url"), title=title)
    media_type, data = _base64(where, source)
    return Document(media_type, data, title=title)


def _result(where: str, block: dict[str, Json]) -> ToolResult:
    parts = tuple(_parts(f"{where}.content", block.get("content")))
    shown = tuple(part for part in parts if isinstance(part, Text | Image | Document))
    if len(shown) != len(parts):
        raise refused(f"{where}.content", f"`{where}.content` holds what cannot be translated for this provider.")
    return ToolResult(want(block.get("tool_use_id"), str, f"{where}.tool_use_id"), shown, block.get("is_error") is True)


def _tool(where: str, tool: dict[str, Json]) -> Tool:
    if tool.get("type") not in {None, "custom"}:
        raise refused(
            f"{where}.type", f"`{where}` is a tool of Anthropic's own; this model's provider has none like it."
        )
    return Tool(
        name=want(tool.get("name"), str, f"{where}.name"),
        description=optional(tool, "description", str, f"{where}.") or "",
        schema=want(tool.get("input_schema"), dict, f"{where}.input_schema"),
        strict=optional(tool, "strict", bool, f"{where}."),
    )


def _tool_choice(choice: dict[str, Json]) -> ToolChoice | None:
    mode: Any = choice.get("type")
    if mode is None:
        return None
    if mode == "tool":
        return ToolChoice("one", want(choice.get("name"), str, "tool_choice.name"))
    if mode not in {"auto", "any", "none"}:
        raise BadBody("`tool_choice.type` is none that is known here.", param="tool_choice.type", code="invalid_value")
    return ToolChoice(mode)


def _output(config: dict[str, Json] | None) -> OutputFormat | None:
    wanted = optional(config or {}, "format", dict, "output_config.")
    return None if wanted is None else OutputFormat(want(wanted.get("schema"), dict, "output_config.format.schema"))


def _reasoning(thinking: dict[str, Json] | None, config: dict[str, Json] | None) -> Reasoning | None:
    effort = optional(config or {}, "effort", str, "output_config.") or ""
    kind = (thinking or {}).get("type")
    if kind == "disabled":
        return Reasoning("none")
    if thinking is None and not effort:
        return None
    return Reasoning(effort, optional(thinking or {}, "budget_tokens", int, "thinking.") or 0)


# Written: what the provider is asked for.

_DEFAULT_LIMITS: Final = (
    (re.compile(r"claude-3-(?:opus|sonnet|haiku)"), 4096),
    (re.compile(r"claude-3-5"), 8192),
)
_DEFAULT_LIMIT: Final = 32_000
"""`max_tokens` must be said. Each model since Claude 3.7 takes so much, the smallest of their limits
(https://docs.claude.com/en/docs/about-claude/models/overview)."""

# Models that take a budget of tokens; those after them decide for themselves, and take an effort
# (https://docs.claude.com/en/docs/build-with-claude/adaptive-thinking).
_BUDGETED = re.compile(r"claude-(?:3-7|(?:opus|sonnet|haiku)-4(?:$|-[0-5](?!\d)|-\d{8}))")
_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 24_576, "xhigh": 32_768, "max": 32_768}
_EFFORTS: Final = {"minimal": "low", "xhigh": "max"}
_MIN_BUDGET: Final = 1024


def write_messages_request(request: ChatRequest, model: str) -> tuple[Json, tuple[str, ...]]:
    """Return the body and the names of what was left out."""
    dropped = list(request.dropped)
    stops = [stop for stop in request.stop if stop.strip()]  # the API refuses what is only white space
    if len(stops) < len(request.stop):
        dropped.append("stop")
    limit = request.max_tokens or default_limit(model)
    system = [
        part.text
        for message in request.messages
        if message.role == "system"
        for part in message.parts
        if isinstance(part, Text)
    ]
    fields = {
        "max_tokens": limit,
        "system": "\n\n".join(system) or None,
        "messages": written_turns(request.messages),
        "tools": [_written_tool(tool) for tool in request.tools] or None,
        "tool_choice": _written_choice(request) if request.tools else None,
        "stop_sequences": stops or None,
        "metadata": {"user_id": request.user} if request.user else None,
        "stream": True if request.stream else None,
    }
    thinking, config = _written_thinking(request, model, limit, dropped)
    if request.output is not None:
        if request.output.schema is None:
            dropped.append("response_format")  # the prompt must ask for JSON in words: OpenAI's API insists on it
        else:
            config["format"] = {"type": "json_schema", "schema": request.output.schema}
    fields |= {"thinking": thinking, "output_config": config or None}
    fields |= _written_sampling(request, dropped, thinks=thinking is not None)
    return {"model": model} | {name: value for name, value in fields.items() if value is not None}, tuple(dropped)


def default_limit(model: str) -> int:
    """Return the `max_tokens` for a request that names none."""
    return next((limit for pattern, limit in _DEFAULT_LIMITS if pattern.search(model)), _DEFAULT_LIMIT)


def _written_sampling(request: ChatRequest, dropped: list[str], *, thinks: bool) -> dict[str, Json]:
    """Return temperature and its kin: from 0 to 1 here, and not at all where the model thinks."""
    said = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
    if thinks:
        dropped += [name for name, value in said.items() if value is not None]
        return {}
    if request.temperature is not None and request.temperature > 1:
        dropped.append("temperature")
        said["temperature"] = 1.0
    return said


def _written_thinking(request: ChatRequest, model: str, limit: int, dropped: list[str]) -> tuple[Json, dict[str, Json]]:
    """Return `thinking` and what `output_config` says of it.

    A forced tool excludes thinking, and so does a call of a tool whose thought has been lost: the API answers 400.
    """
    reasoning = request.reasoning
    if reasoning is None or reasoning.effort == "none":
        return None, {}
    forced = request.tool_choice is not None and request.tool_choice.mode in {"any", "one"}
    budget = min(reasoning.budget or _BUDGETS.get(reasoning.effort, _BUDGETS["medium"]), limit - 1)
    if forced or budget < _MIN_BUDGET or _thought_is_lost(request.messages):
        dropped.append("reasoning_effort")
        return None, {}
    if _BUDGETED.search(model):
        return {"type": "enabled", "budget_tokens": budget}, {}
    effort = _EFFORTS.get(reasoning.effort, reasoning.effort)
    return {"type": "adaptive"}, {"effort": effort} if effort else {}


def _thought_is_lost(messages: tuple[Message, ...]) -> bool:
    """Whether the last turn of the model calls a tool and comes back without a signed thought."""
    last = next((message for message in reversed(messages) if message.role == "assistant"), None)
    if last is None or not any(isinstance(part, ToolCall) for part in last.parts):
        return False
    return not any(isinstance(part, Thinking) and _is_ours(part) for part in last.parts)


def _is_ours(thought: Thinking) -> bool:
    return thought.origin == ORIGIN and bool(thought.signature or thought.hidden)


def written_turns(messages: tuple[Message, ...]) -> list[Json]:
    """Return the turns: consecutive ones of one role are one, and results come first in theirs."""
    turns: list[dict[str, Json]] = []
    for message in messages:
        if message.role == "system":
            continue
        blocks = [block for part in message.parts if (block := written_block(part)) is not None]
        if turns and turns[-1]["role"] == message.role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": message.role, "content": blocks})
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")  # stable
    if turns and turns[-1]["role"] == "assistant":
        _trim_last(turns[-1]["content"])
    return turns


def _trim_last(blocks: list[Json]) -> None:
    """Take white space off the end of a turn that the model is to continue: the API refuses it there."""
    if blocks and blocks[-1]["type"] == "text":
        blocks[-1]["text"] = blocks[-1]["text"].rstrip()
        if not blocks[-1]["text"]:
            blocks.pop()


def written_block(part: Part) -> Json:
    """Return a content block, or None for what the API would refuse: empty text, a thought that it did not sign."""
    match part:
        case Text(text) | Refusal(text):
            return {"type": "text", "text": text} if text.strip() else None
        case Image(media_type=media_type, data=data, url=url):
            return {"type": "image", "source": _source(media_type, data, url)}
        case Document(media_type=media_type, data=data, url=url, title=title):
            block = {"type": "document", "source": _source(media_type, data, url)}
            return {**block, "title": title} if title else block
        case Thinking():
            return written_thought(part) if _is_ours(part) else None
        case ToolCall(call_id, name, arguments):
            return {"type": "tool_use", "id": call_id, "name": name, "input": parsed_arguments(arguments)}
        case ToolResult(id=call_id, parts=parts, is_error=is_error):
            content = [block for shown in parts if (block := written_block(shown)) is not None]
            result: dict[str, Json] = {"type": "tool_result", "tool_use_id": call_id, "content": content}
            return {**result, "is_error": True} if is_error else result


def _source(media_type: str, data: str, url: str) -> Json:
    return {"type": "url", "url": url} if url else {"type": "base64", "media_type": media_type, "data": data}


def written_thought(thought: Thinking) -> Json:
    """Return a thought as a block."""
    if thought.hidden and thought.origin == ORIGIN:
        return {"type": "redacted_thinking", "data": thought.hidden}
    return {"type": "thinking", "thinking": thought.text, "signature": written_signature(thought)}


def written_signature(thought: Thinking | ThinkingSigned) -> str:
    """Return what stands as the signature: Anthropic's own, or another provider's for its client to keep."""
    if thought.origin == ORIGIN or not (thought.signature or thought.hidden):
        return thought.signature
    return sealed([Thinking("", thought.signature, thought.hidden, thought.origin)])


def parsed_arguments(arguments: str) -> dict[str, Json]:
    """Return the arguments as an object; what a model wrote may be no JSON, and must still come through."""
    try:
        value = decoded(arguments.encode("utf-8", "replace")) if arguments.strip() else {}
    except NotJSON:
        return {"_raw": arguments}
    return value if isinstance(value, dict) else {"_raw": arguments}


def _written_tool(tool: Tool) -> Json:
    written = {"name": tool.name, "description": tool.description or None, "strict": tool.strict or None}
    schema = tool.schema or {"type": "object", "properties": {}}
    return {name: value for name, value in written.items() if value is not None} | {"input_schema": schema}


_MODES: Final = {"auto": "auto", "none": "none", "any": "any", "one": "tool"}


def _written_choice(request: ChatRequest) -> Json:
    choice = request.tool_choice
    if choice is None and request.parallel is not False:
        return None
    written: dict[str, Json] = {"type": "auto" if choice is None else _MODES[choice.mode]}
    if choice is not None and choice.mode == "one":
        written["name"] = choice.name
    if request.parallel is False and written["type"] != "none":
        written["disable_parallel_tool_use"] = True
    return written
