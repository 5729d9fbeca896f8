"""Whichever worker is asked can answer for all, and a sick sibling costs a second and no more."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable
from pathlib import Path

import pytest
import trio
import trio.testing

from relay_trio.edge import siblings as module
from relay_trio.edge.siblings import JSONObject, SiblingAnswer, Siblings

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="unix sockets"),
]


class OtherPid:
    """The same process under another process's number, so that one test holds several workers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def siblings(self, directory: Path, pid: int) -> Siblings:
        with self._monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: pid)
            return Siblings(directory)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> OtherPid:
    return OtherPid(monkeypatch)


def echo(question: JSONObject) -> JSONObject:
    return {"you_asked": question}


async def test_every_other_worker_answers(worker: OtherPid, tmp_path: Path) -> None:
    """All siblings' answers, by pid, whether theirs are made at once or awaited; not the asker's own."""

    async def slow_echo(question: JSONObject) -> JSONObject:
        await trio.sleep(0.5)
        return {"later": question}

    async with trio.open_nursery() as nursery:
        await nursery.start(worker.siblings(tmp_path, 3).serve, slow_echo)
        await nursery.start(worker.siblings(tmp_path, 2).serve, echo)
        asker = worker.siblings(tmp_path, 1)
        await nursery.start(asker.serve, echo)
        question = {"what": "health", "text": "a\nnewline"}
        assert await asker.ask(question) == [
            SiblingAnswer(2, {"you_asked": question}),
            SiblingAnswer(3, {"later": question}),
        ]
        nursery.cancel_scope.cancel(reason="the test is over")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_a_slow_sibling_is_reported_as_slow(worker: OtherPid, tmp_path: Path) -> None:
    """It costs the limit, not more, and the others' answers are there."""

    async def never(_question: JSONObject) -> JSONObject:
        await trio.sleep_forever()
        raise AssertionError

    async with trio.open_nursery() as nursery:
        await nursery.start(worker.siblings(tmp_path, 2).serve, never)
        await nursery.start(worker.siblings(tmp_path, 3).serve, echo)
        started = trio.current_time()
        assert await worker.siblings(tmp_path, 1).ask({}) == [
            SiblingAnswer(2, problem="slow"),
            SiblingAnswer(3, {"you_asked": {}}),
        ]
        assert trio.current_time() - started == pytest.approx(module.ANSWER_WITHIN_S, abs=0.01)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_open_connections_are_known(worker: OtherPid, tmp_path: Path) -> None:
    """Both ends of each question are counted while it is answered, and none afterwards."""
    asker, asked = worker.siblings(tmp_path, 1), worker.siblings(tmp_path, 2)

    def count(_question: JSONObject) -> JSONObject:
        return {"asker": asker.connections, "asked": asked.connections}

    async with trio.open_nursery() as nursery:
        await nursery.start(asked.serve, count)
        assert await asker.ask({}) == [SiblingAnswer(2, {"asker": 1, "asked": 1})]
        await trio.testing.wait_all_tasks_blocked()
        assert (asker.connections, asked.connections) == (0, 0)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_the_dead_are_left_out(worker: OtherPid, tmp_path: Path) -> None:
    """A socket that nobody listens on any more is no sibling, nor is any other file."""
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "2.sock"))
    dead.close()
    (tmp_path / "metrics").mkdir()
    (tmp_path / "x.sock").touch()
    assert await worker.siblings(tmp_path, 1).ask({}) == []


async def test_the_successor_of_a_dead_worker_takes_its_path(worker: OtherPid, tmp_path: Path) -> None:
    """A pid that comes again finds the socket of its dead namesake, and serves all the same."""
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "2.sock"))
    dead.close()
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.siblings(tmp_path, 2).serve, echo)
        assert await worker.siblings(tmp_path, 1).ask({}) == [SiblingAnswer(2, {"you_asked": {}})]
        nursery.cancel_scope.cancel(reason="the test is over")


def _fail(_question: JSONObject) -> JSONObject:
    raise KeyError("no such question")


def _unspeakable(_question: JSONObject) -> JSONObject:
    return {"object": object()}


def _too_long(_question: JSONObject) -> JSONObject:
    return {"long": "x" * 2_000}


@pytest.mark.parametrize("answer", [_fail, _unspeakable, _too_long])
async def test_an_answer_that_fails_ends_nothing(
    worker: OtherPid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: module.Answer
) -> None:
    """The asker is told that it broke off; the sibling goes on serving."""
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 1_000)
    failing = [answer]

    def answer_once(question: JSONObject) -> JSONObject | Awaitable[JSONObject]:
        return failing.pop()(question) if failing else echo(question)

    async with trio.open_nursery() as nursery:
        await nursery.start(worker.siblings(tmp_path, 2).serve, answer_once)
        asker = worker.siblings(tmp_path, 1)
        assert await asker.ask({}) == [SiblingAnswer(2, problem="broke off")]
        assert await asker.ask({}) == [SiblingAnswer(2, {"you_asked": {}})]
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("sent", [b"", b"no json\n", b'"no object"\n', b"{}", b"x" * 200_000])
async def test_a_question_that_is_none_ends_nothing(worker: OtherPid, tmp_path: Path, sent: bytes) -> None:
    """Nothing, garbage, too much, and a visitor who says nothing more: the connection ends, the service goes on."""
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.siblings(tmp_path, 2).serve, echo)
        visitor = await trio.open_unix_socket(tmp_path / "2.sock")
        async with visitor:
            with pytest.raises(trio.BrokenResourceError) if len(sent) > 100_000 else trio.CancelScope():
                await visitor.send_all(sent)
                assert await visitor.receive_some() == b""
        assert await worker.siblings(tmp_path, 1).ask({}) == [SiblingAnswer(2, {"you_asked": {}})]
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_visitors_are_bounded(worker: OtherPid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent visitors hold their places for the limit at most; then whoever waited is served."""
    monkeypatch.setattr(module, "MAX_VISITORS", 2)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.siblings(tmp_path, 2).serve, echo)
        silent = [await trio.open_unix_socket(tmp_path / "2.sock") for _ in range(2)]
        third = await trio.open_unix_socket(tmp_path / "2.sock")
        await third.send_all(b"{}\n")
        started = trio.current_time()
        assert await third.receive_some() == b'{"you_asked":{}}\n'
        assert trio.current_time() - started == pytest.approx(module.VISIT_LIMIT_S, abs=0.01)
        for visitor in (*silent, third):
            await visitor.aclose()
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_one_worker_has_no_siblings() -> None:
    """Without a directory asking gives nothing, and serving is done at once."""
    alone = Siblings(None)
    async with trio.open_nursery() as nursery:
        await nursery.start(alone.serve, echo)
    assert await alone.ask({"what": "health"}) == []
