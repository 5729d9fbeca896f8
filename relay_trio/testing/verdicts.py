"""Is what a client got, and what the log says of it, true? Each finding is a sentence; none is good news."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from relay_trio.testing.answers import words_of
from relay_trio.testing.conversation import Fault
from relay_trio.testing.http_text import BodyEnd
from relay_trio.testing.relay import CLIENT_KEY
from relay_trio.testing.scene import ANSWER_CANARY, PROMPT, RETRY_AFTER_S, UPSTREAM_KEY, Got, Scene
from relay_trio.testing.truths import Case, Said, Truth

# What is wrong with an answer


def faults_of(case: Case, got: Got, lines: Sequence[dict[str, Any]]) -> list[str]:
    """Return what is wrong with the answer to a case, and with what was logged of it."""
    text = "".join(words_of(Fault.parse(case.behaviour).wanted()))
    return faults_of_answer(got, case.truth, text) + faults_of_lines(lines, got, case.truth)


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
