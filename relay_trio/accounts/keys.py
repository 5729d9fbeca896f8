"""Clients' keys: where a request carries one, and whose it is.

A key is looked up by its digest, so that 5,000 keys cost what one costs and the time of an answer says nothing about
the keys there are: to learn a digest's prefix from timing helps nobody who cannot invert BLAKE2b.
"""

from __future__ import annotations

import datetime as dt
import hmac
import ipaddress
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

from adaptors.values import Header
from relay_trio.errors import Unauthorized
from relay_trio.settings.digests import LONGEST_KEY_BYTES, digest_of, digest_of_bytes, format_digest
from relay_trio.settings.kinds import Network
from relay_trio.settings.model import KeySettings
from relay_trio.settings.patterns import matcher

__all__ = ["KEY_HEADERS", "Key", "KeyRing", "digest_of", "format_digest", "presented_key"]

KEY_HEADERS: Final = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key")
"""The headers that may carry a client's key, the first that does counts; none of them goes to a provider.

As the SDKs send it: OpenAI and xAI, Anthropic, Azure OpenAI, Gemini. `?key=` (Gemini's other way) comes last, because a
key in a URL is the likeliest to be there by accident.
"""

_CARRIES_KEY = frozenset(KEY_HEADERS)

_NO_KEY = (
    "No API key was sent. It is read from `Authorization: Bearer <key>`, `x-api-key`, `api-key`, `x-goog-api-key` "
    "or `?key=`."
)
_UNKNOWN_KEY = "The API key is not one of this relay's keys."
_EXPIRED_KEY = "The API key has expired."
_WRONG_PLACE = "The API key may not be used from this address."


@attrs.frozen
class Key:
    """A client's key: who it is and what it may do. The key itself is not here."""

    name: str
    group: str = "default"
    models: tuple[str, ...] | None = None
    concurrency: int | None = None
    expires: dt.datetime | None = None
    allow_from: tuple[Network, ...] = ()
    allows: Callable[[str], bool] = attrs.field(init=False, repr=False, eq=False)
    """Says whether the key may use a model, by the name that the client gives it."""

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "allows", matcher(self.models))

    def has_expired(self, now_utc: dt.datetime) -> bool:
        """From `expires` on the key is refused."""
        return self.expires is not None and now_utc >= self.expires

    def may_come_from(self, client_ip: str | None) -> bool:
        """The address is in one of the key's networks, or the key has none. An unknown address is in no network."""
        if not self.allow_from:
            return True
        address = _parsed(client_ip)
        return address is not None and any(address in network for network in self.allow_from)


class KeyRing:
    """The keys of one configuration. Never changes: a reload makes another one."""

    def __init__(self, keys: Iterable[KeySettings]) -> None:
        self._by_digest = {key.digest: (key.digest, _key(key)) for key in keys}

    def __len__(self) -> int:
        return len(self._by_digest)

    def __repr__(self) -> str:
        return f"<KeyRing {len(self)} keys>"

    def find(self, presented: bytes | None, *, now_s: float, client_ip: str | None) -> Key:
        """Return the key that a client presented, `now_s` seconds after 1970. Raises Unauthorized (401; 403 from a wrong address)."""
        if not presented:
            raise Unauthorized(_NO_KEY, code="missing_api_key")
        key = self._known(presented)
        if key is None:
            raise Unauthorized(_UNKNOWN_KEY)
        if key.expires is not None and key.has_expired(dt.datetime.fromtimestamp(now_s, dt.UTC)):
            raise Unauthorized(_EXPIRED_KEY, code="expired_api_key")
        if not key.may_come_from(client_ip):
            raise Unauthorized(_WRONG_PLACE, status=403, code="address_not_allowed")
        return key

    def _known(self, presented: bytes) -> Key | None:
        if len(presented) > LONGEST_KEY_BYTES:
            return None
        digest = digest_of_bytes(presented)
        known, key = self._by_digest.get(digest, (b"", None))
        return key if hmac.compare_digest(known, digest) else None


def presented_key(headers: Iterable[Header], query: bytes) -> tuple[bytes | None, bytes]:
    """Return the key that a request carries, and its query string without any `key`.

    Each place is looked at in the order of KEY_HEADERS, then the query; an empty one counts as absent, and so does an
    `Authorization` of another scheme than Bearer.
    """
    in_query, rest = _taken_from_query(query) if query else (None, query)
    in_headers: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _CARRIES_KEY and name not in in_headers and (key := _key_in(name, value)):
            in_headers[name] = key
    return next((in_headers[name] for name in KEY_HEADERS if name in in_headers), in_query), rest


def _key_in(name: bytes, value: bytes) -> bytes:
    if name != b"authorization":
        return value.strip()
    scheme, _, key = value.strip().partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""  # schemes ignore case: RFC 9110, section 11.1


def _taken_from_query(query: bytes) -> tuple[bytes | None, bytes]:
    if b"key" not in query and b"%" not in query:
        return None, query
    pairs = [
        (unquote_to_bytes(name), value, pair) for pair in query.split(b"&") for name, _, value in [pair.partition(b"=")]
    ]
    keys = [unquote_to_bytes(value) for name, value, _ in pairs if name == b"key"]
    rest = b"&".join(pair for name, _, pair in pairs if name != b"key")
    return next((key for key in keys if key), None), rest


def _key(settings: KeySettings) -> Key:
    return Key(
        settings.name,
        settings.group,
        settings.models,
        settings.concurrency,
        settings.expires,
        settings.allow_from,
    )


def _parsed(client_ip: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address((client_ip or "").partition("%")[0])
    except ValueError:
        return None
    # a socket that listens on both families shows IPv4 clients as ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
