"""Requests of the Gemini API's `:generateContent` and `:streamGenerateContent`, read and written.

https://ai.google.dev/api/generate-content. The model stands in the path, and so does the wish for a stream. What the turns
are made of is `gemini_content`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from adaptors.bodies import BadBody
from adaptors.jsonbytes import Json
from adaptors.translation.conversation import (
    ChatRequest,
    Message,
    OutputFormat,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    refused,
)
from adaptors.translation.gemini_content import (
    CallIds,
    GenerateOptions,
    humped,
    mark_unsigned,
    read_parts,
    written_turn,
    written_user,
)
from adaptors.translation.gemini_schema import narrowed, widened
from adaptors.translation.gemini_thinking import wants_signatures, written_thinking
from adaptors.translation.losses import lost
from adaptors.translation.reading import document_of, objects, optional, want, words
from adaptors.values import Call

# Read: what a client asks for.

_READ: Final = frozenset({"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "model"})
_READ_CONFIG: Final = frozenset(
    {
        *("stopSequences", "responseMimeType", "responseSchema", "responseJsonSchema", "_responseJsonSchema"),
        *("candidateCount", "maxOutputTokens", "temperature", "topP", "topK", "seed", "presencePenalty"),
        *("frequencyPenalty", "responseLogprobs", "logprobs", "thinkingConfig", "responseModalities"),
    }
)


def read_generate_request(call: Call) -> ChatRequest:
    """Return what the client asks for. Raises BadBody: what is no such request, or cannot be said elsewhere."""
    document = humped(document_of(call.body))
    if document.get("cachedContent"):
        raise refused("cachedContent", "`cachedContent` is stored and cannot be had by this model's provider.")
    config = humped(optional(document, "generationConfig", dict) or {})
    choice, allowed = _read_choice(humped(optional(document, "toolConfig", dict) or {}))
    tools = tuple(_read_tools(document.get("tools")))
    unread = [name for name, value in document.items() if name not in _READ and value not in (None, [], {})]
    unread += [name for name, value in config.items() if name not in _READ_CONFIG and value not in (None, [], {})]
    _refuse_other_modalities(config)
    return ChatRequest(
        model=call.model or "",
        messages=tuple(_read_messages(document)),
        tools=tuple(tool for tool in tools if not allowed or tool.name in allowed),
        tool_choice=choice,
        max_tokens=_optional(config, "maxOutputTokens", int),
        temperature=_optional(config, "temperature", float),
        top_p=_optional(config, "topP", float),
        top_k=_integer(_optional(config, "topK", float)),
        stop=words(config.get("stopSequences"), "generationConfig.stopSequences"),
        seed=_optional(config, "seed", int),
        presence_penalty=_optional(config, "presencePenalty", float),
        frequency_penalty=_optional(config, "frequencyPenalty", float),
        candidates=_optional(config, "candidateCount", int) or 1,
        logprobs=(_optional(config, "logprobs", int) or 0) if config.get("responseLogprobs") is True else None,
        output=_read_output(config),
        reasoning=_read_reasoning(humped(_optional(config, "thinkingConfig", dict) or {})),
        stream=call.stream,
        dropped=tuple(unread),
    )


def _optional(config: dict[str, Json], name: str, kind: type[Any]) -> Any:
    return optional(config, name, kind, "generationConfig.")


def _integer(number: float | None) -> int | None:
    """Return topK, which some clients send as a float."""
    return None if number is None else int(number)


def _refuse_other_modalities(config: dict[str, Json]) -> None:
    wanted = {word.upper() for word in words(config.get("responseModalities"), "generationConfig.responseModalities")}
    if wanted - {"TEXT", "MODALITY_UNSPECIFIED"}:
        raise refused(
            "generationConfig.responseModalities",
            "`generationConfig.responseModalities` other than TEXT cannot be had from this model's provider.",
        )


# Its conversation


def _read_messages(document: dict[str, Json]) -> Iterator[Message]:
    system = document.get("systemInstruction")
    if isinstance(system, str):
        yield Message("system", (Text(system),))
    elif system is not None:
        instruction = humped(want(system, dict, "systemInstruction"))
        yield Message("system", tuple(read_parts("systemInstruction", instruction, CallIds())))
    ids = CallIds()
    for where, content in objects(document.get("contents"), "contents"):
        role = content.get("role") or "user"
        if role not in ("user", "model", "function"):
            raise BadBody(f"`{where}.role` is none that is known here.", param=f"{where}.role", code="invalid_value")
        parts = tuple(read_parts(where, content, ids))
        if parts:
            yield Message("assistant" if role == "model" else "user", parts)


# Its tools, and how it wants the answer


def _read_tools(tools: Json) -> Iterator[Tool]:
    for where, raw in objects(tools, "tools"):
        tool = humped(raw)
        other = next(
            (name for name, value in tool.items() if name != "functionDeclarations" and value is not None), None
        )
        if other is not None:
            raise refused(
                f"{where}.{other}",
                f"`{where}.{other}` is a tool of Google's own; this model's provider has none like it.",
            )
        for place, declared in objects(tool.get("functionDeclarations"), f"{where}.functionDeclarations"):
            yield _read_tool(place, humped(declared))


def _read_tool(where: str, declared: dict[str, Json]) -> Tool:
    schema = optional(declared, "parametersJsonSchema", dict, f"{where}.")
    if schema is None:
        schema = widened(optional(declared, "parameters", dict, f"{where}."))
    name = want(declared.get("name"), str, f"{where}.name")
    return Tool(name, optional(declared, "description", str, f"{where}.") or "", schema)


_CHOICES: Final[dict[str, Any]] = {"AUTO": "auto", "NONE": "none", "ANY": "any", "VALIDATED": "auto"}


def _read_choice(config: dict[str, Json]) -> tuple[ToolChoice | None, tuple[str, ...]]:
    """Return the choice, and the functions that it is limited to, if it is."""
    calling = humped(optional(config, "functionCallingConfig", dict, "toolConfig.") or {})
    mode = _CHOICES.get((optional(calling, "mode", str, "toolConfig.functionCallingConfig.") or "").upper())
    if mode is None:
        return None, ()
    allowed = words(calling.get("allowedFunctionNames"), "toolConfig.functionCallingConfig.allowedFunctionNames")
    if mode == "any" and len(allowed) == 1:
        return ToolChoice("one", allowed[0]), ()
    return ToolChoice(mode), allowed


def _read_output(config: dict[str, Json]) -> OutputFormat | None:
    media_type = _optional(config, "responseMimeType", str) or ""
    if media_type in {"", "text/plain"}:
        return None
    if media_type != "application/json":
        raise refused(
            "generationConfig.responseMimeType",
            "`generationConfig.responseMimeType` other than JSON or plain text cannot be had from this model's provider.",
        )
    schema = _optional(config, "responseJsonSchema", dict) or _optional(config, "_responseJsonSchema", dict)
    return OutputFormat(schema or widened(_optional(config, "responseSchema", dict)))


def _read_reasoning(config: dict[str, Json]) -> Reasoning | None:
    where = "generationConfig.thinkingConfig."
    shown = optional(config, "includeThoughts", bool, where)
    budget = optional(config, "thinkingBudget", int, where)
    if budget == 0:
        return Reasoning("none", shown=shown)
    level = (optional(config, "thinkingLevel", str, where) or "").lower()
    effort = "" if level == "thinking_level_unspecified" else level
    if not effort and shown is not True and (budget or 0) <= 0:
        return None
    return Reasoning(effort, max(0, budget or 0), shown)


# Written: what the provider is asked for.


_MAX_STOPS: Final = 5


def write_generate_request(
    request: ChatRequest, model: str, options: GenerateOptions
) -> tuple[dict[str, Json], tuple[str, ...]]:
    """Return the body and the names of what was left out. Raises BadBody: what the answer would be wrong without."""
    dropped = [*request.dropped, *request.openai, *_unsaid(request, options)]
    system, turns = _written_messages(request.messages, options)
    if wants_signatures(model):
        mark_unsigned(turns)
    body: dict[str, Json] = {"contents": turns}
    if system:
        body["systemInstruction"] = {"parts": system}
    if request.tools:
        body["tools"] = [{"functionDeclarations": [_written_tool(tool, dropped) for tool in request.tools]}]
        if request.tool_choice is not None:
            body["toolConfig"] = {"functionCallingConfig": _written_choice(request.tool_choice)}
    if config := _written_config(request, model, dropped):
        body["generationConfig"] = config
    if request.user and options.labels_field:
        body[options.labels_field] = {"user": request.user}
    return body, tuple(dict.fromkeys(dropped))


def _unsaid(request: ChatRequest, options: GenerateOptions) -> Iterator[str]:
    """Yield the names of what the API has no place for, and what the answer is right without."""
    if request.parallel is False and request.tools:
        yield "parallel_tool_calls"
    if any(tool.strict for tool in request.tools):
        yield "strict"
    if request.user and not options.labels_field:
        yield "user"
    yield from lost(request, ("citations", "cache_control"))


def _written_config(request: ChatRequest, model: str, dropped: list[str]) -> dict[str, Json]:
    if len(request.stop) > _MAX_STOPS:
        raise refused("stop", f"More than {_MAX_STOPS} stop sequences cannot be had from this provider.")
    fields = {
        "candidateCount": request.candidates if request.candidates != 1 else None,
        "maxOutputTokens": request.max_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "stopSequences": list(request.stop) or None,
        "seed": request.seed,
        "presencePenalty": request.presence_penalty,
        "frequencyPenalty": request.frequency_penalty,
        "responseLogprobs": None if request.logprobs is None else True,
        "logprobs": request.logprobs or None,
        "thinkingConfig": written_thinking(request.reasoning, model, dropped),
    }
    if request.output is not None:
        fields["responseMimeType"] = "application/json"
        fields["responseJsonSchema"] = _narrowed(request.output.schema, dropped)
    return {name: value for name, value in fields.items() if value is not None}


def _narrowed(schema: Json, dropped: list[str]) -> Json:
    told, lost = narrowed(schema)
    dropped += lost
    return told


# Its tools


def _written_tool(tool: Tool, dropped: list[str]) -> Json:
    declared: dict[str, Json] = {"name": tool.name, "description": tool.description}
    if isinstance(tool.schema, dict) and tool.schema.get("properties"):  # an object without any is refused
        declared["parametersJsonSchema"] = _narrowed(tool.schema, dropped)
    return declared


_MODES: Final = {"auto": "AUTO", "none": "NONE", "any": "ANY", "one": "ANY"}


def _written_choice(choice: ToolChoice) -> Json:
    mode: dict[str, Json] = {"mode": _MODES[choice.mode]}
    return mode | ({"allowedFunctionNames": [choice.name]} if choice.mode == "one" else {})


# Its conversation


def _written_messages(messages: tuple[Message, ...], options: GenerateOptions) -> tuple[list[Json], list[Json]]:
    """Return the system's parts, and the turns: consecutive ones of one role are one, and results come first."""
    system: list[Json] = []
    turns: list[dict[str, Json]] = []
    names: dict[str, str] = {}
    for message in messages:
        if message.role == "system":
            system += [{"text": part.text} for part in message.parts if isinstance(part, Text)]
            continue
        if message.role == "user":
            role, parts = "user", list(written_user(message.parts, names, options))
        else:
            role, parts = "model", written_turn(message.parts, options)
        names |= {part.id: part.name for part in message.parts if isinstance(part, ToolCall)}
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts
        elif parts:
            turns.append({"role": role, "parts": parts})
    for turn in turns:
        if turn["role"] == "user":
            turn["parts"].sort(key=lambda part: "functionResponse" not in part)  # stable
    return system, turns
