"""A webhook that does as it is told, on a real socket in the test's own trio run; and workers' looks made by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

Json = dict[str, Any]


@attrs.define(eq=False)
class Webhook:
    """What it was sent, and what it answers: `status` with `body`; with `hangs` nothing, ever."""

    status: int = 200
    body: bytes = b"ok"
    headers: str = ""
    hangs: bool = False
    port: int = 0
    heads: list[str] = attrs.field(factory=list)
    posts: list[Json] = attrs.field(factory=list)
    live: int = 0
    accepted: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/services/T-secret-token-0123"

    @property
    def texts(self) -> list[str]:
        return [str(post["text"]) for post in self.posts]

    async def wait_posts(self, number: int) -> None:
        """Return when so many messages have come."""
        with trio.fail_after(4_000):
            while len(self.posts) < number:  # noqa: ASYNC110 - a list wakes nobody
                await trio.sleep(0.05)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.live += 1
        self.accepted += 1
        try:
            async with stream:
                while await self._answer(stream):
                    pass
        except trio.BrokenResourceError:
            pass
        finally:
            self.live -= 1

    async def _answer(self, stream: trio.SocketStream) -> bool:
        received = b""
        while b"\r\n\r\n" not in received:
            block = await stream.receive_some(65536)
            if not block:
                return False
            received += block
        head, _, body = received.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        while len(body) < int(fields["content-length"]):
            block = await stream.receive_some(65536)
            if not block:
                return False
            body += block
        self.heads.append(head.decode())
        self.posts.append(json.loads(body))
        if self.hangs:
            return bool(await stream.receive_some(1))
        answer = f"HTTP/1.1 {self.status} X\r\n{self.headers}content-length: {len(self.body)}\r\n\r\n"
        await stream.send_all(answer.encode() + self.body)
        return True


@asynccontextmanager
async def open_webhook(**behaviour: Any) -> AsyncIterator[Webhook]:
    webhook = Webhook(**behaviour)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, webhook.serve, 0)
        webhook.port = listeners[0].socket.getsockname()[1]
        yield webhook
        nursery.cancel_scope.cancel(reason="the test is over")


def worker(pid: int = 1, **differs: Any) -> Json:
    """Return what a healthy worker says of itself; `differs` replaces numbers by their names here."""
    numbers: Json = {
        "nurseries": 3, "overdue": 0, "unaccounted": 0, "stalls": 0, "down": [], "refused": [], "dropped": 0,
        "opened": 100, "memory": 100.0, "uptime": 100_000.0, "live": 3,
    } | differs  # fmt: skip
    return {
        "pid": pid,
        "nurseries": numbers["nurseries"],
        "requests": {"live": numbers["live"], "queued": 0, "overdue": numbers["overdue"]},
        "balance": {"slots": {"opened": numbers["opened"], "unaccounted": 0},
                    "tasks": {"opened": 9, "unaccounted": numbers["unaccounted"]}},
        "memory": {"alloc_mb": numbers["memory"]},
        "log": {"dropped": numbers["dropped"]},
        "thresholds": {"warn": 2000, "error": 5000, "total_s": 900.0},
        "uptime_s": numbers["uptime"],
        "alerts": {"loop_stalls": numbers["stalls"], "channels_down": numbers["down"], "keys_refused": numbers["refused"]},
    }  # fmt: skip
