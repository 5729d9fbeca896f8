"""Promises of asking a relay: it ends within its deadline, and a failure says how far it came and what was tried."""

from __future__ import annotations

import argparse
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from stand import open_stand, tls_variables

from relay_trio.cli.relay_client import NotReached, Question, Refused, RelayClient
from relay_trio.cli.relay_place import RelayPlace, place_at, place_of
from relay_trio.cli.terminal import CommandFailed
from relay_trio.settings.secret import Secret
from relay_trio.testing.certificates import (
    ca_file,
    expired_context,
    server_context,
    server_files,
    untrusted_context,
    wrong_name_context,
)

pytestmark = pytest.mark.anyio

Serve = Callable[[trio.SocketStream], Awaitable[None]]


async def listening(nursery: trio.Nursery, serve: Serve) -> RelayPlace:
    """Serve each connection so, until the nursery is cancelled; return where."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await serve(stream)

    (listener,) = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
    return place_at(f"127.0.0.1:{listener.socket.getsockname()[1]}", "--url")


def saying(data: bytes) -> Serve:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(data)

    return serve


def over_tls(context: ssl.SSLContext) -> Serve:
    async def serve(stream: trio.SocketStream) -> None:
        try:
            await trio.SSLStream(stream, context, server_side=True).do_handshake()
        except trio.BrokenResourceError:
            return

    return serve


async def silent(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await trio.sleep_forever()


async def failure(place: RelayPlace, **options: float) -> NotReached:
    with pytest.raises(NotReached) as caught:
        await RelayClient(place, **options).health()
    assert caught.value.status == 2
    return caught.value


# What a relay says


@pytest.mark.real_clock
async def test_a_relay_is_asked(tmp_path: Path) -> None:
    """Health without a key; the live requests, and cancelling one, with the operator's."""
    async with open_stand(tmp_path, environ={"RELAY_ADMIN_KEY": "adm"}) as stand:
        place = attrs.evolve(place_at(stand.relay.url, "--url"), admin_key=Secret("adm"))
        client = RelayClient(place)
        assert (await client.health())["nurseries"] == 1
        assert "relay_live_nurseries" in await client.metrics()
        (looking,) = await client.nurseries(stacks=True)
        assert looking["name"] == "monitoring"
        with pytest.raises(Refused, match="No live request has this id") as caught:
            await client.cancel("req_0")
        assert caught.value.answered == 404


async def test_over_tls_with_the_relays_own_certificate(tmp_path: Path) -> None:
    """An authority of the operator's is named by a file; the relay's own chain may stand for it."""
    async with open_stand(tmp_path, tls=True) as stand:
        place = place_at(stand.relay.url, "--url")
        for authority in (ca_file(), stand.relay.process.settings.tls_cert):
            assert (await RelayClient(attrs.evolve(place, authority=authority)).health())["status"] == "ok"


@pytest.mark.parametrize(("key", "told"), [(None, "needs the key of RELAY_ADMIN_KEY"), ("no", "401: ")])
async def test_a_key_that_is_missing_is_asked_for(tmp_path: Path, key: str | None, told: str) -> None:
    """Which key, and how to give it."""
    async with open_stand(tmp_path, environ={"RELAY_ADMIN_KEY": "adm"}) as stand:
        place = attrs.evolve(place_at(stand.relay.url, "--url"), admin_key=None if key is None else Secret(key))
        with pytest.raises(Refused) as caught:
            await RelayClient(place).nurseries()
    assert told in caught.value.lines[0]
    assert "--key" in caught.value.lines[1]


# How far it came


@pytest.mark.real_clock
async def test_a_name_that_nobody_knows() -> None:
    """DNS: the name, and what the resolver said."""
    found = await failure(place_at("relay.invalid:3000", "--url"))
    assert found.stage == "DNS"
    assert "relay.invalid" in found.why


async def test_nobody_listens() -> None:
    """Connect: each address that was tried, and what to do."""
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        found = await failure(place_at(f"127.0.0.1:{port}", "RELAY_URL"))
    assert (found.stage, found.why) == ("connect", f"127.0.0.1:{port} Connection refused")
    assert found.lines == (
        f"no relay answers at http://127.0.0.1:{port} (said by RELAY_URL)",
        "  DNS      127.0.0.1",
        f"  connect  127.0.0.1:{port} Connection refused",
        "nothing listens there: start it with `relay-trio serve`, or say where it is with --url",
    )


@pytest.mark.parametrize(
    ("context", "told"),
    [
        (expired_context, "certificate has expired"),
        (wrong_name_context, "IP address mismatch"),
        (untrusted_context, "unable to get local issuer certificate"),
    ],
)
async def test_a_certificate_that_is_wrong(context: Callable[[], ssl.SSLContext], told: str) -> None:
    """TLS: what is wrong with the certificate, and the option that names an authority."""
    async with trio.open_nursery() as nursery:
        place = await listening(nursery, over_tls(context()))
        found = await failure(attrs.evolve(place, scheme="https", authority=ca_file()))
        nursery.cancel_scope.cancel(reason="done")
    assert found.stage == "TLS"
    assert told in found.why
    assert "--ca" in found.lines[-1]


async def test_https_to_clear_text(tmp_path: Path) -> None:
    """Who says https to a relay that speaks clear text is told to say http."""
    async with open_stand(tmp_path) as stand:
        found = await failure(attrs.evolve(place_at(stand.relay.url, "--url"), scheme="https"))
    assert (found.stage, found.lines[-1]) == ("TLS", "try http://")


async def test_clear_text_to_https(tmp_path: Path) -> None:
    """Who says http to a relay that speaks TLS is told to say https."""
    async with open_stand(tmp_path, tls=True) as stand:
        found = await failure(attrs.evolve(place_at(stand.relay.url, "--url"), scheme="http"))
    assert found.stage == "HTTP"
    assert "https://" in found.lines[-1]


@pytest.mark.parametrize(
    ("serve", "told"),
    [
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), "the answer is no HTTP"),
        (saying(b""), "the connection ended without an answer"),
        (saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"), "the answer broke off after 2 bytes"),
        (saying(b"HTTP/1.1 200 OK\r\n" + b"x: %b\r\n" % (b"y" * 140_000)), "a head without end"),
        (silent, "nothing within 3 s"),
    ],
)
async def test_what_answers_is_no_relay(serve: Serve, told: str) -> None:
    """HTTP: what came instead of an answer; silence ends with the deadline."""
    async with trio.open_nursery() as nursery:
        place = await listening(nursery, serve)
        started = trio.current_time()
        found = await failure(place, patience_s=3)
        assert trio.current_time() - started <= 3
        nursery.cancel_scope.cancel(reason="done")
    assert (found.stage, found.why) == ("HTTP", told)


async def test_silence_in_the_handshake() -> None:
    """A server that takes the connection and says nothing ends with the deadline, in the stage it belongs to."""
    async with trio.open_nursery() as nursery:
        place = await listening(nursery, silent)
        found = await failure(attrs.evolve(place, scheme="https"), patience_s=3)
        nursery.cancel_scope.cancel(reason="done")
    assert found.stage == "TLS"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b'HTTP/1.1 200 OK\r\n\r\n{"status": "green"}',
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_somebody_elses_server(answer: bytes) -> None:
    """HTTP that is not a relay's is said to be none."""
    async with trio.open_nursery() as nursery:
        place = await listening(nursery, saying(answer))
        with pytest.raises(Refused) as caught:
            await RelayClient(place).health()
        nursery.cancel_scope.cancel(reason="done")
    assert "is no relay_trio" in caught.value.lines[-1]


async def test_an_answer_is_read_as_it_comes() -> None:
    """Piece by piece, chunked or up to the end, and it says whether it was whole."""
    whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
    async with trio.open_nursery() as nursery:
        for end, complete in ((b"0\r\n\r\n", True), (b"", False)):
            place = await listening(nursery, saying(whole + end))
            async with await RelayClient(place).open(Question("GET", "/x", headers={"x-a": "b"})) as answer:
                assert (answer.status, await answer.receive()) == (200, b"abc")
                assert await answer.receive() == b""
                assert answer.complete is complete
        nursery.cancel_scope.cancel(reason="done")


CHUNKED = b"HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        (b"0\r\n" + b"x: 1\r\n" * 40_000, "an answer without end"),
        (b"0\r\nx: " + b"y" * 140_000, "an answer without end"),
        (b"no chunk at all", "the answer is no HTTP"),
    ],
)
async def test_a_body_that_goes_wrong_is_told_in_plain_lines(rest: bytes, told: str) -> None:
    """Nothing of it is kept, and a command that reads piece by piece ends with words, not with a traceback."""
    begun = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await saying(CHUNKED)(stream)
        await begun.wait()
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(rest)

    async with trio.open_nursery() as nursery:
        place = await listening(nursery, serve)
        async with await RelayClient(place).open(Question("GET", "/x")) as answer:
            assert await answer.receive() == b"abc"
            begun.set()
            with pytest.raises(CommandFailed) as caught:
                await answer.receive()
        nursery.cancel_scope.cancel(reason="done")
    assert (caught.value.lines[0], caught.value.status) == (told, 2)


async def test_trailers_are_no_headers() -> None:
    """What stands behind the body changes nothing that was said before it."""
    async with trio.open_nursery() as nursery:
        place = await listening(nursery, saying(CHUNKED + b"0\r\nx-a: 2\r\nx-b: 3\r\n\r\n"))
        answer = await RelayClient(place).ask(Question("GET", "/x"))
        nursery.cancel_scope.cancel(reason="done")
    assert (answer.body, answer.headers) == (b"abc", {"x-a": "1", "transfer-encoding": "chunked"})


class ManyAddresses(trio.abc.HostnameResolver):
    """A name server that gives a name a thousand addresses, none of which listens."""

    async def getaddrinfo(self, *_: object, **__: object) -> list[Any]:
        places = ((f"127.0.{high}.{low}", 9) for high in range(4) for low in range(250))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise NotImplementedError


async def test_of_many_addresses_a_few_are_tried() -> None:
    """Each has a share of the time in which a connection can be made."""
    before = trio.socket.set_custom_hostname_resolver(ManyAddresses())
    try:
        found = await failure(place_at("many.example:9", "--url"))
    finally:
        trio.socket.set_custom_hostname_resolver(before)
    assert found.stage == "connect"
    assert found.why.count("127.0.") == 8


# Where it is


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://relay.example/v1/", "http://relay.example"),
        ("https://relay.example:443/llm", "https://relay.example/llm"),
        ("[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_addresses_as_people_write_them(text: str, url: str) -> None:
    """Without a scheme, with a client's /v1, below a path."""
    assert place_at(text, "--url").url == url


@pytest.mark.parametrize("text", ["ftp://x", "http://", "x:port", "http://x:0", "http://[::1"])
def test_what_is_no_address(text: str) -> None:
    """Is told with one that would do, status 2."""
    with pytest.raises(CommandFailed, match=r"is no address; want e\.g\.") as caught:
        place_at(text, "--url")
    assert caught.value.status == 2


def arguments(url: str | None = None, key: str | None = None) -> argparse.Namespace:
    return argparse.Namespace(url=url, key=key, ca=None, config=None)


def test_the_option_beats_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`--url`, else RELAY_URL, else the configuration; and keys go where they belong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELAY_LISTEN", "0.0.0.0:3456")
    monkeypatch.setenv("RELAY_API_KEYS", "sk-0123456789abcdef0123456789")
    monkeypatch.setenv("RELAY_ADMIN_KEY", "adm")
    environ = {"RELAY_URL": "http://b", "RELAY_ADMIN_KEY": "other"}
    assert place_of(arguments("http://a"), environ).url == "http://a"
    assert place_of(arguments(), environ).url == "http://b"
    assert place_of(arguments(), environ).admin_key == Secret("other")
    assert place_of(arguments(key="typed"), environ).admin_key == Secret("typed")
    configured = place_of(arguments(), {})
    assert (configured.url, configured.admin_key) == ("http://127.0.0.1:3456", Secret("adm"))


def test_the_files_key_goes_to_the_files_relay_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key out of relay.toml is not sent to an address that somebody typed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relay.toml").write_text('[relay]\nadmin_key = "of-the-file"\n')
    assert place_of(arguments(), {}).admin_key == Secret("of-the-file")
    assert place_of(arguments("http://elsewhere"), {}).admin_key is None


def test_a_configuration_that_broke_hides_no_relay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A running relay does not care for an edit that it rejected, and its health check must not either."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relay.toml").write_text("[relay\n")
    place = place_of(arguments(), {"RELAY_HOST": "::", "RELAY_PORT": "3001"})
    assert place.url == "http://[::1]:3001"
    assert "relay.toml:1" in place.notes[0]


async def test_the_configurations_own_certificate_is_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On loopback the relay shows a certificate that names its public address: it is known by the file."""
    monkeypatch.chdir(tmp_path)
    for name, value in tls_variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RELAY_CA_BUNDLE")
    place = place_of(arguments(), {})
    assert (place.scheme, place.authority, place.checks_name) == ("https", server_files()[0], False)
    async with trio.open_nursery() as nursery:
        there = await listening(nursery, over_tls(server_context()))
        found = await failure(attrs.evolve(place, port=there.port))
        nursery.cancel_scope.cancel(reason="done")
    assert found.stage == "TLS", "another certificate of the same authority is not the relay's"
