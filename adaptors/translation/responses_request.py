"""Requests of `/responses`, read and written (https://platform.openai.com/docs/api-reference/responses/create).

Here a conversation is a flat list of items: messages, thoughts, calls of tools and what these gave. Consecutive items of the
model's are one turn everywhere else. OpenAI may keep the conversation and be told of it by an id alone; another provider
has no such memory, so what builds on it is refused, and whatever must come back goes into the items themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from adaptors.bodies import BadBody
from adaptors.jsonbytes import Json, NotJSON, decoded, encoded
from adaptors.translation.carrier import SEAL, unpacked, unsealed, without_thoughts
from adaptors.translation.conversation import (
    ChatRequest,
    Citation,
    Document,
    Image,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    refused,
)
from adaptors.translation.reading import data_url_of, document_of, objects, optional, want, words

ORIGIN: Final = "openai_responses"
"""Whose signature an `encrypted_content` is."""

SHARED: Final = (
    *("metadata", "service_tier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
    *("safety_identifier", "moderation"),
)
"""Fields that `/chat/completions` has too, under the same name and with the same meaning; `text.verbosity` is another."""

_READ: Final = frozenset(
    {
        *("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens"),
        *("temperature", "top_p", "top_logprobs", "include", "text", "reasoning", "user", "stream", "stream_options"),
        *("truncation", "store", "background", "max_tool_calls"),
        *SHARED,
    }
)
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
        user=optional(document, "user", str),
        stream=document.get("stream") is True,
        openai=_shared(document, wanted),
        dropped=(*dropped, *_left_out(document)),
    )


def _left_out(document: dict[str, Json]) -> Iterator[str]:
    """Yield the fields that are not understood; of the understood ones those whose wish is not met."""
    for name, value in document.items():
        if name not in _READ and name not in _KEPT_ELSEWHERE and value not in (None, [], {}):
            yield name
    if document.get("store") is True:
        yield "store"
    if document.get("truncation") not in {None, "disabled"}:
        yield "truncation"


def _shared(document: dict[str, Json], wanted: dict[str, Json]) -> dict[str, Json]:
    said = {name: document[name] for name in SHARED if document.get(name) not in (None, {})}
    verbosity = optional(wanted, "verbosity", str, "text.")
    return said if verbosity is None else {**said, "verbosity": verbosity}


def _logprobs(document: dict[str, Json]) -> int | None:
    top = optional(document, "top_logprobs", int) or 0
    return top if top or _LOGPROBS in words(document.get("include"), "include") else None


# The conversation, item by item...


def _messages(document: dict[str, Json], dropped: list[str]) -> Iterator[Message]:
    if instructions := optional(document, "instructions", str):
        yield Message("system", (Text(instructions),))
    said = document.get("input")
    if isinstance(said, str):
        yield Message("user", (Text(said),))
        return
    turn: list[Part] = []
    role: Role = "user"
    for where, item in objects(said, "input"):
        item_role, parts = _item(where, item, dropped)
        if turn and (item_role != role or _begins_turn(turn, parts)):
            yield Message(role, tuple(turn))
            turn = []
        role = item_role
        _add(turn, parts)
    if turn:
        yield Message(role, tuple(turn))


def _begins_turn(turn: list[Part], parts: tuple[Part, ...]) -> bool:
    """Whether these parts are another turn of the same role: words after words, unless a call stands between them.

    The results of parallel calls are one turn, and so are a thought, words and calls: other formats have no place for
    words between a call and its result.
    """
    if all(isinstance(part, ToolResult) for part in (*turn, *parts)):
        return False
    return (
        not any(isinstance(part, ToolCall) for part in turn)
        and any(isinstance(part, Text | Refusal | Image | Document | ToolResult) for part in turn)
        and not all(isinstance(part, ToolCall) for part in parts)
    )


def _add(turn: list[Part], parts: tuple[Part, ...]) -> None:
    """Add an item's parts to its turn; what a call carries of thoughts that their own item has told is left out.

    A thought that only the call carries stands before the turn's words if it is the first call's, as it was had.
    """
    carried = [part for part in parts if isinstance(part, Thinking)]
    if len(carried) == len(parts) or not carried:
        turn += parts
        return
    lost = [thought for thought in carried if thought not in turn]
    first = not any(isinstance(part, ToolCall | Thinking) for part in turn)
    turn[0 if first else len(turn) : 0 if first else len(turn)] = lost
    turn += [part for part in parts if not isinstance(part, Thinking)]


_Read = Callable[[str, dict[str, Json]], tuple[Role, tuple[Part, ...]]]

_PASSED_OVER: Final = frozenset({"web_search_call", "file_search_call"})
"""Calls of OpenAI's own tools that tell no result: what was found stands in the message after them."""


def _item(where: str, item: dict[str, Json], dropped: list[str]) -> tuple[Role, tuple[Part, ...]]:
    kind = item.get("type") or ("message" if "role" in item else None)
    read = _ITEMS.get(kind) if isinstance(kind, str) else None
    if read is not None:
        return read(where, item)
    if kind in _PASSED_OVER:
        if kind not in dropped:
            dropped.append(kind)
        return "assistant", ()
    if kind == "item_reference":
        why = f"`{where}` names an item by its id, and this model's provider keeps none; send the item itself."
        raise refused(f"{where}.type", why)
    raise refused(f"{where}.type", f"`{where}` is of a type that cannot be translated for this model's provider.")


_ROLES: Final[Mapping[Json, Role]] = MappingProxyType(
    {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
)


def _message(where: str, item: dict[str, Json]) -> tuple[Role, tuple[Part, ...]]:
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadBody(f"`{where}.role` is none that is known here.", param=f"{where}.role", code="invalid_value")
    return _ROLES[role], tuple(_contents(f"{where}.content", item.get("content")))


def _thought(where: str, item: dict[str, Json]) -> tuple[Role, tuple[Part, ...]]:
    """Return the thoughts that an item of ours holds; of OpenAI's, what it shows and what only OpenAI can read."""
    given = optional(item, "encrypted_content", str, f"{where}.") or ""
    if (kept := unsealed(given)) is not None:
        return "assistant", kept
    shown = [*objects(item.get("summary"), f"{where}.summary"), *objects(item.get("content"), f"{where}.content")]
    text = "\n\n".join(want(part.get("text"), str, f"{place}.text") for place, part in shown)
    if given:
        return "assistant", (Thinking(text, hidden=given, origin=ORIGIN),)
    return "assistant", (Thinking(text),) if text else ()


def _call(where: str, item: dict[str, Json]) -> tuple[Role, tuple[Part, ...]]:
    call_id, thoughts = unpacked(want(item.get("call_id"), str, f"{where}.call_id"))
    name = want(item.get("name"), str, f"{where}.name")
    return "assistant", (*thoughts, ToolCall(call_id, name, optional(item, "arguments", str, f"{where}.") or ""))


def _result(where: str, item: dict[str, Json]) -> tuple[Role, tuple[Part, ...]]:
    call_id, _ = unpacked(want(item.get("call_id"), str, f"{where}.call_id"))
    parts = tuple(_contents(f"{where}.output", item.get("output")))
    shown = tuple(Text(part.text) if isinstance(part, Refusal) else part for part in parts)
    return "user", (ToolResult(call_id, shown),)


_ITEMS: Final[Mapping[str, _Read]] = MappingProxyType(
    {"message": _message, "reasoning": _thought, "function_call": _call, "function_call_output": _result}
)


def _contents(where: str, content: Json) -> Iterator[Text | Refusal | Image | Document]:
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for place, part in objects(content, where):
        yield _content(place, part)


def _content(where: str, part: dict[str, Json]) -> Text | Refusal | Image | Document:
    match part.get("type"):
        case "input_text" | "output_text":
            annotations = objects(part.get("annotations"), f"{where}.annotations")
            citations = tuple(cited for _, note in annotations if (cited := citation_of(note)) is not None)
            return Text(want(part.get("text"), str, f"{where}.text"), citations)
        case "refusal":
            return Refusal(want(part.get("refusal"), str, f"{where}.refusal"))
        case "input_image":
            return _image(where, part)
        case "input_file":
            return _file(where, part)
        case _:
            raise refused(
                f"{where}.type", f"`{where}` is of a type that cannot be translated for this model's provider."
            )


def citation_of(note: Json) -> Citation | None:
    """Return what an annotation of a text says; None if it names what only one provider keeps."""
    if not isinstance(note, dict) or note.get("type") != "url_citation" or not isinstance(note.get("url"), str):
        return None
    title, start, end = note.get("title"), note.get("start_index"), note.get("end_index")
    return Citation(
        url=note["url"],
        title=title if isinstance(title, str) else "",
        start=start if type(start) is int else 0,
        end=end if type(end) is int else 0,
    )


def _stored(where: str, field: str, instead: str) -> BadBody:
    why = f"`{where}` is stored and cannot be had by another provider; send `{instead}`."
    return refused(f"{where}.{field}", why)


def _image(where: str, part: dict[str, Json]) -> Image:
    url = optional(part, "image_url", str, f"{where}.")
    if url is None:
        raise _stored(where, "file_id", "image_url")
    data = data_url_of(url)
    return Image(url=url) if data is None else Image(data[0] or "image/png", data[1])


def _file(where: str, part: dict[str, Json]) -> Document:
    title = optional(part, "filename", str, f"{where}.") or ""
    if url := optional(part, "file_url", str, f"{where}."):
        return Document(url=url, title=title)
    content = optional(part, "file_data", str, f"{where}.")
    if content is None:
        raise _stored(where, "file_id", "file_data")
    media_type, data = data_url_of(content) or ("", content)
    return Document(media_type or "application/pdf", data, title=title)


# ...and what else is asked for.


def _tool(where: str, tool: dict[str, Json]) -> Tool:
    if tool.get("type") != "function":
        raise refused(
            f"{where}.type", f"`{where}` is a tool that is no function; this model's provider has none like it."
        )
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


def responses_echo(body: bytes | None) -> Mapping[str, Json]:
    """Return what the answers to this request repeat of it. Nothing is stored, whatever was wished."""
    try:
        document = decoded(body or b"{}")
    except NotJSON:
        document = {}
    said = {name: document[name] for name in _SAID if document.get(name) is not None}
    for name in ("reasoning", "text"):
        if isinstance(said.get(name), dict):
            said[name] = {**_SAID[name], **said[name]}
    return {**_SAID, **said, "store": False}


# Written: what a provider is asked for.

_MIN_TOKENS: Final = 16
"""The API answers 400 to a lower `max_output_tokens` ("Expected a value >= 16")."""


def write_responses_request(request: ChatRequest, model: str, *, reasons: bool) -> tuple[Json, tuple[str, ...]]:
    """Return the body and the names of what was left out. Raises BadBody: what the answer would be wrong without.

    `reasons` says of the model that it takes an effort: only such a one may be asked for its thoughts, sealed ("Encrypted
    content is not supported with this model" is what the others answer).
    """
    _refuse_unsayable(request)
    dropped = list(request.dropped)
    instructions, turns = _split_instructions(request.messages)
    include = [_ENCRYPTED] if reasons else []
    if request.logprobs is not None:
        include.append(_LOGPROBS)
    fields = {
        "instructions": instructions,
        "input": list(_written_items(turns)),
        "tools": [_written_tool(tool) for tool in request.tools] or None,
        "tool_choice": _written_choice(request.tool_choice) if request.tools else None,
        "parallel_tool_calls": request.parallel if request.tools else None,
        "max_output_tokens": _written_limit(request.max_tokens, dropped),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_logprobs": request.logprobs or None,
        "text": _written_text(request) or None,
        "reasoning": _written_reasoning(request.reasoning, dropped, reasons=reasons),
        "user": request.user,
        "stream": True if request.stream else None,
        "store": False,
        "include": include or None,
        **_written_shared(request, dropped),
    }
    dropped += [name for name in _UNSAYABLE if getattr(request, name) is not None]
    return {"model": model} | {name: value for name, value in fields.items() if value is not None}, tuple(dropped)


_UNSAYABLE: Final = ("top_k", "seed", "presence_penalty", "frequency_penalty")


def _refuse_unsayable(request: ChatRequest) -> None:
    if request.stop:
        raise refused("stop", "Stop sequences cannot be had from this model's provider.")
    if request.candidates != 1:
        raise refused("n", "More than one answer cannot be had from this model's provider.")


def _written_limit(limit: int | None, dropped: list[str]) -> int | None:
    if limit is None or limit >= _MIN_TOKENS:
        return limit
    dropped.append("max_tokens")
    return _MIN_TOKENS


def _written_shared(request: ChatRequest, dropped: list[str]) -> dict[str, Json]:
    dropped += [name for name in request.openai if name not in SHARED and name != "verbosity"]
    return {name: value for name, value in request.openai.items() if name in SHARED}


def _split_instructions(messages: tuple[Message, ...]) -> tuple[str | None, tuple[Message, ...]]:
    """Return what stands before the conversation, and the conversation."""
    first = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    texts = [part.text for message in messages[:first] for part in message.parts if isinstance(part, Text)]
    return "\n\n".join(texts) or None, messages[first:]


def _written_items(messages: tuple[Message, ...]) -> Iterator[Json]:
    for message in messages:
        if message.role == "assistant":
            yield from _written_turn(message.parts)
        else:
            yield from (_written_result(part) for part in message.parts if isinstance(part, ToolResult))
            rest = [_written_content(part) for part in message.parts if not isinstance(part, ToolResult)]
            if rest:
                yield {"type": "message", "role": message.role, "content": rest}


def _written_turn(parts: tuple[Part, ...]) -> Iterator[Json]:
    """Yield the model's turn: words that stand together are one message."""
    said: list[Json] = []
    for part in parts:
        if isinstance(part, Text | Refusal):
            said.append(written_words(part))
            continue
        if said:
            yield {"type": "message", "role": "assistant", "content": said}
            said = []
        if isinstance(part, ToolCall):
            arguments = part.arguments or "{}"
            yield {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": arguments}
        elif isinstance(part, Thinking) and part.hidden and part.origin == ORIGIN:
            yield {"type": "reasoning", "summary": _summary(part.text), "encrypted_content": part.hidden}
    if said:
        yield {"type": "message", "role": "assistant", "content": said}


def _summary(text: str) -> list[Json]:
    return [{"type": "summary_text", "text": text}] if text else []


def written_words(part: Text | Refusal) -> dict[str, Json]:
    """Return words of the model as a part of a message."""
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    notes = [written_citation(citation) for citation in part.citations if citation.url]
    return {"type": "output_text", "text": part.text, "annotations": notes}


def written_citation(citation: Citation) -> Json:
    """Return a citation as an annotation; it must have an address."""
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title,
        "start_index": citation.start,
        "end_index": citation.end,
    }


def _written_result(result: ToolResult) -> Json:
    """Return what a tool gave: words as one text, as most providers know no other; pictures in a list."""
    written: Json = {"type": "function_call_output", "call_id": result.id}
    texts = [part.text for part in result.parts if isinstance(part, Text)]
    if len(texts) == len(result.parts):
        return {**written, "output": "\n".join(texts)}
    return {**written, "output": [_written_content(part) for part in result.parts]}


def _written_content(part: Part) -> Json:
    match part:
        case Text(text) | Refusal(text):
            return {"type": "input_text", "text": text}
        case Image(media_type=media_type, data=data, url=url):
            return {"type": "input_image", "image_url": url or f"data:{media_type};base64,{data}"}
        case Document(url=url) if url:
            return {"type": "input_file", "file_url": url}
        case Document(media_type=media_type, data=data, title=title) if not media_type.startswith("audio/"):
            file = f"data:{media_type};base64,{data}"
            return {"type": "input_file", "filename": title or "document.pdf", "file_data": file}
        case _:
            raise refused("messages", "Sound cannot be had by this model's provider.")


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


def _written_text(request: ChatRequest) -> dict[str, Json]:
    verbosity = request.openai.get("verbosity")
    written = {} if verbosity is None else {"verbosity": verbosity}
    output = request.output
    if output is None:
        return written
    if output.schema is None:
        return {**written, "format": {"type": "json_object"}}
    form: dict[str, Json] = {"type": "json_schema", "name": output.name or "answer", "schema": output.schema}
    return {**written, "format": form if output.strict is None else {**form, "strict": output.strict}}


_LOW_BUDGET, _MEDIUM_BUDGET = 4096, 16_384


def _written_reasoning(reasoning: Reasoning | None, dropped: list[str], *, reasons: bool) -> Json:
    if reasoning is None:
        return None
    if not reasons:
        if reasoning.effort != "none":
            dropped.append("thinking")
        return None
    written = {
        "effort": reasoning.effort or _effort_of(reasoning.budget),
        "summary": "auto" if reasoning.shown else None,
    }
    return {name: value for name, value in written.items() if value} or None


def _effort_of(budget: int) -> str:
    """Return the word for a budget of tokens; none for none."""
    if not budget:
        return ""
    return "low" if budget < _LOW_BUDGET else "medium" if budget < _MEDIUM_BUDGET else "high"


# Passed on: a conversation that was had elsewhere goes on at a provider of this API.


def without_foreign_thoughts(body: bytes) -> bytes:
    """Return a request body without the thoughts that only their own provider can read, and with its own ids of calls."""
    if SEAL not in body:
        return without_thoughts(body)
    try:
        document = decoded(body)
    except NotJSON:
        return without_thoughts(body)
    items = document.get("input") if isinstance(document, dict) else None
    if isinstance(items, list):
        document["input"] = [item for item in items if not _is_foreign(item)]
        return without_thoughts(encoded(document))
    return without_thoughts(body)


def _is_foreign(item: Json) -> bool:
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return False
    given = item.get("encrypted_content")
    return isinstance(given, str) and unsealed(given) is not None
