"""What a client is told of a failure: the reason of a cancellation, our listed texts, a provider's words without our keys."""

from __future__ import annotations

import pytest
import trio
from parts import TOTAL, answered, scope

from adaptors.failure import AnswerFailed, Failure, FailureKind
from adaptors.protocol import ErrorReport
from relay_trio.errors import (
    Draining,
    Ended,
    LimitReached,
    MethodNotAllowed,
    Overloaded,
    RelayError,
    UpstreamAnswered,
    UpstreamFailed,
)
from relay_trio.relay.report import explain, is_cancellation, tell
from relay_trio.scopes.phase import PHASE_NAMES, Limit, limit_reached

pytestmark = pytest.mark.anyio


def told(error: RelayError, error_format: str = "openai") -> tuple[int, dict[bytes, bytes], ErrorReport]:
    """Return status, headers and report of what is told."""
    answer = tell(error, "req_1", lambda text: text.replace("sk-secret", "***"), error_format)
    return answer.report.status, dict(answer.headers), answer.report


# ---- What a failure was


@pytest.mark.parametrize(
    ("reason", "status"),
    [(Ended.CLIENT_DISCONNECTED, 499), (Ended.CANCELLED_BY_OPERATOR, 503), (Ended.DRAINED, 503)],
)
async def test_a_cancellation_is_told_by_its_reason(reason: Ended, status: int) -> None:
    """Whatever it interrupted, and in whatever exception it arrives."""
    request = scope()
    request.cancel(reason)
    broke = UpstreamFailed("broke", code="upstream_connection_broke", phase="answer")  # it was closed under its reader
    for error in (ConnectionResetError(), trio.ClosedResourceError(), RuntimeError(), broke, await cancelled()):
        failure = explain(error, request)
        assert (failure.outcome, failure.status) == (reason, status)


async def cancelled() -> BaseException:
    """Return a trio.Cancelled as it was raised."""
    caught: list[BaseException] = []
    with trio.CancelScope() as cancel_scope:
        cancel_scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            caught.append(error)
            raise
    return caught[0]


@pytest.mark.parametrize("phase", PHASE_NAMES)
async def test_a_deadline_is_told_with_the_phase_it_came_in(phase: str) -> None:
    """By the total's limit and setting, in every phase that there is."""
    request = scope(Limit(5, "RELAY_TIMEOUT"))
    request.clock.enter(phase)
    await trio.sleep(5)
    for error in (await cancelled(), BaseExceptionGroup("of a nursery", [await cancelled()])):
        failure = explain(error, request)
        assert (failure.phase, failure.limit_s, failure.setting) == (phase, 5, "RELAY_TIMEOUT")
        assert "5 s (limit RELAY_TIMEOUT)" in failure.message
        assert failure.status in {504, 503, 408}


async def test_a_cancellation_from_outside_without_a_reason_is_the_servers_end() -> None:
    """Only a server that goes down cancels so."""
    assert explain(await cancelled(), scope()).outcome is Ended.DRAINED


@pytest.mark.parametrize("error", [BrokenPipeError(), trio.BrokenResourceError(), trio.ClosedResourceError()])
async def test_a_broken_connection_is_the_clients(error: BaseException) -> None:
    """The provider's side translates its own."""
    assert explain(error, scope()).outcome is Ended.CLIENT_DISCONNECTED


async def test_what_nobody_expected_is_our_own_fault() -> None:
    """500, with nothing of the exception's text; the log has it."""
    failure = explain(ValueError("sk-secret in here"), scope())
    assert (failure.status, failure.outcome) == (500, Ended.INTERNAL_ERROR)
    assert "sk-secret" not in failure.message


async def test_an_answer_that_failed_keeps_what_it_means() -> None:
    """The adaptor's failure is the failure."""
    meant = Failure(FailureKind.BROKEN_ANSWER, 502, "cut")
    failure = explain(AnswerFailed(meant), scope())
    assert isinstance(failure, UpstreamAnswered)
    assert failure.failure is meant


async def test_a_crashed_helper_is_the_requests_failure() -> None:
    """In its own words if it is one of ours, else as a crash."""
    stalled = limit_reached("client_write", Limit(60, "RELAY_CLIENT_WRITE_TIMEOUT"))
    for crash, code in ((stalled, "client_write_timeout"), (ZeroDivisionError(), "internal_error")):
        request = scope()
        request.crash = crash
        assert explain(await cancelled(), request).code == code


async def test_a_group_of_cancellations_is_a_cancellation() -> None:
    """Nested, too; one that holds something else is not."""
    one = await cancelled()
    assert is_cancellation(BaseExceptionGroup("", [one, BaseExceptionGroup("", [one])]))
    assert not is_cancellation(BaseExceptionGroup("", [one, OSError()]))
    assert not is_cancellation(OSError())


# ---- What is told


def test_a_limit_is_not_to_be_tried_again() -> None:
    """The SDKs would wait for it three times."""
    status, headers, report = told(limit_reached("headers", TOTAL))
    assert (status, headers) == (504, {b"x-should-retry": b"false"})
    assert (report.phase, report.limit_s, report.setting) == ("headers", 900, "RELAY_TIMEOUT")


@pytest.mark.parametrize(("asked", "header"), [(0.2, b"1"), (1.0, b"1"), (30.4, b"30"), (900.0, b"60")])
def test_our_own_retry_after_is_a_second_to_a_minute(asked: float, header: bytes) -> None:
    """The SDKs sleep as told."""
    _, headers, _ = told(Overloaded("full", retry_after=asked))
    assert headers == {b"retry-after": header}


def test_a_relay_that_drains_wants_its_clients_elsewhere() -> None:
    """They are to open a new connection, which finds another one."""
    status, headers, _ = told(Draining("going", retry_after=1.0))
    assert (status, headers) == (503, {b"retry-after": b"1", b"connection": b"close"})


def test_a_wrong_method_names_the_right_ones() -> None:
    """RFC 9110, 15.5.6."""
    status, headers, _ = told(MethodNotAllowed("x", allow="GET, POST"))
    assert (status, headers) == (405, {b"allow": b"GET, POST"})


def test_a_providers_words_pass_without_our_keys() -> None:
    """In its message and in its own error object."""
    raw = b'{"message": "bad key sk-secret"}'
    error = UpstreamAnswered(Failure(FailureKind.RATE_LIMITED, 429, "bad key sk-secret", raw=raw, code="c", type="t"))
    status, _, report = told(error)
    assert status == 429
    assert report.message == "bad key ***"
    assert report.raw == b'{"message": "bad key ***"}'
    assert (report.code, report.kind) == ("c", "t")


def test_a_providers_advice_passes() -> None:
    """Its headers as they are; where the time stood in the body only, it becomes a header."""
    _, headers, _ = told(answered(FailureKind.RATE_LIMITED, 429, ((b"retry-after", b"7"), (b"x-other", b"1"))))
    assert headers == {b"retry-after": b"7"}
    _, headers, _ = told(answered(FailureKind.RATE_LIMITED, 429, retry_after=6.2))
    assert headers == {b"retry-after": b"7"}


def test_a_401_of_our_own_key_is_not_the_clients() -> None:
    """502: the client's key was right, and the provider's words are about a key that it must not see."""
    status, _, report = told(answered(FailureKind.UNAUTHORIZED, 401))
    assert (status, report.code) == (502, "channel_unauthorized")
    assert "The provider says no" not in report.message


def test_every_kind_of_failure_can_be_told() -> None:
    """Without the provider's own type the general one stands in."""
    for kind in FailureKind:
        _, _, report = told(answered(kind, 500))
        assert report.kind


def test_a_limit_of_every_phase_has_words_of_its_own() -> None:
    """So that no two clocks are told alike."""
    errors = [limit_reached(phase, TOTAL) for phase in PHASE_NAMES]
    assert len({error.message for error in errors}) == len(errors)
    assert all(error.phase == phase for error, phase in zip(errors, PHASE_NAMES, strict=True))
    assert {type(error) for error in errors} >= {LimitReached, Overloaded}
