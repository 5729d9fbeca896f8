"""The relay as a process of its own, as an operator starts it: what it prints can be waited for, and it always ends.

The law: nothing here sleeps or looks at a clock. A test waits for a line, for an answer, or for the end of the process;
what never comes is ended by the limit that pytest sets.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from relay_trio.testing.fake_client import FakeClient, Response, connect
from relay_trio.testing.shapes import chat

ROOT = Path(__file__).parents[1]

SERVE = ("-m", "relay_trio", "serve", "--listen", "127.0.0.1:0")
HYPERCORN = ("-m", "hypercorn", "-k", "trio", "-b", "127.0.0.1:0", "relay_trio.asgi:app")

KEY = "sk-a-client-of-the-process-0123456789"
ADMIN_KEY = "sk-an-operator-of-the-process-0123456789"

Line = dict[str, Any]


@attrs.define(eq=False)
class Running:
    """A process that serves."""

    process: trio.Process
    lines: list[Line] = attrs.field(factory=list)
    """What it logged on stdout so far. A line that is no JSON object fails the test."""
    errors: str = ""
    """What it printed on stderr so far."""
    _ended: bool = False
    _grown: trio.Event = attrs.field(factory=trio.Event)

    # What it prints

    async def line(self, event: str, number: int = 1, **fields: object) -> Line:
        """Return the nth line of this event with these fields, once it is there."""
        while len(found := self.all(event, **fields)) < number:
            await self._more(event)
        return found[number - 1]

    def all(self, event: str, **fields: object) -> list[Line]:
        """Return the lines of an event, those with these fields, that are there."""
        return [
            line
            for line in self.lines
            if line["event"] == event and all(line.get(name) == value for name, value in fields.items())
        ]

    async def printed(self, pattern: str) -> re.Match[str]:
        """Return what matches on stderr, once it is there."""
        while (match := re.search(pattern, self.errors, re.MULTILINE)) is None:
            await self._more(pattern)
        return match

    async def address(self) -> tuple[str, int]:
        """Return where it listens, once it does."""
        message = (await self.line("library_message", logger="hypercorn"))["message"]
        host, port = re.search(r"://([\d.]+):(\d+)", message).groups()  # type: ignore[union-attr] # else the line is wrong
        return host, int(port)

    async def _more(self, wanted: str) -> None:
        assert not self._ended, f"it has ended without {wanted!r}; stderr: {self.errors}; stdout: {self.lines}"
        await self._grown.wait()

    def _note(self, **grown: Any) -> None:
        for name, value in grown.items():
            setattr(self, name, value)
        self._grown.set()
        self._grown = trio.Event()

    async def read_stdout(self) -> None:
        """Take the lines, until there are none any more."""
        assert self.process.stdout is not None
        rest = b""
        with suppress(trio.ClosedResourceError):  # a test has closed it
            async for block in self.process.stdout:
                *whole, rest = (rest + block).split(b"\n")
                self._note(lines=self.lines + [json.loads(line) for line in whole])
        self._note(_ended=True)
        assert rest == b"", "the last line is whole too"

    async def read_stderr(self) -> None:
        """Take what it prints for people."""
        assert self.process.stderr is not None
        async for block in self.process.stderr:
            self._note(errors=self.errors + block.decode())

    # What it answers

    async def ask(self, method: str, path: str, key: str | None = None, body: object = None) -> Response:
        """Ask on a connection of its own."""
        async with connect(await self.address()) as client:
            return await ask(client, method, path, key, body)

    async def json(self, path: str, key: str | None = None) -> Any:
        """Return what a path answers with 200."""
        response = await self.ask("GET", path, key)
        assert response.status == 200, response
        return response.json()

    # How it ends

    async def wait_ended(self) -> None:
        """Return when nobody writes to its stdout any more: neither it, nor who took its place."""
        while not self._ended:
            await self._grown.wait()

    def tell(self, name: str) -> None:
        """Send it a signal."""
        self.process.send_signal(getattr(signal, name))

    async def end(self, name: str = "SIGTERM") -> int:
        """Send it a signal and return its exit status."""
        self.tell(name)
        return await self.process.wait()


async def ask(client: FakeClient, method: str, path: str, key: str | None = None, body: object = None) -> Response:
    """Ask on a connection that is there."""
    headers = [] if key is None else [("authorization", f"Bearer {key}")]
    data = None if body is None else json.dumps(body).encode()
    await client.request(method, path, headers, data)
    return await client.read_response()


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process: nothing of ours that would configure it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **variables}


@asynccontextmanager
async def served(
    directory: Path,
    words: Sequence[str] = SERVE,
    variables: Mapping[str, str] | None = None,
    *,
    unread: bool = False,
    program: str = sys.executable,
    pass_fds: Sequence[int] = (),
) -> AsyncIterator[Running]:
    """Run a program in this directory for the length of the block; then it is killed if it has not ended.

    With `unread` nobody reads its stdout.
    """
    process = await trio.lowlevel.open_process(
        [program, *words],
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=directory,
        env=environment(variables or {}),
    )
    running = Running(process)
    assert process.stdout is not None
    assert process.stderr is not None
    async with process.stdout, process.stderr, trio.open_nursery() as nursery:
        try:
            nursery.start_soon(running.read_stderr)
            if not unread:
                nursery.start_soon(running.read_stdout)
            yield running
        finally:
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()
                _kill_successors(running)
            if unread:
                nursery.cancel_scope.cancel(reason="nobody reads")


def _kill_successors(running: Running) -> None:
    """End what a relay has started in its own place: a test that failed has not."""
    for line in running.all("successor_started"):
        with suppress(ProcessLookupError):
            os.kill(line["successor_pid"], signal.SIGKILL)


def stream_request(key: str = KEY, model: str = "demo") -> bytes:
    """Return a request for a stream."""
    return chat(key=key, model=model)


def text_of(data: Sequence[str]) -> str:
    """Return what a chat stream said."""
    chunks = [json.loads(event) for event in data if event != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
