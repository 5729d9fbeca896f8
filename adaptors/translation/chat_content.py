"""What a message of `/chat/completions` is made of, read and written: texts, pictures, files, sound, citations.

Parts: https://platform.openai.com/docs/api-reference/chat/create. Marks of what may be cached are none of OpenAI's: clients
of OpenRouter and LiteLLM write them on parts, messages and tools as Anthropic does
(https://openrouter.ai/docs/features/prompt-caching, https://docs.litellm.ai/docs/completion/prompt_caching).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Final, TypeAlias

from adaptors.jsonbytes import Json
from adaptors.translation.conversation import (
    Citation,
    Document,
    Image,
    Part,
    Refusal,
    Text,
    ToolResult,
    refused,
)
from adaptors.translation.losses import with_last_marked
from adaptors.translation.reading import objects, optional, want

Shown: TypeAlias = Text | Refusal | Image | Document

MARK: Final = "cache_control"


# Read.


def read_parts(where: str, message: dict[str, Json]) -> tuple[Part, ...]:
    """Return what a message shows; a mark on the message is one on its last part. Raises BadBody."""
    parts = tuple(_parts(f"{where}.content", message.get("content")))
    mark = optional(message, MARK, dict, f"{where}.")
    return parts if mark is None else with_last_marked(parts, mark)


def _parts(where: str, content: Json) -> Iterator[Shown]:
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for place, part in objects(content, where):
        yield _part(place, part)


def _part(where: str, part: dict[str, Json]) -> Shown:
    kind = part.get("type")
    mark = optional(part, MARK, dict, f"{where}.")
    if kind == "text":
        return Text(want(part.get("text"), str, f"{where}.text"), cache=mark)
    if kind == "refusal":
        return Refusal(want(part.get("refusal"), str, f"{where}.refusal"))
    if kind == "image_url":
        image = want(part.get("image_url"), dict, f"{where}.image_url")
        return _image(want(image.get("url"), str, f"{where}.image_url.url"), mark)
    if kind == "file":
        return _file(f"{where}.file", want(part.get("file"), dict, f"{where}.file"), mark)
    if kind == "input_audio":
        return _audio(f"{where}.input_audio", want(part.get("input_audio"), dict, f"{where}.input_audio"), mark)
    raise refused(f"{where}.type", f"`{where}` is of a type that cannot be translated for this model's provider.")


_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w-]+=[^;,]*)*;base64,", re.IGNORECASE)


def _image(url: str, mark: Json) -> Image:
    data = _DATA_URL.match(url)
    if data is None:
        return Image(url=url, cache=mark)
    return Image(data[1] or "image/png", url[data.end() :], cache=mark)


def _file(where: str, file: dict[str, Json], mark: Json) -> Document:
    content = optional(file, "file_data", str, f"{where}.")
    if content is None:
        raise refused(
            f"{where}.file_id", f"`{where}` is stored and cannot be had by another provider; send `file_data`."
        )
    data = _DATA_URL.match(content)
    title = optional(file, "filename", str, f"{where}.") or ""
    if data is None:
        return Document("application/pdf", content, title=title, cache=mark)
    return Document(data[1] or "application/pdf", content[data.end() :], title=title, cache=mark)


def _audio(where: str, audio: dict[str, Json], mark: Json) -> Document:
    kind = want(audio.get("format"), str, f"{where}.format")
    return Document(f"audio/{kind}", want(audio.get("data"), str, f"{where}.data"), cache=mark)


def read_annotations(annotations: Json) -> tuple[Citation, ...]:
    """Return the addresses that an assistant's words come from. What is no such annotation is passed over."""
    items = annotations if isinstance(annotations, list) else []
    found = (_citation(item.get("url_citation")) for item in items if isinstance(item, dict))
    return tuple(citation for citation in found if citation is not None)


def _citation(cited: Json) -> Citation | None:
    if not isinstance(cited, dict) or not isinstance(cited.get("url"), str):
        return None
    start, end = cited.get("start_index"), cited.get("end_index")
    return Citation(
        url=cited["url"],
        title=cited["title"] if isinstance(cited.get("title"), str) else "",
        quote=cited["content"] if isinstance(cited.get("content"), str) else "",  # OpenRouter's own field
        start=start if type(start) is int else 0,
        end=end if type(end) is int else 0,
    )


# Written.


def written_content(texts: tuple[Text, ...], joint: str) -> Json:
    """Return words: as one text, or part by part where one of them is marked."""
    if any(text.cache is not None for text in texts):
        return [written_part(text) for text in texts]
    return joint.join(text.text for text in texts)


def written_part(part: Part) -> Json:
    """Return a part of a user's turn. Raises BadBody: this API has none like it."""
    written = _written_part(part)
    mark = part.cache if isinstance(part, Text | Image | Document) else None
    return written if mark is None else {**written, MARK: mark}


def _written_part(part: Part) -> dict[str, Json]:
    match part:
        case Text(text) | Refusal(text):
            return {"type": "text", "text": text}
        case Image(media_type=media_type, data=data, url=url):
            return {"type": "image_url", "image_url": {"url": url or f"data:{media_type};base64,{data}"}}
        case Document(url="") if part.media_type.startswith("audio/"):
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": _audio_format(part.media_type)}}
        case Document(url="") if part.media_type.startswith("text/"):
            return {"type": "text", "text": text_of(part)}
        case Document(url="") if not part.media_type.startswith("video/"):
            data_url = f"data:{part.media_type};base64,{part.data}"
            return {"type": "file", "file": {"filename": part.title or "document.pdf", "file_data": data_url}}
        case Document(url=""):
            raise refused("messages", "A film (`video/...`) cannot be seen by this model's provider.")
        case _:
            raise refused("messages", "A document at an address cannot be had by this model's provider; send its data.")


_AUDIO_FORMATS: Final = {"wav": "wav", "x-wav": "wav", "wave": "wav", "mp3": "mp3", "mpeg": "mp3"}


def _audio_format(media_type: str) -> str:
    kind = media_type.removeprefix("audio/").partition(";")[0]
    if kind not in _AUDIO_FORMATS:
        raise refused(
            "messages", f"Sound of the kind `{media_type}` cannot be heard by this provider: WAV and MP3 can."
        )
    return _AUDIO_FORMATS[kind]


def text_of(document: Document) -> str:
    """Return the words of a document that is text, under its title. Raises BadBody: they are no base64 of UTF-8."""
    try:
        words = base64.b64decode(document.data, validate=True).decode()
    except ValueError as error:
        raise refused("messages", "A document of text must be UTF-8 in base64.") from error
    return f"{document.title}\n\n{words}" if document.title else words


def written_result(result: ToolResult) -> Json:
    """Return what a tool gave, in words: a message of its own."""
    words = tuple(part for part in result.parts if isinstance(part, Text))
    if result.cache is not None:
        words = (Text("\n".join(text.text for text in words), cache=result.cache),)
    return {"role": "tool", "tool_call_id": result.id, "content": written_content(words, "\n")}


def written_annotations(citations: tuple[Citation, ...], offset: int) -> list[Json]:
    """Return the citations that have an address, their places counted from the beginning of the message."""
    return [written_annotation(citation, offset) for citation in citations if citation.url]


def written_annotation(citation: Citation, offset: int) -> Json:
    """Return a citation."""
    start, end = (citation.start + offset, citation.end + offset) if citation.end else (0, 0)
    cited = {"start_index": start, "end_index": end, "title": citation.title, "url": citation.url}
    return {"type": "url_citation", "url_citation": {**cited, "content": citation.quote} if citation.quote else cited}
