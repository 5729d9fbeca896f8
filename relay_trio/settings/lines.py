"""On which line of a TOML text each key stands: `channels[1].base_url` -> 23.

tomllib gives values without their lines, and an error without a line sends its reader searching. This is no second
parser: the text has been accepted by tomllib, so that only the places must be found, and values are skipped, not read.
The grammar is TOML 1.0 (toml.io); what a key means is decided as there: a `[table]` below an array of tables belongs to
its last element.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator, Mapping

KeyPath = tuple[str | int, ...]
"""Names of tables and keys, and positions in arrays."""

_Opens = Callable[[list[str], int], KeyPath]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK_AND_COMMAS = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\r\n]+")

_STRINGS = (
    ('"""', re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*""""{0,2}', re.DOTALL)),
    ("'''", re.compile(r"'''(?:[^']|'(?!''))*''''{0,2}", re.DOTALL)),
    ('"', re.compile(r'"(?:[^"\\]|\\.)*"')),
    ("'", re.compile(r"'[^']*'")),
)
"""Each kind of string by its opening, the longer ones first. Up to two quotes may stand before the closing three."""

_ESCAPE = re.compile(r'\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[btnfre"\\])')
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b", '"': '"', "\\": "\\"}


def lines_of(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of every table, key and array element of a text that tomllib accepts."""
    return _Scan(text).lines


def show_path(path: KeyPath) -> str:
    """Return the path as an operator would write it: `channels[1].model_map."gpt-4.1"`."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += ("." if shown else "") + (part if _BARE_KEY.fullmatch(part) else f'"{part}"')
    return shown


def nearest_line(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of a key, or, where it does not stand in the text, of the innermost table that does."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Scan:
    """One pass over a text. `_at` is the place that was reached."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._elements: dict[KeyPath, int] = {}
        self._document()

    def _document(self) -> None:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header(2, self._open_element)
            elif self._text.startswith("[", self._at):
                table = self._header(1, self._open_table)
            else:
                self._pair(table)
            self._skip(_BLANK)

    # Headers

    def _header(self, brackets: int, opens: _Opens) -> KeyPath:
        start = self._at
        self._at += brackets
        names = self._key()
        self._skip(_SPACE)
        self._at += brackets
        return opens(names, start)

    def _open_table(self, names: list[str], start: int) -> KeyPath:
        path: KeyPath = ()
        for name in names:
            path = self._last_element((*path, name))
            self._found(path, start)
        return path

    def _open_element(self, names: list[str], start: int) -> KeyPath:
        array = (*self._open_table(names[:-1], start), names[-1])
        self._found(array, start)
        number = self._elements.get(array, -1) + 1
        self._elements[array] = number
        self._found((*array, number), start)
        return (*array, number)

    def _last_element(self, path: KeyPath) -> KeyPath:
        number = self._elements.get(path)
        return path if number is None else (*path, number)

    # Keys

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        path = table
        for name in self._key():
            path = (*path, name)
            self._found(path, start)
        self._skip(_SPACE)
        self._at += 1  # the "="
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        names: list[str] = []
        while True:
            self._skip(_SPACE)
            names.append(self._name())
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return names
            self._at += 1

    def _name(self) -> str:
        start = self._at
        if self._text[start] == '"':
            return _ESCAPE.sub(_unescape, self._string()[1:-1])
        if self._text[start] == "'":
            return self._string()[1:-1]
        self._skip(_BARE_KEY)
        return self._text[start : self._at]

    # Values

    def _value(self, path: KeyPath) -> None:
        first = self._text[self._at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        elif first in "\"'":
            self._string()
        else:
            self._skip(_BARE_VALUE)

    def _array(self, path: KeyPath) -> None:
        for number, _ in enumerate(self._members("]")):
            self._found((*path, number), self._at)
            self._value((*path, number))

    def _inline_table(self, path: KeyPath) -> None:
        for _ in self._members("}"):
            self._pair(path)

    def _members(self, closing: str) -> Iterator[None]:
        """Stand before each member in turn; the caller goes over it. Ends behind the closing bracket."""
        self._at += 1
        self._skip(_BLANK_AND_COMMAS)
        while not self._text.startswith(closing, self._at):
            yield
            self._skip(_BLANK_AND_COMMAS)
        self._at += 1

    def _string(self) -> str:
        start = self._at
        expression = next(found for opening, found in _STRINGS if self._text.startswith(opening, start))
        self._skip(expression)
        return self._text[start : self._at]

    # The place

    def _skip(self, expression: re.Pattern[str]) -> None:
        match = expression.match(self._text, self._at)
        if match is None:
            raise ValueError(f"not TOML at line {self._line(self._at)}: tomllib should have refused it")
        self._at = match.end()

    def _found(self, path: KeyPath, place: int) -> None:
        if path not in self.lines:
            self.lines[path] = self._line(place)

    def _line(self, place: int) -> int:
        return bisect.bisect_left(self._breaks, place) + 1


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if code[0] in "uU" else _ESCAPED[code]
