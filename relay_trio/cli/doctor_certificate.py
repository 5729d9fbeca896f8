"""A provider's certificate: whose it is, who says so, and for how long; also of one that was not accepted."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, cast

import trio

from relay_trio.cli.doctor_clock import utc_now
from relay_trio.cli.doctor_findings import Finding, Level
from relay_trio.cli.language import say

WARN_DAYS: Final = 14
"""Those who renew by themselves do it 30 days before the end (Let's Encrypt's advice): at 14 it has failed twice."""

_DAY_S: Final = 86400
_NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME (x509_vfy.h), which the standard library does not name."""

Certificate = Mapping[str, Any]
"""What `SSLSocket.getpeercert` returns: tuples of tuples by name."""


def certificate_finding(encrypted: trio.SSLStream[trio.SocketStream]) -> Finding:
    """Return what an accepted certificate says."""
    # trio forwards the methods of ssl.SSLObject, untyped
    certificate = cast("Certificate", encrypted.getpeercert())
    days = days_left(certificate)
    told = say(
        "{version}, certificate of {names} by {issuer}, {life}",
        version=encrypted.version(),
        names=names_of(certificate),
        issuer=issuer_of(certificate),
        life=_life(days),
    )
    if days < WARN_DAYS:
        return Finding(Level.WARNING, "tls", told, say("whoever runs the server has to renew it"))
    return Finding(Level.OK, "tls", told)


async def failed_certificate_finding(
    error: ssl.SSLCertVerificationError, host: str, again: Callable[[], Awaitable[trio.SocketStream]]
) -> Finding:
    """Return why a certificate was not accepted, and what it says, which takes two more connections."""
    why = error.verify_message.rstrip(".")
    try:
        certificate = await _seen(host, again)
    except (OSError, trio.BrokenResourceError):
        return Finding(Level.ERROR, "tls", why, _advice(error, None))
    told = say(
        "{why}: certificate of {names} by {issuer}, {life}",
        why=why,
        names=names_of(certificate),
        issuer=issuer_of(certificate),
        life=_life(days_left(certificate)),
    )
    return Finding(Level.ERROR, "tls", told, _advice(error, certificate))


async def _seen(host: str, again: Callable[[], Awaitable[trio.SocketStream]]) -> Certificate:
    """Return a certificate that nobody vouches for: taken once unread, and then accepted as its own authority."""
    unread = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unread.check_hostname, unread.verify_mode = False, ssl.CERT_NONE
    der = cast("bytes", await _peer_certificate(unread, host, again, binary=True))
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.load_verify_locations(cadata=der)
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    return cast("Certificate", await _peer_certificate(trusting, host, again, binary=False))


async def _peer_certificate(
    context: ssl.SSLContext, host: str, again: Callable[[], Awaitable[trio.SocketStream]], *, binary: bool
) -> object:
    async with await again() as stream:
        encrypted = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
        await encrypted.do_handshake()
        return encrypted.getpeercert(binary)


_VERIFY_EXPIRED, _VERIFY_NOT_YET, _VERIFY_NAME, _VERIFY_ADDRESS = 10, 9, 62, 64
"""OpenSSL's X509_V_ERR_* (x509_vfy.h)."""


def _advice(error: ssl.SSLCertVerificationError, certificate: Certificate | None) -> str:
    if error.verify_code in {_VERIFY_EXPIRED, _VERIFY_NOT_YET}:
        return say("whoever runs the server has to renew it; or this machine's clock is wrong")
    if error.verify_code in {_VERIFY_NAME, _VERIFY_ADDRESS}:
        names = "" if certificate is None else names_of(certificate)
        return say("the server has another name: put one that its certificate has into base_url ({names})", names=names)
    return say("nobody whom this machine trusts vouches for it: a proxy that opens TLS, or an own authority; "
               "put its certificate into a file and name it in RELAY_CA_BUNDLE")  # fmt: skip


# What a certificate says


def days_left(certificate: Certificate) -> int:
    """Return the whole days until it ends; negative when it has ended, and then begun ones count."""
    return int((ssl.cert_time_to_seconds(certificate["notAfter"]) - utc_now()) // _DAY_S)


def _life(days: int) -> str:
    return say("{days} days left", days=days) if days >= 0 else say("ended {days} days ago", days=-days)


def names_of(certificate: Certificate) -> str:
    """Return the names that it stands for, at most three."""
    names = [value for _, value in certificate.get("subjectAltName", ())] or [
        _common_name(certificate.get("subject", ()))
    ]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")  # noqa: PLR2004 - as said


def issuer_of(certificate: Certificate) -> str:
    """Return who vouches for it."""
    issuer = certificate.get("issuer", ())
    fields = dict(pair for part in issuer for pair in part)
    return str(fields.get("organizationName") or _common_name(issuer))


def _common_name(name: Sequence[Sequence[tuple[str, str]]]) -> str:
    fields = dict(pair for part in name for pair in part)
    return fields.get("commonName") or ", ".join(fields.values()) or "?"
