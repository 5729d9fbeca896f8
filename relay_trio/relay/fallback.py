"""After a failed attempt: try another key or channel, or give up. One pure function, with a case table as its test.

The relay never sleeps between attempts: waiting is the client's, who gets the Retry-After.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from adaptors.failure import FailureKind
from relay_trio.channels.selection import Candidate
from relay_trio.errors import RelayError, UpstreamAnswered


class GiveUp(enum.StrEnum):
    """Why there is no further attempt; `why` in the log line `attempt_failed`."""

    NOT_CURABLE = "another attempt would fail alike"
    CONTENT_SENT = "content has reached the client"
    NOT_REPEATABLE = "the body cannot be sent again"
    NO_ATTEMPTS_LEFT = "the attempts are used up"
    NO_CANDIDATE_LEFT = "no other key or channel is left"
    NO_TIME_LEFT = "too little time is left"


@attrs.frozen
class Situation:
    """What is known when an attempt has failed."""

    content_sent: bool
    repeatable: bool
    attempts_made: int
    max_attempts: int
    time_left_s: float
    retry_min_left_s: float
    looking_for_object: bool = False
    """Nobody knows which account holds the object that is asked for: a 404 sends the search on."""


_OF_THE_KEY = frozenset({FailureKind.UNAUTHORIZED, FailureKind.RATE_LIMITED, FailureKind.QUOTA_EXHAUSTED})
"""Another key of the same channel may fare better; all else is the channel's, and another channel comes first."""


def next_step(
    error: RelayError, failed: Candidate, rest: Sequence[Candidate], situation: Situation
) -> GiveUp | tuple[Candidate, ...]:
    """Return the candidates that are still to be tried, the next one first, or why there is to be no next attempt."""
    if situation.content_sent:
        return GiveUp.CONTENT_SENT
    if not is_curable(error, situation):
        return GiveUp.NOT_CURABLE
    if not situation.repeatable:
        return GiveUp.NOT_REPEATABLE
    if situation.attempts_made >= situation.max_attempts and not _is_search(error, situation):
        return GiveUp.NO_ATTEMPTS_LEFT
    if not rest:
        return GiveUp.NO_CANDIDATE_LEFT
    if situation.time_left_s < situation.retry_min_left_s:
        return GiveUp.NO_TIME_LEFT
    if is_of_the_key(error):
        return tuple(rest)
    return tuple(sorted(rest, key=lambda candidate: candidate.channel is failed.channel))


def is_curable(error: RelayError, situation: Situation) -> bool:
    """Say whether another key or channel may answer where this one failed."""
    if isinstance(error, UpstreamAnswered):
        return error.blames_upstream or _is_search(error, situation)
    return error.retryable


def _is_search(error: RelayError, situation: Situation) -> bool:
    """Say whether the answer only means that the object is another account's: each is asked once, however many."""
    return (
        situation.looking_for_object
        and isinstance(error, UpstreamAnswered)
        and error.failure.kind is FailureKind.NOT_FOUND
    )


def is_of_the_key(error: RelayError) -> bool:
    """Say whether the failure is the key's, not the channel's."""
    return isinstance(error, UpstreamAnswered) and error.failure.kind in _OF_THE_KEY
