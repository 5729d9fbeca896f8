"""The whole contract between the relay and a provider.

An *adaptor* is one provider: its address, its authentication, its quirks, the way it tells errors. A *dialect* is the
client's side of a format: how that client is told of errors and kept awake. Both stand on *wires*, the formats.

Nothing here performs I/O. `Answer.chunks` is a plain generator function: it never awaits, so no generator is ever left
half run across a cancel scope; the relay owns every await, every limit and every close.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import attrs

from adaptors.failure import BodyState, Failure
from adaptors.values import Call, Headers, Lender, ProviderAccount, UpstreamRequest, Usage


class Answer(Protocol):
    """Reads one upstream answer and yields what the client gets. A state machine; one for each attempt.

    A streamed answer is fed with `chunks` and finished with `end`; a unary one is given to `whole`.
    """

    content_seen: bool
    """An event that is more than an opening event was yielded: from here on no other attempt may follow."""
    complete: bool
    """The wire's terminal event was seen and yielded."""
    stored_id: str | None
    """The id of the object that the answer made (`resp_...`), once it is known."""
    # An answer whose stream is no stream of server-sent events also has `stream_type`: its media type.

    @property
    def usage(self) -> Usage | None:
        """The tokens counted so far."""
        ...

    @property
    def sequence(self) -> int:
        """The sequence number that the stream's next event would carry, where the wire numbers its events; else 0."""
        ...

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """Yield the client's bytes for these upstream bytes: whole events only, the rest is kept for the next call.

        Raises AnswerFailed: an error event, garbage, or an event larger than the limit.
        """
        ...

    def end(self) -> Iterator[bytes]:
        """The upstream ended cleanly: yield what is still owed to the client (a `[DONE]` that was left out).

        Raises AnswerFailed unless the stream has proven that it is complete.
        """
        ...

    def whole(self, body: bytes) -> bytes:
        """Return the client's body for this whole 2xx body. Sets `usage`.

        Raises AnswerFailed: not the format, or an error inside a 200.
        """
        ...


class Adaptor(Protocol):
    """One provider. Stateless: everything that varies comes in as a value."""

    @property
    def name(self) -> str:
        """The name that channels call it by."""
        ...

    @property
    def dialects(self) -> tuple[str, ...]:
        """The dialects whose calls this provider can serve as they are."""
        ...

    @property
    def translates(self) -> tuple[str, ...]:
        """The names of the endpoints of other dialects whose calls it can serve by translation."""
        ...

    @property
    def model_families(self) -> tuple[str, ...]:
        """What the names of the provider's own models begin with: a channel that lists none is known by these."""
        ...

    @property
    def default_base_url(self) -> str:
        """Its public address, with the version where its own documents have it so."""
        ...

    @property
    def key_variable(self) -> str:
        """The environment variable that the provider's own SDK reads its key from; empty if there is none."""
        ...

    @property
    def base_url_variable(self) -> str:
        """The environment variable that the provider's own SDK reads its address from; empty if there is none."""
        ...

    def request(self, call: Call, account: ProviderAccount, upstream_model: str | None) -> UpstreamRequest:
        """Return what to send for this call; `upstream_model` is the provider's name of the model.

        Raises bodies.BadBody: the model must be renamed and the body leaves open where, or the provider cannot do what
        is asked for. Another provider may.
        """
        ...

    def answer(self, call: Call, account: ProviderAccount, upstream_model: str | None, max_event_bytes: int) -> Answer:
        """Return a fresh reader for the 2xx answer of this call."""
        ...

    def failure(self, status: int, headers: Headers, body: bytes, state: BodyState) -> Failure:
        """Say what an error answer means. Never raises, whatever the body holds."""
        ...

    def models_request(self, account: ProviderAccount) -> UpstreamRequest:
        """Return the request that lists the provider's models."""
        ...

    def models(self, body: bytes) -> tuple[str, ...]:
        """Return the names in the answer to `models_request`. Raises AnswerFailed."""
        ...


@attrs.frozen
class FoundAccount:
    """An account as the environment describes it. `base_url` None is the adaptor's own address."""

    key: str = attrs.field(repr=False)
    base_url: str | None = None
    options: Mapping[str, str] = attrs.field(factory=dict)


@runtime_checkable
class ReadsVariables(Protocol):
    """An adaptor may also be this: its provider's own SDK reads more from the environment than a key and an address."""

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables that it reads; the first one that is set is named as the source of the channel."""
        ...

    def account_from(self, values: Mapping[str, str]) -> FoundAccount | None:
        """Return the account that these variables describe, None if they do not describe one.

        Raises ValueError: they describe half of one; its text is a whole sentence that says what to set.
        """
        ...


@runtime_checkable
class KnowsOptions(Protocol):
    """An adaptor may also be this: it knows all options of its channels, so that a wrong one is told at once."""

    @property
    def options(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the options, each with the words that it may say; without any it may say anything."""
        ...


@runtime_checkable
class TellsTime(Protocol):
    """An adaptor may also be this: its requests carry the time, which the provider holds against its own clock."""

    def at(self, now: int) -> Adaptor:
        """Return the adaptor as it is at this moment, in seconds since 1970."""
        ...


def at_moment(adaptor: Adaptor, now: float) -> Adaptor:
    """Return what is to be asked for a request at this moment."""
    return adaptor.at(int(now)) if isinstance(adaptor, TellsTime) else adaptor


@runtime_checkable
class BorrowsTokens(Protocol):
    """An adaptor may also be this: what it sends as its key is lent for a while by somebody who must be asked."""

    def lender(self, account: ProviderAccount) -> Lender | None:
        """Return whom to ask; the token then is the `key` of the account. None: the account has a key of its own."""
        ...


@runtime_checkable
class WantsFetched(Protocol):
    """An adaptor may also be this: its provider takes the bytes of pictures and documents only, not their addresses."""

    def wants(self, call: Call) -> tuple[str, ...]:
        """Return the http(s) addresses in the call that `request` needs fetched. They come back as `call.fetched`.

        Raises bodies.BadBody: it is no such request.
        """
        ...


@attrs.frozen
class ErrorReport:
    """An error as a dialect is to tell it: our own failures and providers' ones in one shape.

    `kind` is one of the words of the OpenAI error table (`timeout_error`, `rate_limit_error`, ...), `code` is stable and
    for machines. `phase`, `limit_s` and `setting` name the clock that fired. `raw` is the provider's own error object,
    which a client of the same wire gets unchanged.
    """

    status: int
    kind: str
    code: str | None
    message: str
    param: str | None = None
    phase: str | None = None
    limit_s: float | None = None
    setting: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    raw: bytes | None = attrs.field(default=None, repr=False)


class Dialect(Protocol):
    """How the clients of one format are told what is not content. Stateless."""

    name: str
    error_format: str
    """Whose provider errors its clients may be told unchanged: `openai`, `anthropic`, `gemini` (`Failure.format`)."""
    error_content_type: bytes
    stream_content_type: bytes

    def error_body(self, report: ErrorReport) -> bytes:
        """Return the body of an error answer."""
        ...

    def error_event(self, report: ErrorReport, sequence: int) -> bytes:
        """Return the in-band error event of a stream whose head has left; `sequence` is the answer's own."""
        ...

    def keepalive(self, *, content_seen: bool) -> bytes:
        """Return what keeps a silent stream's connection open without meaning anything to the client's SDK."""
        ...

    def models_body(self, names: tuple[str, ...], created: int) -> bytes:
        """Return the answer to the model listing of this dialect."""
        ...

    def model_body(self, name: str, created: int) -> bytes:
        """Return the answer to the question for one model."""
        ...
