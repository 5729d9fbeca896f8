"""The case table of fallback: what follows a failed attempt. A pure function, so a table says it all."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from parts import answered, candidates_of, channel

from adaptors.failure import FailureKind
from relay_trio.errors import (
    AnswerBroken,
    BodyTooLarge,
    BodyTooSlow,
    CallNotExpressible,
    Ended,
    LimitReached,
    Overloaded,
    RelayError,
    ScopeCancelled,
    UpstreamFailed,
)
from relay_trio.relay.fallback import GiveUp, Situation, is_of_the_key, next_step

SITUATION = Situation(
    content_sent=False, repeatable=True, attempts_made=1, max_attempts=3, time_left_s=800, retry_min_left_s=10
)

FIRST, SECOND = channel("first", keys=3), channel("second", keys=2)
FAILED, *REST = candidates_of(FIRST, SECOND)

SAME_CHANNEL = [("first", 2), ("first", 3), ("second", 1), ("second", 2)]
OTHER_CHANNEL = [("second", 1), ("second", 2), ("first", 2), ("first", 3)]

CURABLE: list[tuple[str, RelayError, list[tuple[str, int]]]] = [
    ("could not connect", UpstreamFailed("x", phase="connect"), OTHER_CHANNEL),
    ("broke before its answer", UpstreamFailed("x", phase="headers"), OTHER_CHANNEL),
    ("broken answer", AnswerBroken("x"), OTHER_CHANNEL),
    ("cannot be said to this provider", CallNotExpressible("x"), OTHER_CHANNEL),
    ("a clock of the attempt", LimitReached("x", code="c", phase="headers"), OTHER_CHANNEL),
    ("401", answered(FailureKind.UNAUTHORIZED, 401), SAME_CHANNEL),
    ("429", answered(FailureKind.RATE_LIMITED, 429), SAME_CHANNEL),
    ("429, no quota", answered(FailureKind.QUOTA_EXHAUSTED, 429), SAME_CHANNEL),
    ("408", answered(FailureKind.TIMEOUT, 408), OTHER_CHANNEL),
    ("500", answered(FailureKind.SERVER_ERROR, 500), OTHER_CHANNEL),
    ("503", answered(FailureKind.OVERLOADED, 503), OTHER_CHANNEL),
    ("200 that holds an error", answered(FailureKind.BROKEN_ANSWER, 502), OTHER_CHANNEL),
]

INCURABLE: list[tuple[str, RelayError]] = [
    ("400", answered(FailureKind.BAD_REQUEST, 400)),
    ("403 of the model", answered(FailureKind.FORBIDDEN, 403)),
    ("404", answered(FailureKind.NOT_FOUND, 404)),
    ("409", answered(FailureKind.CONFLICT, 409)),
    ("413", answered(FailureKind.TOO_LARGE, 413)),
    ("the client's body is too slow", BodyTooSlow("x")),
    ("the client's body is too large", BodyTooLarge("x")),
    ("no memory for the answer", Overloaded("x")),
    ("the client left", ScopeCancelled("x", outcome=Ended.CLIENT_DISCONNECTED, status=499, code="c")),
    ("our own fault", RelayError("x")),
]


@pytest.mark.parametrize(("error", "order"), [row[1:] for row in CURABLE], ids=[row[0] for row in CURABLE])
def test_what_another_may_cure_goes_on(error: RelayError, order: list[tuple[str, int]]) -> None:
    """A key's failure: the channel's other keys are next. A channel's failure: another channel comes first."""
    step = next_step(error, FAILED, REST, SITUATION)
    assert not isinstance(step, GiveUp)
    assert [candidate.id for candidate in step] == order


@pytest.mark.parametrize("error", [row[1] for row in INCURABLE], ids=[row[0] for row in INCURABLE])
def test_what_would_fail_alike_does_not_go_on(error: RelayError) -> None:
    """A wrong question is wrong everywhere."""
    assert next_step(error, FAILED, REST, SITUATION) is GiveUp.NOT_CURABLE


FAILURE = UpstreamFailed("x")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"content_sent": True}, GiveUp.CONTENT_SENT),
        ({"repeatable": False}, GiveUp.NOT_REPEATABLE),
        ({"attempts_made": 3}, GiveUp.NO_ATTEMPTS_LEFT),
        ({"attempts_made": 1, "max_attempts": 1}, GiveUp.NO_ATTEMPTS_LEFT),
        ({"time_left_s": 9.99}, GiveUp.NO_TIME_LEFT),
    ],
)
def test_why_there_is_no_further_attempt(change: dict[str, Any], why: GiveUp) -> None:
    """Each reason by itself."""
    assert next_step(FAILURE, FAILED, REST, attrs.evolve(SITUATION, **change)) is why


def test_a_further_attempt_needs_a_candidate() -> None:
    """With one channel and one key there is one attempt."""
    assert next_step(FAILURE, FAILED, (), SITUATION) is GiveUp.NO_CANDIDATE_LEFT


def test_content_ends_everything() -> None:
    """Also what is curable, and what is looked for: two answers must not be mixed."""
    sent = attrs.evolve(SITUATION, content_sent=True, looking_for_object=True)
    for error in (FAILURE, answered(FailureKind.NOT_FOUND, 404), answered(FailureKind.RATE_LIMITED, 429)):
        assert next_step(error, FAILED, REST, sent) is GiveUp.CONTENT_SENT


def test_exactly_the_time_that_a_further_attempt_needs_is_enough() -> None:
    """The boundary belongs to the attempt."""
    assert not isinstance(next_step(FAILURE, FAILED, REST, attrs.evolve(SITUATION, time_left_s=10.0)), GiveUp)


def test_an_object_is_looked_for_at_everybody() -> None:
    """A 404 sends the search on, beyond the number of attempts; another failure does not."""
    looking = attrs.evolve(SITUATION, looking_for_object=True, attempts_made=7)
    found = next_step(answered(FailureKind.NOT_FOUND, 404), FAILED, REST, looking)
    assert not isinstance(found, GiveUp)
    assert next_step(FAILURE, FAILED, REST, looking) is GiveUp.NO_ATTEMPTS_LEFT
    assert next_step(answered(FailureKind.NOT_FOUND, 404), FAILED, (), looking) is GiveUp.NO_CANDIDATE_LEFT


@pytest.mark.parametrize("kind", list(FailureKind), ids=lambda kind: kind.value)
def test_every_kind_of_failure_has_a_row(kind: FailureKind) -> None:
    """A new kind has to be decided on here."""
    decided = [error.failure.kind for _, error, *_ in (*CURABLE, *INCURABLE) if hasattr(error, "failure")]
    assert decided.count(kind) == 1


def test_of_the_key_are_only_providers_words() -> None:
    """What we could not connect to is no key's fault."""
    assert not is_of_the_key(FAILURE)
