"""One JSON answer of the OpenAI API, passed on byte for byte: looked at, not understood.

A 2xx is not yet an answer: it may be a page of a captive edge, an error in a 200's clothes, or nothing. Each of these is
a failure that says which. Of a good answer only the value of `model` ever changes, and only where the model was renamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import UNREADABLE, Json, NotJSON, decoded, encoded, with_member
from adaptors.values import Usage
from adaptors.wires.openai_errors import broken_answer, error_inside
from adaptors.wires.openai_usage import read_usage


class Document(msgspec.Struct):
    """What the relay looks at in an answer; the rest is stepped over, not decoded."""

    model: Any = None
    usage: Any = None
    error: Any = None
    object: Any = None
    id: Any = None
    file: Any = None
    choices: msgspec.Raw = msgspec.Raw()
    request_id: Any = None


_decode = msgspec.json.Decoder(Document).decode


def read_document(body: bytes) -> Document:
    """Return what stands in a whole 2xx body. Raises AnswerFailed: it is no JSON object, or it is an error."""
    try:
        document = _decode(body)
    except UNREADABLE:
        document = _read_leniently(body)
    if document.error or document.object == "error":
        _refuse_error(document, body)
    return document


def _read_leniently(body: bytes) -> Document:
    """Read what msgspec refuses and others take (NaN, lone surrogates), or say why it is no answer."""
    try:
        document = decoded(body)
    except NotJSON as error:
        raise AnswerFailed(broken_answer(_what_it_is(body, error))) from error
    if not isinstance(document, dict):
        raise AnswerFailed(broken_answer("The provider answered 200 with JSON that is no object."))
    known = {name: document[name] for name in Document.__struct_fields__ if name in document and name != "choices"}
    choices = msgspec.Raw(encoded(document["choices"])) if "choices" in document else msgspec.Raw()
    return Document(**known, choices=choices)


def _what_it_is(body: bytes, error: NotJSON) -> str:
    start = body[:512].lstrip().lower()
    if not start:
        return "The provider answered 200 with an empty body."
    if start.startswith(b"<"):
        return f"The provider answered 200 with a page of HTML or XML ({len(body)} bytes) where JSON was due."
    if start.startswith((b"data:", b"event:", b":")):
        return "The provider answered 200 with a stream of events where one JSON body was due."
    return f"The provider answered 200 with a body that is not JSON ({len(body)} bytes): {error}."


def _refuse_error(document: Document, body: bytes) -> None:
    """Raise, if this is an error. A Responses object that failed is an answer that truthfully says so."""
    if document.object == "response":
        return
    failure = error_inside(decoded(body), body)
    if failure is not None:
        raise AnswerFailed(failure)


def renamed(body: bytes, document: Document, model: str | None) -> bytes:
    """Return the body with `model` in the place of the provider's name for it; every other byte stays."""
    if model is None or not isinstance(document.model, str) or document.model == model:
        return body
    try:
        return with_member(body, "model", encoded(model))
    except NotJSON as error:
        raise AnswerFailed(broken_answer(f"The provider's answer cannot be passed on: {error}.")) from error


def text(value: Json) -> str | None:
    """Return the value if it is a text that says something."""
    return value if isinstance(value, str) and value else None


class JSONAnswer:
    """Reads an answer that is one JSON object: embeddings, moderations, images, objects that a POST makes."""

    __slots__ = ("_model", "complete", "content_seen", "sequence", "stored_id", "usage")

    def __init__(self, model: str | None) -> None:
        """Make a reader; `model` is the client's name of the model where it is not the provider's, else None."""
        self._model = model
        self.content_seen = False
        self.complete = False
        self.usage: Usage | None = None
        self.stored_id: str | None = None
        self.sequence = 0

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """Raise AnswerFailed: there is no stream on these paths that this wire reads."""
        raise AnswerFailed(broken_answer("The provider answered with a stream where one JSON body was due."))
        yield data  # a generator function, as the contract has it

    def end(self) -> Iterator[bytes]:
        """Raise AnswerFailed: see `chunks`."""
        yield from self.chunks(b"")

    def whole(self, body: bytes) -> bytes:
        """Return the body, the model renamed. Raises AnswerFailed: not a JSON object, or an error inside a 200."""
        document = read_document(body)
        self.usage = read_usage(document.usage)
        self.stored_id = _stored_id(document)
        self.content_seen = self.complete = True
        return renamed(body, document, self._model)


def _stored_id(document: Document) -> str | None:
    """Return the id of the object that was made; a completed upload has made a file, under an id of its own."""
    if document.object == "upload" and isinstance(document.file, dict):
        return text(document.file.get("id"))
    return text(document.id)


class PassedOn:
    """An answer that no wire reads: it goes through as it comes, and its body's own framing proves that it is whole."""

    __slots__ = ("complete", "content_seen", "sequence", "stored_id", "usage")

    def __init__(self) -> None:
        self.content_seen = False
        self.complete = False
        self.usage: Usage | None = None
        self.stored_id: str | None = None
        self.sequence = 0

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """Yield the bytes."""
        self.content_seen = True
        yield data

    def end(self) -> Iterator[bytes]:
        """Yield nothing: a clean end is the proof."""
        self.content_seen = self.complete = True
        yield from ()

    def whole(self, body: bytes) -> bytes:
        """Return the body."""
        self.content_seen = self.complete = True
        return body
