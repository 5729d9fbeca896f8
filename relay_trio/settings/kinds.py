"""The kinds of values that settings have: how one is read from what was written, what is allowed, how it is shown.

A kind is a value itself. What was written is the text of an environment variable or what TOML made of a file; `read`
returns the setting's value or raises Unfit, which says why not. Where it stood is the loader's to say, not ours.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import attrs

from relay_trio.settings.cores import usable_cores
from relay_trio.settings.units import bytes_of, seconds_of, show_bytes, show_seconds

T = TypeVar("T")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Unfit(ValueError):
    """What was written will not do.

    The text goes on from the value: `is no URL`, or stands alone after it: `no unlimited here`. `want` is an example
    that would do, where the allowed range does not say it.
    """

    def __init__(self, why: str, want: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.want = want

    @property
    def reason(self) -> str:
        """The whole of it."""
        return f"{self.why}; want e.g. {self.want}" if self.want else self.why


class NotAllowed(Unfit):
    """The value is none of those that the kind lists as allowed: the loader adds them, and the default."""


@attrs.frozen
class Around:
    """What a value may refer to: other variables (`env:NAME`) and files (`file:path`), from a directory on."""

    environ: Mapping[str, str]
    directory: Path


@attrs.frozen
class Scalar(Generic[T]):
    """One value. `hidden` values are never shown, not even when they are wrong."""

    read: Callable[[object, Around], T]
    allowed: str
    show: Callable[[T], str] = str
    hidden: bool = False
    off: str | None = None
    """What None means, where None may be said."""


@attrs.frozen
class ListOf(Generic[T]):
    """A list of values; in the environment, a text with commas. `empty` says why an empty one is refused."""

    item: Scalar[T]
    empty: str | None = None

    @property
    def allowed(self) -> str:
        """What may be written."""
        return f"list of {self.item.allowed}"


@attrs.frozen
class MapOf(Generic[T]):
    """A table with names of the operator's choice; in the file only."""

    item: Scalar[T]

    @property
    def allowed(self) -> str:
        """What may be written."""
        return f"table of {self.item.allowed}"


Kind = Scalar[T] | ListOf[T] | MapOf[T]


# Numbers


def seconds(low: float, high: float, *, zero: str = "no unlimited here") -> Scalar[float]:
    """A duration, `low` to `high` seconds; `zero` is what is said to a 0 that is not allowed."""

    def read(raw: object, _around: Around) -> float:
        value = seconds_of(raw) if isinstance(raw, str) else _number(raw)
        if value is None:
            raise NotAllowed('is no duration (want 90, "90s", "15m" or "1h30m")')
        if value == 0 and low > 0:
            raise NotAllowed(zero)
        return _within(value, low, high)

    return Scalar(read, f"{show_seconds(low)}..{show_seconds(high)}", show_seconds)


def size(low: int, high: int) -> Scalar[int]:
    """A number of bytes."""

    def read(raw: object, _around: Around) -> int:
        value = bytes_of(raw) if isinstance(raw, str) else _integer(raw)
        if value is None:
            raise NotAllowed('is no size (want 1048576, "64MiB" or "500MB")')
        return _within(value, low, high)

    return Scalar(read, f"{show_bytes(low)}..{show_bytes(high)}", show_bytes)


def count(low: int, high: int) -> Scalar[int]:
    """A whole number."""

    def read(raw: object, _around: Around) -> int:
        value = _whole(raw)
        if value is None:
            raise NotAllowed("is no whole number")
        return _within(value, low, high)

    return Scalar(read, f"{low}..{high}")


def cores(high: int) -> Scalar[int]:
    """A number of processes, or `auto`: one for each core that this process may use."""
    numbers = count(1, high)

    def read(raw: object, around: Around) -> int:
        return min(usable_cores(), high) if raw == "auto" else numbers.read(raw, around)

    return Scalar(read, f"{numbers.allowed} or auto")


def or_off(kind: Scalar[T], *, means: str = "off", words: tuple[object, ...] = ("off",)) -> Scalar[T | None]:
    """Return the kind with a word for None; `means` is what None means, as the table shows it."""

    def read(raw: object, around: Around) -> T | None:
        return None if not isinstance(raw, bool) and raw in words else kind.read(raw, around)

    def show(value: T | None) -> str:
        return means if value is None else kind.show(value)

    allowed = " or ".join([kind.allowed, *dict.fromkeys(str(word) for word in words)])
    return Scalar(read, allowed, show, hidden=kind.hidden, off=means)


def _number(raw: object) -> float | None:
    return float(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else None


def _integer(raw: object) -> int | None:
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else None


def _whole(raw: object) -> int | None:
    if isinstance(raw, str):
        return int(raw) if re.fullmatch(r"[+-]?[0-9]{1,18}", raw) else None
    return _integer(raw)


Measure = TypeVar("Measure", int, float)


def _within(value: Measure, low: float, high: float) -> Measure:
    if not low <= value <= high:
        raise NotAllowed("is out of range")
    return value


# Words


def text_of(raw: object) -> str:
    """Return the text that was written. Raises Unfit."""
    if not isinstance(raw, str):
        raise Unfit("is no text (which stands in quotes)")
    return raw


def switch() -> Scalar[bool]:
    """True or false."""
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}

    def read(raw: object, _around: Around) -> bool:
        value = raw if isinstance(raw, bool) else words.get(raw.lower()) if isinstance(raw, str) else None
        if value is None:
            raise NotAllowed("is neither true nor false")
        return value

    return Scalar(read, "true or false", lambda value: str(value).lower())


def choice(*words: str) -> Scalar[str]:
    """One of some words."""

    def read(raw: object, _around: Around) -> str:
        if raw not in words:
            raise NotAllowed("is none of the words")
        return str(raw)

    return Scalar(read, ", ".join(words))


def pattern(expression: str, described: str, example: str, allowed: str | None = None) -> Scalar[str]:
    """A text of a certain form."""
    compiled = re.compile(expression)

    def read(raw: object, _around: Around) -> str:
        if not isinstance(raw, str) or not compiled.fullmatch(raw):
            raise Unfit(f"is no {described}", f'"{example}"')
        return raw

    return Scalar(read, allowed or described)


NAME = pattern(r"[\w.@:+-]{1,64}", "name (letters, digits and . _ - @ : +, at most 64)", "openai-main", "name")
"""Of a channel or a key: it stands in log lines and metric labels, so it is short and holds no space or quote."""

GROUP = pattern(r"[\w.@:+-]{1,64}", "group (letters, digits and . _ - @ : +, at most 64)", "default", "name")

MODEL_PATTERN = pattern(r"[^\s\x00-\x1f]{1,256}", "model name or pattern", "gpt-*")

MODEL = pattern(r"[^\s\x00-\x1f]{1,256}", "model name", "gpt-4o-2024-11-20")

ADAPTOR = pattern(r"\S{1,64}", "adaptor", "openai")
"""Which ones there are, the loader knows."""

TEXT = pattern(r"[^\x00-\x1f\x7f]{0,4096}", "text", "2024-10-21")

ORIGIN = pattern(r"\*|https?://[^\s/,]+|[a-z][a-z0-9+.-]*://[^\s/,]*|null", "origin", "https://chat.example.org")
"""As browsers send it in `Origin`: a scheme and a host, no path (RFC 6454, section 6)."""


MAIL_ADDRESS = pattern(r"[^\s@<>\x00-\x1f]{1,64}@[^\s@<>\x00-\x1f]{1,255}", "mail address", "ops@example.org")
"""What may stand in an envelope, roughly (RFC 5321, 4.1.2 and 4.5.3.1); the mail server knows better."""


# Addresses


def url() -> Scalar[str]:
    """An HTTP address without user, query or fragment; a `/` at the end goes."""

    def read(raw: object, _around: Around) -> str:
        text = text_of(raw)
        if not is_url(text, schemes=("http", "https")):
            raise Unfit("is no URL", '"https://api.openai.com/v1"')
        parts = urlsplit(text)
        if parts.username is not None or parts.query or parts.fragment:
            raise Unfit("holds a user, a query or a fragment", '"https://api.openai.com/v1"')
        return text.rstrip("/")

    return Scalar(read, "URL")


def is_url(text: str, *, schemes: tuple[str, ...]) -> bool:
    """Return whether the text is an absolute URL of one of the schemes, with a host."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and not re.search(r"[\s\x00-\x1f]", text)


def address() -> Scalar[str]:
    """Host and port to listen on, as `host:port` with an IPv6 host in brackets; `:3000` is every address."""

    def read(raw: object, _around: Around) -> str:
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9_.-]*):([0-9]{1,5})", text_of(raw))
        if match is None or int(match[2]) > 65535:  # noqa: PLR2004 - the ports there are
            raise Unfit("is no address", '"127.0.0.1:3000" or "[::1]:3000"')
        return f"{match[1] or '0.0.0.0'}:{int(match[2])}"  # noqa: S104 - the operator asks for it

    return Scalar(read, "host:port")


def mail_server() -> Scalar[str]:
    """A mail server: `smtp://host` (STARTTLS; port 587) or `smtps://host` (TLS from the first byte; port 465).

    Never shown, because who mistakes it for a place for passwords must not read them in a log.
    """

    def read(raw: object, _around: Around) -> str:
        text = text_of(raw)
        if not is_url(text, schemes=("smtp", "smtps")) or urlsplit(text).path.strip("/"):
            raise Unfit("is no mail server's URL", '"smtp://mail.example.org:587" or "smtps://mail.example.org:465"')
        if urlsplit(text).username is not None:
            raise Unfit("holds a user; say it in smtp_user and smtp_password")
        return text.rstrip("/")

    return Scalar(read, "URL (smtp, smtps)", hidden=True)


def network() -> Scalar[Network]:
    """An address or a network: `203.0.113.0/24`, `2001:db8::/32`, `127.0.0.1`."""

    def read(raw: object, _around: Around) -> Network:
        try:
            return ipaddress.ip_network(text_of(raw))
        except ValueError:
            pass
        try:
            meant = ipaddress.ip_network(text_of(raw), strict=False)
        except ValueError:
            raise Unfit("is no network", '"203.0.113.0/24"') from None
        raise Unfit("has bits set behind its prefix", f'"{meant}"')

    return Scalar(read, "network (CIDR)")


# Digests, times


def digest() -> Scalar[bytes]:
    """The digest of a key, as `relay-trio keys new` prints it. A key in clear text is refused unseen."""

    def read(raw: object, _around: Around) -> bytes:
        match = re.fullmatch(r"blake2b:([0-9a-fA-F]{64})", text_of(raw))
        if match is None:
            raise Unfit("no digest; a key in clear text does not belong here: `relay-trio keys new NAME` prints both")
        return bytes.fromhex(match[1])

    return Scalar(read, "blake2b: and 64 hexadecimal digits", lambda value: f"blake2b:{value.hex()}", hidden=True)


def moment() -> Scalar[dt.datetime]:
    """A time with its zone, as TOML writes it, without quotes."""
    want = "2027-01-01T00:00:00Z (without quotes)"

    def read(raw: object, _around: Around) -> dt.datetime:
        if not isinstance(raw, dt.datetime):
            raise Unfit("is no date and time", want)
        if raw.tzinfo is None:
            raise Unfit("has no time zone", want)
        return raw

    return Scalar(read, "date and time with zone", lambda value: value.isoformat())
