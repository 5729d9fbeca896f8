"""AWS Bedrock: Anthropic's models, asked by `invoke` and `invoke-with-response-stream`, with Anthropic's wire inside.

The model stands in the path, the version of the wire in the body, and the body says neither `model` nor `stream`
(https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html). A stream is an AWS event stream,
each of whose messages holds one of Anthropic's events; they are put back into server-sent events, so that everything
that reads these reads them. Pictures go as bytes only.

A key is a Bedrock API key, or `ACCESS_KEY_ID:SECRET_ACCESS_KEY` with `:SESSION_TOKEN` behind it where there is one. With the
latter requests are signed, and carry the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import attrs
import msgspec

from adaptors.alike import listing_of
from adaptors.anthropic_paths import MESSAGES
from adaptors.anthropic_wrapped import wrapped
from adaptors.aws_events import BadEvents, Message, MessageParser
from adaptors.aws_signature import Credentials, Scope, signed
from adaptors.failure import AnswerFailed, BodyState, Failure, FailureKind
from adaptors.jsonbytes import encoded
from adaptors.protocol import Answer, FoundAccount
from adaptors.translation.answer import TranslatedAnswer, frame_of
from adaptors.translation.fetched import addresses
from adaptors.translation.formats import request_of, translated_endpoints
from adaptors.values import Call, Headers, ProviderAccount, UpstreamRequest, Usage
from adaptors.wires.anthropic_messages import MessagesAnswer
from adaptors.wires.openai_errors import broken_answer, read_failure

_SERVICE: Final = "bedrock"
_VERSION: Final = "bedrock-2023-05-31"
"""Of the wire; the only one there is."""

_BEARER, _ENDPOINT = "AWS_BEARER_TOKEN_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"
_ID, _SECRET, _SESSION = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
_REGIONS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
_REGION_IN_HOST = re.compile(r"bedrock(?:-runtime)?(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws|api\.aws)")


@attrs.frozen
class Bedrock:
    """Bedrock in one region, which the address tells, or the channel's option `region`."""

    name: str = "bedrock"
    default_base_url: str = ""
    key_variable: str = _BEARER
    base_url_variable: str = _ENDPOINT
    dialects: tuple[str, ...] = ()
    translates: tuple[str, ...] = ("messages", *translated_endpoints((MESSAGES,)))
    model_families: tuple[str, ...] = tuple(
        f"{region}anthropic." for region in ("", "us.", "eu.", "apac.", "au.", "jp.", "us-gov.", "global.")
    )
    variables: tuple[str, ...] = (_BEARER, _ID, _SECRET, _SESSION, *_REGIONS, _ENDPOINT)
    options: Mapping[str, tuple[str, ...]] = MappingProxyType({"region": ()})
    now: int = 0
    """When the request is signed, in seconds since 1970."""

    def at(self, now: int) -> Bedrock:
        """Return the adaptor as it is at this moment."""
        return attrs.evolve(self, now=now)

    def account_from(self, values: Mapping[str, str]) -> FoundAccount | None:
        """Return the account that the variables describe. Keys of AWS alone may be meant for anything: None.

        Raises ValueError: a Bedrock API key without a region.
        """
        region = next((values[name] for name in _REGIONS if name in values), None)
        pair = f"{values[_ID]}:{values[_SECRET]}" if _ID in values and _SECRET in values else ""
        key = values.get(_BEARER) or (f"{pair}:{values[_SESSION]}" if pair and _SESSION in values else pair)
        if not key or (region is None and _BEARER not in values):
            return None
        if region is None:
            raise ValueError(f"{_BEARER}: bedrock has an address in each region; set {_REGIONS[0]} too")
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        url = values.get(_ENDPOINT) or f"https://bedrock-runtime.{region}.{domain}"
        return FoundAccount(key, url, {"region": region})

    # What goes up.

    def wants(self, call: Call) -> tuple[str, ...]:
        """Return the addresses of pictures and documents: none is fetched there."""
        return addresses(request_of(call)) if b"http" in (call.body or b"") else ()

    def request(self, call: Call, account: ProviderAccount, upstream_model: str | None) -> UpstreamRequest:
        """Return the request for the model. Raises BadBody: it cannot be had there."""
        model = upstream_model or call.model or ""
        body, dropped = wrapped(call, model, _VERSION)
        body.pop("stream", None)
        action = "invoke-with-response-stream" if call.stream else "invoke"
        url = f"{account.base_url.rstrip('/')}/model/{_in_path(model)}/{action}"
        return self._proven(UpstreamRequest(b"POST", url, _HEADERS, encoded(body), dropped), account)

    def models_request(self, account: ProviderAccount) -> UpstreamRequest:
        """Return the request that lists Anthropic's models; what their profiles are called is not among it."""
        base_url = account.base_url.rstrip("/").replace("//bedrock-runtime", "//bedrock", 1)
        request = UpstreamRequest(b"GET", base_url + "/foundation-models?byProvider=anthropic", _HEADERS, None)
        return self._proven(request, account)

    def _proven(self, request: UpstreamRequest, account: ProviderAccount) -> UpstreamRequest:
        """Return the request with the key, or signed."""
        access_key_id, colon, rest = account.key.partition(":")
        if not colon:
            bearer = ((b"authorization", b"Bearer " + account.key.encode()),) if account.key else ()
            return attrs.evolve(request, headers=request.headers + bearer)
        secret, _, token = rest.partition(":")
        return signed(request, Credentials(access_key_id, secret, token), Scope(_region(account), _SERVICE, self.now))

    # What comes back.

    def answer(self, call: Call, account: ProviderAccount, upstream_model: str | None, max_event_bytes: int) -> Answer:  # noqa: ARG002 - the contract has it
        """Return a fresh reader for the 2xx answer of this call."""
        if call.endpoint.wire != MESSAGES:
            frame = frame_of(call, upstream_model, max_event_bytes)
            return BedrockAnswer(TranslatedAnswer(MESSAGES, call.endpoint.wire or "", frame), max_event_bytes)
        model = call.model if upstream_model not in {None, call.model} else None
        return BedrockAnswer(MessagesAnswer(model=model, max_event_bytes=max_event_bytes), max_event_bytes)

    def failure(self, status: int, headers: Headers, body: bytes, state: BodyState) -> Failure:
        """Say what an error answer means: `{"message"}`, with the name of the error in a header. Never raises."""
        name = next((value for field, value in headers if field == b"x-amzn-errortype"), b"").decode("latin-1")
        return _as_named(read_failure(status, headers, body, state), name.partition(":")[0][:_MAX_NAME_CHARS])

    def models(self, body: bytes) -> tuple[str, ...]:
        """Return the names of the models in a listing. Raises AnswerFailed."""
        return listing_of(body, "modelSummaries", "modelId")


_HEADERS: Final[Headers] = (
    (b"content-type", b"application/json"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
)


def _in_path(model: str) -> str:
    """Return the name, which may be an ARN, as one segment of a path."""
    return re.sub(rb"[^A-Za-z0-9._~-]", lambda found: b"%%%02X" % found[0][0], model.encode()).decode("ascii")


def _region(account: ProviderAccount) -> str:
    found = _REGION_IN_HOST.search(account.base_url)
    return account.options.get("region") or (found[1] if found else "us-east-1")


# Errors, by their names (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html
# and .../CommonErrors.html): in a header, and in a stream's exceptions, which begin in lower case.

_MAX_NAME_CHARS: Final = 100
_BY_NAME: Final[Mapping[str, tuple[int, FailureKind]]] = MappingProxyType(
    {
        "accessdenied": (403, FailureKind.FORBIDDEN),
        "expiredtoken": (403, FailureKind.UNAUTHORIZED),
        "incompletesignature": (400, FailureKind.UNAUTHORIZED),
        "internalserver": (500, FailureKind.SERVER_ERROR),
        "invalidsignature": (403, FailureKind.UNAUTHORIZED),
        "missingauthenticationtoken": (403, FailureKind.UNAUTHORIZED),
        "modelerror": (502, FailureKind.SERVER_ERROR),
        "modelnotready": (429, FailureKind.OVERLOADED),
        "modelstreamerror": (502, FailureKind.SERVER_ERROR),
        "modeltimeout": (504, FailureKind.TIMEOUT),
        "resourcenotfound": (404, FailureKind.NOT_FOUND),
        "servicequotaexceeded": (429, FailureKind.QUOTA_EXHAUSTED),
        "serviceunavailable": (503, FailureKind.OVERLOADED),
        "throttling": (429, FailureKind.RATE_LIMITED),
        "unrecognizedclient": (403, FailureKind.UNAUTHORIZED),
        "validation": (400, FailureKind.BAD_REQUEST),
    }
)


def _as_named(failure: Failure, name: str) -> Failure:
    """Return the failure with the meaning that its name has."""
    known = _BY_NAME.get(name.lower().removesuffix("exception"))
    status, kind = known or (failure.status, failure.kind)
    return attrs.evolve(failure, status=status, kind=kind, code=name or failure.code, raw=None, format="bedrock")


# A stream: Anthropic's events, each in a message of AWS's.


class _Chunk(msgspec.Struct, rename={"event": "bytes"}):
    event: bytes = b""
    """In base64, which msgspec reads so."""


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class _Typed(msgspec.Struct):
    type: str = ""


_decode_typed = msgspec.json.Decoder(_Typed).decode


class BedrockAnswer:
    """Reads one answer of Bedrock with a reader of Anthropic's wire. A state machine for one attempt."""

    __slots__ = ("_inner", "_parser", "complete", "content_seen", "stored_id", "stream_type")

    def __init__(self, inner: Answer, max_event_bytes: int) -> None:
        """Make a reader; `inner` reads what Anthropic itself would have sent."""
        self._inner = inner
        self._parser = MessageParser(max_event_bytes)
        self.content_seen = False
        self.complete = False
        self.stored_id: str | None = None
        self.stream_type = b"application/vnd.amazon.eventstream"
        """Of a stream, in the place of `text/event-stream`."""

    @property
    def usage(self) -> Usage | None:
        """The tokens counted so far."""
        return self._inner.usage

    @property
    def sequence(self) -> int:
        """The number that the client's next event would carry."""
        return self._inner.sequence

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """Yield what these bytes say to the client. Raises AnswerFailed: an exception, garbage, a message too large."""
        try:
            messages = self._parser.feed(data)
        except BadEvents as error:
            raise AnswerFailed(broken_answer(f"The provider's stream cannot be read: {error}.")) from error
        for message in messages:
            yield from self._noted(self._inner.chunks(_server_sent(message)))

    def end(self) -> Iterator[bytes]:
        """Yield what is still owed to the client. Raises AnswerFailed unless the stream is complete."""
        if self._parser.rest and not self.complete:
            raise AnswerFailed(broken_answer("The provider's stream broke off in the middle of an event."))
        yield from self._noted(self._inner.end())

    def _noted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the pieces, and know what the reader inside knows."""
        try:
            for piece in pieces:
                self._note()
                yield piece
        finally:
            self._note()

    def _note(self) -> None:
        self.content_seen, self.complete = self._inner.content_seen, self._inner.complete

    def whole(self, body: bytes) -> bytes:
        """Return the client's body. Raises AnswerFailed: it is no message, or an error inside a 200."""
        client_body = self._inner.whole(body)
        self._note()
        return client_body


def _server_sent(message: Message) -> bytes:
    """Return the event that a message holds, as Anthropic itself sends it. Raises AnswerFailed: it is an exception."""
    kind = message.headers.get(":message-type", "event")
    if kind != "event":
        raise AnswerFailed(_exception(message))
    if message.headers.get(":event-type") != "chunk":
        return b""
    try:
        event = _decode_chunk(message.payload).event
        name = _decode_typed(event).type
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AnswerFailed(broken_answer("The provider sent something that is not JSON within its stream.")) from error
    return b"event: %b\ndata: %b\n\n" % (name.encode(), event.replace(b"\n", b" ").replace(b"\r", b" "))


def _exception(message: Message) -> Failure:
    name = message.headers.get(":exception-type") or message.headers.get(":error-code") or ""
    failure = read_failure(502, (), message.payload, BodyState.WHOLE)
    if failure.ours and (said := message.headers.get(":error-message")):
        failure = attrs.evolve(failure, message=said, ours=False)
    return _as_named(failure, name[:_MAX_NAME_CHARS])
