"""A value as it was written, which knows its place; and the one form in which every problem with one is told.

RELAY_TIMEOUT=0: no unlimited here (one-api's meaning); allowed 1..86400, default 900
relay.toml:23 channels[1].base_url: "api.openai.com" is no URL; want e.g. "https://api.openai.com/v1"
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from relay_trio.settings.kinds import Around, Unfit
from relay_trio.settings.lines import KeyPath, nearest_line, show_path

Problems = list[str]
"""Grows while a configuration is read; at most a few for each line of a file that has its own bound."""

_SHOWN_CHARACTERS: Final = 80
"""Of a wrong value: enough to find it again."""

_GOES_ON: Final = ("is ", "are ", "has ", "holds ", "leaves ", "serves ", "allows ", "needs ")
"""Reasons that begin so go on from the value without a colon."""


@attrs.frozen
class InText:
    """A value in a variable, or in an option of the command line."""

    raw: str
    source: str
    around: Around

    @property
    def subject(self) -> str:
        """How a problem names the value's place."""
        return self.source

    @property
    def said(self) -> str:
        """The place and the value."""
        return f"{self.source}={_printable(self.raw)}"

    def elements(self) -> list[InText] | None:
        """Return the values between commas."""
        pieces = [piece.strip() for piece in self.raw.split(",")]
        return [_Piece(piece, self.source, self.around) for piece in pieces if piece]


class _Piece(InText):
    """One value of several in a variable."""

    @property
    def said(self) -> str:
        return f'{self.source}: "{_printable(self.raw)}"'


@attrs.frozen
class InFile:
    """A value in the file."""

    raw: object
    path: KeyPath
    document: Document

    @property
    def around(self) -> Around:
        """What the value may refer to."""
        return self.document.around

    @property
    def source(self) -> str:
        """The file and the line."""
        return self.document.place(self.path)

    @property
    def subject(self) -> str:
        """How a problem names the value's place."""
        return f"{self.source} {show_path(self.path)}"

    @property
    def said(self) -> str:
        """The place and the value."""
        return f"{self.subject}: {_as_toml(self.raw)}"

    def elements(self) -> list[InFile] | None:
        """Return the elements of an array; None if it is none."""
        if not isinstance(self.raw, list):
            return None
        return [InFile(raw, (*self.path, number), self.document) for number, raw in enumerate(self.raw)]

    def entries(self) -> dict[str, InFile] | None:
        """Return the entries of a table; None if it is none."""
        if not isinstance(self.raw, dict):
            return None
        return {name: InFile(raw, (*self.path, name), self.document) for name, raw in self.raw.items()}

    def entry(self, *names: str) -> InFile | None:
        """Return the entry below these names, if it was written."""
        found: InFile | None = self
        for name in names:
            found = (found.entries() or {}).get(name) if found is not None else None
        return found


Written = InText | InFile


def problem(written: Written, why: str) -> str:
    """Return the line that tells what is wrong with a value."""
    return _joined(written.said, why)


def hidden_problem(written: Written, why: str) -> str:
    """Return the line that tells what is wrong with a value that must not be shown."""
    return _joined(written.subject, why)


def unfit_problem(written: Written, unfit: Unfit) -> str:
    """Return the line that tells why a value did not do."""
    return problem(written, unfit.reason)


def suggestion(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return `no such setting; did you mean ...?` for a name that is not known; what is known begins with the prefix."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return "no such setting" + (f"; did you mean {prefix}{near[0]}?" if near else "")


def _joined(said: str, why: str) -> str:
    return f"{said} {why}" if why.startswith(_GOES_ON) else f"{said}: {why}"


def _as_toml(raw: object) -> str:
    if isinstance(raw, str):
        return json.dumps(_shortened(raw), ensure_ascii=False)
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, dt.datetime | dt.date | dt.time):
        return raw.isoformat()
    if isinstance(raw, list | dict):
        return "[...]" if isinstance(raw, list) else "{...}"
    return str(raw)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in _shortened(text))


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


@attrs.frozen
class Document:
    """A configuration file that was read."""

    name: str
    table: Mapping[str, object] = attrs.field(repr=False)
    lines: Mapping[KeyPath, int] = attrs.field(repr=False)
    around: Around = attrs.field(repr=False)

    @property
    def root(self) -> InFile:
        """The whole of it."""
        return InFile(self.table, (), self)

    def place(self, path: KeyPath) -> str:
        """Return `relay.toml:23` for a key."""
        return f"{self.name}:{nearest_line(self.lines, path)}"

    def variables(self) -> set[str]:
        """Return the variables that the file refers to as `env:NAME`."""
        return {text.removeprefix("env:") for text in _texts(self.table) if text.startswith("env:")}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(member)
