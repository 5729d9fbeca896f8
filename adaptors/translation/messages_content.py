"""The content blocks of Anthropic's `/messages`, read, and the citations in them, read and written.

Blocks: https://platform.claude.com/docs/en/api/messages. What only Anthropic's own tools say is passed over where the model
said it, since a client sends the model's turns back as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from adaptors.jsonbytes import Json, encoded
from adaptors.translation.carrier import unsealed
from adaptors.translation.conversation import (
    Citation,
    Document,
    Image,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    refused,
)
from adaptors.translation.losses import with_last_marked
from adaptors.translation.reading import objects, optional, want

ORIGIN: Final = "anthropic_messages"
MARK: Final = "cache_control"


class BlockReader:
    """Reads the blocks of one request, and keeps the names of what could not be said."""

    __slots__ = ("dropped",)

    def __init__(self) -> None:
        self.dropped: dict[str, None] = {}
        """A set that keeps its order; the names are those below."""

    def parts(self, where: str, content: Json, *, role: str = "") -> Iterator[Part]:
        """Yield what the blocks of a turn of this role say. Raises BadBody."""
        if isinstance(content, str):
            if content:
                yield Text(content)
            return
        for place, block in objects(content, where):
            if role == "assistant" and is_servers(block.get("type")):
                self.dropped["server_tool_use"] = None
                continue
            mark = optional(block, MARK, dict, f"{place}.")
            parts = tuple(self._block(place, block))
            marked = parts if mark is None else with_last_marked(parts, mark)
            if mark is not None and marked is parts:
                self.dropped[MARK] = None
            yield from marked

    def _block(self, where: str, block: dict[str, Json]) -> Iterator[Part]:
        match block.get("type"):
            case "text":
                text = want(block.get("text"), str, f"{where}.text")
                yield Text(text, read_citations(block.get("citations"), len(text)))
            case "image":
                yield _image(where, want(block.get("source"), dict, f"{where}.source"))
            case "document":
                yield from self._document(where, block, want(block.get("source"), dict, f"{where}.source"))
            case "search_result":
                yield self._search_result(where, block)
            case "tool_result":
                yield self._result(where, block)
            case _:
                yield _models_block(where, block)

    def _document(self, where: str, block: dict[str, Json], source: dict[str, Json]) -> Iterator[Part]:
        self._note_citations(block)
        title = optional(block, "title", str, f"{where}.") or ""
        heading = _lines(title, optional(block, "context", str, f"{where}.") or "")
        match source.get("type"):
            case "text":
                yield Text(_paragraphs(heading, want(source.get("data"), str, f"{where}.source.data")))
            case "content":
                yield from [Text(heading)] if heading else []
                yield from self.parts(f"{where}.source.content", source.get("content"))
            case "url":
                yield Document(url=want(source.get("url"), str, f"{where}.source.url"), title=title)
            case _:
                yield Document(*_base64(where, source), title=title)

    def _search_result(self, where: str, block: dict[str, Json]) -> Text:
        """Return what a client's own search found, under its title and address."""
        self._note_citations(block)
        title, source = (want(block.get(name), str, f"{where}.{name}") for name in ("title", "source"))
        found = self.parts(f"{where}.content", block.get("content"))
        return Text(_paragraphs(_lines(title, source), *(part.text for part in found if isinstance(part, Text))))

    def _note_citations(self, block: dict[str, Json]) -> None:
        """Where sources are to be cited, no other provider's answer does."""
        wanted = block.get("citations")
        if isinstance(wanted, dict) and wanted.get("enabled") is True:
            self.dropped["citations"] = None

    def _result(self, where: str, block: dict[str, Json]) -> ToolResult:
        parts = tuple(self.parts(f"{where}.content", block.get("content")))
        shown = tuple(part for part in parts if isinstance(part, Text | Image | Document))
        if len(shown) != len(parts):
            raise refused(f"{where}.content", f"`{where}.content` holds what cannot be translated for this provider.")
        call_id = want(block.get("tool_use_id"), str, f"{where}.tool_use_id")
        return ToolResult(call_id, shown, block.get("is_error") is True)


def is_servers(kind: Json) -> bool:
    """Whether a block is of a tool that Anthropic itself runs: web search, code, MCP."""
    return kind in ("server_tool_use", "mcp_tool_use") or (isinstance(kind, str) and kind.endswith("_tool_result"))


def _lines(*lines: str) -> str:
    return "\n".join(filter(None, lines))


def _paragraphs(*paragraphs: str) -> str:
    return "\n\n".join(filter(None, paragraphs))


def _models_block(where: str, block: dict[str, Json]) -> Part:
    match block.get("type"):
        case "thinking":
            text = want(block.get("thinking"), str, f"{where}.thinking")
            return _thought(text, optional(block, "signature", str, f"{where}.") or "")
        case "redacted_thinking":
            return Thinking(hidden=want(block.get("data"), str, f"{where}.data"), origin=ORIGIN)
        case "tool_use":
            arguments = encoded(want(block.get("input"), dict, f"{where}.input")).decode()
            call_id, name = want(block.get("id"), str, f"{where}.id"), want(block.get("name"), str, f"{where}.name")
            return ToolCall(call_id, name, arguments)
    raise refused(f"{where}.type", f"`{where}` is of a type that cannot be translated for this model's provider.")


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


# Citations: each is of a whole block of text. https://platform.claude.com/docs/en/build-with-claude/citations

MAX_CITATIONS: Final = 1024
"""Of one block: far more than documents have (a block is about a sentence)."""


def read_citations(citations: Json, length: int) -> tuple[Citation, ...]:
    """Return where a block of text of this length comes from. What is no citation is passed over."""
    items = citations[:MAX_CITATIONS] if isinstance(citations, list) else []
    return tuple(read_citation(item, 0, length) for item in items if isinstance(item, dict))


def read_citation(cited: dict[str, Json], start: int, end: int) -> Citation:
    """Return a citation of the words from `start` to `end`: of a document, a page of the web, or a search's result."""
    return Citation(
        url=_either(cited, "url", "source"),
        title=_either(cited, "title", "document_title"),
        quote=_either(cited, "cited_text"),
        start=start,
        end=end,
    )


def _either(cited: dict[str, Json], *names: str) -> str:
    return next((value for name in names if isinstance(value := cited.get(name), str)), "")


def written_citation(citation: Citation) -> Json:
    """Return a citation of a page of the web. The others count places in documents of the request, which nobody knows here.

    `encrypted_index` is for Anthropic's own search alone, but the SDK's types want it.
    """
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title or None,
        "cited_text": citation.quote,
        "encrypted_index": "",
    }
