"""What the doctor finds: a level, what was looked at, what was seen, and what to do; printed for people or for machines."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from relay_trio.cli.language import later, say
from relay_trio.cli.terminal import paint


class Level(enum.IntEnum):
    """How bad it is. From WARNING on somebody should do something."""

    OK = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3


@attrs.frozen
class Finding:
    """One thing that was looked at. `what` is a word for machines too: dns, tcp, tls, ..."""

    level: Level
    what: str
    told: str
    advice: str | None = None


@attrs.frozen
class Section:
    """Findings that belong together: those of a channel, or those of this machine."""

    name: str
    title: str
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """The worst of them."""
        return worst(finding.level for finding in self.findings)


def worst(levels: Iterable[Level]) -> Level:
    """Return the worst of some levels."""
    return max(levels, default=Level.OK)


def exit_status(level: Level) -> int:
    """Return the exit status: 0 fine, 1 warning, 2 error."""
    return {Level.WARNING: 1, Level.ERROR: 2}.get(level, 0)


_MARKS: Final = {
    Level.OK: (later("ok"), "green"),
    Level.NOTE: (later("note"), "dim"),
    Level.WARNING: (later("warning"), "yellow"),
    Level.ERROR: (later("error"), "red"),
}
_MARK_WIDTH: Final = 9
_WHAT_WIDTH: Final = 13


def show(section: Section) -> list[str]:
    """Return a section as lines: a finding each, and below it what to do."""
    lines = [paint(section.title, "bold", sys.stdout)]
    for finding in section.findings:
        lines.append(f"  {mark(finding.level)}{finding.what.ljust(_WHAT_WIDTH)}{finding.told}")
        if finding.advice is not None:
            lines.append(f"  {' ' * (_MARK_WIDTH + _WHAT_WIDTH)}{say('do: {advice}', advice=finding.advice)}")
    return lines


def mark(level: Level) -> str:
    """Return the word for a level, in its colour and as wide as the widest."""
    text, style = _MARKS[level]
    word = say(text)
    return paint(word, style, sys.stdout) + " " * (_MARK_WIDTH - columns(word))


def columns(text: str) -> int:
    """Return how many columns a terminal takes for a text: a Chinese letter takes two."""
    return sum(2 if ord(letter) > _FIRST_WIDE else 1 for letter in text)


_FIRST_WIDE: Final = 0x2E80
"""Where the blocks of the East Asian scripts begin (Unicode, CJK Radicals Supplement)."""


def as_json(sections: Sequence[Section]) -> dict[str, Any]:
    """Return everything for machines."""
    return {
        "level": worst(section.level for section in sections).name.lower(),
        "sections": [
            {
                "name": section.name,
                "level": section.level.name.lower(),
                "findings": [
                    {**attrs.asdict(finding), "level": finding.level.name.lower()} for finding in section.findings
                ],
            }
            for section in sections
        ],
    }
