"""Every misbehaviour of a provider, with and without a stream, with a good and with error statuses, in clear and over TLS.

One relay meets a misbehaviour six times in a row, so what the first has left behind strikes the second.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fault_scene import ANSWER_CANARY, PROMPT, RETRY_AFTER_S, UPSTREAM_KEY, Got, Scene, open_scene
from fault_truths import ROWS, Said, Truth, behaviour, truth_of, unknown

from relay_trio.testing.answers import words_of
from relay_trio.testing.conversation import Fault
from relay_trio.testing.http_text import BodyEnd
from relay_trio.testing.misbehaviours import MISBEHAVIOURS
from relay_trio.testing.relay import CLIENT_KEY

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

STATUSES = (200, 429, 503)
TRANSPORTS = ("clear", "tls")
OF_TLS = {name for name, row in ROWS.items() if row.over_tls} | {"silent-mid-body", "truncated-without-notice"}
"""Where httpx's TLS could make a difference that its clear text does not."""


def test_every_misbehaviour_has_a_truth() -> None:
    """There is no misbehaviour of which nobody has said what a client may be told."""
    assert unknown() == set()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", MISBEHAVIOURS)
async def test_the_client_is_told_the_truth(tmp_path: Path, name: str, transport: str) -> None:
    """The answer is truthful and in time, everything is closed, one line says so, and no secret is in any line."""
    await meet(tmp_path, name, tls=transport == "tls")


@pytest.mark.parametrize(
    ("name", "transport"),
    [*((name, "clear") for name in MISBEHAVIOURS), *((name, "tls") for name in sorted(OF_TLS))],
)
async def test_httpx_as_transport_tells_the_same_truth(tmp_path: Path, name: str, transport: str) -> None:
    """A channel with `transport = "httpx"` keeps every promise, though httpx is more patient with large heads."""
    await meet(tmp_path, name, STATUSES[:2], tls=transport == "tls", httpx=True)


async def meet(
    directory: Path, name: str, statuses: Sequence[int] = STATUSES, *, tls: bool, httpx: bool = False
) -> None:
    """Meet one misbehaviour in all its forms."""
    faults: list[str] = []
    async with open_scene(directory, "answer", tls=tls, channel='transport = "httpx"' if httpx else "") as scene:
        for stream, status in itertools.product((True, False), statuses):
            scene.set_behaviour(behaviour(name, status))
            got = await scene.ask(stream=stream)
            truth = truth_of(name, status, stream=stream, tls=tls, httpx=httpx)
            found = faults_of_answer(got, truth, text_of(name)) + faults_of_lines(scene.new_lines(), got, truth)
            faults += [f"status={status} {'stream' if stream else 'unary'}: {fault}" for fault in found]
        faults += faults_of_secrecy(scene)
    assert faults == []


# What is wrong with an answer


def text_of(name: str) -> str:
    """Return what the fake provider's model says."""
    return "".join(words_of(Fault.parse(behaviour(name, 200)).wanted()))


def faults_of_answer(got: Got, truth: Truth, text: str) -> list[str]:
    """Return what is untrue, incomplete or late in an answer; the model says this text."""
    said = what_was_said(got)
    faults = [] if said in truth.said else [f"said {said}, not one of {truth.said}"]
    if got.status not in truth.statuses:
        faults.append(f"status {got.status}, not one of {truth.statuses}")
    if not truth.within_s[0] <= got.after_s <= truth.within_s[1]:
        faults.append(f"after {got.after_s} s, not within {truth.within_s}")
    if not got.get("x-request-id"):
        faults.append("no request id")
    if truth.kept and got.status >= 400 and got.get("retry-after") != str(RETRY_AFTER_S):
        faults.append(f"retry-after is {got.get('retry-after')}")
    if UPSTREAM_KEY in repr(got) or UPSTREAM_KEY.encode() in got.data:
        faults.append("our key is in the answer")
    return [*faults, *FAULTS_OF[said](got, text)] if said is not None else faults


def what_was_said(got: Got) -> Said | None:
    """Return what an SDK would make of the answer; None if nothing that is allowed."""
    if got.status >= 400:
        return Said.ERROR if got.end is BodyEnd.COMPLETE else None
    if not got.data:
        return Said.NOTHING
    if got.end is BodyEnd.COMPLETE:
        return Said.ANSWER
    return Said.ERROR_IN_BAND if got.streamed and got.end is BodyEnd.TRUNCATED else None


def faults_of_whole(got: Got, text: str) -> list[str]:
    """A whole answer says every word, and a stream ends with one [DONE]."""
    faults = [] if got.text == text else [f"the text is {got.text!r}"]
    if got.streamed and (got.events[-1] != "[DONE]" or got.events.count("[DONE]") != 1):
        faults.append(f"the stream ends with {got.events[-2:]}")
    if got.error:
        faults.append("an error in a whole answer")
    return faults


def faults_of_error(got: Got, _: str) -> list[str]:
    """An error has OpenAI's shape and words; one of ours repeats the request id."""
    error = got.error
    faults = [f"no {name} in {error}" for name in ("message", "type") if not error.get(name)]
    ours = "request_id" in error
    if ours and error["request_id"] != got.get("x-request-id"):
        faults.append("another request id")
    if got.get("content-type") != "application/json":
        faults.append(f"content-type {got.get('content-type')}")
    return faults


def faults_of_event(got: Got, text: str) -> list[str]:
    """An error in band is the last event, and the only one; nothing says that the stream was complete."""
    faults = [] if got.data.endswith(b"}\n\n") else ["the last event is torn"]
    if "[DONE]" in got.events:
        faults.append("[DONE] in a broken stream")
    if sum('"error":{' in data for data in got.events) != 1:
        faults.append(f"not one error event: {got.events}")
    faults += [f"no {name} in {got.error}" for name in ("message", "type") if not got.error.get(name)]
    if not text.startswith(got.text.partition("xx")[0]):  # what never ends says x after x
        faults.append(f"the text is {got.text!r}")
    return faults


FAULTS_OF: dict[Said, Callable[[Got, str], list[str]]] = {
    Said.ANSWER: faults_of_whole,
    Said.ERROR: faults_of_error,
    Said.ERROR_IN_BAND: faults_of_event,
    Said.NOTHING: lambda _, __: [],
}

OUTCOMES = {
    Said.ANSWER: {"completed"},
    Said.ERROR: {"upstream_error", "deadline_exceeded"},
    Said.ERROR_IN_BAND: {"upstream_error", "deadline_exceeded"},
    Said.NOTHING: {"completed"},
}


# What is wrong with the log


def faults_of_lines(lines: Sequence[dict[str, Any]], got: Got, truth: Truth) -> list[str]:
    """Return where the log says something else than what the client got."""
    finished = [line for line in lines if line["event"] == "request_finished"]
    if len(finished) != 1:
        return [f"{len(finished)} lines request_finished"]
    (line,) = finished
    said = what_was_said(got)
    assert said is not None
    expected = {"request_id": got.get("x-request-id"), "status": got.status, "left_open": 0, "attempts": 1}
    faults = [f"{name} is {line.get(name)}" for name, value in expected.items() if line.get(name) != value]
    if line["outcome"] not in OUTCOMES[said]:
        faults.append(f"outcome {line['outcome']}")
    if line.get("phase") not in (truth.phases if said in {Said.ERROR, Said.ERROR_IN_BAND} else {None}):
        faults.append(f"phase {line.get('phase')}, not one of {truth.phases}")
    if (line["outcome"] == "deadline_exceeded") != (got.error.get("type") == "timeout_error"):
        faults.append(f"outcome {line['outcome']}, error {got.error}")
    return faults + [f"line {line}" for line in lines if line["event"] in {"request_crashed", "connection_crashed"}]


def faults_of_secrecy(scene: Scene) -> list[str]:
    """Return which secrets are where they must not be."""
    log = json.dumps(scene.relay.lines())
    asked = repr([(request.target, request.headers) for request in scene.upstream.requests])
    bodies = b"".join(request.body for request in scene.upstream.requests).decode()
    secrets = (PROMPT, CLIENT_KEY, UPSTREAM_KEY, ANSWER_CANARY)
    leaks = [f"{secret} is in the log" for secret in secrets if secret in log]
    return leaks + (["the client's key is in a request"] if CLIENT_KEY in asked + bodies else [])
