"""What a request points to is fetched from public addresses only, whatever names, redirects and servers try."""

from __future__ import annotations

import base64
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import trio
from upstream_rig import Rig, open_rig

from relay_trio.scopes.balance import Balance
from relay_trio.scopes.phase import Limit
from relay_trio.testing.certificates import client_context, server_context
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.fake_upstream import open_fake_upstream
from relay_trio.testing.http_text import Headers
from relay_trio.testing.script import Behaviour
from relay_trio.upstream.fetch import (
    MAX_AT_ONCE,
    MAX_REDIRECTS,
    Fetcher,
    FetchRules,
    NotFetched,
    checked,
    may_be_reached,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(64)
MAX_BYTES = 64 * 1024
HERE = ipaddress.ip_network("127.0.0.1/32")
"""The one address that these tests call public; 127.0.0.2 and all others are not."""
RULES = FetchRules(MAX_BYTES, (HERE,), Limit(10, "RELAY_CONNECT_TIMEOUT"))
PNG: Headers = ((b"content-type", b"image/png"),)


def gives(body: bytes = PIXEL, headers: Headers = PNG, status: int = 200) -> Behaviour:
    async def give(conversation: Conversation) -> None:
        await conversation.send_in_place(status, headers, body)

    return give


def leads_to(location: str, status: int = 302) -> Behaviour:
    return gives(b"", ((b"location", location.encode()),), status)


class Names(trio.abc.HostnameResolver):
    """A name server that says something else each time it is asked; the last thing stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        self.asked.append(host.decode() if isinstance(host, bytes) else host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, int(port)))
            for ip in answer
        ]

    async def getnameinfo(self, *_: Any) -> Any:
        raise AssertionError("nobody asks for names")


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig() as rig:
        yield rig


def fetcher(rig: Rig, tls: ssl.SSLContext | None = None) -> Fetcher:
    return Fetcher(rig.hub, rig.balance, tls or client_context())


async def refused(rig: Rig, url: str, said: str, rules: FetchRules = RULES) -> None:
    """Hold a fetch to failing for this reason, with everything closed."""
    with pytest.raises(NotFetched, match=said) as raised:
        await fetcher(rig).fetch(url, rules)
    assert "127.0.0" not in str(raised.value)
    assert at_rest(rig.balance)


def at_rest(balance: Balance) -> bool:
    return balance.upstream_connections.live == 0


# What is there


@pytest.mark.parametrize("media_type", ["image/png", "IMAGE/JPEG; x=y", "application/pdf", "image/svg+xml"])
async def test_a_picture_or_a_document_is_fetched(rig: Rig, media_type: str) -> None:
    """With what it is, and its bytes in base64; nothing of the client or of ours goes there."""
    async with open_fake_upstream(gives(headers=((b"content-type", media_type.encode()),))) as server:
        found = await fetcher(rig).fetch(f"{server.url}/a%20b?c=d#e", RULES)
        assert base64.b64decode(found.data) == PIXEL
        assert found.media_type == media_type.partition(";")[0].lower()
        (request,) = server.requests
        assert request.target == "/a%20b?c=d"
        assert {name for name, _ in request.headers} == {
            b"host",
            b"accept",
            b"accept-encoding",
            b"user-agent",
            b"connection",
        }
        await server.wait_no_connections()
    assert at_rest(rig.balance)


@pytest.mark.parametrize(
    ("headers", "body", "status", "said"),
    [
        (((b"content-type", b"text/html"),), PIXEL, 200, "neither an image nor a PDF"),
        ((), PIXEL, 200, "neither an image nor a PDF"),
        (((b"content-type", b"image/png\tx"),), PIXEL, 200, "neither an image nor a PDF"),
        (PNG, b"", 200, "is empty"),
        (PNG, PIXEL, 404, "answered 404"),
        (PNG, PIXEL, 206, "answered 206"),
        (PNG, PIXEL, 304, "answered 304"),
        ((*PNG, (b"content-encoding", b"gzip")), PIXEL, 200, "compressed"),
        (PNG, bytes(MAX_BYTES + 1), 200, f"larger than {MAX_BYTES} bytes"),
    ],
)
async def test_what_is_none_is_refused(rig: Rig, headers: Headers, body: bytes, status: int, said: str) -> None:
    """A page, nothing, an error, a part, something compressed, too much."""
    async with open_fake_upstream(gives(body, headers, status)) as server:
        await refused(rig, server.url, said)


async def test_the_limit_is_no_less_than_it_says(rig: Rig) -> None:
    """To the byte."""
    async with open_fake_upstream(gives(bytes(MAX_BYTES))) as server:
        found = await fetcher(rig).fetch(server.url, RULES)
        assert len(base64.b64decode(found.data)) == MAX_BYTES


async def test_what_does_not_say_its_size_is_cut_off(rig: Rig) -> None:
    """20 MB come in pieces, and no more than the limit is taken."""
    sent = 0

    async def pours(conversation: Conversation) -> None:
        nonlocal sent
        await conversation.send(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n")
        for _ in range(20 * 16):
            await conversation.send(bytes(64 * 1024))
            sent += 64 * 1024

    async with open_fake_upstream(pours) as server:
        await refused(rig, server.url, "larger than")
        await server.wait_no_connections()
    assert sent < 20 * 1024 * 1024


async def test_a_server_that_breaks_off_is_no_answer(rig: Rig) -> None:
    """Half a picture is none."""
    for behaviour in (gives_half, gives_half_and_resets):
        async with open_fake_upstream(behaviour) as server:
            await refused(rig, server.url, "broke off")


async def gives_half(conversation: Conversation) -> None:
    await conversation.send(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 9\r\n\r\nabc")
    conversation.link.close()


async def gives_half_and_resets(conversation: Conversation) -> None:
    await conversation.send(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n9\r\nab")
    conversation.link.reset()


async def test_the_callers_limit_ends_a_drip(rig: Rig) -> None:
    """A byte a second, for ever: the caller's clock ends it, and nothing is left open."""

    async def drips(conversation: Conversation) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n")
        while True:
            await conversation.link.pause(1)
            await conversation.send(b"x")

    async with open_fake_upstream(drips) as server:
        with trio.move_on_after(30) as scope:
            await fetcher(rig).fetch(server.url, RULES)
        assert scope.cancelled_caught
        await server.wait_no_connections()
    assert at_rest(rig.balance)


async def test_so_many_at_once(rig: Rig) -> None:
    """And one more waits until a place is free."""
    release = trio.Event()

    async def waits(conversation: Conversation) -> None:
        await release.wait()
        await conversation.send_in_place(200, PNG, PIXEL)

    async with open_fake_upstream(waits) as server, trio.open_nursery() as nursery:
        fetching = fetcher(rig)
        for _ in range(MAX_AT_ONCE + 1):
            nursery.start_soon(fetching.fetch, server.url, RULES)
        await server.wait_requests(MAX_AT_ONCE)
        await trio.testing.wait_all_tasks_blocked()
        assert server.connections.opened == MAX_AT_ONCE
        release.set()
    assert server.connections.opened == MAX_AT_ONCE + 1


# Where it may be


NOT_PUBLIC = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *(
        "100.64.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "224.0.0.1",
    ),
    *("240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:7f00:1::1", "2001:db8::1"),
    *("fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "100::1", "2606:4700::1%1"),
    *("localhost", "", "1.2.3"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_public_is_not_reached(address: str) -> None:
    """Loopback, private, shared, link-local, documentation, multicast, clouds' own, and IPv4 in IPv6's clothes."""
    assert not may_be_reached(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2001:4860:4860::8888"],
)
def test_what_is_public_is_reached(address: str) -> None:
    """In either protocol."""
    assert may_be_reached(address)


def test_an_operator_may_allow_a_network() -> None:
    """And reaches it, and nothing else, also by the long form of an address."""
    networks = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00:1::/32"))
    assert may_be_reached("10.1.2.3", networks)
    assert may_be_reached("::ffff:10.1.2.3", networks)
    assert may_be_reached("fd00:1::1", networks)
    assert not may_be_reached("10.2.0.1", networks)
    assert not may_be_reached("fd00:2::1", networks)


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.2/", "http://[::1]/", "http://[::ffff:127.0.0.2]/", "http://2130706434/", "http://0x7f.2/"),
        *("http://127.2/", "http://0/", "http://169.254.169.254/latest/meta-data/", "https://127.0.0.2/"),
        *("http://%31%32%37.0.0.2/",),
    ],
)
async def test_an_address_that_is_written_oddly_is_looked_at_all_the_same(rig: Rig, url: str) -> None:
    """It is what the system would connect to that counts."""
    await refused(rig, url, "public internet|not found")


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://8.8.8.8/x", "gopher://8.8.8.8/", "data:image/png;base64,aaaa", "//8.8.8.8/"),
        *("http://", "http:///x", "http://[::1", "http://8.8.8.8:99999/", "http://8.8.8.8:0/", "http://u:p@8.8.8.8/"),
        *("http://u@8.8.8.8/", "", "x" * 10, "http://8.8.8.8/" + "x" * 9000),
    ],
)
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    """Other schemes, no host, bad ports, passwords, endless ones."""
    with pytest.raises(NotFetched):
        checked(url)


def test_a_line_end_in_an_address_begins_no_header() -> None:
    """What cannot stand in a request line is escaped."""
    assert checked("http://h/a b\u00e9?q=\u00fc") == "http://h/a%20b%C3%A9?q=%C3%BC"
    assert "\r" not in checked("http://h/a\x0b\x7f") + checked("http://h/a\r\nx: y")
    assert "\n" not in checked("http://h/a\r\nx: y")


# Names


async def test_a_name_is_looked_up_once(rig: Rig) -> None:
    """A second answer, which leads inside, is never asked for: the connection goes to what was looked at."""
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    trio.socket.set_custom_hostname_resolver(names)
    async with open_fake_upstream(gives()) as server:
        port = server.address[1]
        found = await fetcher(rig).fetch(f"http://rebinding.example:{port}/", RULES)
        assert base64.b64decode(found.data) == PIXEL
        assert names.asked == ["rebinding.example"]
        assert server.requests[-1].get("host") == f"rebinding.example:{port}"
        await refused(rig, f"http://rebinding.example:{port}/", "public internet")


@pytest.mark.parametrize("answer", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "::1"]])
async def test_a_name_with_one_address_inside_is_refused(rig: Rig, answer: list[str]) -> None:
    """Whichever comes first; nobody is asked."""
    trio.socket.set_custom_hostname_resolver(Names(answer))
    async with open_fake_upstream(gives()) as server:
        await refused(rig, f"http://two.example:{server.address[1]}/", "public internet")
        assert server.connections.opened == 0


async def test_a_name_that_nobody_has_is_not_found(rig: Rig) -> None:
    """Nor one without any address."""
    trio.socket.set_custom_hostname_resolver(Names([]))
    await refused(rig, "http://nobody.example/", "not found")


async def test_an_address_that_nobody_answers_at_is_not_reached(rig: Rig) -> None:
    """It is told as such."""
    async with open_fake_upstream(gives()) as server:
        url = server.url
    await refused(rig, url, "could not be reached")


# Redirects


async def test_redirects_are_followed_and_looked_at(rig: Rig) -> None:
    """Relative and absolute; the picture comes from the last."""
    async with open_fake_upstream() as server:
        server.script.enqueue(leads_to("/b?c"), leads_to(f"{server.url}/d", 308), gives())
        found = await fetcher(rig).fetch(f"{server.url}/a", RULES)
        assert base64.b64decode(found.data) == PIXEL
        assert [request.target for request in server.requests] == ["/a", "/b?c", "/d"]


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://169.254.169.254/latest/meta-data/iam/security-credentials/", "public internet"),
        ("http://127.0.0.2:80/", "public internet"),
        ("http://[::ffff:169.254.169.254]/", "public internet"),
        ("file:///etc/passwd", "no http"),
        ("gopher://127.0.0.1/", "no http"),
        ("http://[::1", "no URL"),
        ("http://u:p@127.0.0.1/", "password"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_leads_inside(rig: Rig, location: str, said: str, status: int) -> None:
    """Each is looked at as the first address was."""
    async with open_fake_upstream(leads_to(location, status)) as server:
        await refused(rig, server.url, said)
        assert server.request_count == 1


async def test_a_circle_of_redirects_ends(rig: Rig) -> None:
    """After a few."""
    async with open_fake_upstream(leads_to("/again")) as server:
        await refused(rig, server.url, f"more than {MAX_REDIRECTS} times")
        assert server.request_count == MAX_REDIRECTS + 1


# TLS


async def test_the_certificate_is_that_of_the_name(rig: Rig) -> None:
    """Though the connection goes to a number; another name is refused, and so is a step down to clear text."""
    async with open_fake_upstream(gives(), tls=server_context()) as server:
        port = server.address[1]
        trio.socket.set_custom_hostname_resolver(Names(["127.0.0.1"]))
        found = await fetcher(rig).fetch(f"https://localhost:{port}/", RULES)
        assert base64.b64decode(found.data) == PIXEL
        await refused(rig, f"https://other.example:{port}/", "could not be reached")
        server.script.enqueue(leads_to(f"http://localhost:{port}/"))
        await refused(rig, f"https://localhost:{port}/", "from https to something else")
