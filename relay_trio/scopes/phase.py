"""The clocks: which phase a request is in, how long it may take, and what is said when it took longer.

A limit is a cancel scope around the call, opened by whoever knows why the call is made. Where it fires, the error names
the phase, the limit and the setting, so that the reader knows what to change.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import attrs
import trio

from relay_trio.errors import BodyTooSlow, LimitReached, Overloaded, RelayError


@attrs.frozen
class Limit:
    """How long a phase may take, in seconds, and the setting that says so."""

    seconds: float
    setting: str

    def shorter(self, other: Limit) -> Limit:
        """Return the stricter of the two."""
        return other if other.seconds < self.seconds else self


UNLIMITED = Limit(float("inf"), "none")
"""For a phase whose own clock is off: the total alone bounds it."""


@attrs.frozen
class _Words:
    code: str
    sentence: str


_NOTHING_SENT = " Nothing was sent to you; the provider may still bill it."

_PHASES: dict[str, _Words] = {
    "starting": _Words("request_timeout", "The request was not finished within {limit}."),
    "queue": _Words("queue_timeout", "No slot was free within {limit}."),
    "body": _Words("request_body_timeout", "The request body did not arrive within {limit}."),
    "fetch": _Words("fetch_timeout", "What the request points to was not fetched within {limit}."),
    "connect": _Words("upstream_connect_timeout", "No connection to the provider was made within {limit}."),
    "send": _Words("upstream_send_timeout", "The provider took no more of the request for {limit}."),
    "headers": _Words("upstream_headers_timeout", "The provider sent no response headers within {limit}." + _NOTHING_SENT),
    "first_event": _Words(
        "upstream_first_event_timeout", "The provider sent headers, but no content within {limit}." + _NOTHING_SENT
    ),
    "answer": _Words("upstream_answer_timeout", "The provider did not finish its answer within {limit}."),
    "stream": _Words("upstream_stream_timeout", "The answer was not finished within {limit}; what you have is a part of it."),
    "idle": _Words("upstream_idle_timeout", "The provider fell silent in the middle of its answer for {limit}."),
    "error_body": _Words("upstream_error_body_timeout", "The provider's error answer was not finished within {limit}."),
    "client_write": _Words("client_write_timeout", "The client took no more of the answer for {limit}."),
}  # fmt: skip
"""The listed texts of the clocks, by phase."""

_KINDS: dict[str, type[RelayError]] = {"queue": Overloaded, "body": BodyTooSlow}
"""Whose clock is not the provider's business."""

PHASE_NAMES = tuple(_PHASES)


def limit_reached(phase: str, limit: Limit) -> RelayError:
    """Return the error of a clock that fired in this phase."""
    words = _PHASES[phase]
    kind = _KINDS.get(phase, LimitReached)
    retry_after = limit.seconds if kind is Overloaded else None
    message = words.sentence.format(limit=f"{limit.seconds:g} s (limit {limit.setting})")
    error = kind(message, code=words.code, phase=phase, retry_after=retry_after)
    error.limit_s, error.setting = limit.seconds, limit.setting
    return error


class PhaseClock:
    """The phases of one request: which one it is in, and how long each took (seconds, on trio's clock)."""

    __slots__ = ("_since", "current", "now", "spent")

    def __init__(self) -> None:
        self.now: Callable[[], float] = trio.lowlevel.current_clock().current_time
        """As `trio.current_time()`, which would look for the run and its clock at every reading."""
        self.current = "starting"
        self.spent: dict[str, float] = {}
        self._since = self.now()

    @property
    def started(self) -> float:
        """When the phase began that the request is in."""
        return self._since

    def enter(self, phase: str) -> None:
        """The request is in this phase from now on."""
        now = self.now()
        spent, current = self.spent, self.current
        spent[current] = spent.get(current, 0.0) + now - self._since
        self.current = phase
        self._since = now

    def stop(self) -> None:
        """The request is over: the phase it ended in is as long as it was."""
        self.enter(self.current)

    def limited(self, phase: str, limit: Limit) -> LimitedPhase:
        """Return a context manager: the block is this phase and is cancelled at the limit."""
        self.enter(phase)
        return LimitedPhase(phase, limit)

    def milliseconds(self, phase: str) -> float | None:
        """Return how long a phase took, if the request was in it."""
        spent = self.spent.get(phase)
        return None if spent is None else round(spent * 1000, 3)


class LimitedPhase:
    """A cancel scope that says what it stood for: raises LimitReached (or its kin) when its own deadline fired.

    An outer cancellation passes through untouched.
    """

    __slots__ = ("_limit", "_phase", "_scope")

    def __init__(self, phase: str, limit: Limit) -> None:
        self._phase = phase
        self._limit = limit
        self._scope = trio.CancelScope(deadline=trio.current_time() + limit.seconds)

    def __enter__(self) -> Self:
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        swallowed = self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            raise limit_reached(self._phase, self._limit) from None
        return swallowed

    def progress(self) -> None:
        """The clock starts again: something moved."""
        self._scope.deadline = trio.current_time() + self._limit.seconds

    def shorten(self, seconds: float) -> None:
        """Only so much of the limit is left."""
        self._scope.deadline = trio.current_time() + seconds

    def pause(self) -> None:
        """The clock stands still: what is waited for now is not this phase's business."""
        self._scope.deadline = float("inf")

    def turn_into(self, phase: str, limit: Limit) -> None:
        """What was waited for has come: from now on the block is another phase, and its clock starts."""
        self._phase = phase
        self._limit = limit
        self.progress()


class LimitedWhole(LimitedPhase):
    """A limit over several phases: where it fires, the error names the phase that the request was in then."""

    __slots__ = ("_clock",)

    def __init__(self, clock: PhaseClock, limit: Limit) -> None:
        super().__init__(clock.current, limit)
        self._clock = clock

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._phase = self._clock.current
        return super().__exit__(kind, error, traceback)
