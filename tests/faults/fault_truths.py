"""What can truthfully be said to a client of each misbehaviour: a table of when it strikes and how it ends.

The law: nothing here knows how the relay works. A fault strikes before the answer's head is whole, within the body, or
not at all; it ends by itself or only by a clock. From these two, the status beneath it and whether a stream was asked
for follows what an honest intermediary can say.
"""

from __future__ import annotations

import enum
from collections.abc import Set as AbstractSet

import attrs
from fault_scene import CONNECT_S, TOTAL_S

from relay_trio.testing.misbehaviours import MISBEHAVIOURS

ERROR_BODY_S = 5.0
"""How long an error's body is waited for (a few seconds are promised, more is a client's time)."""

EARLY_HEAD_S = 10.0
"""When a silent stream's head leaves: from then on an error can only be told in band."""

INSTANT_S = 0.01


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
    """One behaviour, with the parameters it is run with. `unary` where it does something else without a stream."""

    strikes: Strikes
    ends: Ends = Ends.BY_ITSELF
    parameters: str = ""
    unary: Row | None = None
    over_tls: Row | None = None
    always: int | None = None
    """The status that it answers with, whatever it is asked to."""
    takes_s: float = 0.0
    """A good answer takes so long."""
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
    "late-head": Row(N, parameters="interval=30", takes_s=30),
    "late-body": Row(N, CLOCK, parameters="interval=30", takes_s=30),
    "drip-head": Row(N, parameters="interval=0.02", takes_s=5),
    "drip-body": Row(N, parameters="interval=0.01;words=1", takes_s=9.5),
    "slow-body": Row(N, parameters="interval=0.5", takes_s=7),
    "endless-body": Row(B, CLOCK, parameters="size=1024"),
    "endless-drip": Row(B, CLOCK),
    "endless-comments": Row(O, CLOCK),
    "endless-head": Row(H, takes_s=3),
    "endless-interim": Row(H, CLOCK),
    "endless-trailers": Row(N, CLOCK, unary=Row(B, CLOCK)),
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
    "one-byte-writes": Row(N, parameters="words=1"),
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
    "giant-line": Row(B, parameters="size=300000"),
    "no-terminal-event": Row(B, unary=WHOLE),
    "no-done": WHOLE,
    "torn-last-event": WHOLE,
    "stream-in-other-spelling": WHOLE,
    "gzip-answer": WHOLE,
    "deflate-answer": WHOLE,
    "gzip-truncated": Row(B),
    "gzip-corrupt": Row(O),
    "gzip-bomb": Row(O, parameters="size=8388608"),
    "unknown-encoding": Row(O),
    "binary-for-json": Row(O, own_body=True),
}


ROWS_OVER_HTTPX: dict[str, Row] = {
    "many-headers": WHOLE,  # h11 takes a head of 100 KiB with any number of fields
    "endless-head": Row(H, takes_s=50),
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


def row_of(name: str, *, stream: bool, tls: bool, httpx: bool) -> Row:
    """Return the row that applies."""
    row = ROWS_OVER_HTTPX.get(name, ROWS[name]) if httpx else ROWS[name]
    if tls and row.over_tls is not None:
        return row.over_tls
    return row if stream or row.unary is None else row.unary


def behaviour(name: str, status: int) -> str:
    """Return the written form of the behaviour, with the parameters of its row."""
    return ";".join(filter(None, [name, f"status={status}", ROWS[name].parameters]))


def truth_of(name: str, status: int, *, stream: bool, tls: bool, httpx: bool = False) -> Truth:
    """Return what may be said of this misbehaviour."""
    row = row_of(name, stream=stream, tls=tls, httpx=httpx)
    if row.always is not None and not (name in ROWS_OF_STATUS_ERRORS and status >= 400):
        status = row.always
    if row.strikes is C:
        return _failed({"connect"}, 504 if row.ends is CLOCK else 502, _at(CONNECT_S if row.ends is CLOCK else 0))
    if row.strikes is H:
        return _before_head(row, stream=stream)
    if row.strikes is E:
        refused, read = _before_head(row, stream=stream), _read(row, status, stream=stream)
        return Truth(refused.said | read.said, refused.statuses | read.statuses, refused.phases | PHASES_OF_BODIES)
    return _read(row, status, stream=stream)


def _before_head(row: Row, *, stream: bool) -> Truth:
    phases = {"send", "headers"}
    if row.ends is CLOCK:
        return _in_band(phases, _at(TOTAL_S)) if stream else _failed(phases, 504, _at(TOTAL_S))
    within_s = (0.0, row.takes_s + INSTANT_S)
    early_head = stream and row.takes_s >= EARLY_HEAD_S
    return _in_band(phases, within_s) if early_head else _failed(phases, 502, within_s)


def _read(row: Row, status: int, *, stream: bool) -> Truth:
    if status >= 400:
        return _kept(row, status, stream=stream)
    if status == 204:
        return Truth(frozenset({Said.NOTHING}), frozenset({204}), frozenset())
    if row.strikes in {N, E}:
        return Truth(frozenset({Said.ANSWER}), frozenset({200}), frozenset(), (0.0, row.takes_s + INSTANT_S))
    return _broken(row, stream=stream)


def _kept(row: Row, status: int, *, stream: bool) -> Truth:
    takes_s = ERROR_BODY_S if row.ends is CLOCK else row.takes_s
    if stream and takes_s >= EARLY_HEAD_S:
        return _in_band({"error_body"}, (0.0, takes_s + INSTANT_S))
    within_s = _at(ERROR_BODY_S) if row.ends is CLOCK else (0.0, takes_s + INSTANT_S)
    said = frozenset({Said.ERROR})
    return Truth(said, frozenset({status}), frozenset({"error_body"}), within_s, kept=not row.own_body)


PHASES_OF_BODIES = frozenset({"headers", "answer", "first_event", "stream", "error_body"})


def _broken(row: Row, *, stream: bool) -> Truth:
    if row.ends is CLOCK:
        if stream:
            return _in_band(PHASES_OF_BODIES, _at(TOTAL_S))
        return _failed(PHASES_OF_BODIES, 504, _at(TOTAL_S))
    # An error inside a 200 speaks of its own status; all else is a broken answer.
    error = Truth(frozenset({Said.ERROR}), frozenset({500 if row.own_body else 502, 502}), PHASES_OF_BODIES)
    if not stream or row.strikes is O:
        return error
    # What one read gave may be lost with the connection (a reset) or with what follows it (bad framing): then no content
    # has left, and the error can still have a status of its own.
    in_band = _in_band(PHASES_OF_BODIES, (0.0, INSTANT_S))
    return attrs.evolve(error, said=error.said | in_band.said, statuses=error.statuses | in_band.statuses)


def _failed(phases: AbstractSet[str], status: int, within_s: tuple[float, float]) -> Truth:
    return Truth(frozenset({Said.ERROR}), frozenset({status}), frozenset(phases), within_s)


def _in_band(phases: AbstractSet[str], within_s: tuple[float, float]) -> Truth:
    return Truth(frozenset({Said.ERROR_IN_BAND}), frozenset({200}), frozenset(phases), within_s)


def _at(seconds: float) -> tuple[float, float]:
    return max(0.0, seconds - INSTANT_S), seconds + INSTANT_S


def unknown() -> set[str]:
    """Return the names that stand in one of the tables only."""
    return set(ROWS) ^ set(MISBEHAVIOURS)
