"""AWS Signature Version 4: a request's headers, with the one that proves who sent it, when, and that nobody changed it.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. Every service but S3, whose paths
are signed otherwise. The time is a value: whoever sends the request knows it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

import attrs

from adaptors.dialects.anthropic import rfc_3339
from adaptors.gemini_paths import unquoted
from adaptors.values import Headers, UpstreamRequest

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@attrs.frozen
class Credentials:
    """Whose request it is. The token comes with credentials that are lent for some hours."""

    access_key_id: str
    secret_access_key: str = attrs.field(repr=False)
    session_token: str = attrs.field(default="", repr=False)


@attrs.frozen
class Scope:
    """What a signature is good for: a service in a region, around a moment in seconds since 1970."""

    region: str
    service: str
    now: int

    @property
    def timestamp(self) -> str:
        """The moment as `20150830T123600Z`."""
        return re.sub("[-:]", "", rfc_3339(self.now))

    @property
    def name(self) -> str:
        """The scope as it stands in a signature."""
        return f"{self.timestamp[:8]}/{self.region}/{self.service}/aws4_request"


def signed(request: UpstreamRequest, who: Credentials, scope: Scope) -> UpstreamRequest:
    """Return the request with the time, the token and the signature among its headers, all of which are signed."""
    ours: Headers = ((b"x-amz-date", scope.timestamp.encode()),)
    if who.session_token:
        ours += ((b"x-amz-security-token", who.session_token.encode()),)
    headers = tuple(field for field in request.headers if field[0] not in _OURS) + ours
    names, canonical = _canonical_request(attrs.evolve(request, headers=headers))
    to_sign = "\n".join((_ALGORITHM, scope.timestamp, scope.name, hashlib.sha256(canonical).hexdigest()))
    signature = hmac.new(_key(who, scope), to_sign.encode(), hashlib.sha256).hexdigest()
    credential = f"{who.access_key_id}/{scope.name}"
    proof = f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return attrs.evolve(request, headers=(*headers, (b"authorization", proof.encode())))


_OURS: Final = frozenset({b"x-amz-date", b"x-amz-security-token", b"authorization"})


def _canonical_request(request: UpstreamRequest) -> tuple[str, bytes]:
    """Return the names of the signed headers, and the request in the one form that both sides make of it."""
    found = _URL.fullmatch(request.url)
    assert found is not None, "an adaptor makes absolute URLs"
    fields: dict[str, list[str]] = {"host": [found["host"]]}
    for name, value in request.headers:
        fields.setdefault(name.decode("latin-1"), []).append(" ".join(value.decode("utf-8", "replace").split()))
    names = ";".join(sorted(fields))
    lines = [
        *(request.method.decode("ascii"), _escaped(found["path"] or "/", keep="/"), _query(found["query"])),
        *(f"{name}:{','.join(fields[name])}" for name in sorted(fields)),
        *("", names, hashlib.sha256(request.body or b"").hexdigest()),
    ]
    return names, "\n".join(lines).encode()


_URL = re.compile(r"https?://(?P<host>[^/?]+)(?P<path>[^?]*)(?:\?(?P<query>.*))?")


def _query(query: str | None) -> str:
    pairs = (pair.partition("=") for pair in (query or "").split("&") if pair)
    escaped = sorted(
        (_escaped(unquoted(name.encode())), _escaped(unquoted(value.encode()))) for name, _, value in pairs
    )
    return "&".join(f"{name}={value}" for name, value in escaped)


def _escaped(text: str, keep: str = "") -> str:
    """Return the text with all but unreserved characters escaped (RFC 3986, 2.3); a path is so for the second time."""
    kept = re.escape(keep).encode()
    return re.sub(rb"[^A-Za-z0-9._~" + kept + rb"-]", lambda found: b"%%%02X" % found[0][0], text.encode()).decode()


def _key(who: Credentials, scope: Scope) -> bytes:
    key = f"AWS4{who.secret_access_key}".encode()
    for part in scope.name.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
