"""OpenAI, and every provider that speaks as OpenAI does: a row of facts and one adaptor that is driven by it.

A request goes up as the client sent it: its own path, query, headers and body. What changes is the address, the key, the
name of the model where the channel maps it, and, where the channel says `ask_usage`, the wish for a usage chunk.

A provider of both of OpenAI's APIs gets each request by the API it was made for. The option `api` of a channel says that it
is to get all of them by one, `responses` or `chat`: some models, and some of what they can do, are had by only one of the two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from adaptors.alike import LISTING_HEADERS, headers_up, listing_in, names_of
from adaptors.bodies import BadBody, rename_model
from adaptors.endpoints import wire_of
from adaptors.failure import BodyState, Failure
from adaptors.jsonbytes import Json, NotJSON, decoded, encoded, with_member
from adaptors.protocol import Answer
from adaptors.translation.answer import ProviderFormat, TranslatedAnswer, frame_of, translated_headers
from adaptors.translation.chat_request import Options, write_chat_request
from adaptors.translation.conversation import ChatRequest
from adaptors.translation.counting import cannot_count
from adaptors.translation.formats import is_translated, request_of, translated_endpoints
from adaptors.translation.responses_content import without_foreign_thoughts
from adaptors.translation.responses_reader import ResponsesReader, read_responses_reply
from adaptors.translation.responses_request import write_responses_request
from adaptors.translation.retelling import RetoldAnswer, asked_anew, counts, is_retold, retold_endpoints
from adaptors.values import Call, Headers, ProviderAccount, UpstreamRequest
from adaptors.wires.openai_chat import ChatAnswer
from adaptors.wires.openai_errors import read_failure
from adaptors.wires.openai_json import JSONAnswer, PassedOn
from adaptors.wires.openai_responses import ResponsesAnswer

CHAT: Final = "openai_chat"
RESPONSES: Final = "openai_responses"
_JSON: Final = "openai_json"

_APIS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({"chat": (CHAT,), "responses": (RESPONSES,)})
"""What the option `api` of a channel may say, and the wires that are then spoken with the provider."""


@attrs.frozen
class OpenAICompatible:
    """One provider of the OpenAI API. A row of the table in `compatible.py`.

    `base_url` includes the version. The variables are those that the provider's own SDK or documentation names; empty
    where it names none. `models_path` lists the models.
    """

    name: str
    default_base_url: str
    key_variable: str
    base_url_variable: str = ""
    dialects: tuple[str, ...] = (CHAT,)
    models_path: str = "/models"
    model_families: tuple[str, ...] = ()
    limit_field: str = "max_tokens"
    """Where it reads the limit of an answer's tokens; OpenAI's reasoning models refuse the old name."""
    seed_field: str = "seed"
    """Where it reads the seed."""
    effort_models: str = r"(?:^|/)(?:o[1-9]|gpt-[5-9]|gpt-oss)"
    """A pattern of its models that take `reasoning_effort`; others may answer 400 to it."""
    replays_reasoning: bool = False
    """It wants the `reasoning_content` of earlier turns back."""
    takes_stream_options: bool = True
    """It knows `stream_options`. One that does not tells its usage unasked, or answers 4xx to the question."""
    counts_tokens: bool = False
    """It counts tokens at `/responses/input_tokens`."""
    takes_marks: bool = False
    """It knows Anthropic's `cache_control` on parts and tools."""
    shared_fields: frozenset[str] = frozenset()
    """Those of OpenAI's own fields (`metadata`, `service_tier`, ...) that it knows too; others may answer 4xx to them."""

    @property
    def translates(self) -> tuple[str, ...]:
        """The endpoints of the formats that it does not speak itself."""
        return (*translated_endpoints(self.dialects), *retold_endpoints(_JSON))

    @property
    def options(self) -> Mapping[str, tuple[str, ...]]:
        """The options of its channels: `api` is one of two words, the others say who pays."""
        return {"api": tuple(_APIS), **{name: () for name, _ in _PAYERS}}

    # What goes up.

    def request(self, call: Call, account: ProviderAccount, upstream_model: str | None) -> UpstreamRequest:
        """Return the request as it came, addressed to the provider. Raises BadBody: a model that cannot be renamed."""
        spoken = self.spoken(account)
        if call.endpoint.wire not in spoken:  # else it is neither, and most calls are not
            if is_translated(call, spoken):
                return self._translated(call, account, upstream_model or call.model or "")
            if is_retold(call, _JSON):
                if counts(call) and not self.counts_tokens:
                    raise cannot_count()
                return asked_anew(self, _JSON, call, account, upstream_model)
        account = self._asking(account)
        path = call.path.decode("latin-1")
        query = "?" + call.query.decode("latin-1") if call.query else ""
        return UpstreamRequest(
            method=call.method,
            url=account.base_url.rstrip("/") + path + query,
            headers=headers_up(call, _payers(account) + self.authorization(account)),
            body=_body(call, account, upstream_model),
        )

    def spoken(self, account: ProviderAccount) -> tuple[str, ...]:
        """Return the wires that are spoken with the provider by this channel."""
        return _APIS.get(account.options.get("api", ""), self.dialects)

    @property
    def _origin(self) -> str:
        """Whose thoughts come sealed by the Responses API: Azure answers 400 to OpenAI's."""
        return f"{RESPONSES}:{self.name}"

    def _answers(self) -> ProviderFormat:
        return ProviderFormat(
            reader=lambda _: ResponsesReader(self._origin),
            read_reply=lambda body: read_responses_reply(body, self._origin),
        )

    def translated_path(self, account: ProviderAccount) -> str:
        """Return the path that requests of other formats go to."""
        return "/chat/completions" if CHAT in self.spoken(account) else "/responses"

    def _translated(self, call: Call, account: ProviderAccount, model: str) -> UpstreamRequest:
        request = self.expressible(request_of(call), model)
        if CHAT in self.spoken(account):
            body, dropped = self._as_chat(request, model)
        else:
            reasons = re.search(self.effort_models, model) is not None
            fields = self.shared_fields
            body, dropped = write_responses_request(
                request, model, origin=self._origin, reasons=reasons, shared_fields=fields
            )
        url = account.base_url.rstrip("/") + self.translated_path(account)
        headers = (*_payers(account), *self.authorization(account))
        return UpstreamRequest(b"POST", url, translated_headers(call) + headers, encoded(body), dropped)

    def _as_chat(self, request: ChatRequest, model: str) -> tuple[Json, tuple[str, ...]]:
        options = Options(
            limit_field=self.limit_field,
            seed_field=self.seed_field,
            takes_effort=re.search(self.effort_models, model) is not None,
            replays_reasoning=self.replays_reasoning,
            takes_marks=self.takes_marks,
            shared_fields=self.shared_fields,
        )
        body, dropped = write_chat_request(request, model, options)
        if not self.takes_stream_options:
            body.pop("stream_options", None)
        return body, dropped

    def expressible(self, request: ChatRequest, model: str) -> ChatRequest:  # noqa: ARG002 - providers that refuse more look at it
        """Return the request less what the provider's model refuses, which is named in its `dropped`."""
        return request

    def authorization(self, account: ProviderAccount) -> Headers:
        """Return the key, if the channel has one: servers on one's own machine want none."""
        return ((b"authorization", b"Bearer " + account.key.encode()),) if account.key else ()

    def _asking(self, account: ProviderAccount) -> ProviderAccount:
        """Return the account as far as its wishes can be said to this provider."""
        return account if self.takes_stream_options else attrs.evolve(account, ask_usage=False)

    def models_request(self, account: ProviderAccount) -> UpstreamRequest:
        """Return the request that lists the provider's models."""
        url = account.base_url.rstrip("/") + self.models_path
        headers = (*LISTING_HEADERS, *self.authorization(account))
        return UpstreamRequest(b"GET", url, headers, None)

    # What comes back.

    def answer(self, call: Call, account: ProviderAccount, upstream_model: str | None, max_event_bytes: int) -> Answer:
        """Return a fresh reader for the 2xx answer of this call."""
        model = call.model if upstream_model not in {None, call.model} else None
        wire = wire_of(call.endpoint, stream=call.stream)
        spoken = self.spoken(account)
        if call.endpoint.wire not in spoken:
            if is_translated(call, spoken):
                provider = CHAT if CHAT in spoken else self._answers()
                frame = frame_of(call, upstream_model, max_event_bytes)
                return TranslatedAnswer(provider, call.endpoint.wire or "", frame)
            if is_retold(call, _JSON):
                return RetoldAnswer(call, call.model)
        if wire == CHAT:
            hides_usage = _asks_usage(call, self._asking(account))
            return ChatAnswer(call, model=model, hides_usage=hides_usage, max_event_bytes=max_event_bytes)
        if wire == RESPONSES:
            return ResponsesAnswer(model=model, max_event_bytes=max_event_bytes)
        return JSONAnswer(model) if wire == _JSON else PassedOn()

    def failure(self, status: int, headers: Headers, body: bytes, state: BodyState) -> Failure:
        """Say what an error answer means. Never raises, whatever the body holds."""
        return read_failure(status, headers, body, state)

    def models(self, body: bytes) -> tuple[str, ...]:
        """Return the names of the models in a listing. Raises AnswerFailed."""
        listing = listing_in(body)
        models = listing.get("data", listing.get("models")) if isinstance(listing, dict) else listing
        return names_of(models, _model_name)


# Set on a channel, these say whose account pays (https://platform.openai.com/docs/api-reference/authentication); else
# what the client says passes.
_PAYERS: Final = (("organization", b"openai-organization"), ("project", b"openai-project"))


def _payers(account: ProviderAccount) -> Headers:
    options = account.options
    if not options:
        return ()
    return tuple((header, options[name].encode()) for name, header in _PAYERS if name in options)


def _body(call: Call, account: ProviderAccount, upstream_model: str | None) -> bytes | None:
    body = call.body
    if body is None:
        return None
    body = without_foreign_thoughts(body)
    if call.model is not None and upstream_model is not None and upstream_model != call.model:
        body = rename_model(body, _content_type(call), upstream_model)
    return _with_usage_asked(body) if _asks_usage(call, account) else body


def _content_type(call: Call) -> bytes:
    return next((value for name, value in call.headers if name == b"content-type"), b"")


def _asks_usage(call: Call, account: ProviderAccount) -> bool:
    """Whether the relay asks for the usage chunk where the client did not."""
    return account.ask_usage and call.stream and not call.include_usage and call.endpoint.wire == CHAT


def _with_usage_asked(body: bytes) -> bytes:
    options: Json = decoded(body).get("stream_options")
    asked = {**options, "include_usage": True} if isinstance(options, dict) else {"include_usage": True}
    try:
        return with_member(body, "stream_options", encoded(asked))
    except NotJSON as error:
        raise BadBody(f"The options of this request body cannot be told for certain: {error}.") from error


def _model_name(model: Json) -> str | None:
    """Return the name: `id` by the book, `name` where a server lists in a way of its own."""
    if isinstance(model, str):
        return model or None
    if not isinstance(model, dict):
        return None
    return next((value for key in ("id", "name") if isinstance(value := model.get(key), str) and value), None)
