"""Pictures and documents that a request only points to, for a provider that takes nothing but their bytes.

An adaptor says in `wants` which addresses must be fetched; the relay fetches them, within bounds, and hands them back as
values in the call. Here is the pure part: what a request points to, and the same request with the bytes in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from adaptors.translation.conversation import ChatRequest, Document, Image, Message, Part, ToolResult
from adaptors.values import Fetched

_PDF = "application/pdf"


def addresses(request: ChatRequest) -> tuple[str, ...]:
    """Return the http(s) addresses of the pictures and PDFs, in their order, each once; not of what is to be heard."""
    return tuple(dict.fromkeys(part.url for part in _pointing(request) if _is_wanted(part)))


def _is_wanted(part: Image | Document) -> bool:
    known = not part.media_type or part.media_type.startswith(("image/", _PDF))
    return known and part.url.startswith(("http://", "https://"))


def _pointing(request: ChatRequest) -> Iterator[Image | Document]:
    for message in request.messages:
        for part in message.parts:
            for shown in part.parts if isinstance(part, ToolResult) else (part,):
                if isinstance(shown, Image | Document):
                    yield shown


def with_data(request: ChatRequest, fetched: Mapping[str, Fetched]) -> ChatRequest:
    """Return the request with what was fetched in the place of its address; other addresses stay."""
    if not any(part.url in fetched for part in _pointing(request)):
        return request
    messages = tuple(Message(message.role, _with_data(message.parts, fetched)) for message in request.messages)
    return msgspec.structs.replace(request, messages=messages)


def _with_data(parts: tuple[Part, ...], fetched: Mapping[str, Fetched]) -> tuple[Part, ...]:
    return tuple(
        msgspec.structs.replace(part, parts=tuple(_shown(shown, fetched) for shown in part.parts))
        if isinstance(part, ToolResult)
        else _shown(part, fetched)
        for part in parts
    )


def _shown(part: Part, fetched: Mapping[str, Fetched]) -> Part:
    """Return the part with its bytes. What was fetched says what it is: clients send a PDF as a picture, too."""
    if not isinstance(part, Image | Document) or part.url not in fetched:
        return part
    found = fetched[part.url]
    if found.media_type == _PDF:
        title = part.title if isinstance(part, Document) else ""
        return Document(found.media_type, found.data, title=title, cache=part.cache)
    return Image(found.media_type, found.data, cache=part.cache)
