"""Requests of Anthropic's `/messages`, read and written (https://platform.claude.com/docs/en/api/messages)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from adaptors.bodies import BadBody
from adaptors.jsonbytes import Json, NotJSON, decoded
from adaptors.translation.carrier import sealed
from adaptors.translation.chat_content import text_of
from adaptors.translation.claude_models import Claude, Off, Sampling, claude
from adaptors.translation.claude_models import Thinking as Thinks
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
from adaptors.translation.effort import budget_of, effort_of
from adaptors.translation.losses import lost, lost_openai_fields, refuse, with_last_marked
from adaptors.translation.messages_content import MARK, ORIGIN, BlockReader
from adaptors.translation.reading import document_of, objects, optional, want, words

_READ: Final = frozenset(
    {
        *("model", "messages", "system", "tools", "tool_choice", "max_tokens", "temperature", "top_p", "top_k"),
        *("stop_sequences", "thinking", "output_config", "output_format", "metadata", "service_tier", "stream"),
        MARK,
    }
)
_REFUSED: Final[dict[str, str]] = {
    "mcp_servers": "`mcp_servers` cannot be reached by this model's provider.",
    "container": "`container` belongs to another provider than this model's.",
}

# How the two say whether a better paid, quicker way is to be used where there is one
# (https://platform.claude.com/docs/en/api/service-tiers, openai-python's completion_create_params.py).
_OPENAI_TIERS: Final = {"auto": "auto", "standard_only": "default"}
_TIERS: Final = {"auto": "auto", "default": "standard_only"}


# Read: what a client asks for.


def read_messages_request(body: bytes | None) -> ChatRequest:
    """Return what the client asks for. Raises BadBody: what is no such request, or cannot be said elsewhere."""
    document = document_of(body)
    for name, why in _REFUSED.items():
        if document.get(name):
            raise refused(name, why)
    blocks = BlockReader()
    messages = _messages(document, blocks)
    choice = optional(document, "tool_choice", dict) or {}
    dropped = [name for name, value in document.items() if name not in _READ and value not in _NOTHING]
    tier = _OPENAI_TIERS.get(optional(document, "service_tier", str) or "")
    return ChatRequest(
        model=want(document.get("model"), str, "model"),
        messages=messages,
        tools=tuple(_tool(where, tool) for where, tool in objects(document.get("tools"), "tools")),
        tool_choice=_tool_choice(choice),
        parallel=False if choice.get("disable_parallel_tool_use") is True else None,
        max_tokens=want(document.get("max_tokens"), int, "max_tokens"),
        temperature=optional(document, "temperature", float),
        top_p=optional(document, "top_p", float),
        top_k=optional(document, "top_k", int),
        stop=words(document.get("stop_sequences"), "stop_sequences"),
        output=_output(document),
        reasoning=_reasoning(optional(document, "thinking", dict), optional(document, "output_config", dict)),
        user=optional(optional(document, "metadata", dict) or {}, "user_id", str, "metadata."),
        stream=document.get("stream") is True,
        openai={"service_tier": tier} if tier else {},
        dropped=(*dropped, *_unread_of_tools(document), *blocks.dropped),
    )


_NOTHING: Final[tuple[Json, ...]] = (None, [], {})
_TOOL: Final = frozenset({"name", "description", "input_schema", "strict", "type", MARK})


def _unread_of_tools(document: dict[str, Json]) -> list[str]:
    """Return what is passed over of tools: examples of their use, ways of loading and streaming them."""
    tools = objects(document.get("tools"), "tools")
    names = (name for _, tool in tools for name, value in tool.items() if name not in _TOOL and value not in _NOTHING)
    return list(dict.fromkeys(f"tools.{name}" for name in names))


def _messages(document: dict[str, Json], blocks: BlockReader) -> tuple[Message, ...]:
    """Return the turns, the system's first; a mark on the whole request is one on its last block."""
    system = tuple(blocks.parts("system", document.get("system")))
    turns = [_message(where, message, blocks) for where, message in objects(document.get("messages"), "messages")]
    mark = optional(document, MARK, dict)
    if mark is not None and turns:
        turns[-1] = Message(turns[-1].role, with_last_marked(turns[-1].parts, mark))
    return (Message("system", system), *turns) if system else tuple(turns)


def _message(where: str, message: dict[str, Json], blocks: BlockReader) -> Message:
    role: Any = message.get("role")
    if role not in ("user", "assistant", "system"):
        raise BadBody(f"`{where}.role` is none that is known here.", param=f"{where}.role", code="invalid_value")
    return Message(role, tuple(blocks.parts(f"{where}.content", message.get("content"), role=role)))


def _tool(where: str, tool: dict[str, Json]) -> Tool:
    if tool.get("type") not in (None, "custom"):
        raise refused(
            f"{where}.type", f"`{where}` is a tool of Anthropic's own; this model's provider has none like it."
        )
    return Tool(
        name=want(tool.get("name"), str, f"{where}.name"),
        description=optional(tool, "description", str, f"{where}.") or "",
        schema=want(tool.get("input_schema"), dict, f"{where}.input_schema"),
        strict=optional(tool, "strict", bool, f"{where}."),
        cache=optional(tool, MARK, dict, f"{where}."),
    )


def _tool_choice(choice: dict[str, Json]) -> ToolChoice | None:
    mode: Any = choice.get("type")
    if mode is None:
        return None
    if mode == "tool":
        return ToolChoice("one", want(choice.get("name"), str, "tool_choice.name"))
    if mode not in ("auto", "any", "none"):
        raise BadBody("`tool_choice.type` is none that is known here.", param="tool_choice.type", code="invalid_value")
    return ToolChoice(mode)


def _output(document: dict[str, Json]) -> OutputFormat | None:
    """Return the schema; while it was new it stood in `output_format`."""
    wanted = optional(optional(document, "output_config", dict) or {}, "format", dict, "output_config.")
    wanted = wanted or optional(document, "output_format", dict)
    return None if wanted is None else OutputFormat(want(wanted.get("schema"), dict, "output_config.format.schema"))


_SHOWN: Final = {"summarized": True, "omitted": False}


def _reasoning(thinking: dict[str, Json] | None, config: dict[str, Json] | None) -> Reasoning | None:
    effort = optional(config or {}, "effort", str, "output_config.") or ""
    if thinking is None:
        return Reasoning(effort) if effort else None
    if thinking.get("type") in ("disabled", "between_tools"):
        return Reasoning("none")
    shown = _SHOWN.get(optional(thinking, "display", str, "thinking.") or "")
    return Reasoning(effort, optional(thinking, "budget_tokens", int, "thinking.") or 0, shown)


# Written: what the provider is asked for.

_LACKING: Final = ("seed", "presence_penalty", "frequency_penalty", "citations")
_LACKING_AND_NEEDED: Final = ("n", "logprobs", "input_audio")
_MIN_BUDGET: Final = 1024


def write_messages_request(request: ChatRequest, model: str) -> tuple[Json, tuple[str, ...]]:
    """Return the body and the names of what was left out. Raises BadBody: what the answer would be wrong without."""
    refuse(request, _LACKING_AND_NEEDED)
    taken = claude(model)
    dropped = [*request.dropped, *lost(request, _LACKING), *lost_openai_fields(request, {"service_tier"})]
    limit = taken.limit if request.max_tokens is None else request.max_tokens
    thinking, config = _written_thinking(request, taken, limit, dropped)
    fields = {
        "max_tokens": limit,
        "system": _written_system(request.messages),
        "messages": written_turns(request.messages),
        "tools": [_written_tool(tool) for tool in request.tools] or None,
        "tool_choice": _written_choice(request) if request.tools else None,
        "stop_sequences": _written_stops(request, dropped),
        "metadata": {"user_id": request.user} if request.user else None,
        "service_tier": _written_tier(request, dropped),
        "stream": True if request.stream else None,
        "thinking": thinking,
        "output_config": config | _written_output(request.output, dropped) or None,
        **_written_sampling(request, taken, dropped, thinks=thinking is not None and thinking["type"] in _THINKS),
    }
    return {"model": model} | {name: value for name, value in fields.items() if value is not None}, tuple(dropped)


def _written_system(messages: tuple[Message, ...]) -> Json:
    """Return the system's words from wherever they stand: as one text, or as blocks where one of them is marked."""
    texts = [
        part for message in messages if message.role == "system" for part in message.parts if isinstance(part, Text)
    ]
    if any(text.cache is not None for text in texts):
        return [block for text in texts if (block := written_block(text)) is not None]
    return "\n\n".join(text.text for text in texts) or None


def _written_stops(request: ChatRequest, dropped: list[str]) -> list[str] | None:
    stops = [stop for stop in request.stop if stop.strip()]  # the API refuses what is only white space
    if len(stops) < len(request.stop):
        dropped.append("stop")
    return stops or None


def _written_tier(request: ChatRequest, dropped: list[str]) -> str | None:
    said = request.openai.get("service_tier")
    tier = _TIERS.get(said) if isinstance(said, str) else None
    if said is not None and tier is None:
        dropped.append("service_tier")
    return tier


def _written_output(output: OutputFormat | None, dropped: list[str]) -> dict[str, Json]:
    if output is None:
        return {}
    if output.schema is None:
        dropped.append("response_format")  # the prompt must ask for JSON in words: OpenAI's API insists on it
        return {}
    return {"format": {"type": "json_schema", "schema": output.schema}}


# How to sample, and how to think: each model takes something else.

_ANYWAY: Final = {"temperature": 1, "top_p": 1}
"""What the models do anyway: it need not be said."""


def _written_sampling(request: ChatRequest, taken: Claude, dropped: list[str], *, thinks: bool) -> dict[str, Json]:
    """Return temperature and its kin: from 0 to 1 here, and not at all where the model thinks."""
    fields = (("temperature", request.temperature), ("top_p", request.top_p), ("top_k", request.top_k))
    said = {name: value for name, value in fields if value is not None}
    untaken = _untaken_sampling(said, taken.sampling, thinks=thinks)
    dropped += [name for name in untaken if said[name] != _ANYWAY.get(name)]
    said = {name: value for name, value in said.items() if name not in untaken}
    if said.get("temperature", 0) > 1:
        dropped.append("temperature")
        said["temperature"] = 1.0
    return said


def _untaken_sampling(said: dict[str, float], takes: Sampling, *, thinks: bool) -> list[str]:
    if thinks or takes is Sampling.DEFAULTS:
        return list(said)
    if takes is Sampling.ALL or not said.keys() >= _ANYWAY.keys():
        return []
    return ["temperature" if said["temperature"] == _ANYWAY["temperature"] else "top_p"]


_THINKS: Final = frozenset({"enabled", "adaptive"})
_OFF: Final[dict[Off, dict[str, Json] | None]] = {
    Off.UNSAID: None,
    Off.DISABLED: {"type": "disabled"},
    Off.BETWEEN_TOOLS: {"type": "between_tools"},
    Off.IMPOSSIBLE: None,
}

_Thinking = tuple[dict[str, Json] | None, dict[str, Json]]
"""`thinking`, and what `output_config` says of it."""


def _written_thinking(request: ChatRequest, taken: Claude, limit: int, dropped: list[str]) -> _Thinking:
    """Return how to think. A forced tool excludes it. Raises BadBody: the model cannot be made to use a tool."""
    wanted = request.reasoning
    if request.tools and request.tool_choice is not None and request.tool_choice.mode in {"any", "one"}:
        if not taken.can_be_forced:
            raise refused(
                "tool_choice", "This model cannot be made to use a tool: `tool_choice` may be `auto` or `none`."
            )
        if wanted is not None and wanted.effort != "none":
            dropped.append("reasoning_effort")
        return _OFF[taken.off], {}
    if wanted is None:
        return None, {}
    if wanted.effort == "none":
        return _not_thinking(taken, dropped)
    if taken.thinking is Thinks.ADAPTIVE:
        return _adaptive(wanted, taken, dropped)
    return _budgeted(request, wanted, taken, limit, dropped)


def _not_thinking(taken: Claude, dropped: list[str]) -> _Thinking:
    if taken.off is not Off.IMPOSSIBLE:
        return _OFF[taken.off], {}
    dropped.append("reasoning_effort")
    return None, {"effort": taken.efforts[0]}


def _adaptive(wanted: Reasoning, taken: Claude, dropped: list[str]) -> _Thinking:
    thinking = {"type": "adaptive"} | _display(wanted)
    word = wanted.effort or (effort_of(wanted.budget) if wanted.budget else "")
    if not word:
        return thinking, {}
    nearest = word if word in taken.efforts else _NEAREST.get(word, "")
    if not nearest:
        dropped.append("reasoning_effort")
        return thinking, {}
    return thinking, {"effort": nearest}


_NEAREST: Final = {"minimal": "low", "xhigh": "max"}


def _budgeted(request: ChatRequest, wanted: Reasoning, taken: Claude, limit: int, dropped: list[str]) -> _Thinking:
    """Return a budget: the one that was asked for, or what a word stands for as far as it leaves room for the answer.

    Where the thought before a call of a tool has been lost, the API would answer 400
    (https://platform.claude.com/docs/en/build-with-claude/extended-thinking).
    """
    budget = min(wanted.budget, limit - 1) if wanted.budget else min(budget_of(wanted.effort), limit * 3 // 4)
    if taken.thinking is Thinks.NEVER or budget < _MIN_BUDGET or _thought_is_lost(request.messages):
        dropped.append("reasoning_effort")
        return None, {}
    return {"type": "enabled", "budget_tokens": budget} | _display(wanted), {}


def _display(wanted: Reasoning) -> dict[str, Json]:
    return {} if wanted.shown is None else {"display": "summarized" if wanted.shown else "omitted"}


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
    block = _written_block(part)
    mark = part.cache if isinstance(part, Text | Image | Document | ToolResult) else None
    return block if mark is None or block is None else {**block, MARK: mark}


def _written_block(part: Part) -> dict[str, Json] | None:
    match part:
        case Text(text) | Refusal(text):
            return {"type": "text", "text": text} if text.strip() else None
        case Image(media_type=media_type, data=data, url=url):
            return {"type": "image", "source": _source(media_type, data, url)}
        case Document():
            block = {"type": "document", "source": _document_source(part)}
            return {**block, "title": part.title} if part.title else block
        case Thinking():
            return written_thought(part) if _is_ours(part) else None
        case ToolCall(call_id, name, arguments):
            return {"type": "tool_use", "id": call_id, "name": name, "input": parsed_arguments(arguments)}
        case ToolResult(id=call_id, parts=parts, is_error=is_error):
            content = [block for shown in parts if (block := written_block(shown)) is not None]
            result: dict[str, Json] = {"type": "tool_result", "tool_use_id": call_id, "content": content}
            return {**result, "is_error": True} if is_error else result


def _document_source(document: Document) -> dict[str, Json]:
    if document.media_type.startswith("text/"):
        words = text_of(msgspec.structs.replace(document, title=""))
        return {"type": "text", "media_type": "text/plain", "data": words}
    if not document.url and document.media_type != "application/pdf":
        raise refused("messages", f"A document of the kind `{document.media_type}` cannot be read by this provider.")
    return _source(document.media_type, document.data, document.url)


def _source(media_type: str, data: str, url: str) -> dict[str, Json]:
    return {"type": "url", "url": url} if url else {"type": "base64", "media_type": media_type, "data": data}


def written_thought(thought: Thinking) -> dict[str, Json]:
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
    written: dict[str, Json] = {"name": tool.name, "description": tool.description or None}
    written |= {
        "strict": tool.strict or None,
        "input_schema": tool.schema or {"type": "object", "properties": {}},
        MARK: tool.cache,
    }
    return {name: value for name, value in written.items() if value is not None}


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
