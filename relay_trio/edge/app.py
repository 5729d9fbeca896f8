"""The ASGI application, of which hypercorn needs the lifespan, and where each request goes.

The lifespan is the service nursery's: what lives longer than a request lives there, and ends with it. A request gets a
dialect and somebody who answers it; it comes from this package's connection class, which alone keeps the guarantees.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import attrs
import trio

from adaptors.gemini_paths import split_version
from adaptors.values import Header
from relay_trio.edge import dialect as dialects
from relay_trio.edge.connection import ConnectionServices
from relay_trio.edge.dialect import Place
from relay_trio.edge.handlers.models import ModelList
from relay_trio.edge.handlers.own import Own
from relay_trio.edge.routes import OwnPath, own_path
from relay_trio.errors import MethodNotAllowed, UnknownPath
from relay_trio.relay.exchange import ClientRequest, Exchange
from relay_trio.relay.pipeline import Pipeline, cors_headers
from relay_trio.relay.relaying import Relaying
from relay_trio.relay.services import RelayServices
from relay_trio.telemetry.log import get_logger

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_PREFLIGHT_HEADERS: list[Header] = [
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    (b"access-control-max-age", b"86400"),
]
_MODEL_ENDPOINTS = frozenset({"models.list", "models.stored"})


@attrs.frozen(eq=False)
class Running:
    """What the application works with while it lives. hypercorn hands it to every connection as `state`."""

    services: RelayServices
    connections: ConnectionServices
    pipeline: Pipeline
    own: Own
    models: ModelList
    reload: Callable[[], None]
    """Reads the configuration again."""

    async def serve(self, request: ClientRequest) -> None:
        """Answer one request. Raises nothing but Cancelled, and that only when the server itself is cancelled."""
        own, object_id = own_path(request.path)
        if own is not None:
            work = _own_work(self, own, object_id, request)
            await self.pipeline.run(request, dialects.DEFAULT, work, name="monitoring", quiet=True)
            return
        place = dialects.place_of(request.method, request.raw_path, request.query, request.fields)
        await self.pipeline.run(request, place.dialect, _api_work(self, place, request), name="request")


class Opens(Protocol):
    """Opens the service nursery and everything in it; closes it on leaving."""

    def __call__(self) -> AbstractAsyncContextManager[Running]:
        """Return what opens it."""
        ...


class App:
    """The relay's lifespan as an ASGI application. Runs on trio only."""

    def __init__(self, opens: Opens) -> None:
        self._opens = opens
        self.running: Running | None = None
        """What runs, from the lifespan's start to its end."""
        self._started = trio.Event()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Live through the lifespan. Requests do not come this way."""
        if scope["type"] != "lifespan":
            raise NotImplementedError(
                f"no {scope['type']} by ASGI: requests come from the relay's own connection class"
            )
        await self._live(scope, receive, send)

    async def wait_started(self) -> Running:
        """Return what runs, once it does."""
        await self._started.wait()
        assert self.running is not None, "the lifespan has not ended"
        return self.running

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            await self._live_until_shutdown(scope, receive, send)
        except Exception as error:
            get_logger().critical("service_crashed", exc_info=error)
            # hypercorn would go on accepting for services that are gone; only this it does not catch.
            raise SystemExit(1) from error

    async def _live_until_shutdown(self, scope: Message, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with self._opens() as running:
            scope["state"]["relay_trio"] = self.running = running
            self._started.set()
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown: hypercorn has closed the listeners and the last connection has ended
        self.running = None
        await send({"type": "lifespan.shutdown.complete"})


Work = Callable[[Exchange], Awaitable[None]]


def _own_work(running: Running, own: OwnPath, object_id: str, request: ClientRequest) -> Work:
    if request.method not in own.methods:
        return _refuse(_wrong_method(request, own.methods))
    answer: Callable[[Exchange, str], Awaitable[None]] = getattr(running.own, own.handler)
    return lambda exchange: answer(exchange, object_id)


def _api_work(running: Running, place: Place, request: ClientRequest) -> Work:
    if place.endpoint is not None:
        if place.endpoint.name in _MODEL_ENDPOINTS and request.method == "GET":
            return lambda exchange: running.models.answer(exchange, split_version(place.path)[1])
        return Relaying(running.services, place.endpoint, place.path)
    allowed = running.services.catalog.current.settings.cors_origins
    if request.method == "OPTIONS" and allowed:
        return lambda exchange: _preflight(exchange, allowed)
    methods = place.methods()
    if methods:
        return _refuse(_wrong_method(request, methods))
    nearest = dialects.nearest_path(request.raw_path)
    hint = f" Did you mean {nearest}?" if nearest is not None else ""
    return _refuse(UnknownPath(f"There is no {request.path[:200]} here.{hint}"))


def _wrong_method(request: ClientRequest, methods: tuple[str, ...]) -> MethodNotAllowed:
    allow = ", ".join(methods)
    return MethodNotAllowed(f"{request.path[:200]} takes {allow}, not {request.method}.", allow=allow)


def _refuse(error: Exception) -> Work:
    async def work(exchange: Exchange) -> None:  # noqa: ARG001 - the error says it all
        raise error

    return work


async def _preflight(exchange: Exchange, allowed: tuple[str, ...]) -> None:
    """Answer what a browser asks before a page may call (the Fetch standard, 3.2.2). It carries no key."""
    headers: list[Header] = []
    if cors_headers(allowed, exchange.request.fields.get(b"origin")):
        wanted = exchange.request.fields.get(b"access-control-request-headers", b"*")
        headers = [*_PREFLIGHT_HEADERS, (b"access-control-allow-headers", wanted)]
    await exchange.answer(204, headers, b"")
