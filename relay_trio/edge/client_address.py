"""Whose request it is, for the log and for keys with `allow_from`: the peer, or what a trusted proxy says of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from adaptors.values import Header
from relay_trio.relay.headers import value
from relay_trio.settings.kinds import Network

_MAX_HOPS = 32


def address_of(peer: str | None, headers: list[Header], trusted: tuple[Network, ...]) -> str | None:
    """Return the client's address.

    X-Forwarded-For is read from its end, as each proxy appends who spoke to it: the first address that is no trusted
    proxy's is the client. What stands before it the client may have made up.
    """
    if peer is None or not trusted or not _is_in(peer, trusted):
        return peer
    forwarded = value(headers, b"x-forwarded-for")
    if forwarded is None:
        return peer
    believed = peer
    for hop in reversed(forwarded.decode("latin-1").split(",")[-_MAX_HOPS:]):
        address = hop.strip()
        if not _is_address(address):
            return believed
        believed = address
        if not _is_in(address, trusted):
            return believed
    return believed


def reader(trusted: Callable[[], tuple[Network, ...]]) -> Callable[[str | None, list[Header]], str | None]:
    """Return `address_of` bound to the networks that are trusted at the time of the request."""
    return lambda peer, headers: address_of(peer, headers, trusted())


def _is_in(address: str, networks: tuple[Network, ...]) -> bool:
    if not _is_address(address):
        return False
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
