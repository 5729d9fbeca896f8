"""The naive relay, our baseline: stock hypercorn, httpx.AsyncClient, and what one would write in an afternoon.

It has no keys, no limits, no log, no metrics and no deadline but httpx's; it watches for a client that leaves, because
without that hypercorn never says so. Everything that the relay does above this, it must pay for out of what it saves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import trio
from hypercorn.config import Config
from hypercorn.trio import serve

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade"})
NOT_SENT = HOP_BY_HOP | {b"host", b"content-length", b"accept-encoding"}
NOT_ANSWERED = HOP_BY_HOP | {b"date", b"server"}


class NaiveRelay:
    """An ASGI application that sends every request on."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=512)
        self._client = httpx.AsyncClient(limits=limits, timeout=600, trust_env=False)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._relay(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._client:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _relay(self, scope: Message, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        async with trio.open_nursery() as nursery:
            finished = trio.Event()
            nursery.start_soon(_leave_with_client, receive, nursery.cancel_scope, finished)
            await self._answer(scope, body, send, finished)
            nursery.cancel_scope.cancel()

    async def _answer(self, scope: Message, body: bytes, send: Send, finished: trio.Event) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name not in NOT_SENT]
        url = self._upstream + scope["path"]
        async with self._client.stream(scope["method"], url, content=body, headers=headers) as answer:
            kept = [(name, value) for name, value in answer.headers.raw if name.lower() not in NOT_ANSWERED]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
            async for chunk in answer.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        finished.set()  # after the last send hypercorn says http.disconnect too, though nobody has left
        await send({"type": "http.response.body", "body": b""})


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _leave_with_client(receive: Receive, scope: trio.CancelScope, finished: trio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if not finished.is_set():
        scope.cancel()


def main() -> None:
    """Serve on port argv[1] what the provider at argv[2] answers."""
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.backlog = 4096
    config.keep_alive_max_requests = sys.maxsize
    config.errorlog = "-" if os.environ.get("NAIVE_ERRORS") else None
    trio.run(serve, NaiveRelay(sys.argv[2]), config)  # type: ignore[arg-type] # hypercorn's own ASGI types


if __name__ == "__main__":
    main()
