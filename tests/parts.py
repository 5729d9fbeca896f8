"""Small parts of a relay for tests of one module: channels, scopes, requests, a log that keeps its lines."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio

from adaptors import registry
from adaptors.dialects.openai import CHAT
from adaptors.failure import Failure, FailureKind
from adaptors.protocol import Dialect
from adaptors.values import Header, ProviderAccount
from relay_trio.channels.channel import Channel, ChannelClocks, ChannelKey
from relay_trio.channels.selection import Candidate
from relay_trio.errors import UpstreamAnswered
from relay_trio.relay.exchange import ClientRequest, Exchange
from relay_trio.relay.record import Record
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.scopes.phase import Limit
from relay_trio.scopes.request_scope import RequestScope
from relay_trio.upstream.target import Route

TOTAL = Limit(900, "RELAY_TIMEOUT")
ADAPTORS = registry.load()


def route() -> Route:
    """Return a way that nobody goes."""
    return Route(Limit(10, "RELAY_CONNECT_TIMEOUT"), Limit(60, "RELAY_SEND_TIMEOUT"), ssl.create_default_context())


ROUTE = route()


def channel(name: str, *, keys: int = 1, priority: int = 0, weight: int = 1, **more: Any) -> Channel:
    """Return a channel with so many keys."""
    return Channel(
        name=name,
        adaptor=ADAPTORS["openai"],
        base_url="http://provider.test/v1",
        keys=tuple(
            ChannelKey(number, ProviderAccount("http://provider.test/v1", "k")) for number in range(1, keys + 1)
        ),
        route=ROUTE,
        clocks=ChannelClocks(None, None, None, TOTAL),
        priority=priority,
        weight=weight,
        **more,
    )


def candidates_of(*channels: Channel) -> tuple[Candidate, ...]:
    """Return all keys of the channels, in their order."""
    return tuple(Candidate(one, key) for one in channels for key in one.keys)


def answered(kind: FailureKind, status: int = 500, headers: tuple[Header, ...] = (), **more: Any) -> UpstreamAnswered:
    """Return a provider's error answer."""
    return UpstreamAnswered(Failure(kind, status, "The provider says no.", **more), headers=headers)


def scope(total: Limit = TOTAL, registry: NurseryRegistry | None = None, request_id: str = "req_1") -> RequestScope:
    """Return a request scope that has not been entered."""
    return RequestScope(NurseryRegistry(Balance()) if registry is None else registry, request_id, total)


@attrs.define(eq=False)
class KeptLog:
    """A log that keeps what it is told: (level, event, fields)."""

    lines: list[tuple[str, str, dict[str, object]]] = attrs.field(factory=list)

    def debug(self, event: str, **fields: object) -> None:
        """Keep a line."""
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: object) -> None:
        """Keep a line."""
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: object) -> None:
        """Keep a line."""
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: object) -> None:
        """Keep a line."""
        self.lines.append(("error", event, fields))

    def said(self, level: str) -> list[tuple[str, dict[str, object]]]:
        """Return what was said at this level."""
        return [(event, fields) for told, event, fields in self.lines if told == level]


@attrs.define(eq=False)
class Wire:
    """The server's side of one request: what is there to be received, and what was sent. `stuck` writes wait for ever."""

    pieces: list[bytes] = attrs.field(factory=list)
    fails_with: BaseException | None = None
    stuck: bool = False
    waits: bool = False
    """There is more of the body to come than `pieces` has."""
    heads: list[tuple[int, dict[bytes, bytes]]] = attrs.field(factory=list)
    """The heads that were said."""
    bodies: list[bytes] = attrs.field(factory=list)
    """The pieces of the body that were sent."""
    ended: bool = False
    """The answer was said to be complete."""

    _unstuck: trio.Event = attrs.field(factory=trio.Event)

    def unstick(self) -> None:
        """Let stuck writes go on."""
        self.stuck = False
        self._unstuck.set()

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """The client stays."""

    def limit_writes(self, limit: Limit | None) -> None:
        """The test says what a write does."""

    def body_is_here(self) -> bool:
        """Every piece is waited for."""
        return False

    async def receive(self) -> tuple[bytes, bool]:
        """Return the next piece of the body."""
        await trio.lowlevel.checkpoint()
        if not self.pieces:
            await trio.sleep_forever()
        piece = self.pieces.pop(0)
        return piece, bool(self.pieces) or self.waits

    def start(self, status: int, headers: Iterable[Header]) -> None:
        """Take a head."""
        self.heads.append((status, dict(headers)))

    all_sent: bool = True
    """The client takes what is sent at once."""

    takes_all: bool = True
    """What is sent without a wait is all taken."""

    def send_now(self, data: bytes) -> None:
        """Take what is sent."""
        assert self.all_sent
        if self.fails_with is not None:
            raise self.fails_with
        self.bodies.append(data)
        self.all_sent = self.takes_all

    async def flush(self) -> None:
        """Let the client take it."""
        await trio.lowlevel.checkpoint()
        self.all_sent = True

    async def send(self, data: bytes, *, more: bool) -> None:
        """Take what is sent."""
        await trio.lowlevel.checkpoint()
        if self.fails_with is not None:
            raise self.fails_with
        if self.stuck:
            await self._unstuck.wait()
        self.bodies.append(data)
        self.ended = self.ended or not more


def exchange(
    of: RequestScope,
    wire: Wire,
    *,
    headers: Iterable[Header] = (),
    dialect: Dialect = CHAT,
    body: Limit | None = None,
) -> Exchange:
    """Return an exchange over this wire."""
    fields = list(headers)
    request = ClientRequest(
        method="POST",
        path="/v1/chat/completions",
        raw_path=b"/v1/chat/completions",
        query=b"",
        headers=fields,
        fields=dict(reversed(fields)),
        client="127.0.0.1",
        side=wire,
    )
    return Exchange(
        request,
        Record(of, "POST", request.path, request.client, dialect.name),
        dialect,
        extra_headers=[(b"x-request-id", of.id.encode())],
        clean=lambda text: text.replace("sk-secret", "***"),
        body=body or Limit(60, "RELAY_BODY_TIMEOUT"),
    )
