"""TLS towards clients: the certificate as it is on disk now, without a restart.

A changed certificate makes a whole new context: one that is loaded into a live context can leave it with a new chain and
an old key when the two files change one after the other. A pair that does not fit changes nothing and is reported.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from hypercorn.config import Config

from relay_trio.relay.services import Log

_Stamp = tuple[int, int, int] | None


class ClientTls:
    """Gives the context for a handshake. One for each process."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._config: Config | None = None
        self._context: ssl.SSLContext | None = None
        self._stamps: tuple[_Stamp, ...] = ()
        """Of the files when they were last tried."""

    def __call__(self, config: Config) -> ssl.SSLContext:
        """Return the context of hypercorn's configuration, with http/1.1 as the only protocol to be agreed on."""
        if self._context is None:
            self._config = config
            self._stamps = _stamps(config)
            self._context = _load(config)
        return self._context

    def look(self) -> None:
        """Load the certificate anew if its files have changed. Called by the service task that watches files."""
        if self._config is None or self._stamps == (stamps := _stamps(self._config)):
            return
        self._stamps = stamps
        try:
            self._context = _load(self._config)
        except (OSError, ValueError) as error:
            self._log.warning("certificate_rejected", why=str(error))
        else:
            self._log.info("certificate_loaded", certificate=str(self._config.certfile))


def _load(config: Config) -> ssl.SSLContext:
    context = config.create_ssl_context()
    assert context is not None, "a TLS stream comes from a TLS listener"
    context.set_alpn_protocols(["http/1.1"])
    return context


def _stamps(config: Config) -> tuple[_Stamp, ...]:
    return tuple(_stamp(Path(name)) for name in (config.certfile, config.keyfile) if name is not None)


def _stamp(path: Path) -> _Stamp:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size
