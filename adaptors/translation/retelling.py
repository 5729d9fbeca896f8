"""Questions with one JSON answer that several APIs have, each told as the other's: embeddings, counted tokens.

Such a call becomes a call of the provider's own API, which the adaptor then treats as any other; only its answer is told
back. One table says what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from adaptors.anthropic_paths import ANTHROPIC_PATHS
from adaptors.anthropic_paths import DIALECT as ANTHROPIC
from adaptors.bodies import BadBody
from adaptors.endpoints import OPENAI_PATHS
from adaptors.gemini_paths import DIALECT as GEMINI
from adaptors.gemini_paths import GEMINI_PATHS, quoted
from adaptors.jsonbytes import Json, encoded
from adaptors.paths import PathTable
from adaptors.protocol import Adaptor
from adaptors.translation import counting, embeddings
from adaptors.translation.answer import translated_headers
from adaptors.translation.conversation import ChatRequest
from adaptors.values import Call, ProviderAccount, UpstreamRequest, Usage
from adaptors.wires.openai_json import JSONAnswer, read_document

_Body = tuple[Json, tuple[str, ...]]


@attrs.frozen
class _Own:
    """How an API is asked: the dialect and the paths, the path with `{model}` in it, and how its body is written."""

    dialect: str
    paths: PathTable
    path: str
    body: Callable[[Call, str], _Body]


_COUNTS: Final[Mapping[str, Callable[[Call], ChatRequest]]] = MappingProxyType(
    {
        "messages.count_tokens": counting.read_messages_count,
        "models.count_tokens": counting.read_generate_count,
        "responses.input_tokens": counting.read_responses_count,
    }
)
_EMBEDDINGS: Final[Mapping[str, Callable[[Call], embeddings.EmbeddingRequest]]] = MappingProxyType(
    {
        "embeddings": embeddings.read_openai_request,
        "models.embed_content": embeddings.read_gemini_request,
        "models.batch_embed_contents": embeddings.read_gemini_request,
    }
)
_WIRES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "messages.count_tokens": "anthropic_json",
        "models.count_tokens": "gemini_json",
        "responses.input_tokens": "openai_json",
        "embeddings": "openai_json",
        "models.embed_content": "gemini_json",
        "models.batch_embed_contents": "gemini_json",
    }
)


def _counted(write: Callable[[ChatRequest, str], _Body]) -> Callable[[Call, str], _Body]:
    return lambda call, model: write(_COUNTS[call.endpoint.name](call), model)


def _embedded_by_openai(call: Call, model: str) -> _Body:
    request = _EMBEDDINGS[call.endpoint.name](call)
    return embeddings.openai_body(request, model), request.dropped


def _embedded_by_gemini(call: Call, model: str) -> _Body:
    request = _EMBEDDINGS[call.endpoint.name](call)
    return embeddings.gemini_body(request, model), (*request.dropped, *(("user",) if request.user else ()))


# By the wire of the provider's own paths: how tokens are counted there, and how texts are embedded.
_COUNTING: Final[Mapping[str, _Own]] = MappingProxyType(
    {
        "openai_json": _Own("openai_chat", OPENAI_PATHS, "/responses/input_tokens", _counted(counting.responses_body)),
        "anthropic_json": _Own(ANTHROPIC, ANTHROPIC_PATHS, "/messages/count_tokens", _counted(counting.messages_body)),
        "gemini_json": _Own(GEMINI, GEMINI_PATHS, "/models/{model}:countTokens", _counted(counting.generate_body)),
    }
)
_EMBEDDING: Final[Mapping[str, _Own]] = MappingProxyType(
    {
        "openai_json": _Own("openai_chat", OPENAI_PATHS, "/embeddings", _embedded_by_openai),
        "gemini_json": _Own(GEMINI, GEMINI_PATHS, "/models/{model}:batchEmbedContents", _embedded_by_gemini),
    }
)


def _own(name: str, wire: str) -> _Own | None:
    table = _COUNTING if name in _COUNTS else _EMBEDDING if name in _EMBEDDINGS else {}
    return table.get(wire)


def counts(call: Call) -> bool:
    """Whether a call asks how many tokens a request has."""
    return call.endpoint.name in _COUNTS


def is_retold(call: Call, wire: str) -> bool:
    """Whether a provider whose own paths are of this wire must be asked in its own words."""
    return call.endpoint.wire != wire and _own(call.endpoint.name, wire) is not None


def retold_endpoints(wire: str) -> tuple[str, ...]:
    """Return the endpoints of other APIs whose calls such a provider can be asked in its own words."""
    return tuple(name for name, own_wire in _WIRES.items() if own_wire != wire and _own(name, wire) is not None)


def asked_anew(
    adaptor: Adaptor, wire: str, call: Call, account: ProviderAccount, upstream_model: str | None
) -> UpstreamRequest:
    """Return what the adaptor sends for a call that is retold in the words of this wire. Raises BadBody."""
    told, dropped = retold(call, wire, upstream_model or call.model)
    request = adaptor.request(told, account, told.model)
    return attrs.evolve(request, dropped=(*request.dropped, *dropped))


def retold(call: Call, wire: str, model: str | None) -> tuple[Call, tuple[str, ...]]:
    """Return the call in the provider's words, and the names of what was left out. Raises BadBody."""
    own = _own(call.endpoint.name, wire)
    if own is None or not model:
        raise BadBody("The request names no model: `model` is required.", param="model", code="missing_model")
    body, dropped = own.body(call, model.removeprefix("models/"))
    path = own.path.encode().replace(b"{model}", quoted(model.removeprefix("models/")))
    endpoint = own.paths.match(b"POST", path)
    assert endpoint is not None
    headers = translated_headers(call)
    return attrs.evolve(
        call,
        endpoint=endpoint,
        dialect=own.dialect,
        path=path,
        query=b"",
        headers=headers,
        body=encoded(body),
        model=model,
    ), dropped


class RetoldAnswer(JSONAnswer):
    """Reads the answer to a call that was retold, and tells it to the client."""

    __slots__ = ("_call",)

    def __init__(self, call: Call, model: str | None) -> None:
        """Make a reader. `call` is the client's own; `model` its name of the model."""
        super().__init__(model)
        self._call = call

    def whole(self, body: bytes) -> bytes:
        """Return the client's body. Raises AnswerFailed: not the answer to such a question, or an error inside a 200."""
        read_document(body)
        written = self._counted(body) if counts(self._call) else self._embedded(body)
        self.content_seen = self.complete = True
        return encoded(written)

    def _counted(self, body: bytes) -> Json:
        return counting.written_count(counting.read_count(body), self._call)

    def _embedded(self, body: bytes) -> Json:
        reply = embeddings.read_reply(body)
        self.usage = Usage(input_tokens=reply.usage.input_tokens)
        return embeddings.written_reply(reply, self._call, self._model or reply.model)
