"""Where the relay is that a command asks about, and with which keys: an option, a variable, or the configuration.

The keys of the configuration belong to the relay of the configuration: to an address that somebody typed goes only a key
that was given for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs

from relay_trio.cli.language import say
from relay_trio.cli.terminal import CommandFailed
from relay_trio.settings.kinds import Around, Unfit
from relay_trio.settings.references import resolve_secret
from relay_trio.settings.secret import Secret

URL_VARIABLE: Final = "RELAY_URL"

_PORTS: Final = {"http": 80, "https": 443}
_HERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound


@attrs.frozen
class RelayPlace:
    """A relay's address, and what it takes to be let in."""

    scheme: str
    host: str
    port: int
    prefix: str = ""
    """What stands before every path: a proxy in front may serve the relay below `/llm`."""
    source: str = "--url"
    """Who said so."""
    admin_key: Secret | None = None
    metrics_key: Secret | None = None
    authority: Path | None = None
    """Certificates (PEM) that are trusted besides the system's."""
    checks_name: bool = True
    """Whether the certificate has to name the host; the relay's own public one does not name the loopback address."""
    notes: tuple[str, ...] = ()
    """What the user should know of how the address was found."""

    @property
    def authority_part(self) -> str:
        """Return `host:port`, as a URL has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Return the address as a person writes it."""
        return f"{self.scheme}://{self.authority_part}{self.prefix}"


def place_of(arguments: argparse.Namespace, environ: Mapping[str, str]) -> RelayPlace:
    """Return where `--url`, RELAY_URL or the configuration says that the relay is. Raises CommandFailed."""
    typed = arguments.url or environ.get(URL_VARIABLE, "").strip()
    if typed:
        place = place_at(typed, "--url" if arguments.url else URL_VARIABLE)
        place = attrs.evolve(
            place,
            admin_key=_from_variable("RELAY_ADMIN_KEY", environ),
            metrics_key=_from_variable("RELAY_METRICS_KEY", environ),
        )
    else:
        place = _configured_place(arguments.config, environ)
    if arguments.key:
        key = Secret(arguments.key)
        place = attrs.evolve(place, admin_key=key, metrics_key=key)
    return attrs.evolve(place, authority=arguments.ca) if arguments.ca else place


def place_at(text: str, source: str) -> RelayPlace:
    """Return the place that a URL names; `http://` may be left out, and a client's `/v1` is not part of it."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _no_address(source, text) from None
    if not host or parts.scheme not in _PORTS or port == 0:
        raise _no_address(source, text)
    prefix = parts.path.rstrip("/").removesuffix("/v1")
    return RelayPlace(parts.scheme, host, port or _PORTS[parts.scheme], prefix, source)


def _no_address(source: str, text: str) -> CommandFailed:
    told = say("{source}: {text} is no address; want e.g. http://127.0.0.1:3000", source=source, text=text)
    return CommandFailed(told, status=2)


def _configured_place(config: Path | None, environ: Mapping[str, str]) -> RelayPlace:
    from relay_trio.cli.configuration import configured  # noqa: PLC0415 - all adaptors; a health check has a --url

    try:
        settings = configured(config).settings
    except CommandFailed as failed:
        return _place_of_environment(environ, failed)
    place = place_at(_here(settings.listen[0], "http" if settings.tls_cert is None else "https"), _configuration())
    return attrs.evolve(
        place,
        admin_key=settings.admin_key,
        metrics_key=settings.metrics_key,
        authority=settings.tls_cert,
        checks_name=False,
    )


def _place_of_environment(environ: Mapping[str, str], failed: CommandFailed) -> RelayPlace:
    """Return where the relay would be by its variables alone: an edit that breaks the file changes no relay that runs."""
    listen = environ.get("RELAY_LISTEN", "").partition(",")[0].strip() or "127.0.0.1:3000"
    host = environ.get("RELAY_HOST", "").strip("[] ") or listen.rpartition(":")[0].strip("[]")
    port = environ.get("RELAY_PORT", "").strip() or listen.rpartition(":")[2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    scheme = "https" if environ.get("RELAY_TLS_CERT") else "http"
    note = say(
        "the configuration cannot be used, so its variables alone say where the relay is: {problem}",
        problem=failed.lines[0],
    )
    return attrs.evolve(place_at(_here(address, scheme), _configuration()), checks_name=False, notes=(note,))


def _here(address: str, scheme: str) -> str:
    """Return the URL at which this machine reaches an address that is listened on."""
    host, _, port = address.rpartition(":")
    bare = host.strip("[]")
    near = _HERE.get(bare, bare)
    return f"{scheme}://{f'[{near}]' if ':' in near else near}:{port}"


def _configuration() -> str:
    return say("the configuration")


def _from_variable(name: str, environ: Mapping[str, str]) -> Secret | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    try:
        return Secret(resolve_secret(text, Around(environ, Path())))
    except Unfit as unfit:
        raise CommandFailed(f"{name}: {unfit.reason}", status=2) from unfit
