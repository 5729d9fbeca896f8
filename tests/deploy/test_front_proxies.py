"""Promises of the proxies' files: behind each of them a stream flows at once, survives silence, and ends with its client.

The files are used as they are, but for addresses and times: what lasts minutes there lasts a second here.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from debian import DEPLOY, daemon, needs, read_yaml, wait_listening
from serving import KEY, Running, ask, served, stream_request

from relay_trio.settings.model import Limits
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.fake_client import FakeClient, connect
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

PROXIES = DEPLOY / "proxies"
Address = tuple[str, int]

BORNE_S = 1
"""The longest silence that the proxies bear in these tests."""

OFTEN = {"RELAY_KEEPALIVE_AFTER": "0.2", "RELAY_KEEPALIVE_INTERVAL": "0.2"}
NEVER = {"RELAY_KEEPALIVE_INTERVAL": "0"}


@attrs.frozen
class Proxy:
    """A proxy and its file."""

    file: str
    package: str
    listens: str
    """How the file says where."""
    listens_here: str
    """How it would say another place."""
    silence: str = ""
    """The lines of the file that limit silence."""

    def configuration(self, at: Address, relay: Address) -> str:
        """Return the file with these addresses, and with a second for the silence."""
        text = (PROXIES / self.file).read_text()
        assert self.listens in text
        text = text.replace(self.listens, self.listens_here.format(host=at[0], port=at[1]))
        text = text.replace("maxconn 20000", "maxconn 200").replace("worker_rlimit_nofile 65536;", "")
        text = text.replace("127.0.0.1:3000", "{}:{}".format(*relay))
        return re.sub(self.silence, rf"\g<1>{BORNE_S}s", text) if self.silence else text

    def words(self, file: Path) -> list[str | Path]:
        """Return the command that runs it in the foreground."""
        match self.package:
            case "nginx-light":
                return ["nginx", "-p", file.parent, "-c", file, "-e", "stderr", "-g", NGINX]
            case "haproxy":
                return ["haproxy", "-db", "-f", file]
            case _:
                return ["caddy", "run", "--adapter", "caddyfile", "--config", file]


NGINX = "daemon off; pid nginx.pid;"

NGINX_LIGHT = Proxy(
    "nginx.conf", "nginx-light", "listen 80;", "listen {host}:{port};", silence=r"(proxy_read_timeout )\w+"
)
HAPROXY = Proxy(
    "haproxy.cfg", "haproxy", "bind :80\n", "bind {host}:{port}\n", silence=r"(timeout (?:client|server) )\w+"
)
CADDY = Proxy("Caddyfile", "caddy", ":80 {", "http://:{port} {{\n\tbind {host}")
# With a host in its name Caddy would make a certificate, and have this machine trust it.

every_proxy = pytest.mark.parametrize(
    "proxy",
    [
        pytest.param(NGINX_LIGHT, marks=needs("nginx", "nginx-light"), id="nginx"),
        pytest.param(HAPROXY, marks=needs("haproxy", "haproxy"), id="haproxy"),
        pytest.param(CADDY, marks=needs("caddy", "caddy"), id="caddy"),
    ],
)


@attrs.frozen
class Site:
    """A provider, a relay before it, and a proxy before that."""

    upstream: FakeUpstream
    relay: Running
    address: Address
    """The proxy's."""


def free_address() -> Address:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        return host, port


@asynccontextmanager
async def site(
    directory: Path, proxy: Proxy, behaviour: str | Callable[[Conversation], object], **variables: str
) -> AsyncIterator[Site]:
    async with open_fake_upstream(behaviour) as upstream:  # type: ignore[arg-type] # a behaviour of the test's own
        configured = {
            "OPENAI_API_KEY": "sk-of-the-provider-0123456789",
            "OPENAI_BASE_URL": upstream.base_url(),
            "RELAY_API_KEYS": KEY,
            **variables,
        }
        async with served(directory, variables=configured) as relay:
            await relay.line("ready")
            address = free_address()
            home = {"XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
            file = directory / proxy.file
            file.write_text(proxy.configuration(address, await relay.address()))
            async with daemon(*proxy.words(file), cwd=directory, variables=home) as running:
                await wait_listening(address, running)
                await _wait_answered(address)
                yield Site(upstream, relay, address)


async def _wait_answered(address: Address) -> None:
    """Return when the proxy finds the relay healthy."""
    while True:
        async with connect(address) as client:
            if (await ask(client, "GET", "/livez")).status == 200:
                return


class Thinking:
    """A provider that says its first words, and then nothing until it is told to."""

    def __init__(self) -> None:
        self.go_on = trio.Event()

    async def __call__(self, conversation: Conversation) -> None:
        await conversation.send_head()
        first, second, *rest = conversation.answer.pieces
        await conversation.send_pieces(first, second)
        await self.go_on.wait()
        await conversation.send_pieces(*rest)
        await conversation.send_end()


@every_proxy
async def test_events_pass_at_once(tmp_path: Path, proxy: Proxy) -> None:
    """What the provider says is with the client while the provider still thinks about the rest."""
    thinking = Thinking()
    async with site(tmp_path, proxy, thinking) as there, connect(there.address) as client:
        await client.send(stream_request(model="fake-small"))
        assert (await client.read_head()).status == 200
        assert await client.read_event() is not None
        thinking.go_on.set()
        assert (await client.read_events()).data[-1] == "[DONE]"


@every_proxy
async def test_keep_alives_carry_a_stream_through_silence(tmp_path: Path, proxy: Proxy) -> None:
    """Before the first word and after it a provider may think for longer than the proxy bears silence."""
    async with site(tmp_path, proxy, _think_twice, **OFTEN) as there, connect(there.address) as client:
        await client.send(stream_request(model="fake-small"))
        assert (await client.read_head()).status == 200
        stream = await client.read_events()
        assert stream.data[-1] == "[DONE]"
        assert len(stream.comments) > 4


async def _think_twice(conversation: Conversation) -> None:
    await conversation.link.pause(1.5 * BORNE_S)
    await conversation.send_head()
    first, second, *rest = conversation.answer.pieces
    await conversation.send_pieces(first, second)
    await conversation.link.pause(1.5 * BORNE_S)
    await conversation.send_pieces(*rest)
    await conversation.send_end()


@pytest.mark.parametrize(
    "proxy",
    [
        pytest.param(NGINX_LIGHT, marks=needs("nginx", "nginx-light"), id="nginx"),
        pytest.param(HAPROXY, marks=needs("haproxy", "haproxy"), id="haproxy"),
    ],
)
async def test_without_keep_alives_the_proxy_ends_the_stream(tmp_path: Path, proxy: Proxy) -> None:
    """So it is they that carry it: the same silence, with none sent, is a time-out of the proxy's."""
    async with site(tmp_path, proxy, "silent-before-head", **NEVER) as there, connect(there.address) as client:
        await client.send(stream_request(model="fake-small"))
        assert (await client.read_head()).status == 504


@every_proxy
async def test_a_client_that_leaves_is_noticed_through_the_proxy(tmp_path: Path, proxy: Proxy) -> None:
    """While the provider is silent, before the first byte of the answer and in the middle of it: its connection is closed."""
    for behaviour, begun in (("silent-before-head", False), ("silent-mid-body", True)):
        async with site(tmp_path, proxy, behaviour) as there:
            async with connect(there.address) as client:
                await client.send(stream_request(model="fake-small"))
                await there.upstream.wait_requests(1)
                if begun:
                    await _read_first(client)
            line = await there.relay.line("request_finished", outcome="client_disconnected")
            assert line["left_open"] == 0
            await there.upstream.wait_no_connections()


async def _read_first(client: FakeClient) -> None:
    assert (await client.read_head()).status == 200
    assert await client.read_event() is not None


@every_proxy
async def test_a_large_body_passes(tmp_path: Path, proxy: Proxy) -> None:
    """A few images in a question are megabytes, which nginx refuses by itself."""
    body = {"model": "fake-small", "messages": [{"role": "user", "content": "x" * 8_000_000}]}
    async with site(tmp_path, proxy, "answer") as there, connect(there.address) as client:
        assert (await ask(client, "POST", "/v1/chat/completions", KEY, body)).status == 200


@every_proxy
async def test_a_restart_is_not_seen_through_the_proxy(tmp_path: Path, proxy: Proxy) -> None:
    """The proxy keeps connections to the relay; a successor takes over, and each request is answered all the same."""
    body = {"model": "fake-small", "messages": [{"role": "user", "content": "hi"}]}
    run_directory = {"RELAY_RUN_DIRECTORY": str(tmp_path / "run")}
    async with site(tmp_path, proxy, "answer", **run_directory) as there, connect(there.address) as client:
        statuses = [(await ask(client, "POST", "/v1/chat/completions", KEY, body)).status for _ in range(10)]
        there.relay.tell("SIGUSR2")
        while not there.relay.all("listeners_closed"):
            statuses.append((await ask(client, "POST", "/v1/chat/completions", KEY, body)).status)
        statuses += [(await ask(client, "POST", "/v1/chat/completions", KEY, body)).status for _ in range(50)]
        assert set(statuses) == {200}
        successor = there.relay.all("successor_started")[0]["successor_pid"]
        os.kill(successor, signal.SIGTERM)


# What the files say


def seconds_in(file: str, pattern: str) -> float:
    found = re.search(pattern, (PROXIES / file).read_text())
    assert found is not None, pattern
    return float(found[1])


@pytest.mark.parametrize(
    ("file", "silence", "kept"),
    [
        ("nginx.conf", r"proxy_read_timeout (\d+)s", r"keepalive_timeout (\d+)s"),
        ("haproxy.cfg", r"timeout server (\d+)s", r"timeout http-keep-alive (\d+)s"),
        ("Caddyfile", "", r"keepalive (\d+)s"),
    ],
)
def test_the_times_fit_the_relays(file: str, silence: str, kept: str) -> None:
    """An answer that is not streamed may take the whole of RELAY_TIMEOUT; a kept connection is closed by the proxy first."""
    if silence:
        assert seconds_in(file, silence) > Limits().total
    assert seconds_in(file, kept) < Limits().client_idle


def test_the_load_balancer_of_aws_fits_too() -> None:
    """Longer silence than an answer, more time to finish than a drain, and what its comment asks of the relay."""
    text = (PROXIES / "alb.yaml").read_text()
    values = dict(re.findall(r'Key: (\S+)\n\s+Value: "?([^"\n]+)"?', text))
    idle = float(values["idle_timeout.timeout_seconds"])
    assert Limits().total < idle <= 4000
    assert Limits().drain_s < float(values["deregistration_delay.timeout_seconds"]) <= 3600
    needed = re.search(r"RELAY_CLIENT_IDLE_TIMEOUT=(\d+)", text)
    assert needed is not None
    assert float(needed[1]) > idle
    assert "Resources" in read_yaml(re.sub(r"!Ref ", "", text))
