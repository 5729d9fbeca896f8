"""TLS for tests: one authority for each process, and the contexts that trust it, serve it, or are wrong on purpose.

Keys are made once: generating them is the slow part.
"""

from __future__ import annotations

import atexit
import functools
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import trustme

NAMES = ("127.0.0.1", "localhost", "::1")


@functools.cache
def authority() -> trustme.CA:
    """Return the authority of this process."""
    import trustme  # noqa: PLC0415 - a development dependency: only who asks for certificates needs it

    return trustme.CA()


@functools.cache
def stranger() -> trustme.CA:
    """Return an authority that nobody trusts."""
    import trustme  # noqa: PLC0415 - as above

    return trustme.CA()


# ---- Servers


@functools.cache
def server_context() -> ssl.SSLContext:
    """Return the context of an honest server on loopback."""
    return _serving(authority().issue_cert(*NAMES))


@functools.cache
def wrong_name_context() -> ssl.SSLContext:
    """Return the context of a server whose certificate names another host."""
    return _serving(authority().issue_cert("elsewhere.example"))


@functools.cache
def expired_context() -> ssl.SSLContext:
    """Return the context of a server whose certificate ran out yesterday."""
    now = datetime.now(UTC)
    return _serving(
        authority().issue_cert(*NAMES, not_before=now - timedelta(days=30), not_after=now - timedelta(days=1))
    )


@functools.cache
def untrusted_context() -> ssl.SSLContext:
    """Return the context of a server whose authority nobody trusts."""
    return _serving(stranger().issue_cert(*NAMES))


def _serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    return context


# ---- Clients


@functools.cache
def client_context() -> ssl.SSLContext:
    """Return a context that trusts the authority and checks names."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


# ---- Files, for settings that name files


@functools.cache
def ca_file() -> Path:
    """Return the file with the authority's certificate; it is removed when the process ends."""
    return _written("ca.pem", authority().cert_pem.bytes())


@functools.cache
def server_files() -> tuple[Path, Path]:
    """Return the files with an honest server's certificate chain and its private key."""
    certificate = authority().issue_cert(*NAMES)
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    return _written("cert.pem", chain), _written("key.pem", certificate.private_key_pem.bytes())


@functools.cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="relay_trio_tls_")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _written(name: str, content: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(content)
    return path
