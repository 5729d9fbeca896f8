"""What can truthfully be said to a client of each misbehaviour: a table of when it strikes and how it ends.

The law: nothing here knows how the relay works. A fault strikes before the answer's head is whole, within the body, or
not at all; it ends by itself or only by a clock. From these two, the clocks that are set, the status beneath it and
whether a stream was asked for follows what an honest intermediary can say, and when.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Set as AbstractSet

import attrs

from relay_trio.settings.model import ChannelSettings, Settings
from relay_trio.settings.units import MIB
from relay_trio.testing.misbehaviours import MISBEHAVIOURS

ERROR_BODY_S = 5.0
"""How long an error's body is waited for (a few seconds are promised, more is a client's time)."""

EARLY_HEAD_SLACK_S = 0.5
"""A silent stream's head leaves at its time or so much later: one look at all streams serves them all."""

INSTANT_S = 0.01

BEATS = 60
"""What never ends sends so many times until the last clock fires."""


@attrs.frozen
class Bounds:
    """The clocks that a request runs under, in seconds, and the sizes. None: that clock is off, the total alone counts."""

    total: float
    connect: float
    headers: float | None = None
    first_event: float | None = None
    idle: float | None = None
    early_head: float = math.inf
    """When a silent stream's head leaves: from then on an error can only be told in band."""
    event_bytes: int = 16 * MIB

    @classmethod
    def of(cls, settings: Settings, channel: ChannelSettings | None = None) -> Bounds:
        """Return the bounds of a configuration, as they run on one of its channels."""
        limits = settings.limits.with_channel({} if channel is None else channel.limits)
        return cls(
            min(limits.total, settings.limits.total),
            limits.connect,
            limits.headers,
            limits.first_event,
            limits.idle,
            settings.keepalive_after if settings.keepalive_interval else math.inf,
            settings.max_event_bytes,
        )

    def first_of(self, clock: float | None) -> float:
        """Return when this clock ends a request: the total may be before it."""
        return self.total if clock is None else min(clock, self.total)

    @property
    def slow_s(self) -> float:
        """How long a slow answer takes that no clock may end."""
        return min(map(self.first_of, (self.headers, self.first_event, self.idle))) / 2

    @property
    def beat_s(self) -> float:
        """How often something comes of what never ends: often enough for a clock that waits for silence."""
        return min(self.total / BEATS, math.inf if self.idle is None else self.idle / 2)


class Strikes(enum.Enum):
    """When a fault strikes, seen by who reads the answer."""

    CONNECTING = "no connection stands"
    HEAD = "no final head can be read"
    OPENING = "the head is right; of the body nothing that means something"
    CONTENT = "some of the body is right"
    NEVER = "the answer is right and whole"
    EITHER = "HTTP lets a receiver refuse it or read it"


class Ends(enum.Enum):
    """How the answer ends."""

    BY_ITSELF = "by itself"
    BY_CLOCK = "by a clock of the relay's"


@attrs.frozen
class Row:
    """One behaviour. `unary` where it does something else without a stream."""

    strikes: Strikes
    ends: Ends = Ends.BY_ITSELF
    size: int | None = None
    """How large what is large is, in bytes."""
    over_event: bool = False
    """It is larger than one event may be."""
    words: int | None = None
    """The model says so few words that dripping them takes no thousand steps."""
    slow_head: int = 0
    """A good head comes in at most so many steps."""
    slow_body: int = 0
    endless: bool = False
    """Something comes all the time: a clock that waits for silence does not end it."""
    unary: Row | None = None
    over_tls: Row | None = None
    always: int | None = None
    """The status that it answers with, whatever it is asked to."""
    takes_s: float = 0.0
    """A good answer takes so long, whatever is asked for."""
    own_body: bool = False
    """An error's body is not the provider's usual one, and so are its headers."""


C, H, O, B, N, E = Strikes  # noqa: E741 - a table reads better in one letter
CLOCK = Ends.BY_CLOCK

CONNECTION_FAILS = Row(C)
WHOLE = Row(N)

ROWS: dict[str, Row] = {
    # The connection
    "close-on-accept": Row(H, over_tls=CONNECTION_FAILS),
    "reset-on-accept": Row(H, over_tls=CONNECTION_FAILS),
    "tls-hangs": Row(H, CLOCK, over_tls=Row(C, CLOCK)),
    "tls-closes": Row(H, over_tls=CONNECTION_FAILS),
    "tls-resets": Row(H, over_tls=CONNECTION_FAILS),
    "tls-garbage": Row(N, always=400, own_body=True, over_tls=CONNECTION_FAILS),
    "never-reads": Row(H, CLOCK),
    "reset-during-head": Row(H),
    "close-during-head": Row(H),
    "never-reads-body": Row(H, CLOCK),
    "reset-during-body": Row(H),
    "early-answer": Row(O, unary=WHOLE),  # it has not read that a stream was asked for
    "early-answer-reset": Row(O, unary=Row(E)),
    "close-after-request": Row(H),
    "reset-after-request": Row(H),
    "close-mid-head": Row(H),
    "reset-mid-head": Row(H),
    "close-after-head": Row(O),
    "reset-after-head": Row(O),
    "reset-mid-body": Row(B),
    "truncated-length": Row(B),
    "truncated-chunked": Row(B),
    "truncated-mid-chunk": Row(B),
    "truncated-without-notice": Row(B),
    "close-announced": WHOLE,
    "close-unannounced": WHOLE,
    "reset-unannounced": Row(N, takes_s=1),  # the next request may be under way when it comes
    "close-on-reuse": WHOLE,
    "reset-on-reuse": WHOLE,
    "stray-bytes": WHOLE,
    # Time
    "silent-before-head": Row(H, CLOCK),
    "silent-mid-head": Row(H, CLOCK),
    "silent-after-head": Row(O, CLOCK),
    "silent-mid-body": Row(B, CLOCK),
    "silent-before-end": Row(N, CLOCK, unary=Row(B, CLOCK)),  # a stream's proof is its last event, not its framing
    "late-head": Row(N, slow_head=1),
    "late-body": Row(N, slow_body=1),
    "drip-head": Row(N, slow_head=250),
    "drip-body": Row(N, slow_body=1000, words=1),
    "slow-body": Row(N, slow_body=14),
    "endless-body": Row(B, CLOCK, endless=True, size=256),
    "endless-drip": Row(B, CLOCK, endless=True),
    "endless-comments": Row(O, CLOCK, endless=True),
    "endless-head": Row(H, slow_head=4),
    "endless-interim": Row(H, CLOCK, endless=True),
    "endless-trailers": Row(N, CLOCK, endless=True, unary=Row(B, CLOCK, endless=True)),
    # Framing
    "garbage": Row(H),
    "bad-status-line": Row(H),
    "bad-version": Row(E),
    "bad-header-line": Row(H),
    "nul-in-header": Row(E),
    "giant-header": Row(H),
    "many-headers": Row(H),
    "giant-status-line": Row(H),
    "bad-chunk-size": Row(B),
    "negative-chunk-size": Row(B),
    "huge-chunk-size": Row(B),
    "giant-chunk-line": Row(B),
    "chunk-too-long": Row(B),
    "length-too-small": Row(B),
    "length-too-large": Row(N, CLOCK, unary=Row(B, CLOCK)),
    "length-invalid": Row(H),
    "length-negative": Row(H),
    "lengths-differ": Row(H),
    "length-and-chunked": Row(E),
    "body-after-204": Row(O, always=200, unary=Row(N, always=204)),
    "close-delimited": WHOLE,
    "http10": WHOLE,
    "chunked": WHOLE,
    "fixed-length": WHOLE,
    "interim": WHOLE,
    "trailers": WHOLE,
    "chunk-extensions": WHOLE,
    "one-byte-chunks": WHOLE,
    "one-byte-writes": Row(N, words=1),
    "one-write": WHOLE,
    "duplicate-headers": WHOLE,
    "folded-header": Row(E),
    "bare-line-feeds": Row(E),
    # Content
    "answer": WHOLE,
    "retry-after-seconds": Row(N, always=429, own_body=True),
    "retry-after-ms": Row(N, always=429, own_body=True),
    "retry-after-date": Row(N, always=429, own_body=True),
    "retry-after-garbage": Row(N, always=429, own_body=True),
    "insufficient-quota": Row(N, always=429, own_body=True),
    "overloaded-529": Row(N, always=529, own_body=True),
    "html-503": Row(N, always=503, own_body=True),
    "empty-error": Row(N, always=503, own_body=True),
    "text-error": Row(N, always=503, own_body=True),
    "redirect": Row(O, always=200),
    "error-in-200": Row(O, own_body=True),
    "error-event": Row(B, own_body=True),
    "error-event-first": Row(O, own_body=True),
    "response-failed": Row(B, own_body=True),
    "html-200": Row(O, always=200),
    "html-as-json": Row(O),
    "json-for-stream": Row(O, unary=WHOLE),
    "stream-for-json": Row(N, unary=Row(O)),
    "empty-200": Row(O),
    "bad-json": Row(B),
    "garbage-in-body": Row(B),
    "giant-line": Row(B, over_event=True),
    "no-terminal-event": Row(B, unary=WHOLE),
    "no-done": WHOLE,
    "torn-last-event": WHOLE,
    "stream-in-other-spelling": WHOLE,
    "gzip-answer": WHOLE,
    "deflate-answer": WHOLE,
    "gzip-truncated": Row(B),
    "gzip-corrupt": Row(O),
    "gzip-bomb": Row(O, size=8 * 1024 * 1024),
    "unknown-encoding": Row(O),
    "binary-for-json": Row(O, own_body=True),
}


ROWS_OVER_HTTPX: dict[str, Row] = {
    "many-headers": WHOLE,  # h11 takes a head of 100 KiB with any number of fields
    "endless-head": Row(H, slow_head=60),
}
"""Where httpx, in the place of our own transport, is more patient."""


class Said(enum.Enum):
    """What the client is told."""

    ANSWER = "the whole answer"
    ERROR = "an error answer, with a status"
    ERROR_IN_BAND = "an error event, in a stream whose head has left"
    NOTHING = "a bodiless answer"


@attrs.frozen
class Truth:
    """What may be said: any of these, with one of these statuses, within these seconds."""

    said: frozenset[Said]
    statuses: frozenset[int]
    phases: frozenset[str]
    within_s: tuple[float, float] = (0.0, INSTANT_S)
    kept: bool = False
    """The provider's own error status, with what it says about trying again."""


ROWS_OF_STATUS_ERRORS = frozenset({"empty-error", "text-error"})
"""Those take the status they are asked for, if it is an error's."""


@attrs.frozen
class Case:
    """One misbehaviour in one of its forms: what is asked, over what, under which bounds."""

    name: str
    status: int
    bounds: Bounds
    stream: bool = False
    tls: bool = False
    httpx: bool = False

    @property
    def row(self) -> Row:
        """The row that applies."""
        row = _row_over(self.name, httpx=self.httpx)
        if self.tls and row.over_tls is not None:
            return row.over_tls
        return row if self.stream or row.unary is None else row.unary

    @property
    def behaviour(self) -> str:
        """The written form of the behaviour: its pace and its sizes follow from the bounds."""
        row = _row_over(self.name, httpx=self.httpx)
        size = self.bounds.event_bytes + MIB // 4 if row.over_event else row.size
        parameters = {"status": self.status, "interval": self._interval_s, "size": size, "words": row.words}
        return ";".join([self.name, *(f"{key}={value}" for key, value in parameters.items() if value is not None)])

    @property
    def _interval_s(self) -> float | None:
        row = _row_over(self.name, httpx=self.httpx)
        if row.endless:
            return self.bounds.beat_s
        steps = row.slow_head + row.slow_body
        return self.bounds.slow_s / steps if steps else None

    @property
    def truth(self) -> Truth:
        """What may be said of this case."""
        row, status = self.row, self.status
        if row.always is not None and not (self.name in ROWS_OF_STATUS_ERRORS and status >= 400):
            status = row.always
        if row.strikes is C:
            after_s = self.bounds.first_of(self.bounds.connect)
            return self._failed({"connect"}, _at(after_s) if row.ends is CLOCK else _AT_ONCE, row.ends)
        if row.strikes is H:
            return self._before_head(row)
        if row.strikes is E:
            refused, read = self._before_head(row), self._read(row, status)
            return Truth(refused.said | read.said, refused.statuses | read.statuses, refused.phases | PHASES_OF_BODIES)
        return self._read(row, status)

    def _before_head(self, row: Row) -> Truth:
        within_s = _at(self.bounds.first_of(self.bounds.headers)) if row.ends is CLOCK else self._slowness(row)
        return self._failed({"send", "headers"}, within_s, row.ends)

    def _read(self, row: Row, status: int) -> Truth:
        if status >= 400:
            return self._kept(row, status)
        if status == 204:
            return Truth(frozenset({Said.NOTHING}), frozenset({204}), frozenset())
        if row.strikes in {N, E}:
            return Truth(frozenset({Said.ANSWER}), frozenset({200}), frozenset(), self._slowness(row))
        return self._broken(row)

    def _kept(self, row: Row, status: int) -> Truth:
        """An error's status stays as it was, whatever becomes of its body; the total alone may end both."""
        patience_s = self.bounds.first_of(ERROR_BODY_S)
        within_s = _at(patience_s) if row.ends is CLOCK else self._slowness(row, most_s=patience_s)
        truth = self._failed({"error_body"}, within_s, Ends.BY_ITSELF, status)
        if self.bounds.total <= ERROR_BODY_S:
            truth = attrs.evolve(truth, statuses=truth.statuses | {504})
        return attrs.evolve(truth, kept=not row.own_body and self.bounds.total > ERROR_BODY_S)

    def _broken(self, row: Row) -> Truth:
        if row.ends is CLOCK:
            return self._failed(PHASES_OF_BODIES, _at(self._silence_s(row)), row.ends, content=row.strikes is B)
        # An error inside a 200 speaks of its own status; all else is a broken answer.
        error = attrs.evolve(
            self._failed(PHASES_OF_BODIES, _AT_ONCE, row.ends), statuses=frozenset({500 if row.own_body else 502, 502})
        )
        if not self.stream or row.strikes is O:
            return error
        # What one read gave may be lost with the connection (a reset) or with what follows it (bad framing): then no
        # content has left, and the error can still have a status of its own.
        return attrs.evolve(error, said=error.said | {Said.ERROR_IN_BAND}, statuses=error.statuses | {200})

    def _silence_s(self, row: Row) -> float:
        """Return when a clock ends a body that has begun and does not go on."""
        if not self.stream:
            return self.bounds.total
        if row.strikes is O:
            return self.bounds.first_of(self.bounds.first_event)
        return self.bounds.total if row.endless else self.bounds.first_of(self.bounds.idle)

    def _slowness(self, row: Row, most_s: float = math.inf) -> tuple[float, float]:
        """Return how long an answer takes that comes by itself; of its body no more than `most_s` is waited for."""
        head_s = self.bounds.slow_s if row.slow_head else 0.0
        body_s = min(self.bounds.slow_s, most_s) if row.slow_body else 0.0
        pause_s = (self._interval_s or 0.0) if row.slow_body else 0.0  # after the last step, before the next request
        exact = row.slow_head == 1
        return (head_s - INSTANT_S if exact else 0.0, row.takes_s + head_s + body_s + pause_s + INSTANT_S)

    def _failed(
        self,
        phases: AbstractSet[str],
        within_s: tuple[float, float],
        ends: Ends,
        status: int | None = None,
        *,
        content: bool = False,
    ) -> Truth:
        """A failure in these seconds: with a status as long as the head has not left, in band from then on."""
        early_s = self.bounds.early_head
        in_band = self.stream and (content or within_s[1] >= early_s)
        with_status = not in_band or (not content and within_s[0] <= early_s + EARLY_HEAD_SLACK_S)
        said = ({Said.ERROR_IN_BAND} if in_band else set()) | ({Said.ERROR} if with_status else set())
        own = status or (504 if ends is CLOCK else 502)
        statuses = ({200} if in_band else set()) | ({own} if with_status else set())
        return Truth(frozenset(said), frozenset(statuses), frozenset(phases), within_s)


_AT_ONCE = (0.0, INSTANT_S)

PHASES_OF_BODIES = frozenset({"headers", "answer", "first_event", "idle", "stream", "error_body"})


def _row_over(name: str, *, httpx: bool) -> Row:
    return ROWS_OVER_HTTPX.get(name, ROWS[name]) if httpx else ROWS[name]


def _at(seconds: float) -> tuple[float, float]:
    return max(0.0, seconds - INSTANT_S), seconds + INSTANT_S


def unknown() -> set[str]:
    """Return the names that stand in one of the tables only."""
    return set(ROWS) ^ set(MISBEHAVIOURS)
