"""Promises of `doctor`: each step of the way is looked at, the first that fails is named, and what to do about it.

Real sockets and real TLS; only the name server is a fake, for names that nobody may have.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from adaptors import registry
from relay_trio.cli import doctor_machine
from relay_trio.cli.configuration import Configuration
from relay_trio.cli.doctor import MACHINE, Wishes, look
from relay_trio.cli.doctor_completion import cheap_model
from relay_trio.cli.doctor_findings import Finding, Level, Section
from relay_trio.cli.main import main
from relay_trio.settings.model import ChannelSettings, Limits, Settings
from relay_trio.settings.secret import Secret
from relay_trio.testing.answers import Answer, Asked, Provider, Wanted
from relay_trio.testing.certificates import (
    authority,
    ca_file,
    expired_context,
    server_context,
    untrusted_context,
    wrong_name_context,
)
from relay_trio.testing.fake_upstream import FakeUpstream, open_deaf_address, open_fake_upstream, refused_address
from relay_trio.testing.proxy import ESTABLISHED, ProxyManner, open_http_proxy
from relay_trio.testing.relay import open_relay_under_test, settings_for
from relay_trio.testing.script import Script

Capture = pytest.CaptureFixture[str]

KEY = "sk-canary-of-the-provider-0123456789"
ADAPTORS = registry.load()

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to run in, with nothing configured and no proxy."""
    providers = {name for row in ADAPTORS.values() for name in (row.key_variable, row.base_url_variable)}
    for name in os.environ:
        if name.startswith("RELAY_") or name in providers or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def channel(base_url: str, *, name: str = "main", **more: object) -> ChannelSettings:
    return ChannelSettings(name=name, adaptor="openai", base_url=base_url, api_keys=(Secret(KEY),), **more)  # type: ignore[arg-type]  # the cases name the fields


async def looked(*channels: ChannelSettings, wishes: Wishes | None = None, **more: Any) -> list[Section]:
    """Look, and return what was told, in its order. No key is in any of it."""
    more = {"listen": ("127.0.0.1:0",), "ca_bundle": ca_file(), "limits": Limits(connect=5), **more}
    sections: list[Section] = []
    await look(Configuration(Settings(channels=channels, **more), ADAPTORS), wishes or Wishes(), sections.append)
    assert KEY not in repr(sections)
    assert [section.name for section in sections] == [*(channel.name for channel in channels), MACHINE]
    return sections


async def found(one: ChannelSettings, wishes: Wishes | None = None, **more: Any) -> dict[str, Finding]:
    """Return what was found of one channel, by what was looked at."""
    section = (await looked(one, wishes=wishes, **more))[0]
    return {finding.what: finding for finding in section.findings}


def of_machine(sections: list[Section]) -> dict[str, Finding]:
    return {finding.what: finding for finding in sections[-1].findings}


def last(findings: Mapping[str, Finding]) -> Finding:
    return list(findings.values())[-1]


# The way


@pytest.mark.usefixtures("nothing_left_open")
async def test_a_good_way_is_told_step_by_step() -> None:
    """Proxy, TCP, TLS with name, issuer and days left, key: each with what was seen, and nothing to do."""
    async with open_fake_upstream(tls=server_context()) as upstream:
        findings = await found(channel(upstream.base_url()))
    assert list(findings) == ["proxy", "tcp", "tls", "key"]
    assert {finding.level for finding in findings.values()} == {Level.OK}
    assert {finding.advice for finding in findings.values()} == {None}
    assert findings["tcp"].told.startswith(f"127.0.0.1:{upstream.address[1]} (")
    assert "TLSv1.3, certificate of 127.0.0.1, localhost, 0:0:0:0:0:0:0:1 by trustme" in findings["tls"].told
    assert findings["tls"].told.endswith(" days left")
    assert findings["key"].told == "api_keys[0]: answers, 2 models"


class Names(trio.abc.HostnameResolver):
    """A name server that knows one name."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, *_: int, **__: int) -> list[Any]:
        if host != b"api.provider.test":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]

    async def getnameinfo(self, *_: Any) -> tuple[str, str]:
        raise NotImplementedError


@asynccontextmanager
async def names(resolver: Names) -> AsyncIterator[None]:
    before = trio.socket.set_custom_hostname_resolver(resolver)
    try:
        yield
    finally:
        trio.socket.set_custom_hostname_resolver(before)


@pytest.mark.usefixtures("nothing_left_open")
async def test_a_name_that_nobody_knows_ends_the_way() -> None:
    """DNS is named, with what the name server said; nothing behind it is claimed to be wrong."""
    async with names(Names()):
        findings = await found(channel("https://api.provider.example/v1"))
    assert list(findings) == ["proxy", "dns"]
    assert findings["dns"].level is Level.ERROR
    assert findings["dns"].told == "api.provider.example: Name or service not known"
    assert "--dns" in str(findings["dns"].advice)


@pytest.mark.usefixtures("nothing_left_open")
async def test_a_name_server_that_does_not_answer_costs_the_connect_limit() -> None:
    """And no more."""

    class Silent(Names):
        async def getaddrinfo(self, *_: Any, **__: Any) -> list[Any]:
            await trio.sleep_forever()
            return []

    async with names(Silent()):
        start = trio.current_time()
        findings = await found(channel("https://api.provider.example/v1", limits={"connect": 3.0}))
        assert trio.current_time() - start == pytest.approx(3, abs=0.1)
    assert findings["dns"].told == "api.provider.example: no answer within 3 s"


@pytest.mark.usefixtures("nothing_left_open")
async def test_addresses_that_do_not_work_beside_one_that_does() -> None:
    """Every address of a name is tried and told; one that fails is a warning, because it costs time."""
    async with open_fake_upstream() as upstream, names(Names("127.0.0.1", "127.0.0.2")):
        findings = await found(channel(f"http://api.provider.test:{upstream.address[1]}/v1"))
    assert findings["dns"].told.startswith("api.provider.test -> 127.0.0.1, 127.0.0.2 (")
    assert findings["tcp"].level is Level.WARNING
    assert "127.0.0.2" in findings["tcp"].told
    assert "Connection refused" in findings["tcp"].told
    assert findings["key"].level is Level.OK


@pytest.mark.skipif(sys.platform != "linux", reason="only there all of 127.0.0.0/8 is this machine")
@pytest.mark.usefixtures("nothing_left_open")
async def test_addresses_that_all_work_leave_nothing_open() -> None:
    """One of the connections is gone on with; the others are closed."""
    async with open_fake_upstream(host="0.0.0.0") as upstream, names(Names("127.0.0.1", "127.0.0.2", "127.0.0.3")):
        findings = await found(channel(f"http://api.provider.test:{upstream.address[1]}/v1"))
        await upstream.wait_no_connections()
        assert upstream.connections.opened == 3 + 1  # and the question's
    assert findings["tcp"].level is Level.OK


@pytest.mark.skipif(sys.platform != "linux", reason="only there all of 127.0.0.0/8 is this machine")
@pytest.mark.usefixtures("nothing_left_open")
async def test_who_does_not_wait_for_all_addresses_leaves_nothing_open() -> None:
    """Ctrl-C while one address is silent: the connection to the other is closed."""
    async with (
        open_deaf_address() as (deaf, port),
        open_fake_upstream(host="127.0.0.2", port=port) as upstream,
        names(Names(deaf, "127.0.0.2")),
    ):
        with trio.move_on_after(3) as leaving:
            await found(channel(f"http://api.provider.test:{port}/v1"))
        await upstream.wait_no_connections()
        assert leaving.cancelled_caught
        assert upstream.connections.opened == 1


@pytest.mark.usefixtures("nothing_left_open")
async def test_a_port_where_nobody_listens() -> None:
    """TCP is named, with the address and the reason."""
    host, port = refused_address()
    findings = await found(channel(f"http://{host}:{port}/v1"))
    assert last(findings) == Finding(
        Level.ERROR,
        "tcp",
        f"{host}:{port} Connection refused",
        "nothing listens there: is the port right, and does the server run?",
    )


# TLS


@pytest.mark.usefixtures("nothing_left_open")
@pytest.mark.parametrize(
    ("context", "says", "advises"),
    [
        (expired_context, "certificate has expired: certificate of 127.0.0.1, localhost, 0:0:0:0:0:0:0:1 by trustme", "renew it"),
        (wrong_name_context, "IP address mismatch, certificate is not valid for '127.0.0.1': certificate of elsewhere.example",
         "(elsewhere.example)"),
        (untrusted_context, "certificate of 127.0.0.1, localhost, 0:0:0:0:0:0:0:1 by trustme", "RELAY_CA_BUNDLE"),
    ],
    ids=["expired", "wrong name", "untrusted"],
)  # fmt: skip
async def test_a_certificate_that_is_not_accepted_is_read_all_the_same(context: Any, says: str, advises: str) -> None:
    """Why, whose it is, who vouches for it, for how long; and what to do about just that."""
    async with open_fake_upstream(tls=context()) as upstream:
        findings = await found(channel(upstream.base_url()))
    assert list(findings) == ["proxy", "tcp", "tls"]
    assert findings["tls"].level is Level.ERROR
    assert says in findings["tls"].told
    assert advises in str(findings["tls"].advice)
    if context is expired_context:
        assert findings["tls"].told.endswith("ended 2 days ago")


@pytest.mark.usefixtures("nothing_left_open")
async def test_a_certificate_that_ends_soon_is_a_warning() -> None:
    """Thirteen days before its end somebody has to be told."""
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=13, hours=1)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert("127.0.0.1", not_after=end).configure_cert(context)
    async with open_fake_upstream(tls=context) as upstream:
        findings = await found(channel(upstream.base_url()))
    assert findings["tls"].level is Level.WARNING
    assert findings["tls"].told.endswith("13 days left")
    assert findings["key"].level is Level.OK


@pytest.mark.usefixtures("nothing_left_open")
async def test_https_where_clear_text_is_spoken() -> None:
    """The commonest mistake with a server of one's own has a sentence of its own."""
    async with open_fake_upstream("tls-garbage") as upstream:
        findings = await found(channel(upstream.base_url().replace("http:", "https:")))
    assert last(findings).told == "what answers there does not speak TLS"


@pytest.mark.usefixtures("nothing_left_open")
@pytest.mark.parametrize("behaviour", ["tls-hangs", "tls-closes", "tls-resets"])
async def test_a_handshake_that_does_not_end(behaviour: str) -> None:
    """TLS is named, under the connect limit."""
    async with open_fake_upstream(behaviour, tls=server_context()) as upstream:
        findings = await found(channel(upstream.base_url()))
    assert last(findings).what == "tls"
    assert last(findings).level is Level.ERROR
    assert last(findings).advice is not None


# Proxies


@pytest.mark.usefixtures("nothing_left_open")
async def test_a_proxy_of_the_channel_is_gone_through() -> None:
    """It is connected to and asked for a tunnel; the certificate is the provider's; its password is not told."""
    async with open_fake_upstream(tls=server_context()) as upstream, open_http_proxy() as proxy:
        secret = Secret(proxy.url.replace("http://", f"http://user:{KEY}@"))
        findings = await found(channel(upstream.base_url(), proxy=secret))
        tunnels = proxy.lines
    assert findings["proxy"].told == f"{proxy.url}, as the channel says"
    assert findings["tcp"].told.startswith(proxy.url.removeprefix("http://"))
    assert findings["tunnel"].told == f"the proxy opened a way to 127.0.0.1:{upstream.address[1]}"
    assert findings["key"].level is Level.OK
    assert len(tunnels) == 2  # the look's, and the question's


@pytest.mark.usefixtures("nothing_left_open")
@pytest.mark.parametrize(
    ("manner", "says", "advises"),
    [
        (ProxyManner.REFUSE_407, "(407)", "user:password"),
        (ProxyManner.REFUSE_502, "(502)", "allow this host"),
        (ProxyManner.HANG, "does not answer", "HTTP proxy"),
        (ProxyManner.BREAK, "does not answer", "HTTP proxy"),
    ],
)
async def test_a_proxy_that_does_not_let_through(manner: ProxyManner, says: str, advises: str) -> None:
    """The tunnel is named, with the proxy's answer."""
    async with open_fake_upstream(tls=server_context()) as upstream, open_http_proxy(manner) as proxy:
        findings = await found(channel(upstream.base_url(), proxy=Secret(proxy.url)))
    assert list(findings) == ["proxy", "tcp", "tunnel"]
    assert says in findings["tunnel"].told
    assert advises in str(findings["tunnel"].advice)


@pytest.mark.usefixtures("nothing_left_open")
async def test_a_proxy_that_falls_silent_while_a_certificate_is_read() -> None:
    """What is known of the certificate is told after the connect limit, and the second connection is closed."""
    tunnels, left = [], trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            tunnels.append(await stream.receive_some())
            if len(tunnels) == 1:
                await stream.send_all(ESTABLISHED)
                with contextlib.suppress(trio.BrokenResourceError):
                    await trio.SSLStream(stream, untrusted_context(), server_side=True).do_handshake()
            elif not await stream.receive_some():
                left.set()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        one = channel("https://127.0.0.1:9/v1", proxy=Secret(url), limits={"connect": 3.0})
        findings = await found(one)
        await left.wait()
        nursery.cancel_scope.cancel(reason="the test has ended")
    assert len(tunnels) == 2
    assert findings["tls"].told == "unable to get local issuer certificate"


@pytest.mark.usefixtures("nothing_left_open")
async def test_a_proxy_that_the_environment_names_is_told_to_be_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs here go through it, the relay does not: what to write is said."""
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{KEY}@proxy.example:3128")
    async with open_fake_upstream() as upstream:
        findings = await found(channel(upstream.base_url()))
        assert findings["proxy"].level is Level.NOTE
        assert "(proxy.example)" in findings["proxy"].told
        assert 'proxy = "env:HTTP_PROXY"' in str(findings["proxy"].advice)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert (await found(channel(upstream.base_url())))["proxy"].told == "none"


# The key and the address


@pytest.mark.usefixtures("nothing_left_open")
@pytest.mark.parametrize(
    ("by_path", "base", "what", "says", "advises"),
    [
        ({"models": "answer;status=401"}, "/v1", "key", "refuses the key (401)", "still valid"),
        ({"^/models": "answer;status=404"}, "", "base_url", '"{url}/v1" does', 'base_url = "{url}/v1"'),
        ({"^/v1/models": "answer;status=404"}, "/v1", "base_url", '"{url}" does', 'base_url = "{url}"'),
        ({"models": "answer;status=404"}, "/v1", "base_url", "and {url} lists no models either", "documents"),
        ({"models": "answer;status=503"}, "/v1", "base_url", "answers 503 to GET models", "try again later"),
        ({"models": "silent-before-head"}, "/v1", "key", "no answer within 120 s", "status page"),
        ({"models": "close-after-request"}, "/v1", "base_url", "cannot be reached", "in between"),
    ],
)
async def test_what_the_provider_says(
    by_path: Mapping[str, str], base: str, what: str, says: str, advises: str
) -> None:
    """A refused key, an address with `/v1` missing or one too many, a provider in trouble: told apart."""
    async with open_fake_upstream(Script(by_path=by_path)) as upstream:
        findings = await found(channel(upstream.url + base))
        assert last(findings).what == what
        assert last(findings).level is Level.ERROR
        assert says.format(url=upstream.url) in last(findings).told
        assert advises.format(url=upstream.url) in str(last(findings).advice)


# What costs money


@pytest.mark.usefixtures("nothing_left_open")
async def test_nothing_is_spent_unless_it_is_said() -> None:
    """Without `--spend` only the list of models is asked for; with it, one completion of the channel's own model."""
    async with open_fake_upstream() as upstream:
        one = channel(upstream.base_url(), models=("gpt-*", "gpt-4o-mini"), model_map={"gpt-4o-mini": "real-name"})
        await looked(one)
        assert {request.method for request in upstream.requests} == {"GET"}
        findings = await found(one, Wishes(spend=True))
        assert [request.method for request in upstream.requests].count("POST") == 1
        assert upstream.requests[-1].asked().model == "real-name"
    assert findings["completion"].level is Level.OK
    assert findings["completion"].told.startswith("gpt-4o-mini answered in 0.0 s, ")


@pytest.mark.usefixtures("nothing_left_open")
async def test_a_completion_that_is_refused_is_told_in_the_providers_words() -> None:
    """An account without credit lists its models well."""
    script = Script(by_path={"completions": "insufficient-quota"})
    async with open_fake_upstream(script) as upstream:
        findings = await found(channel(upstream.base_url()), Wishes(spend=True, model="some-model"))
    assert findings["completion"].level is Level.ERROR
    assert findings["completion"].told.startswith("some-model: 429, You exceeded your current quota")


@pytest.mark.parametrize(
    ("models", "listed", "chosen"),
    [
        (None, ("text-embedding-3-small", "gpt-4o", "gpt-4o-mini"), "gpt-4o-mini"),
        (("gpt-*",), ("whisper-1", "gpt-4o"), "gpt-4o"),
        (("my-model",), ("gpt-4o-mini",), "my-model"),
        (None, ("whisper-1",), None),
        (None, (), None),
    ],
)
def test_the_model_that_is_asked(models: tuple[str, ...] | None, listed: tuple[str, ...], chosen: str | None) -> None:
    """One that the channel names, else a cheap one that converses."""
    assert cheap_model(channel("http://h/v1", models=models), listed) == chosen


# This machine


@attrs.define
class Dated(Provider):
    """A provider that tells the time, wrongly by so many seconds."""

    off_s: float = 0.0

    def answer(self, asked: Asked, wanted: Wanted) -> Answer:
        answer = super().answer(asked, wanted)
        date = formatdate(time.time() + self.off_s, usegmt=True).encode()
        return attrs.evolve(answer, headers=(*answer.headers, (b"date", date)))


@pytest.mark.usefixtures("nothing_left_open")
@pytest.mark.parametrize(
    ("off_s", "level", "says"),
    [
        (0.0, Level.OK, "right, by the Date of main"),
        (-60.0, Level.WARNING, "s ahead of the Date of main"),
        (60.0, Level.WARNING, "s behind the Date of main"),
    ],
)
async def test_the_clock_is_compared_with_the_providers(off_s: float, level: Level, says: str) -> None:
    """Five seconds are borne: a Date has no fractions, and the question takes time."""
    async with open_fake_upstream() as upstream:
        upstream.provider = Dated(off_s=off_s)
        clock = of_machine(await looked(channel(upstream.base_url())))["clock"]
    assert clock.level is level
    assert says in clock.told


@pytest.mark.usefixtures("nothing_left_open")
async def test_one_provider_with_a_wrong_clock_is_outvoted() -> None:
    """Of three, the middle one counts."""
    async with open_fake_upstream() as right, open_fake_upstream() as wrong:
        right.provider, wrong.provider = Dated(), Dated(off_s=3600)
        channels = [channel(up.base_url(), name=f"c{n}") for n, up in enumerate((right, wrong, right))]
        assert of_machine(await looked(*channels))["clock"].level is Level.OK


async def test_nobody_tells_the_time_without_a_channel() -> None:
    """A demo is said to be one, and what would end it."""
    machine = of_machine(await looked())
    assert "clock" not in machine
    assert machine["channels"].level is Level.NOTE
    assert "OPENAI_API_KEY" in str(machine["channels"].advice)


async def test_more_requests_than_descriptors_are_a_warning() -> None:
    """What was configured cannot be had: where to raise it is said."""
    machine = of_machine(await looked(max_concurrency=10**6))
    if machine["descriptors"].told != "this system has no limit for them":
        assert machine["descriptors"].level is Level.WARNING
        assert "RELAY_MAX_CONCURRENCY is 1000000" in machine["descriptors"].told
        assert "LimitNOFILE" in str(machine["descriptors"].advice)


async def test_a_directory_that_cannot_be_written_to(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several workers need one, and take another where they can, as the supervisor does; a single one needs none."""
    monkeypatch.setattr("tempfile.tempdir", str(place / "not there"))
    monkeypatch.setattr(doctor_machine, "OTHER_DIRECTORIES", (place,))
    assert str(place) in of_machine(await looked(workers=2))["disk"].told
    monkeypatch.setattr(doctor_machine, "OTHER_DIRECTORIES", ())
    assert of_machine(await looked(workers=2))["disk"].level is Level.ERROR
    assert of_machine(await looked(workers=1))["disk"].level is Level.NOTE


async def test_a_run_directory_that_cannot_be_written_to(place: Path) -> None:
    """A relay could not take its place there, and would not start; one that can still be made is fine."""
    findings = of_machine(await looked(run_directory=place / "run"))
    assert findings["run_directory"].level is Level.OK
    findings = of_machine(await looked(run_directory=place / "not there" / "run"))
    assert findings["run_directory"].level is Level.ERROR


async def test_a_port_that_another_program_has() -> None:
    """It is an error, and a port that is free is named."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        found_port = of_machine(await looked(listen=(f"127.0.0.1:{port}",)))["port"]
    assert found_port.level is Level.ERROR
    assert found_port.told.startswith(f"127.0.0.1:{port} is in use")
    free = of_machine(await looked(listen=(f"127.0.0.1:{port}",)))["port"]
    assert free == Finding(Level.OK, "port", f"127.0.0.1:{port} is free")


async def test_a_port_where_our_relay_serves(tmp_path: Path) -> None:
    """That is no conflict: the doctor is asked beside a relay that runs."""
    async with open_relay_under_test(settings_for(tmp_path)) as relay:
        port = of_machine(await looked(listen=(f"127.0.0.1:{relay.port}",)))["port"]
    assert port.level is Level.OK
    assert f"127.0.0.1:{relay.port}: relay_trio " in port.told


async def test_an_address_of_another_machine() -> None:
    """TEST-NET-1 (RFC 5737) is nobody's."""
    port = of_machine(await looked(listen=("192.0.2.1:3000",)))["port"]
    assert port.level is Level.ERROR
    assert "cannot be listened on" in port.told


# The command


async def command(upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the whole command in a thread beside a provider."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url())
    monkeypatch.setenv("RELAY_LISTEN", "127.0.0.1:0")
    return await trio.to_thread.run_sync(main, ["doctor", *words])


@pytest.mark.real_clock
async def test_a_healthy_house_is_status_0(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Channels in their order, then the machine, then one line that sums it up; no colour on a pipe, no key."""
    async with open_fake_upstream() as upstream:
        assert await command(upstream, monkeypatch) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == f"openai  openai  {upstream.base_url()}"
    assert printed.splitlines()[-1] == "all is well"
    assert "\x1b" not in printed
    assert KEY not in printed


@pytest.mark.real_clock
async def test_an_error_is_status_2_with_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """In Chinese too."""
    async with open_fake_upstream(Script(by_path={"models": "answer;status=401"})) as upstream:
        assert await command(upstream, monkeypatch, "--lang", "zh") == 2
    printed = capsys.readouterr().out
    assert "密钥是否完整" in printed
    assert "1 个错误" in printed


@pytest.mark.real_clock
async def test_machines_read_json_in_any_language(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Levels and what was looked at in words that no language changes."""
    async with open_fake_upstream() as upstream:
        upstream.provider = Dated(off_s=1000)
        assert await command(upstream, monkeypatch, "--json", "--lang", "zh") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["level"] == "warning"
    assert [section["name"] for section in told["sections"]] == ["openai", "machine"]
    key = next(finding for finding in told["sections"][0]["findings"] if finding["what"] == "key")
    assert key == {"level": "ok", "what": "key", "told": "api_keys[0]: answers, 2 models", "advice": None}


@pytest.mark.parametrize("words", [["--channel", "nobody"], ["--model", "m"]])
def test_words_that_make_no_sense_are_status_2(words: list[str], capsys: Capture) -> None:
    """A channel that is not there; a model that nothing would be asked of."""
    assert main(["doctor", *words]) == 2
    assert capsys.readouterr().err.startswith(f"relay-trio: {words[0]}")
