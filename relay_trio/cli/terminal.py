"""What a command says to its user: plain lines, in colour only where a terminal shows it."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Final, TextIO

_STYLED: Final = re.compile(r"\x1b\[[0-9;]*m")
_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class CommandFailed(Exception):
    """A command ends here: these lines tell the user why. Status 2 where the user's own words make no sense."""

    def __init__(self, *lines: str, status: int = 1) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.status = status


def paint(text: str, style: str, stream: TextIO) -> str:
    """Return the text in a style, if the stream is a terminal that wants it (no-color.org; TERM=dumb)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def complain(lines: Sequence[str]) -> None:
    """Say what is wrong, on stderr, one line each."""
    for line in lines:
        print(f"{paint('relay-trio:', 'red', sys.stderr)} {line}", file=sys.stderr)


def show_table(rows: Sequence[Sequence[str]], *, indent: str = "  ") -> list[str]:
    """Return the rows as lines in columns; the last column is as wide as it is."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    return [
        indent + "  ".join(_padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def width_of(text: str) -> int:
    """Return how many columns a terminal gives to a text: two to Chinese, none to colours (Unicode, UAX 11)."""
    plain = _STYLED.sub("", text)
    return len(plain) + sum(unicodedata.east_asian_width(letter) in "WF" for letter in plain)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - width_of(text))
