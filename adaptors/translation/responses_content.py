"""What stands in a conversation of the Responses API, read and written.

It is a flat list of items: messages, thoughts, calls of tools, and what these gave
(https://platform.openai.com/docs/api-reference/responses/create). Consecutive items of the model's are one turn everywhere else. A thought may stand sealed in `encrypted_content`: OpenAI's own, which only OpenAI can read, or another
provider's, which was put there for the client to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from adaptors.bodies import BadBody
from adaptors.jsonbytes import Json, NotJSON, decoded, encoded
from adaptors.translation.carrier import SEAL, unpacked, unsealed, without_thoughts
from adaptors.translation.conversation import (
    Citation,
    Document,
    Image,
    Message,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    refused,
)
from adaptors.translation.reading import data_url_of, objects, optional, want

ORIGIN: Final = "openai_responses"
"""Whose signature an `encrypted_content` is that a client holds as its provider gave it. Each provider of this API seals for
itself, so what is carried to other clients has the provider's name too."""


# Read.


def read_input(said: Json, dropped: list[str]) -> Iterator[Message]:
    """Yield the turns of a conversation. What is left out of it is added to `dropped`. Raises BadBody."""
    if isinstance(said, str):
        yield Message("user", (Text(said),))
        return
    if not isinstance(said, list):
        raise BadBody("`input` must be there: a string, or a list of items.", param="input", code="invalid_type")
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
    """Whether these parts are another turn of the same role: whatever follows words, unless it is a call.

    The results of parallel calls are one turn. So is what follows a call, up to its result: other formats have no place for
    words between the two.
    """
    if all(isinstance(part, ToolResult) for part in (*turn, *parts)):
        return False
    has_words = any(not isinstance(part, Thinking) for part in turn)
    return has_words and not any(isinstance(part, ToolCall) for part in (*turn, *parts))


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
    kind = optional(item, "type", str, f"{where}.") or ("message" if "role" in item else "")
    read = _ITEMS.get(kind)
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
    """Return where an annotation of a text says that it comes from; None if that is what only one provider keeps."""
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


# Written.


def written_items(messages: tuple[Message, ...], origin: str) -> Iterator[Json]:
    """Yield the turns as items; of the sealed thoughts those of this origin."""
    for message in messages:
        if message.role == "assistant":
            yield from _written_turn(message.parts, origin)
        else:
            yield from (_written_result(part) for part in message.parts if isinstance(part, ToolResult))
            rest = [_written_content(part) for part in message.parts if not isinstance(part, ToolResult)]
            if rest:
                yield {"type": "message", "role": message.role, "content": rest}


def _written_turn(parts: tuple[Part, ...], origin: str) -> Iterator[Json]:
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
        elif isinstance(part, Thinking) and part.hidden and part.origin == origin:
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
        case Document(media_type=media_type, data=data, title=title):
            file = f"data:{media_type};base64,{data}"
            return {"type": "input_file", "filename": title or "document.pdf", "file_data": file}
        case _:
            raise refused("messages", "A turn of the user's holds what only the model says.")


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
