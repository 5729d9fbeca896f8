"""Fetching what a client's request points to, without letting the client reach what only the relay can reach.

Whoever may send an address to a server can make it knock at doors behind its firewall: a cloud's metadata service, a
database's console (https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html). So:
the name is looked up once; every address that it has must be a public one, or lie in a network that the operator allows;
the connection goes to an address that was looked at, so a second look-up cannot give another one; each redirect starts
over. No proxy is asked, for it would look names up itself.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import urljoin, urlsplit

import attrs
import trio

from adaptors.values import Fetched
from relay_trio.errors import LimitReached, UpstreamFailed
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.phase import Limit
from relay_trio.sockets import Hub
from relay_trio.upstream.connect import open_connection
from relay_trio.upstream.connection import UpstreamConnection
from relay_trio.upstream.target import Origin, Route, split_url

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_REDIRECTS: Final = 5
"""As many as image hosts and their CDNs need, twice over."""
_MAX_URL_CHARS: Final = 8192
"""Longer than any signed address of an object store."""
MAX_AT_ONCE: Final = 32
"""In one process: what they hold is counted by the callers, and for a moment, in base64, is there twice."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_OK: Final = 200
_MEDIA_TYPE = re.compile(r"image/[a-z0-9.+-]{1,60}|application/pdf")
_HEADERS: Final = b"accept: image/*, application/pdf\r\naccept-encoding: identity\r\nuser-agent: relay-trio\r\nconnection: close\r\n\r\n"


class NotFetched(Exception):
    """It was not fetched. The text, the rest of a sentence, says why, in listed words: nothing of the answer is in it."""


@attrs.frozen
class FetchRules:
    """What may be fetched: up to so many bytes, from public addresses and these networks."""

    max_bytes: int
    networks: tuple[Network, ...]
    connect: Limit


Hold = Callable[[int], Awaitable[None]]
"""Called with the size of each piece before it is kept; may wait until there is room for it."""


async def hold_uncounted(_: int) -> None:
    """Hold what comes without an account of it."""


class Fetcher:
    """Fetches for all requests of one process; each caller sets its own limit of time."""

    def __init__(self, hub: Hub, balance: Balance, tls: ssl.SSLContext) -> None:
        self._hub = hub
        self._counts = balance.upstream_connections
        self._tls = tls
        self._places = trio.CapacityLimiter(MAX_AT_ONCE)

    async def fetch(self, url: str, rules: FetchRules, hold: Hold = hold_uncounted) -> Fetched:
        """Return what stands at the address, or where that redirects to. Raises NotFetched, and what `hold` raises."""
        async with self._places:
            for _ in range(MAX_REDIRECTS + 1):
                found = await self._ask(checked(url), rules, hold)
                if isinstance(found, Fetched):
                    return found
                url = _followed(url, found)
        raise NotFetched(f"it redirects more than {MAX_REDIRECTS} times")

    async def _ask(self, url: str, rules: FetchRules, hold: Hold) -> Fetched | str:
        """Return what is there, or where it has gone."""
        origin, target = split_url(url)
        connection = await self._connect(origin, rules)
        self._counts.opened += 1
        try:
            await _send(connection, origin, target, rules)
            return await _answered(connection, rules, hold)
        except (UpstreamFailed, LimitReached) as error:
            raise NotFetched("its server broke off") from error
        finally:
            self._counts.closed += 1
            connection.close()

    async def _connect(self, origin: Origin, rules: FetchRules) -> UpstreamConnection:
        """Connect to the first address that answers, of those that were looked at."""
        failed: UpstreamFailed | None = None
        route = Route(rules.connect, rules.connect, self._tls)
        for address in await allowed_addresses(origin, rules.networks):
            with trio.move_on_after(rules.connect.seconds):
                try:
                    return UpstreamConnection(await open_connection(self._hub, origin, route, address))
                except UpstreamFailed as error:
                    failed = error
        raise NotFetched("its server could not be reached") from failed


# The addresses


def checked(url: str) -> str:
    """Return the URL as it can be asked for: http or https, without a name and password. Raises NotFetched."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise NotFetched("its address is no URL") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or len(url) > _MAX_URL_CHARS:
        raise NotFetched("its address is no http or https URL")
    if parts.username is not None or parts.password is not None:
        raise NotFetched("its address holds a password")
    path = _UNFIT.sub(_escaped, parts.path or "/")
    query = "?" + _UNFIT.sub(_escaped, parts.query) if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{path}{query}"


_UNFIT = re.compile(r"[^\x21-\x7e]")
"""What a request line cannot hold (RFC 9112, 3): a line end would begin another header."""


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace"))


def _followed(url: str, location: str) -> str:
    """Return where a redirect leads. Raises NotFetched."""
    try:
        following = urljoin(url, location)
    except ValueError as error:
        raise NotFetched("it redirects to no URL") from error
    if url.startswith("https:") and not following.startswith("https:"):
        raise NotFetched("it redirects from https to something else")
    return following


async def allowed_addresses(origin: Origin, networks: Sequence[Network]) -> tuple[str, ...]:
    """Return the addresses of a host, looked up once; each may be reached. Raises NotFetched."""
    try:
        found = await trio.socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotFetched("its host was not found") from error
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses or not all(may_be_reached(address, networks) for address in addresses):
        raise NotFetched("its host is not on the public internet")
    return addresses


def may_be_reached(address: str, networks: Sequence[Network] = ()) -> bool:
    """Say whether an address is public, or lies in one of these networks."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    inner = _inner(ip)
    return any(inner in network for network in networks if network.version == inner.version) or _is_public(inner)


_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""The IPv4 address in its last 32 bits is where it goes (RFC 6052)."""
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All that has been given out as global unicast (https://www.iana.org/assignments/ipv6-unicast-address-assignments)."""
_TUNNELS: Final = (ipaddress.IPv6Network("2001::/32"), ipaddress.IPv6Network("2002::/16"))
"""Teredo and 6to4 carry IPv4 addresses inside, and have no use any more (RFC 7526)."""
_OF_NETWORKS: Final = tuple(map(ipaddress.IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")))
"""Protocol assignments, where Oracle's clouds have their metadata; 6to4's relays (RFC 7526); and Azure's own service inside
its machines, public by its number (https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16)."""


def _inner(ip: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _is_public(ip: Address) -> bool:
    if isinstance(ip, ipaddress.IPv4Address):
        special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _OF_NETWORKS)
        return ip.is_global and not special
    return ip.scope_id is None and ip.is_global and ip in _UNICAST and not any(ip in tunnel for tunnel in _TUNNELS)


# One request


async def _send(connection: UpstreamConnection, origin: Origin, target: bytes, rules: FetchRules) -> None:
    connection.start(bodiless_answer=False)
    head = b"GET %b HTTP/1.1\r\nhost: %b\r\n%b" % (target, origin.authority, _HEADERS)
    await connection.send(head, rules.connect)


async def _answered(connection: UpstreamConnection, rules: FetchRules, hold: Hold) -> Fetched | str:
    await connection.read_head()
    fields = connection.fields
    if connection.status in _REDIRECTS and b"location" in fields:
        return fields[b"location"].decode("latin-1")
    if connection.status != _OK:
        raise NotFetched(f"its server answered {connection.status}")
    media_type = _media_type(fields.get(b"content-type", b""))
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        raise NotFetched("it came compressed, which was not asked for")
    body = await _read(connection, fields.get(b"content-length", b""), rules.max_bytes, hold)
    await hold(len(body) // 3)  # base64 is larger by a third
    return Fetched(media_type, base64.b64encode(body).decode("ascii"))


def _media_type(content_type: bytes) -> str:
    media_type = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise NotFetched("it is neither an image nor a PDF")
    return media_type


async def _read(connection: UpstreamConnection, announced: bytes, max_bytes: int, hold: Hold) -> bytes:
    too_large = NotFetched(f"it is larger than {max_bytes} bytes")
    if announced.isdigit() and int(announced[:20]) > max_bytes:
        raise too_large
    pieces: list[bytes] = []
    size = 0
    while piece := await connection.receive():
        size += len(piece)
        if size > max_bytes:
            raise too_large
        await hold(len(piece))
        pieces.append(piece)
    if not size:
        raise NotFetched("it is empty")
    return b"".join(pieces)
