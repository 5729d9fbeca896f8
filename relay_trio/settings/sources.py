"""Where values come from: an option of the command line beats a variable, a variable beats the file.

Reads the file whole and once; what it holds is told apart in `read`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs

from relay_trio.settings.kinds import Around
from relay_trio.settings.lines import lines_of
from relay_trio.settings.units import MIB, show_bytes
from relay_trio.settings.written import Document, InFile, InText, Written, suggestion

CONFIG_VARIABLE: Final = "RELAY_CONFIG"

COMMAND_VARIABLES: Final = ("RELAY_LANG", "RELAY_URL")
"""What commands read and a relay does not: its language, and where the relay is that they ask about."""

DEFAULT_NAME: Final = "relay.toml"
"""Read where we run, if it is there and nothing else was named."""

_FILE_BYTES: Final = 16 * MIB
"""5,000 keys are 1 MiB; what is larger is not a configuration that somebody wrote."""


@attrs.frozen
class Sources:
    """All that was written. `variables` holds those that say something; `root` is None if there is no file."""

    options: Mapping[str, str]
    variables: Mapping[str, str]
    root: InFile | None
    around: Around

    def of(self, name: str, variable: str | None, place: Iterable[str]) -> Written | None:
        """Return what was written for a setting of `[relay]` or `[alerts]`, by its name, its variable and its place."""
        if name in self.options:
            return InText(self.options[name], f"--{name}", self.around)
        return (self.variable(variable) if variable else None) or self.in_file(*place)

    def variable(self, name: str) -> InText | None:
        """Return what a variable says."""
        text = self.variables.get(name)
        return None if text is None else InText(text, name, self.around)

    def in_file(self, *names: str) -> InFile | None:
        """Return what the file says below these names."""
        return None if self.root is None else self.root.entry(*names)


# The file


class Unreadable(Exception):
    """The file cannot be used at all; the text is the line that says why."""


def config_file(environ: Mapping[str, str], given: Path | None, where_we_run: Path) -> Path | None:
    """Return the file to read: the one on the command line, the one in RELAY_CONFIG, or `relay.toml` if it is here."""
    if given is not None:
        return given
    named = environ.get(CONFIG_VARIABLE, "").strip()
    if named:
        return Path(named)
    return Path(DEFAULT_NAME) if (where_we_run / DEFAULT_NAME).exists() else None


def read_document(path: Path, environ: Mapping[str, str], where_we_run: Path) -> Document:
    """Read a file. Raises Unreadable."""
    found = where_we_run / path
    text = _decoded(_held(found, str(path)), str(path))
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(_syntax_problem(str(path), text, str(error))) from error
    except RecursionError:
        raise Unreadable(f"{path}:1: nested too deeply") from None
    return Document(str(path), table, lines_of(text), Around(environ, found.parent))


def _held(found: Path, name: str) -> bytes:
    try:
        with found.open("rb") as file:
            held = file.read(_FILE_BYTES + 1)
    except OSError as error:
        raise Unreadable(f"{name}: the file cannot be read ({error.strerror})") from error
    if len(held) > _FILE_BYTES:
        raise Unreadable(f"{name}: the file is larger than {show_bytes(_FILE_BYTES)}")
    return held


def _decoded(held: bytes, name: str) -> str:
    try:
        return held.decode("utf-8-sig")  # Windows editors begin with a byte order mark
    except UnicodeDecodeError as error:
        line = held.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"{name}:{line}: no text in UTF-8, which TOML is written in") from None


def _syntax_problem(name: str, text: str, told: str) -> str:
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", told, re.DOTALL)
    if match:
        return f"{name}:{match[2]}: no TOML: {match[1]} (column {match[3]})"
    return f"{name}:{text.count(chr(10)) + 1}: no TOML: {told}"


# The environment

_PREFIX: Final = "RELAY_"

_KUBERNETES = re.compile(r"RELAY(_\w+)?_(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
"""What Kubernetes sets in every pod for a Service whose name begins with `relay` (kubernetes.io, "Environment variables"
under Service discovery). Such a Service also sets `<NAME>_PORT=tcp://...`."""


def given_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that say something: no empty ones, as compose files make them, and none of Kubernetes."""
    trimmed = ((name, value.strip()) for name, value in environ.items())
    return {name: value for name, value in trimmed if value and not _from_kubernetes(name, value)}


def unknown_variables(environ: Mapping[str, str], known: Iterable[str]) -> list[str]:
    """Return a problem for each RELAY_ variable that means nothing: it was meant to mean something."""
    known = set(known)
    strange = sorted(name for name in environ if name.startswith(_PREFIX) and name not in known)
    ours = sorted(name.removeprefix(_PREFIX) for name in known if name.startswith(_PREFIX))
    return [f"{name}: {suggestion(name.removeprefix(_PREFIX), ours, _PREFIX)}" for name in strange]


def _from_kubernetes(name: str, value: str) -> bool:
    return bool(_KUBERNETES.fullmatch(name)) or (
        name.startswith("RELAY") and name.endswith("_PORT") and value.startswith(("tcp://", "udp://", "sctp://"))
    )
