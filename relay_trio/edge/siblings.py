"""The workers of one supervisor ask each other what only each of them knows: its nurseries, its requests, its memory.

Whichever worker is asked for the health or the tree of nurseries has to answer for all. Each worker listens on a unix
socket in the supervisor's private directory; one connection carries one question and one answer, each one line of JSON,
bounded in size and in time. A worker that is too slow is reported as such: that is news, too.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import msgspec
import trio

from relay_trio.telemetry.log import get_logger

ANSWER_WITHIN_S = 1.0
"""The monitoring that asks usually gives up after a few seconds; a worker that needs more than one is in trouble."""

VISIT_LIMIT_S = 2 * ANSWER_WITHIN_S
"""On the answering side: after the asker's own limit, so that a slow answer is seen as one, not as a broken one."""

MAX_QUESTION_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""5,000 requests with their await stacks are some 10 MiB."""

MAX_VISITORS = 64
"""Connections served at once: a few monitoring requests in each of the siblings. More wait in the backlog."""

JSONObject = dict[str, Any]
Answer = Callable[[JSONObject], JSONObject | Awaitable[JSONObject]]

_log = get_logger()


@attrs.frozen
class SiblingAnswer:
    """What one sibling said; or, in `problem`, why it said nothing: it was `slow`, or it `broke off`."""

    pid: int
    answer: JSONObject | None = None
    problem: str | None = None


class Siblings:
    """The other workers of this supervisor. Without a directory (one worker; Windows) there are none."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory if hasattr(socket, "AF_UNIX") else None
        self._own_path = directory and directory / f"{os.getpid()}.sock"
        self._connections = 0
        self._visitors = 0

    @property
    def connections(self) -> int:
        """Sockets open now for questions and answers, beside the listening one: for whoever counts descriptors."""
        return self._connections

    @property
    def visitors(self) -> int:
        """Questions being answered now, each by a task of its own: for whoever counts tasks."""
        return self._visitors

    async def serve(self, answer: Answer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer the siblings' questions until cancelled. Started when the socket can be reached."""
        if self._directory is None or self._own_path is None:
            task_status.started()
            return
        listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        places = trio.Semaphore(MAX_VISITORS)
        with listener, _own_place(self._own_path):
            await listener.bind(str(self._own_path))
            listener.listen(MAX_VISITORS)
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    await places.acquire()
                    visitor = await _accept(listener)
                    self._connections += 1
                    nursery.start_soon(self._serve_visitor, visitor, answer, places)

    async def ask(self, question: JSONObject) -> list[SiblingAnswer]:
        """Ask all siblings at once; their answers by pid, within `ANSWER_WITHIN_S`. The dead are left out."""
        if self._directory is None:
            return []
        answers: list[SiblingAnswer] = []
        line = msgspec.json.encode(question) + b"\n"
        async with trio.open_nursery() as nursery:
            for path in self._directory.glob("*.sock"):
                if path != self._own_path and path.stem.isdecimal():
                    nursery.start_soon(self._ask_into, answers, path, line)
        return sorted(answers, key=lambda answer: answer.pid)

    async def _ask_into(self, answers: list[SiblingAnswer], path: Path, line: bytes) -> None:
        pid = int(path.stem)
        self._connections += 1
        try:
            with trio.fail_after(ANSWER_WITHIN_S):
                answers.append(SiblingAnswer(pid, answer=await _ask_one(path, line)))
        except trio.TooSlowError:
            answers.append(SiblingAnswer(pid, problem="slow"))
        except (FileNotFoundError, ConnectionRefusedError):
            return  # it has died, and its socket is about to be removed
        except (OSError, msgspec.DecodeError, _TooLong):
            answers.append(SiblingAnswer(pid, problem="broke off"))
        finally:
            self._connections -= 1

    async def _serve_visitor(self, visitor: trio.socket.SocketType, answer: Answer, places: trio.Semaphore) -> None:
        """Answer one question. Whatever goes wrong here, the asker sees a connection that broke off, and nobody else."""
        self._visitors += 1
        try:
            with visitor, trio.move_on_after(VISIT_LIMIT_S):
                question = msgspec.json.decode(await _receive_line(visitor, MAX_QUESTION_BYTES), type=JSONObject)
                await _send_all(visitor, msgspec.json.encode(await _answer(answer, question)) + b"\n")
        except (OSError, msgspec.DecodeError, _TooLong):
            return
        except Exception:  # noqa: BLE001 - a question that cannot be answered must not end the answering
            _log.exception("sibling_not_answered")
        finally:
            self._visitors -= 1
            self._connections -= 1
            places.release()


async def _ask_one(path: Path, line: bytes) -> JSONObject:
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as connection:
        await connection.connect(str(path))
        await _send_all(connection, line)
        return msgspec.json.decode(await _receive_line(connection, MAX_ANSWER_BYTES), type=JSONObject)


async def _answer(answer: Answer, question: JSONObject) -> JSONObject:
    answered = answer(question)
    return await answered if inspect.isawaitable(answered) else answered


async def _accept(listener: trio.socket.SocketType) -> trio.socket.SocketType:
    """The next visitor. Out of descriptors, wait for some to be given back instead of ending the service."""
    while True:
        try:
            visitor, _ = await listener.accept()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            await trio.sleep(0.1)
        else:
            return visitor


_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED})
"""What accept(2) raises without the listener being broken."""


class _TooLong(Exception):
    """More bytes than a question or an answer may have."""


async def _receive_line(connection: trio.socket.SocketType, limit: int) -> bytes:
    """The bytes up to the newline, or up to the end, which makes a cut answer a broken one."""
    received = bytearray()
    while not received.endswith(b"\n"):
        block = await connection.recv(64 * 1024)
        if not block:
            break
        received += block
        if len(received) > limit:
            raise _TooLong
    return bytes(received)


async def _send_all(connection: trio.socket.SocketType, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[await connection.send(rest) :]


@contextlib.contextmanager
def _own_place(path: Path) -> Iterator[None]:
    """Nothing stands at this path before (a dead worker may have had our pid) and afterwards."""
    path.unlink(missing_ok=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
