"""What a request points to is named once, and replaced by what was found there; nothing else of it changes."""

from __future__ import annotations

from adaptors.translation.conversation import (
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from adaptors.translation.fetched import addresses, with_data
from adaptors.values import Fetched

A, B, C = "https://x.example/a.png", "http://x.example/b", "https://x.example/c.pdf"
MARK = {"type": "ephemeral"}
OTHERS: tuple[Part, ...] = (
    Text("https://x.example/in-words.png"),
    Refusal("no"),
    Thinking("t", "s"),
    ToolCall("id", "name", '{"url":"https://x.example/in-arguments.png"}'),
    Image("image/png", "AAAA"),
    Image(url="gs://bucket/a.png"),
    Image(url="data:image/png;base64,AAAA"),
    Document("audio/mpeg", url="https://x.example/a.mp3"),
)


def request(*parts: Part) -> ChatRequest:
    return ChatRequest("m", (Message("system", (Text("s"),)), Message("user", (*OTHERS, *parts))), temperature=0.5)


def test_addresses_are_those_of_pictures_and_pdfs() -> None:
    """In their order, each once, in the results of tools too; not what stands in words, in buckets, or is to be heard."""
    result = ToolResult("id", (Text("t"), Image(url=B)))
    asked = request(Image(url=A), result, Document(url=C), Image(url=A), Document("application/pdf", url=C))
    assert addresses(asked) == (A, B, C)
    assert addresses(request()) == ()


def test_what_was_fetched_takes_its_place() -> None:
    """With its own type; marks, titles and all other parts stay."""
    found = {A: Fetched("image/webp", "AAAA"), B: Fetched("image/png", "BBBB")}
    result = ToolResult("id", (Text("t"), Image(url=B)), is_error=True, cache=MARK)
    asked = request(Image(url=A, cache=MARK), result, Document(url=C, title="c"))
    filled = with_data(asked, found)
    assert filled == request(
        Image("image/webp", "AAAA", cache=MARK),
        ToolResult("id", (Text("t"), Image("image/png", "BBBB")), is_error=True, cache=MARK),
        Document(url=C, title="c"),
    )


def test_it_is_what_it_is_and_not_what_it_was_called() -> None:
    """A PDF that was shown as a picture is a document, and the other way about."""
    found = {A: Fetched("application/pdf", "AAAA"), C: Fetched("image/png", "CCCC")}
    filled = with_data(request(Image(url=A), Document(url=C, title="c")), found)
    assert filled == request(Document("application/pdf", "AAAA"), Image("image/png", "CCCC"))


def test_nothing_found_changes_nothing() -> None:
    """It is the same request."""
    asked = request(Image(url=A))
    assert with_data(asked, {B: Fetched("image/png", "BBBB")}) is asked
