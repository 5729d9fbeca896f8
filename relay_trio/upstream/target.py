"""Where a request goes and what binds the way there: origin, proxy, TLS and the transport's own clocks."""

from __future__ import annotations

import base64
import functools
import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs

from relay_trio.scopes.phase import Limit

_DEFAULT_PORTS = {"http": 80, "https": 443}


@attrs.frozen(cache_hash=True)
class Origin:
    """Scheme, host and port of a URL (RFC 6454)."""

    scheme: str
    host: str
    port: int
    secure: bool = attrs.field(init=False, eq=False, repr=False)
    """The origin speaks TLS."""
    authority: bytes = attrs.field(init=False, eq=False, repr=False)
    """The value of the Host header: the port only where it is not the scheme's own (RFC 9110, 7.2)."""

    def __attrs_post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = self.port == _DEFAULT_PORTS[self.scheme]
        object.__setattr__(self, "secure", self.scheme == "https")
        object.__setattr__(self, "authority", host.encode("ascii") if default else self.host_and_port)

    @property
    def host_and_port(self) -> bytes:
        """The target of a CONNECT: the port always (RFC 9110, 9.3.6)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode("ascii")


@attrs.frozen
class Proxy:
    """An HTTP proxy; `authorization` is the value of Proxy-Authorization."""

    origin: Origin
    authorization: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Route:
    """How a channel's connections are made. Those to one origin by one proxy are shared between all channels."""

    connect: Limit
    send: Limit
    tls: ssl.SSLContext = attrs.field(eq=False, repr=False)
    proxy: Proxy | None = None
    pool_idle_s: float | None = None
    """How long a connection that was used last by this route may be idle; None: as the pool has it."""


@functools.lru_cache(maxsize=1024)
def origin_of(url: str) -> Origin:
    """Return the origin of an absolute http or https URL. Raises ValueError with a sentence."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f'"{url}" is no URL; want e.g. "https://api.openai.com/v1"')
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode("ascii")
    return Origin(parts.scheme, host, parts.port or _DEFAULT_PORTS[parts.scheme])


def split_url(url: str) -> tuple[Origin, bytes]:
    """Return the origin and the request target (path and query) of an absolute URL."""
    start = url.find("/", url.index("://") + 3)
    if start < 0:
        return origin_of(url), b"/"
    return origin_of(url[:start]), url[start:].encode("ascii")


def proxy_of(url: str) -> Proxy:
    """Return the proxy that an http:// URL names. Raises ValueError with a sentence."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError('a proxy is an http:// URL; for socks5h:// set transport = "httpx" on the channel')
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = b"Basic " + base64.b64encode(pair.encode("utf-8"))
    return Proxy(Origin("http", parts.hostname, parts.port or 80), authorization)


def tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """Return a verifying client context: the system's authorities (certifi's where it has none) and the given bundle's.

    Making one costs 25 ms, so it is made once. Raises OSError where the bundle cannot be read.
    """
    context = ssl.create_default_context()
    if not _system_has_authorities():
        import certifi  # noqa: PLC0415 - comes with httpx; not wanted where the system has a store

        context.load_verify_locations(cafile=certifi.where())
    if ca_bundle is not None:
        context.load_verify_locations(cafile=str(ca_bundle))
    context.set_alpn_protocols(["http/1.1"])
    return context


def _system_has_authorities() -> bool:
    paths = ssl.get_default_verify_paths()
    return paths.cafile is not None or (paths.capath is not None and any(Path(paths.capath).iterdir()))
