"""Misbehaviours on the other kinds of paths: a Responses stream, a JSON answer, and bodies that no wire reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fault_scene import BOUNDS, TOTAL_S, open_scene

from relay_trio.testing.answers import WORDS
from relay_trio.testing.http_text import BodyEnd
from relay_trio.testing.scene import Got
from relay_trio.testing.truths import ROWS, Case, Ends, Strikes

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

SPEECH = "/v1/audio/speech"
"""Answers in sound: no wire reads it, so its framing alone proves that it is whole."""

OF_THE_FRAMING = [
    "truncated-length", "truncated-chunked", "truncated-mid-chunk", "reset-mid-body", "bad-chunk-size",
    "negative-chunk-size", "chunk-too-long", "length-too-large", "silent-mid-body", "silent-before-end", "endless-drip",
    "endless-body", "close-after-head", "silent-after-head",
]  # fmt: skip


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("name", OF_THE_FRAMING)
async def test_an_unread_body_that_breaks_off_is_not_whole_for_the_client_either(
    tmp_path: Path, name: str, *, tls: bool
) -> None:
    """Its head may have left; then its framing breaks off as the provider's did. Else the client gets an error."""
    async with open_scene(tmp_path, Case(name, 200, BOUNDS).behaviour, tls=tls) as scene:
        got = await scene.ask(path=SPEECH, input="say it")
        (line,) = scene.relay.finished()

    clock = ROWS[name].ends is Ends.BY_CLOCK or name in {"silent-before-end", "length-too-large"}
    assert got.after_s == pytest.approx(TOTAL_S if clock else 0, abs=0.01)
    assert line["outcome"] == ("deadline_exceeded" if clock else "upstream_error")
    assert line["left_open"] == 0
    if got.status == 200:
        assert got.end is not BodyEnd.COMPLETE
    else:
        assert (got.status, got.end) == (504 if clock else 502, BodyEnd.COMPLETE)
        assert got.error["message"]


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row == ROWS["answer"] and "-reuse" not in name])
async def test_an_unread_body_that_is_whole_passes_as_it_is(tmp_path: Path, name: str) -> None:
    """Byte for byte, with its length where it has one."""
    async with open_scene(tmp_path, "answer") as scene:
        wanted = await scene.ask(path=SPEECH, input="say it")
        scene.set_behaviour(Case(name, 200, BOUNDS).behaviour)
        got = await scene.ask(path=SPEECH, input="say it")

    assert (got.status, got.end) == (200, BodyEnd.COMPLETE)
    if name not in {"gzip-answer", "deflate-answer"}:
        assert got.data == wanted.data


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("name", ["answer", "truncated-length", "silent-mid-body", "garbage-in-body", "gzip-bomb"])
async def test_errors_of_unread_paths_keep_their_status(tmp_path: Path, name: str, status: int) -> None:
    """They are read as everywhere: bounded, and told in the client's dialect."""
    async with open_scene(tmp_path, Case(name, status, BOUNDS).behaviour) as scene:
        got = await scene.ask(path=SPEECH, input="say it")

    assert (got.status, got.end, got.get("retry-after")) == (status, BodyEnd.COMPLETE, "7")
    assert got.error["message"]


# Responses

BREAKS = ["truncated-chunked", "reset-mid-body", "no-terminal-event", "bad-json", "garbage-in-body", "error-event"]


def last_event(got: Got) -> dict[str, Any]:
    """Return what the last event of a stream says, and check that it is a whole one."""
    assert got.data.endswith((b"\n\n", b"\r\n\r\n"))
    value: dict[str, Any] = json.loads(got.events[-1])
    return value


@pytest.mark.parametrize("name", BREAKS)
async def test_a_responses_stream_that_breaks_ends_with_an_error_event(tmp_path: Path, name: str) -> None:
    """Flat, as the API has it, with the next number, and nested, as the SDKs raise on it; never a completed response."""
    async with open_scene(tmp_path, f"{name};after=5") as scene:
        got = await scene.ask(path="/v1/responses", stream=True, input="say it")

    assert (got.status, got.end) == (200, BodyEnd.TRUNCATED)
    event = last_event(got)
    assert event["type"] == "error"
    assert event["sequence_number"] == 5
    assert event["message"] == event["error"]["message"]
    assert b"response.completed" not in got.data


async def test_a_responses_stream_that_says_it_failed_is_whole(tmp_path: Path) -> None:
    """That is the truth about the response, and its end."""
    async with open_scene(tmp_path, "response-failed;after=5") as scene:
        got = await scene.ask(path="/v1/responses", stream=True, input="say it")

    assert (got.status, got.end) == (200, BodyEnd.COMPLETE)
    assert last_event(got)["type"] == "response.failed"


@pytest.mark.parametrize("name", ["no-done", "answer", "one-byte-chunks", "gzip-answer", "stream-in-other-spelling"])
async def test_a_responses_stream_has_no_done(tmp_path: Path, name: str) -> None:
    """Its end is the completed response, which `no-done` leaves out."""
    async with open_scene(tmp_path, name) as scene:
        got = await scene.ask(path="/v1/responses", stream=True, input="say it")

    if name == "no-done":
        assert got.end is BodyEnd.TRUNCATED
        assert last_event(got)["type"] == "error"
    else:
        assert got.end is BodyEnd.COMPLETE
        assert last_event(got)["response"]["output"][0]["content"][0]["text"] == "".join(WORDS)


# JSON that a wire reads only to see that it is some


HALF_A_JSON = [
    name
    for name, row in ROWS.items()
    if row.strikes is Strikes.CONTENT and row.ends is Ends.BY_ITSELF and not row.unary
]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/moderations", "/v1/images/generations"])
@pytest.mark.parametrize("name", HALF_A_JSON)
async def test_half_a_json_answer_is_none(tmp_path: Path, path: str, name: str) -> None:
    """Nothing of it reaches the client: it gets an error with a status."""
    async with open_scene(tmp_path, Case(name, 200, BOUNDS).behaviour) as scene:
        got = await scene.ask(path=path, input="say it")

    assert got.status in {500, 502}
    assert got.error["message"]
