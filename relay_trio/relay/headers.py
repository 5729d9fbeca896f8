"""Which header fields cross the relay. Pure functions over lists of (lower-case name, value).

Hop-by-hop fields end here (RFC 9110, 7.6.1), and so does what belongs to one side alone: keys and cookies, and what would
make a client talk to somebody else than us (Alt-Svc), or tell a provider who our clients are (X-Forwarded-For).
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping

from adaptors.values import Header, Headers

_HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip

CLIENT_KEY_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})

_NOT_UPSTREAM = (
    _HOP_BY_HOP
    | CLIENT_KEY_HEADERS
    | {
        b"host", b"content-length", b"expect", b"cookie", b"origin", b"referer", b"forwarded", b"via", b"x-real-ip",
        b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-relay-timeout",
        b"x-client-ip", b"x-cluster-client-ip", b"x-original-forwarded-for", b"x-envoy-external-address",
        b"true-client-ip", b"cf-connecting-ip", b"cf-connecting-ipv6", b"fly-client-ip", b"fastly-client-ip",
    }
)  # fmt: skip

_NOT_TO_CLIENT = _HOP_BY_HOP | {
    b"set-cookie", b"alt-svc", b"strict-transport-security", b"content-length", b"x-request-id", b"request-id",
}  # fmt: skip

_ADVICE = (b"retry-after", b"retry-after-ms", b"x-should-retry", b"x-ratelimit-", b"anthropic-ratelimit-")
"""What an error answer of a provider says about trying again."""

_NAMES_NOTHING = frozenset({b"keep-alive", b"close"})

_SANE_ID = frozenset((string.ascii_letters + string.digits + "-_.:").encode("ascii"))
_MAX_ID_BYTES = 128


def to_upstream(headers: Iterable[Header]) -> Headers:
    """Return the client's end-to-end fields, less its key and cookies."""
    kept = [field for field in headers if field[0] not in _NOT_UPSTREAM]
    named = _named_by_connection(headers)
    return tuple(field for field in kept if field[0] not in named) if named else tuple(kept)


def to_client(headers: Iterable[Header]) -> list[Header]:
    """Return the provider's end-to-end fields. The length is set anew by whoever frames the body."""
    kept = [field for field in headers if field[0] not in _NOT_TO_CLIENT]
    named = _named_by_connection(headers)
    return [field for field in kept if field[0] not in named] if named else kept


def advice(headers: Iterable[Header]) -> list[Header]:
    """Return what a provider's error says about trying again: Retry-After, x-should-retry, its rate limits."""
    return [field for field in headers if field[0].startswith(_ADVICE)]


def value(headers: Iterable[Header], name: bytes) -> bytes | None:
    """Return the first field of this name."""
    for field_name, field_value in headers:
        if field_name == name:
            return field_value
    return None


def upstream_request_id(fields: Mapping[bytes, bytes]) -> str | None:
    """Return the provider's own id of a request: `request-id` at Anthropic, `x-request-id` elsewhere."""
    found = fields.get(b"x-request-id") or fields.get(b"request-id")
    return None if found is None else found.decode("latin-1")[:_MAX_ID_BYTES]


def positive_number(text: bytes | None) -> float | None:
    """Return a positive number; whatever else clients send where one is due (`NOT_GIVEN`, `None`) counts as nothing."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


def sane_request_id(given: bytes | None) -> str | None:
    """Return the client's request id if it can stand in a log line and in a header."""
    if given and len(given) <= _MAX_ID_BYTES and _SANE_ID.issuperset(given):
        return given.decode("ascii")
    return None


def _named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    """Return the fields that a Connection header declares hop-by-hop."""
    named: frozenset[bytes] = frozenset()
    for name, connection in headers:
        if name == b"connection" and connection not in _NAMES_NOTHING:
            named |= {token.strip().lower() for token in connection.split(b",")}
    return named
