"""Both hubs keep the same promises: the one on epoll and the portable one, over clear text and TLS, on real sockets."""

from __future__ import annotations

import socket
import ssl
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import pytest
import trio
import trio.testing

from relay_trio import sockets
from relay_trio.sockets import Hub, HubSocket, PortableHub, TlsHubSocket, open_hub, with_tls
from relay_trio.testing.certificates import client_context, server_context, untrusted_context

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

HUBS: list[Callable[[], Hub]] = [open_hub, PortableHub]

MIB = 1024 * 1024


@pytest.fixture(params=HUBS, ids=["best", "portable"])
def make_hub(request: pytest.FixtureRequest) -> Callable[[], Hub]:
    made: Callable[[], Hub] = request.param
    return made


@contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection. A socket pair would do but for resets, which only TCP has."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        near = stack.enter_context(socket.create_connection(listener.getsockname()))
        far = stack.enter_context(listener.accept()[0])
        far.setblocking(False)
        yield near, far


class Stage:
    """A running hub, one end of a connection in it, and the other end in the hand of the test."""

    def __init__(self, hub: Hub, sock: HubSocket, peer: socket.socket) -> None:
        self.hub = hub
        self.sock = sock
        self.peer = peer
        self.hangups = 0

    def told(self) -> None:
        self.hangups += 1


Play = Callable[[Stage], Awaitable[None]]


async def on_stage(make_hub: Callable[[], Hub], play: Play) -> None:
    """Run a play on a running hub; afterwards the hub holds nothing."""
    hub = make_hub()
    with tcp_pair() as (near, peer):
        await _run_play(hub, near, peer, play)
    assert hub.statistics().attached == 0
    assert hub.statistics().opened == hub.statistics().closed


async def _run_play(hub: Hub, near: socket.socket, peer: socket.socket, play: Play) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        stage = Stage(hub, None, peer)  # type: ignore[arg-type] # the socket tells the stage
        stage.sock = hub.attach(near, stage.told)
        await play(stage)
        stage.sock.close()
        nursery.cancel_scope.cancel(reason="the play is over")


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, sockets._RST_ON_CLOSE)
    sock.close()


def fill(sock: HubSocket) -> int:
    """Write until nothing more is taken; return how much was."""
    sent = 0
    while taken := sock.send_now(b"x" * MIB):
        sent += taken
    return sent


def drain(peer: socket.socket) -> int:
    """Read all that has arrived; return how much it was."""
    size = 0
    try:
        while data := peer.recv(MIB):
            size += len(data)
    except BlockingIOError:
        pass
    return size


# Reading and writing


async def test_reads_what_comes_and_then_the_end(make_hub: Callable[[], Hub]) -> None:
    """A read waits for something; after FIN it is empty, as often as it is asked."""

    async def play(stage: Stage) -> None:
        stage.peer.send(b"one")
        assert await stage.sock.receive_some() == b"one"
        stage.peer.send(b"two")
        stage.peer.shutdown(socket.SHUT_WR)
        assert await stage.sock.receive_some() == b"two"
        assert [await stage.sock.receive_some() for _ in range(3)] == [b""] * 3
        assert not stage.sock.truncated

    await on_stage(make_hub, play)


async def test_a_read_gives_at_most_what_it_is_asked_for(make_hub: Callable[[], Hub]) -> None:
    """What is not taken stays for the next read, which needs no wait."""

    async def play(stage: Stage) -> None:
        stage.peer.send(b"abcde")
        assert [await stage.sock.receive_some(2) for _ in range(3)] == [b"ab", b"cd", b"e"]

    await on_stage(make_hub, play)


async def test_a_reset_raises(make_hub: Callable[[], Hub]) -> None:
    """A connection that broke is no end."""

    async def play(stage: Stage) -> None:
        reset(stage.peer)
        with pytest.raises(ConnectionResetError):
            await stage.sock.receive_some()

    await on_stage(make_hub, play)


async def test_a_peer_that_never_stops_lets_others_run(make_hub: Callable[[], Hub]) -> None:
    """Reads that need no wait are checkpoints all the same, every eighth one: a deadline fires."""

    async def play(stage: Stage) -> None:
        stage.peer.send(b"x" * 100)
        read = 0
        with trio.CancelScope() as scope:
            scope.cancel(reason="the deadline")
            while True:
                read += len(await stage.sock.receive_some(1))
        assert read <= 8
        assert read + len(await stage.sock.receive_some()) == 100

    await on_stage(make_hub, play)


async def test_a_full_connection_is_waited_for(make_hub: Callable[[], Hub]) -> None:
    """What the kernel does not take is told at once; room is told when there is some."""

    async def play(stage: Stage) -> None:
        sent = fill(stage.sock)
        with trio.move_on_after(60) as waiting:
            await stage.sock.wait_writable()
        assert waiting.cancelled_caught
        received = drain(stage.peer)
        await stage.sock.wait_writable()
        assert stage.sock.send_now(b"more") == 4
        assert received + drain(stage.peer) == sent + 4

    await on_stage(make_hub, play)


async def test_a_writer_hears_what_the_peer_says(make_hub: Callable[[], Hub]) -> None:
    """A provider may answer before it has taken the whole request."""

    async def play(stage: Stage) -> None:
        fill(stage.sock)
        stage.peer.send(b"HTTP/1.1 413 ")
        await stage.sock.wait_writable_or_readable()
        assert stage.sock.readable
        assert await stage.sock.receive_some() == b"HTTP/1.1 413 "

    await on_stage(make_hub, play)


# Cancellation and closing, at every wait


async def wait_for_data(sock: HubSocket) -> None:
    await sock.receive_some()


async def wait_for_room(sock: HubSocket) -> None:
    await sock.wait_writable()


async def wait_for_either(sock: HubSocket) -> None:
    await sock.wait_writable_or_readable()


WAITS = [wait_for_data, wait_for_room, wait_for_either]


@pytest.mark.parametrize("wait", WAITS)
async def test_a_cancelled_wait_leaves_no_trace(
    make_hub: Callable[[], Hub], wait: Callable[[HubSocket], Awaitable[None]]
) -> None:
    """It can be waited again, by anybody, and nothing that came was taken."""

    async def play(stage: Stage) -> None:
        fill(stage.sock)
        for _ in range(3):
            with trio.move_on_after(1) as scope:
                await wait(stage.sock)
            assert scope.cancelled_caught
        assert stage.sock.reader is stage.sock.writer is None
        stage.peer.send(b"still here")
        assert await stage.sock.receive_some() == b"still here"

    await on_stage(make_hub, play)


@pytest.mark.parametrize("wait", WAITS)
async def test_closing_wakes_who_waits(
    make_hub: Callable[[], Hub], wait: Callable[[HubSocket], Awaitable[None]]
) -> None:
    """Who waits on a socket that is closed gets ClosedResourceError, at once and later."""

    async def play(stage: Stage) -> None:
        fill(stage.sock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raises_closed, wait, stage.sock)
            await trio.testing.wait_all_tasks_blocked()
            stage.sock.close()
        await raises_closed(wait, stage.sock)

    await on_stage(make_hub, play)


async def raises_closed(wait: Callable[[HubSocket], Awaitable[None]], sock: HubSocket) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await wait(sock)


async def test_reader_and_writer_are_woken_both(make_hub: Callable[[], Hub]) -> None:
    """One task may read while another writes; the close reaches both."""

    async def play(stage: Stage) -> None:
        fill(stage.sock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raises_closed, wait_for_data, stage.sock)
            nursery.start_soon(raises_closed, wait_for_room, stage.sock)
            await trio.testing.wait_all_tasks_blocked()
            stage.sock.close()

    await on_stage(make_hub, play)


async def test_two_readers_are_one_too_many(make_hub: Callable[[], Hub]) -> None:
    """The second one is told, the first one goes on."""

    async def play(stage: Stage) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.sock.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await stage.sock.receive_some()
            stage.peer.send(b"for the first")

    await on_stage(make_hub, play)


async def test_a_socket_may_be_closed_twice(make_hub: Callable[[], Hub]) -> None:
    """The second close, an abort or a FIN after it do nothing."""

    async def play(stage: Stage) -> None:
        stage.sock.close()
        stage.sock.close()
        stage.sock.abort()
        stage.sock.shutdown_write()
        assert repr(stage.sock) == "<HubSocket fd=-1 closed>"
        assert stage.peer.recv(1) == b""

    await on_stage(make_hub, play)


async def test_an_abort_is_a_reset(make_hub: Callable[[], Hub]) -> None:
    """What the peer has not taken is thrown away, and the peer is told that it broke."""

    async def play(stage: Stage) -> None:
        fill(stage.sock)
        stage.sock.abort()
        with pytest.raises(ConnectionResetError):
            drain(stage.peer)

    await on_stage(make_hub, play)


async def test_fin_leaves_the_other_direction_open(make_hub: Callable[[], Hub]) -> None:
    """After our FIN the peer's words still arrive."""

    async def play(stage: Stage) -> None:
        stage.sock.shutdown_write()
        assert stage.peer.recv(1) == b""
        stage.peer.send(b"last words")
        assert await stage.sock.receive_some() == b"last words"

    await on_stage(make_hub, play)


# Hang-ups


async def leave_with_fin(peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_WR)


async def leave_with_close(peer: socket.socket) -> None:
    peer.close()


async def leave_with_reset(peer: socket.socket) -> None:
    reset(peer)


@pytest.mark.parametrize("leave", [leave_with_fin, leave_with_close, leave_with_reset])
async def test_a_hangup_is_told_while_nobody_waits(
    make_hub: Callable[[], Hub],
    leave: Callable[[socket.socket], Awaitable[None]],
) -> None:
    """The owner is told once, within a second, though no task reads or writes."""

    async def play(stage: Stage) -> None:
        await leave(stage.peer)
        await trio.sleep(1)
        assert (stage.hangups, stage.sock.hung_up) == (1, True)
        await trio.sleep(10)
        assert stage.hangups == 1

    await on_stage(make_hub, play)


async def test_a_hangup_is_told_while_somebody_reads(make_hub: Callable[[], Hub]) -> None:
    """The reader gets the end, the owner is told as well."""

    async def play(stage: Stage) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.sock.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            stage.peer.shutdown(socket.SHUT_WR)
        await trio.sleep(1)
        assert stage.hangups == 1

    await on_stage(make_hub, play)


async def test_a_closed_socket_tells_nobody(make_hub: Callable[[], Hub]) -> None:
    """The owner that has closed does not hear of the peer's leaving any more."""

    async def play(stage: Stage) -> None:
        stage.sock.close()
        stage.peer.close()
        await trio.sleep(1)
        assert stage.hangups == 0

    await on_stage(make_hub, play)


async def test_a_closed_socket_holds_nobody(make_hub: Callable[[], Hub]) -> None:
    """Its owner, who holds it in turn, is gone with its last user: no collector has to find the two."""

    class Owner:
        def told(self) -> None:
            raise AssertionError("it has closed")

    async def play(stage: Stage) -> None:
        owner = Owner()
        stage.sock.on_hangup = owner.told
        remembered = weakref.ref(owner)
        stage.sock.close()
        del owner
        assert remembered() is None

    await on_stage(make_hub, play)


async def test_news_are_told_while_nobody_reads(make_hub: Callable[[], Hub]) -> None:
    """`on_readable` is called within a second of the peer's words."""

    async def play(stage: Stage) -> None:
        heard: list[float] = []
        stage.sock.on_readable = lambda: heard.append(trio.current_time())
        stage.peer.send(b"psst")
        await trio.sleep(1)
        stage.sock.on_readable = None
        assert heard
        assert await stage.sock.receive_some() == b"psst"

    await on_stage(make_hub, play)


# Descriptors are numbers, and numbers come again


async def test_a_number_that_comes_again_is_another_socket(make_hub: Callable[[], Hub]) -> None:
    """After a close the next socket may get the same descriptor: it hears nothing of the old one, nor the old of it."""

    async def play(stage: Stage) -> None:
        number = stage.sock.fd
        again: list[str] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            stage.sock.close()
            near = socket.create_connection(listener.getsockname())
            far = listener.accept()[0]
        sock = stage.hub.attach(near, lambda: again.append("gone"))
        assert sock.fd == number
        stage.peer.close()
        await raises_closed(wait_for_data, stage.sock)
        stage.sock.close()  # once more: it must not close the number's new owner
        await trio.sleep(1)
        assert (stage.hangups, again) == (0, [])
        far.send(b"for the new one")
        assert await sock.receive_some() == b"for the new one"
        far.close()
        await trio.sleep(1)
        assert (stage.hangups, again) == (0, ["gone"])
        sock.close()

    await on_stage(make_hub, play)


async def test_a_socket_that_cannot_be_watched_is_closed(make_hub: Callable[[], Hub]) -> None:
    """What the hub was given is the hub's: where it cannot be watched it is closed, not forgotten."""
    hub = make_hub()

    def refuse(_: HubSocket) -> None:
        raise OSError(28, "no more watches")

    hub.add = refuse  # type: ignore[method-assign, assignment] # as the kernel does over max_user_watches
    raw, peer = socket.socketpair()
    with peer, pytest.raises(OSError, match="no more watches"):
        hub.attach(raw)
    assert raw.fileno() == -1
    if not isinstance(hub, PortableHub):
        hub._epoll.close()  # type: ignore[attr-defined] # it never ran


async def test_sockets_may_outlive_their_hub(make_hub: Callable[[], Hub]) -> None:
    """When the process goes down the hub may end first: closing still closes."""
    hub = make_hub()
    with tcp_pair() as (near, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.run)
            sock = hub.attach(near)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel(reason="the hub ends")
        sock.close()
        assert peer.recv(1) == b""
    assert hub.statistics() == sockets.HubStatistics(attached=0, opened=1, closed=1)


# TLS


TlsPlay = Callable[[TlsHubSocket, TlsHubSocket], Awaitable[None]]


async def on_tls_stage(make_hub: Callable[[], Hub], play: TlsPlay) -> None:
    """Run a play with both ends of a TLS connection, the server's first."""
    hub = make_hub()
    with tcp_pair() as (near, far):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.run)
            server, client = attach_tls(hub, near, server_context()), attach_tls(hub, far, client_context())
            async with trio.open_nursery() as handshakes:
                handshakes.start_soon(server.handshake)
                handshakes.start_soon(client.handshake)
            await play(server, client)
            server.close()
            client.close()
            nursery.cancel_scope.cancel(reason="the play is over")
    assert hub.statistics().attached == 0


def attach_tls(hub: Hub, raw: socket.socket, context: ssl.SSLContext) -> TlsHubSocket:
    """Attach an end of a TLS connection; a context that verifies is the client's."""
    sock = hub.attach(with_tls(raw, context, "127.0.0.1" if context.verify_mode is ssl.CERT_REQUIRED else None))
    assert isinstance(sock, TlsHubSocket)
    return sock


async def send_all(sock: HubSocket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        await sock.wait_writable()
        rest = rest[sock.send_now(rest) :]


async def receive_exactly(sock: HubSocket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := await sock.receive_some()):
        data += piece
    return bytes(data)


async def test_tls_carries_more_than_the_buffers_hold(make_hub: Callable[[], Hub]) -> None:
    """A write that was refused is repeated alike until all of it has arrived, in both directions at once."""
    up, down = bytes(range(256)) * 16 * 1024, bytes(reversed(range(256))) * 16 * 1024
    arrived: dict[str, bytes] = {}

    async def receive(name: str, sock: HubSocket, size: int) -> None:
        arrived[name] = await receive_exactly(sock, size)

    async def play(server: TlsHubSocket, client: TlsHubSocket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all, client, up)
            nursery.start_soon(send_all, server, down)
            nursery.start_soon(receive, "up", server, len(up))
            nursery.start_soon(receive, "down", client, len(down))
        assert arrived == {"up": up, "down": down}

    await on_tls_stage(make_hub, play)


async def test_a_tls_end_that_was_said_is_proven(make_hub: Callable[[], Hub]) -> None:
    """FIN goes behind close_notify, so the peer knows that nothing was cut off."""

    async def play(server: TlsHubSocket, client: TlsHubSocket) -> None:
        await send_all(server, b"all of it")
        server.shutdown_write()
        assert await receive_exactly(client, 100) == b"all of it"
        assert not client.truncated

    await on_tls_stage(make_hub, play)


async def test_a_tls_end_that_was_not_said_is_none(make_hub: Callable[[], Hub]) -> None:
    """A bare FIN may come from anybody on the way."""

    async def play(server: TlsHubSocket, client: TlsHubSocket) -> None:
        await send_all(server, b"all of it?")
        socket.socket.shutdown(server.raw, socket.SHUT_WR)
        assert await receive_exactly(client, 100) == b"all of it?"
        assert client.truncated

    await on_tls_stage(make_hub, play)


async def test_after_our_end_the_peer_is_read_on(make_hub: Callable[[], Hub]) -> None:
    """What still comes is taken, so that closing does not reset what was just said (RFC 9112, 9.6)."""

    async def play(server: TlsHubSocket, client: TlsHubSocket) -> None:
        server.shutdown_write()
        with trio.move_on_after(1) as scope:
            await server.receive_some()  # nothing yet: it waits
        assert scope.cancelled_caught
        await send_all(client, b"x" * 1000)
        client.shutdown_write()
        read = await receive_exactly(server, 1000)
        assert len(read) >= 1000  # as it came: nobody reads it

    await on_tls_stage(make_hub, play)


async def test_session_tickets_are_no_news(make_hub: Callable[[], Hub]) -> None:
    """After the handshake a client's socket holds tickets (RFC 8446, 4.6.1): for the reader there is nothing."""

    async def play(server: TlsHubSocket, client: TlsHubSocket) -> None:
        await trio.testing.wait_all_tasks_blocked()
        assert client.receive_now() is None
        assert not client.readable
        await send_all(server, b"news")
        assert await client.receive_some() == b"news"

    await on_tls_stage(make_hub, play)


async def test_a_tls_hangup_is_told(make_hub: Callable[[], Hub]) -> None:
    """Also over TLS, while nobody waits."""

    async def play(server: TlsHubSocket, client: TlsHubSocket) -> None:
        told: list[str] = []
        server.on_hangup = lambda: told.append("gone")
        client.close()
        await trio.sleep(1)
        assert told == ["gone"]

    await on_tls_stage(make_hub, play)


async def test_a_handshake_can_be_cancelled(make_hub: Callable[[], Hub]) -> None:
    """A peer that never answers holds it no longer than its caller's limit."""
    hub = make_hub()
    with tcp_pair() as (near, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.run)
            client = attach_tls(hub, near, client_context())
            with trio.move_on_after(10) as scope:
                await client.handshake()
            assert scope.cancelled_caught
            assert client.reader is None
            client.close()
            nursery.cancel_scope.cancel(reason="the play is over")


def spoil_with_garbage(peer: socket.socket) -> None:
    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def spoil_with_end(peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("spoil", [spoil_with_garbage, spoil_with_end, reset])
async def test_a_handshake_that_is_spoilt_says_so(
    make_hub: Callable[[], Hub], spoil: Callable[[socket.socket], None]
) -> None:
    """Whatever the peer does instead is an OSError."""
    hub = make_hub()
    with tcp_pair() as (near, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.run)
            client = attach_tls(hub, near, client_context())
            spoil(peer)
            await fails(client.handshake)
            client.close()
            nursery.cancel_scope.cancel(reason="the play is over")


async def test_a_certificate_of_a_stranger_fails_both_handshakes(make_hub: Callable[[], Hub]) -> None:
    """The client refuses, and the server hears of it."""
    hub = make_hub()
    with tcp_pair() as (near, far):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.run)
            client, server = attach_tls(hub, near, client_context()), attach_tls(hub, far, untrusted_context())
            async with trio.open_nursery() as handshakes:
                handshakes.start_soon(fails, client.handshake)
                handshakes.start_soon(serve_a_refuser, server)
            client.close()
            server.close()
            nursery.cancel_scope.cancel(reason="the play is over")


async def fails(work: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - which one is the spoiler's business
        await work()


async def serve_a_refuser(server: TlsHubSocket) -> None:
    """Under TLS 1.3 the server's handshake may be over before the refusal is there: then the first read tells."""

    async def shake_and_read() -> None:
        await server.handshake()
        await server.receive_some()

    await fails(shake_and_read)


def test_tls_can_be_laid_over_a_connection_that_was_reset() -> None:
    """ssl.SSLSocket itself would raise and leave the descriptor to the collector; so it is the handshake that fails."""
    with tcp_pair() as (near, peer):
        reset(peer)
        with with_tls(near, client_context(), "127.0.0.1") as sock, pytest.raises(OSError):  # noqa: PT011 - a reset
            sock.do_handshake()


@pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["fin", "rst"])
async def test_an_end_wakes_the_reader_though_the_words_before_it_were_dealt_with(
    make_hub: Callable[[], Hub], leave: Callable[[socket.socket], None]
) -> None:
    """Words and end that come together are one piece of news: nobody tells of the end again."""

    async def play(stage: Stage) -> None:
        heard: list[bytes | None] = []

        def listen() -> bool:
            with suppress(OSError):
                heard.append(stage.sock.receive_now())
            return True

        async def read_to_the_end() -> None:
            stage.sock.on_readable = listen
            with trio.fail_after(60), suppress(OSError):
                while await stage.sock.receive_some():
                    pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_to_the_end)
            await trio.testing.wait_all_tasks_blocked()
            stage.peer.send(b"last words")
            leave(stage.peer)
        assert stage.hangups == 1

    await on_stage(make_hub, play)


@pytest.mark.skipif(sys.platform != "linux", reason="the other hub wakes whoever waits")
async def test_words_that_were_dealt_with_wake_nobody() -> None:
    """The reader sleeps on, until they are not."""

    async def play(stage: Stage) -> None:
        heard: list[bytes | None] = []

        def listen() -> bool:
            heard.append(stage.sock.receive_now())
            return len(heard) < 3

        stage.sock.on_readable = listen
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.sock.wait_readable)
            for word in (b"one", b"two", b"three"):
                await trio.testing.wait_all_tasks_blocked()
                assert len(nursery.child_tasks) == 1
                stage.peer.send(word)
        assert heard == [b"one", b"two", b"three"]

    await on_stage(open_hub, play)


@pytest.mark.skipif(sys.platform != "linux", reason="only the hub on epoll deals with news in its own turn")
async def test_a_burst_of_news_lets_others_run() -> None:
    """What is dealt with in the hub's turn is bounded, however many sockets have news at once."""
    assert 0 < await _most_in_a_turn(300) <= 128


class Steps(trio.abc.Instrument):
    """Counts what is told in one step of a task."""

    def __init__(self, told: list[int]) -> None:
        self._told = told
        self._before = 0
        self.most = 0

    def before_task_step(self, _: object) -> None:
        self._before = len(self._told)

    def after_task_step(self, _: object) -> None:
        self.most = max(self.most, len(self._told) - self._before)


async def _most_in_a_turn(count: int) -> int:
    """Give so many sockets news at once; return of how many the hub tells before another task may run."""
    told: list[int] = []
    hub, steps = open_hub(), Steps(told)
    with ExitStack() as stack:
        far_ends = [_listened_to(hub, stack, told) for _ in range(count)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.run)
            await trio.testing.wait_all_tasks_blocked()
            told.clear()  # a new socket has news of its own: it may be written to
            trio.lowlevel.add_instrument(steps)
            for far in far_ends:
                far.send(b"x")
            await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.remove_instrument(steps)
            assert len(told) == count
            nursery.cancel_scope.cancel(reason="seen enough")
    return steps.most


def _listened_to(hub: Hub, stack: ExitStack, told: list[int]) -> socket.socket:
    """Attach one end of a pair, which notes its news, and return the other."""
    near, far = socket.socketpair()
    stack.enter_context(far)
    sock = hub.attach(near)
    stack.callback(sock.close)
    sock.on_readable = partial(told.append, sock.fd)
    return far
