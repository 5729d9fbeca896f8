"""Values that stand elsewhere: `env:NAME`, `file:path`, and the files that settings name.

Secrets belong into neither a configuration file nor a shell's history; containers mount them, systemd passes them as
files. What is missing is named; what is there is never shown.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from relay_trio.settings.kinds import Around, Scalar, Unfit, is_url, text_of
from relay_trio.settings.secret import Secret
from relay_trio.settings.units import KIB, show_bytes

_SECRET_FILE_BYTES: Final = 64 * KIB
"""A mounted secret is a line; whoever points at a disk image is told so before it is read."""


def path() -> Scalar[Path]:
    """A file that is there; a relative one is looked for beside `relay.toml` (from the environment: where we run)."""

    def read(raw: object, around: Around) -> Path:
        found = around.directory / Path(text_of(raw)).expanduser()
        if not found.is_file():
            raise Unfit("is no file that is there")
        return found

    return Scalar(read, "path of a file")


def directory() -> Scalar[Path]:
    """A directory, which may be made later; a relative one is beside `relay.toml` (from the environment: where we run)."""

    def read(raw: object, around: Around) -> Path:
        found = (around.directory / Path(text_of(raw)).expanduser()).absolute()
        if found.exists() and not found.is_dir():
            raise Unfit("is no directory")
        return found

    return Scalar(read, "path of a directory")


def secret() -> Scalar[Secret]:
    """A key: `env:NAME`, `file:path`, or itself. Whatever it is, its text is never shown."""

    def read(raw: object, around: Around) -> Secret:
        text = resolve_secret(text_of(raw), around)
        if not re.fullmatch(r"[\x21-\x7e]+", text):
            raise Unfit("holds white space or letters outside ASCII: no HTTP header can carry it")
        return Secret(text)

    return Scalar(read, "env:NAME, file:path or the key itself", hidden=True)


def proxy() -> Scalar[Secret]:
    """The address of a proxy. It may hold a password, so it is kept as a secret."""

    def read(raw: object, around: Around) -> Secret:
        text = resolve_secret(text_of(raw), around)
        if not is_url(text, schemes=("http", "https", "socks5", "socks5h")):
            raise Unfit("no proxy's URL", '"http://proxy.example.org:8080" or "socks5h://127.0.0.1:1080"')
        return Secret(text)

    return Scalar(read, "URL (http, https, socks5, socks5h), env:NAME or file:path", hidden=True)


def webhook() -> Scalar[Secret]:
    """The address that alarms are posted to. Whoever knows it may post there, so it is kept as a secret."""

    def read(raw: object, around: Around) -> Secret:
        text = resolve_secret(text_of(raw), around)
        if not is_url(text, schemes=("http", "https")) or not text.isascii():
            raise Unfit("no webhook's URL", '"env:ALERTS_WEBHOOK", which holds https://hooks.example.org/...')
        return Secret(text)

    return Scalar(read, "URL (http, https), env:NAME or file:path", hidden=True)


def password() -> Scalar[Secret]:
    """A password, which may hold spaces: `env:NAME`, `file:path`, or itself."""

    def read(raw: object, around: Around) -> Secret:
        text = resolve_secret(text_of(raw), around)
        if not re.fullmatch(r"[\x20-\x7e]+", text):
            raise Unfit("holds letters outside ASCII: smtplib sends none")
        return Secret(text)

    return Scalar(read, "env:NAME, file:path or the password itself", hidden=True)


def resolve_secret(text: str, around: Around) -> str:
    """Return what `env:NAME` or `file:path` stands for; any other text stands for itself. Raises Unfit."""
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "env":
        return _from_variable(rest, around)
    if colon and scheme == "file":
        return _from_file(around.directory / Path(rest).expanduser())
    if not text:
        raise Unfit("is empty")
    return text


def _from_variable(name: str, around: Around) -> str:
    found = around.environ.get(name, "").strip()
    if not found:
        raise Unfit(f"the variable {name} is {'empty' if name in around.environ else 'not set'}")
    return found


def _from_file(place: Path) -> str:
    try:
        with place.open("rb") as file:
            held = file.read(_SECRET_FILE_BYTES + 1)
        text = held.decode().strip()
    except OSError as error:
        raise Unfit(f"the file {place} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise Unfit(f"the file {place} is no text in UTF-8") from None
    if len(held) > _SECRET_FILE_BYTES:
        raise Unfit(f"the file {place} is larger than {show_bytes(_SECRET_FILE_BYTES)}")
    if not text:
        raise Unfit(f"the file {place} is empty")
    return text
