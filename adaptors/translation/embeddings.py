"""Embeddings of texts, asked for and given as OpenAI and as Gemini do.

https://platform.openai.com/docs/api-reference/embeddings and https://ai.google.dev/api/embeddings. OpenAI's clients ask for
the numbers in base64 (float32, little endian) unless they are told otherwise; between the two APIs they go as numbers.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterator
from typing import Final

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, decoded
from adaptors.translation.conversation import Value, refused
from adaptors.translation.gemini_content import humped
from adaptors.translation.reading import document_of, objects, optional, want
from adaptors.values import Call, Usage
from adaptors.wires.gemini_generate import read_gemini_usage
from adaptors.wires.openai_errors import broken_answer
from adaptors.wires.openai_usage import read_usage


class EmbeddingRequest(Value, frozen=True):
    """What is to be embedded; None is: nothing was said."""

    texts: tuple[str, ...]
    dimensions: int | None = None
    user: str | None = None
    dropped: tuple[str, ...] = ()


class EmbeddingReply(Value, frozen=True):
    """A vector for each text, in their order."""

    model: str
    vectors: tuple[list[float], ...]
    usage: Usage


# What a client asks for


def read_openai_request(call: Call) -> EmbeddingRequest:
    """Return what a client of OpenAI's wants embedded. Raises BadBody: tokens, which are another provider's words."""
    document = document_of(call.body)
    asked = document.get("input")
    texts = [asked] if isinstance(asked, str) else want(asked, list, "input")
    if any(not isinstance(text, str) for text in texts):
        raise refused("input", "`input` holds tokens, which this model's provider does not know; send texts.")
    return EmbeddingRequest(
        texts=tuple(texts),
        dimensions=optional(document, "dimensions", int),
        user=optional(document, "user", str),
        dropped=tuple(name for name, value in document.items() if name not in _READ_OPENAI and value is not None),
    )


_READ_OPENAI: Final = frozenset({"model", "input", "dimensions", "encoding_format", "user"})


def read_gemini_request(call: Call) -> EmbeddingRequest:
    """Return what a client of Gemini's wants embedded, one text or several. Raises BadBody: what is no text."""
    document = humped(document_of(call.body))
    if call.endpoint.name == "models.embed_content":
        asked = [("", document)]
    else:
        asked = [(f"{where}.", humped(item)) for where, item in objects(document.get("requests"), "requests")]
    sizes = {optional(item, "outputDimensionality", int, where) for where, item in asked}
    if len(sizes) > 1:
        raise refused(
            "requests", "`requests` of different `outputDimensionality` cannot be had from this model's provider."
        )
    named = dict.fromkeys(name for _, item in asked for name in item)
    return EmbeddingRequest(
        texts=tuple(_text_of(f"{where}content", item.get("content")) for where, item in asked),
        dimensions=next(iter(sizes), None),
        dropped=tuple(name for name in named if name not in _READ_GEMINI),
    )


_READ_GEMINI: Final = frozenset({"model", "content", "outputDimensionality"})


def _text_of(where: str, content: Json) -> str:
    texts: list[str] = []
    for place, part in objects(want(content, dict, where).get("parts"), f"{where}.parts"):
        if "text" not in part:
            raise refused(place, f"`{place}` is no text; this model's provider embeds nothing else.")
        texts.append(want(part["text"], str, f"{place}.text"))
    return "\n".join(texts)


# What the provider is asked for


def openai_body(request: EmbeddingRequest, model: str) -> dict[str, Json]:
    """Return the body for `/embeddings`."""
    said = {"dimensions": request.dimensions, "user": request.user}
    asked = {"model": model, "input": list(request.texts), "encoding_format": "float"}
    return asked | {name: value for name, value in said.items() if value is not None}


def gemini_body(request: EmbeddingRequest, model: str) -> dict[str, Json]:
    """Return the body for `:batchEmbedContents`, which takes one text too."""
    size = {} if request.dimensions is None else {"outputDimensionality": request.dimensions}
    name = f"models/{model}"
    return {"requests": [{"model": name, "content": {"parts": [{"text": text}]}, **size} for text in request.texts]}


# What the provider answers


def read_reply(body: bytes) -> EmbeddingReply:
    """Return what either API answers. Raises AnswerFailed: a vector is none."""
    document = decoded(body)
    if "data" in document:
        items = sorted(_objects(document["data"]), key=_index)
        vectors = tuple(_vector(item.get("embedding")) for item in items)
        return EmbeddingReply(str(document.get("model") or ""), vectors, read_usage(document.get("usage")) or Usage())
    found = document.get("embeddings", [document.get("embedding")])
    vectors = tuple(_vector(item.get("values")) for item in _objects(found))
    return EmbeddingReply("", vectors, read_gemini_usage(document.get("usageMetadata")) or Usage())


def _objects(items: Json) -> Iterator[dict[str, Json]]:
    return (item for item in items if isinstance(item, dict)) if isinstance(items, list) else iter(())


def _index(item: dict[str, Json]) -> int:
    index = item.get("index")
    return index if type(index) is int else 0


def _vector(numbers: Json) -> list[float]:
    if not isinstance(numbers, list) or not all(type(number) in {float, int} for number in numbers):
        raise AnswerFailed(broken_answer("The provider answered 200 with an embedding that is no list of numbers."))
    return numbers


# What the client gets


def written_reply(reply: EmbeddingReply, call: Call, model: str) -> Json:
    """Return the answer to the client's call. Raises AnswerFailed: it has not a vector for each text."""
    asked = read_openai_request(call) if call.endpoint.name == "embeddings" else read_gemini_request(call)
    if len(asked.texts) != len(reply.vectors):
        raise AnswerFailed(
            broken_answer(f"The provider gave {len(reply.vectors)} embeddings for {len(asked.texts)} texts.")
        )
    if call.endpoint.name == "embeddings":
        return _for_openai(reply, model, in_base64=document_of(call.body).get("encoding_format") == "base64")
    vectors = [{"values": vector} for vector in reply.vectors]
    counted = {"usageMetadata": {"promptTokenCount": reply.usage.input_tokens}}
    return (
        {"embedding": vectors[0]} if call.endpoint.name == "models.embed_content" else {"embeddings": vectors}
    ) | counted


def _for_openai(reply: EmbeddingReply, model: str, *, in_base64: bool) -> Json:
    written = map(_base64, reply.vectors) if in_base64 else reply.vectors
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(written)],
        "model": model,
        "usage": {"prompt_tokens": reply.usage.input_tokens, "total_tokens": reply.usage.input_tokens},
    }


def _base64(vector: list[float]) -> str:
    try:
        return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (OverflowError, struct.error) as error:
        raise AnswerFailed(broken_answer("The provider's embedding holds a number that no float32 holds.")) from error
