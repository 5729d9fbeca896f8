"""The way to a provider, step by step as the relay goes it: proxy, name, TCP, tunnel, TLS. The first step that fails is the last.

What `ping`, `nslookup`, `nc` and `openssl s_client` would tell inside a container, without needing them in the image.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

import attrs
import trio

from relay_trio.cli.doctor_certificate import certificate_finding, failed_certificate_finding
from relay_trio.cli.doctor_findings import Finding, Level
from relay_trio.cli.language import say
from relay_trio.settings.model import ChannelSettings
from relay_trio.settings.units import show_seconds
from relay_trio.upstream.target import Origin, Proxy, proxy_of

_MOST_ADDRESSES: Final = 8
"""Names with more addresses exist; what eight of them do not show, more would not."""

_MAX_TUNNEL_HEAD: Final = 16 * 1024
_PROXY_WANTS_A_PASSWORD: Final = "407"  # noqa: S105 - RFC 9110, 15.5.8


class StepFailed(Exception):
    """A step of the way failed: this finding says why, and nothing comes after it."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.told)
        self.finding = finding


@attrs.frozen
class Way:
    """How one channel goes to its provider."""

    channel: ChannelSettings
    origin: Origin
    tls: ssl.SSLContext
    connect_s: float
    own_proxies: Mapping[str, str]
    """The proxies that the system names, by scheme: the relay does not look at them."""

    @property
    def opaque(self) -> bool:
        """The proxy speaks SOCKS or TLS: what is behind it is seen by asking through it."""
        return self.channel.proxy is not None and not self.channel.proxy.reveal().startswith("http://")

    @property
    def proxy(self) -> Proxy | None:
        """The HTTP proxy of the channel."""
        if self.channel.proxy is None or self.opaque:
            return None
        return proxy_of(self.channel.proxy.reveal())

    @property
    def peer(self) -> tuple[str, int]:
        """Whom the relay connects to: the proxy, or the provider."""
        if self.channel.proxy is None:
            return self.origin.host, self.origin.port
        parts = urlsplit(self.channel.proxy.reveal())
        return parts.hostname or "", parts.port or _PROXY_PORTS.get(parts.scheme, 80)

    async def walk(self, findings: list[Finding]) -> None:
        """Go the whole way and add what is seen at each step. Leaves nothing open."""
        try:
            findings.append(self._proxy_finding())
            addresses = await self._resolve(findings)
            stream, address = await self._connect(addresses, findings)
            async with stream:
                if self.proxy is not None and self.origin.secure:
                    await self._tunnel(stream, self.proxy, findings)
                if self.origin.secure and not self.opaque:
                    await self._encrypt(stream, address, findings)
        except StepFailed as failed:
            findings.append(failed.finding)

    # Each step

    def _proxy_finding(self) -> Finding:
        if self.channel.proxy is not None:
            parts = urlsplit(self.channel.proxy.reveal())
            url = f"{parts.scheme}://{parts.hostname}:{self.peer[1]}"
            return Finding(Level.OK, "proxy", say("{url}, as the channel says", url=url))
        theirs = self.own_proxies.get(self.origin.scheme)
        if theirs is None:
            return Finding(Level.OK, "proxy", say("none"))
        host = urlsplit(theirs if "://" in theirs else f"http://{theirs}").hostname
        return Finding(
            Level.NOTE,
            "proxy",
            say("none; the system names one ({host}), which the relay does not use", host=host),
            say('if this provider is only reached through it: proxy = "env:{variable}" on the channel',
                variable=f"{self.origin.scheme.upper()}_PROXY"),
        )  # fmt: skip

    async def _resolve(self, findings: list[Finding]) -> list[str]:
        host, port = self.peer
        since = trio.current_time()
        try:
            with trio.fail_after(self.connect_s):
                found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except trio.TooSlowError:
            told = say("{host}: no answer within {seconds} s", host=host, seconds=show_seconds(self.connect_s))
            raise StepFailed(Finding(Level.ERROR, "dns", told, say("the name server does not answer: see /etc/resolv.conf; "
                                                                   "in a container, give --dns"))) from None  # fmt: skip
        except (OSError, UnicodeError) as error:
            told = f"{host}: {_reason(error)}"
            advice = say("is the name right? Does the name server know it? In a container, it may need --dns")
            raise StepFailed(Finding(Level.ERROR, "dns", told, advice)) from error
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))[:_MOST_ADDRESSES]
        if addresses != [host]:
            findings.append(Finding(Level.OK, "dns", f"{host} -> {', '.join(addresses)} ({_ms(since)})"))
        return addresses

    async def _connect(self, addresses: list[str], findings: list[Finding]) -> tuple[trio.SocketStream, str]:
        """Try every address at once; keep the first connection, close the others."""
        since = trio.current_time()
        tries = {address: Try() for address in addresses}
        try:
            async with trio.open_nursery() as nursery:
                for address, found in tries.items():
                    nursery.start_soon(self._try, address, found, name=f"connect to {address}")
        except BaseException:
            _close(tries.values())
            raise
        working = [(found.after_s, address) for address, found in tries.items() if found.stream is not None]
        told = ", ".join(self._shown(address, found) for address, found in tries.items())
        if not working:
            raise StepFailed(Finding(Level.ERROR, "tcp", told, self._advice(tries)))
        _, chosen = min(working)
        _close(found for address, found in tries.items() if address != chosen)
        failed = len(tries) > len(working)
        advice = say("the relay tries the addresses in turn, so each new connection may lose time to the others")
        findings.append(Finding(Level.WARNING if failed else Level.OK, "tcp", f"{told} ({_ms(since)})",
                                advice if failed else None))  # fmt: skip
        stream = tries[chosen].stream
        assert stream is not None, "it is among those that work"
        return stream, chosen

    async def _try(self, address: str, found: Try) -> None:
        since = trio.current_time()
        try:
            with trio.fail_after(self.connect_s):
                found.stream = await dial(address, self.peer[1])
        except trio.TooSlowError:
            found.why = say("no answer within {seconds} s", seconds=show_seconds(self.connect_s))
        except OSError as error:
            found.refused = isinstance(error, ConnectionRefusedError)
            found.why = _reason(error)
        found.after_s = trio.current_time() - since

    def _shown(self, address: str, found: Try) -> str:
        place = f"[{address}]:{self.peer[1]}" if ":" in address else f"{address}:{self.peer[1]}"
        return place if found.stream is not None else f"{place} {found.why}"

    def _advice(self, tries: Mapping[str, Try]) -> str:
        if any(found.refused for found in tries.values()):
            return say("nothing listens there: is the port right, and does the server run?")
        return say("is there a way from here to it? A firewall, a missing route, or a proxy that has to be used")

    async def _tunnel(self, stream: trio.SocketStream, proxy: Proxy, findings: list[Finding]) -> None:
        target = self.origin.host_and_port.decode("ascii")
        try:
            with trio.fail_after(self.connect_s):
                status = await ask_for_tunnel(stream, self.origin, proxy)
        except (trio.TooSlowError, trio.BrokenResourceError) as error:
            told = say("the proxy does not answer when it is asked for a way to {target}", target=target)
            raise StepFailed(
                Finding(Level.ERROR, "tunnel", told, say("is it an HTTP proxy, and is its port right?"))
            ) from error
        if status != "200":
            told = say("the proxy refuses a way to {target} ({status})", target=target, status=status or "no HTTP")
            wants_password = say("it wants a user and a password: http://user:password@host:port")
            other = say("does the proxy allow this host and port? Does the proxy itself reach it?")
            raise StepFailed(
                Finding(Level.ERROR, "tunnel", told, wants_password if status == _PROXY_WANTS_A_PASSWORD else other)
            )
        findings.append(Finding(Level.OK, "tunnel", say("the proxy opened a way to {target}", target=target)))

    async def _encrypt(self, stream: trio.SocketStream, address: str, findings: list[Finding]) -> None:
        try:
            with trio.fail_after(self.connect_s):
                encrypted = await encrypt(stream, self.tls, self.origin.host)
        except trio.TooSlowError:
            told = say("no end of the handshake within {seconds} s", seconds=show_seconds(self.connect_s))
            advice = say("something between here and there swallows TLS: a firewall that inspects it, or a wrong port")
            raise StepFailed(Finding(Level.ERROR, "tls", told, advice)) from None
        except trio.BrokenResourceError as broken:
            cause = broken.__cause__ or broken
            raise StepFailed(await self._tls_failure(cause, address)) from broken
        findings.append(certificate_finding(encrypted))

    async def _tls_failure(self, cause: BaseException, address: str) -> Finding:
        if isinstance(cause, ssl.SSLCertVerificationError):
            with trio.move_on_after(self.connect_s):
                return await failed_certificate_finding(cause, self.origin.host, lambda: self._again(address))
            return Finding(Level.ERROR, "tls", cause.verify_message)
        if isinstance(cause, ssl.SSLError) and cause.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}:
            return Finding(
                Level.ERROR, "tls", say("what answers there does not speak TLS"), say("http:// in base_url?")
            )
        told = say("the handshake failed ({why})", why=_reason(cause))
        advice = say("something between here and there cuts TLS off, or the server wants another version of it")
        return Finding(Level.ERROR, "tls", told, advice)

    async def _again(self, address: str) -> trio.SocketStream:
        """Go the same way once more, up to where TLS begins."""
        stream = await dial(address, self.peer[1])
        try:
            if self.proxy is not None:
                await ask_for_tunnel(stream, self.origin, self.proxy)
        except BaseException:
            stream.socket.close()
            raise
        return stream


@attrs.define
class Try:
    """What became of one address."""

    stream: trio.SocketStream | None = None
    why: str = ""
    refused: bool = False
    after_s: float = 0.0


def _close(tries: Iterable[Try]) -> None:
    for found in tries:
        if found.stream is not None:
            found.stream.socket.close()  # not aclose(): nothing may come between here and who owns the one that is kept


_PROXY_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


async def dial(address: str, port: int) -> trio.SocketStream:
    """Return a connection to an address in numbers. Raises OSError."""
    sock = trio.socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        await sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def ask_for_tunnel(stream: trio.SocketStream, origin: Origin, proxy: Proxy) -> str:
    """Return the status with which a proxy answers a CONNECT; "" if that was no HTTP. Raises BrokenResourceError."""
    request = b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n" % (origin.host_and_port, origin.host_and_port)
    if proxy.authorization is not None:
        request += b"proxy-authorization: %b\r\n" % proxy.authorization
    await stream.send_all(request + b"\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n") and len(head) < _MAX_TUNNEL_HEAD:
        byte = bytes(await stream.receive_some(1))  # what follows the head belongs to TLS
        if not byte:
            raise trio.BrokenResourceError("the proxy closed the connection")
        head += byte
    words = head.split(b" ", 2)
    return words[1].decode("latin-1")[:3] if head.startswith(b"HTTP/") and len(words) > 1 else ""


async def encrypt(stream: trio.SocketStream, context: ssl.SSLContext, host: str) -> trio.SSLStream[trio.SocketStream]:
    """Return the stream after its TLS handshake. Raises BrokenResourceError."""
    encrypted = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    await encrypted.do_handshake()
    return encrypted


def _ms(since: float) -> str:
    return f"{(trio.current_time() - since) * 1000:.0f} ms"


def _reason(error: BaseException) -> str:
    if isinstance(error, UnicodeError):
        return say("no name that can be looked up")
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = text.rpartition(": ")[2] if text.startswith("Error connecting to") else text  # trio's, before the system's
    return text or type(error).__name__
