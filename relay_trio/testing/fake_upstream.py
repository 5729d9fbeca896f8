"""A provider on real loopback sockets, in the same trio run as the test, that answers well or misbehaves by name.

The law: everything is recorded (requests as they came, connections and who ended them), and at the end of the block every
task and socket of it is gone. No threads: a virtual clock that jumps holds both ends.

    async with open_fake_upstream("silent-before-head") as upstream:
        ...  # ask upstream.url
        await upstream.wait_no_connections()

As a process of its own: `python -m relay_trio.testing.fake_upstream --port 8001 --behaviour "slow-body;interval=0.1"`.
"""

from __future__ import annotations

import argparse
import signal
import socket
import ssl
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from relay_trio.testing.answers import Provider
from relay_trio.testing.conversation import Conversation, RecordedRequest, Stage
from relay_trio.testing.http_text import (
    BodyReader,
    Framing,
    Head,
    Malformed,
    framing_of,
    read_fields,
    read_line,
)
from relay_trio.testing.link import EndedBy, Link, PeerGone
from relay_trio.testing.misbehaviours import listing
from relay_trio.testing.script import Act, Behaviour, Script

KEPT_RECORDS = 10_000
"""Records of requests and connections that are kept; the counters go on. A day of requests must not fill the memory."""

BACKLOG = 4096


@attrs.define(eq=False)
class ConnectionRecord:
    """A connection that was accepted. `ended_by` and `closed_at` are None while it lives."""

    number: int
    opened_at: float
    """On trio's clock."""
    requests: int = 0
    bytes_received: int = 0
    """Of the request side, TLS taken off; written when the connection has ended."""
    ended_by: EndedBy | None = None
    closed_at: float | None = None

    @property
    def peer_first(self) -> bool:
        """The peer ended it, not the fake."""
        return self.ended_by in {EndedBy.PEER_CLOSED, EndedBy.PEER_RESET}


@attrs.define(eq=False)
class Connections:
    """The connections of a fake upstream, counted."""

    opened: int = 0
    closed: int = 0
    live: dict[ConnectionRecord, Link] = attrs.field(factory=dict)
    """The links are held as long as they live: a record must not keep a socket's memory."""
    ended: deque[ConnectionRecord] = attrs.field(factory=lambda: deque(maxlen=KEPT_RECORDS), repr=False)


@attrs.define(eq=False)
class FakeUpstream:
    """A running fake provider. `script` may be changed at any time; the records are for reading."""

    url: str
    """http(s)://127.0.0.1:port, without a path."""
    address: tuple[str, int]
    script: Script
    tls: ssl.SSLContext | None = None
    provider: Provider = attrs.field(factory=Provider)
    connections: Connections = attrs.field(factory=Connections)
    requests: deque[RecordedRequest] = attrs.field(factory=lambda: deque(maxlen=KEPT_RECORDS), repr=False)
    """Every request whose line arrived, whole or not; the last KEPT_RECORDS."""
    request_count: int = 0
    complaints: deque[str] = attrs.field(factory=lambda: deque(maxlen=100))
    """What peers sent that is no HTTP/1.1."""
    _changed: trio.Event = attrs.field(factory=trio.Event, repr=False)

    def base_url(self, behaviour: str = "", version: str = "/v1") -> str:
        """Return a base URL under which every request gets this behaviour."""
        prefix = f"/fault:{behaviour.removeprefix('fault:')}" if behaviour else ""
        return self.url + prefix + version

    # ---- Waiting

    async def wait_no_connections(self) -> None:
        """Wait until every connection has ended.

        Those that are never read are read from now on: only so is the peer's leaving seen behind what it had sent.
        """
        for link in self.connections.live.values():
            link.told_to_read.set()
        await self.wait_until(lambda: not self.connections.live)

    async def wait_connections(self, count: int) -> None:
        """Wait until so many connections were accepted in all."""
        await self.wait_until(lambda: self.connections.opened >= count)

    async def wait_requests(self, count: int) -> None:
        """Wait until so many request lines have arrived in all."""
        await self.wait_until(lambda: self.request_count >= count)

    async def wait_body_bytes(self, count: int) -> None:
        """Wait until the last request's body has so many bytes."""
        await self.wait_until(lambda: bool(self.requests) and self.requests[-1].body_size >= count)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until this is true; asked again after each arrival of a connection, a request, a piece, an end."""
        while not condition():
            await self._changed.wait()

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # ---- One connection

    async def serve(self, raw: trio.SocketStream) -> None:
        """Serve one accepted connection to its end."""
        link = Link(raw)
        record = self._opened(link)
        try:
            await self._converse(record, link)
        except PeerGone:
            pass  # its leaving is in the record
        except Malformed as exc:
            await self._complain(link, str(exc))
        finally:
            link.close()
            self._closed(record, link)

    async def _converse(self, record: ConnectionRecord, link: Link) -> None:
        early = self.script.for_connection()
        if self.tls is not None and not (early and early.misbehaviour.stage is Stage.ACCEPTED):
            await link.start_tls_as_server(self.tls)
        if early:
            nothing_asked = RecordedRequest(record.number)
            await self._run(early, Conversation(link, nothing_asked, early.fault, self.provider))
            return
        forced: Act | None = None
        while link.ended_by is None and not await link.at_end():
            conversation = await self._exchange(record, link, forced)
            forced = None if conversation.then is None else Act(conversation.fault, conversation.then)
            if not conversation.reuse:
                break
        await link.finish()

    async def _exchange(self, record: ConnectionRecord, link: Link, forced: Act | None) -> Conversation:
        request = await self._read_request_line(record, link)
        queued = forced or self.script.take_queued()
        act = self.script.for_request(request, queued)
        for stage, read_more in ((Stage.HEAD, self._read_fields), (Stage.REQUEST, self._read_body)):
            if act.misbehaviour.stage < stage:
                break
            await read_more(link, request)
            act = self.script.for_request(request, queued)
        conversation = Conversation(link, request, act.fault, self.provider)
        conversation.reuse = _wants_reuse(request)
        await self._run(act, conversation)
        return conversation

    async def _run(self, act: Act, conversation: Conversation) -> None:
        await act.misbehaviour.run(conversation)
        self._note_change()

    # ---- Reading a request

    async def _read_request_line(self, record: ConnectionRecord, link: Link) -> RecordedRequest:
        line = (await read_line(link)).decode("latin-1").split(" ")
        if len(line) != 3 or not line[2].startswith("HTTP/1."):
            raise Malformed(f"no request line: {line!r}"[:200])
        method, target, version = line
        request = RecordedRequest(record.number, method, target, version, arrived_at=trio.current_time())
        record.requests += 1
        self.request_count += 1
        self.requests.append(request)
        self._note_change()
        return request

    async def _read_fields(self, link: Link, request: RecordedRequest) -> None:
        request.headers = await read_fields(link)
        request.framing = framing_of(_head_of(request), otherwise=Framing.NONE)

    async def _read_body(self, link: Link, request: RecordedRequest) -> None:
        if (request.get("expect") or "").lower() == "100-continue":
            await link.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        reader = BodyReader.for_head(link, _head_of(request), otherwise=Framing.NONE)
        while piece := await reader.next_piece():
            request.add(piece)
            self._note_change()
        request.body_end, request.trailers = reader.end, reader.trailers
        if reader.complaint:
            raise Malformed(reader.complaint)
        if not request.complete:
            raise PeerGone("the peer left during its upload")

    async def _complain(self, link: Link, complaint: str) -> None:
        self.complaints.append(complaint)
        try:
            await link.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        except PeerGone:
            return
        await link.finish()

    # ---- Records

    def _opened(self, link: Link) -> ConnectionRecord:
        self.connections.opened += 1
        record = ConnectionRecord(self.connections.opened, trio.current_time())
        self.connections.live[record] = link
        self._note_change()
        return record

    def _closed(self, record: ConnectionRecord, link: Link) -> None:
        record.ended_by, record.closed_at = link.ended_by, trio.current_time()
        record.bytes_received = link.bytes_received
        del self.connections.live[record]
        self.connections.ended.append(record)
        self.connections.closed += 1
        self._note_change()


def _head_of(request: RecordedRequest) -> Head:
    return Head(b"", request.headers)


def _wants_reuse(request: RecordedRequest) -> bool:
    # RFC 9112 section 9.3. A request whose body was not read cannot be followed by another.
    wants_close = _head_of(request).has_token("connection", "close") or request.version == "HTTP/1.0"
    return request.complete and not wants_close


# ---- Opening


@asynccontextmanager
async def open_fake_upstream(
    script: Script | Behaviour = "answer",
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    receive_buffer: int | None = None,
) -> AsyncIterator[FakeUpstream]:
    """Run a fake upstream for the length of the block.

    `receive_buffer` (bytes, SO_RCVBUF) makes what is never read stall early; the sender's own buffer is the sender's.
    """
    if not isinstance(script, Script):
        script = Script(script)
    listener = open_listener(host, port, receive_buffer)
    bound = listener.socket.getsockname()[:2]
    scheme = "http" if tls is None else "https"
    upstream = FakeUpstream(f"{scheme}://{_in_url(bound[0])}:{bound[1]}", bound, script, tls)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, upstream.serve, [listener]), name="fake upstream")  # noqa: ASYNC113 - it listens
        try:
            yield upstream
        finally:
            nursery.cancel_scope.cancel(reason="the fake upstream's block has ended")


def open_listener(host: str, port: int, receive_buffer: int | None = None) -> trio.SocketListener:
    """Return a listening socket. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there it would let a second server take the same port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        return trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    except BaseException:
        sock.close()
        raise


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


# ---- Addresses where nobody answers


@asynccontextmanager
async def open_deaf_address() -> AsyncIterator[tuple[str, int]]:
    """Yield an address whose connection queue is full: on Linux a connect to it hangs and only a clock ends it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fillers = [socket.socket() for _ in range(FILLERS)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listening.getsockname())
            yield listening.getsockname()
        finally:
            for filler in fillers:
                filler.close()


FILLERS = 4
"""A backlog of 0 holds one connection on Linux; the others make sure."""


def refused_address() -> tuple[str, int]:
    """Return an address where nobody listens: it was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address: tuple[str, int] = sock.getsockname()
        return address


# ---- As a process


def main(arguments: list[str] | None = None) -> None:
    """Run a fake upstream until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="fake_upstream", description="A fake provider that misbehaves by name.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--behaviour", default="answer", help='for example "slow-body;interval=0.1;words=50"')
    parser.add_argument("--certificate", type=Path, help="PEM file; with it the upstream speaks TLS")
    parser.add_argument("--key", type=Path, help="PEM file of the private key")
    parser.add_argument("--list", action="store_true", help="print all behaviours and exit")
    options = parser.parse_args(arguments)
    if options.list:
        sys.stdout.write(listing())
        return
    trio.run(_run_until_signal, options)


async def _run_until_signal(options: argparse.Namespace) -> None:
    tls = None
    if options.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.certificate, options.key)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_fake_upstream(options.behaviour, tls=tls, host=options.host, port=options.port) as upstream:
            sys.stdout.write(f"{upstream.url}\n")
            sys.stdout.flush()
            await anext(aiter(signals))


if __name__ == "__main__":
    main()
