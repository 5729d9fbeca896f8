"""Numbers as a person reads them: durations, sizes, rates, and a line of them as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BLOCKS: Final = "▁▂▃▄▅▆▇█"
PLAIN_BLOCKS: Final = "_.-=+*#@"
"""For a terminal whose encoding has no blocks."""

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def span(seconds: float) -> str:
    """Return `0.4 s`, `12 s`, `5 min 12 s`, `3 h 7 min`, `2 d 4 h`: two units at most."""
    if seconds < _UNITS[-2][0]:
        return f"{seconds:.1f} s" if 0.05 <= seconds < 9.95 else f"{seconds:.0f} s"  # noqa: PLR2004 - one digit more
    whole = round(seconds)
    at = next(place for place, (size, _) in enumerate(_UNITS) if whole >= size)
    (size, name), (smaller, smaller_name) = _UNITS[at : at + 2]
    rest = whole % size // smaller
    return f"{whole // size} {name} {rest} {smaller_name}" if rest else f"{whole // size} {name}"


def megabytes(value: float | None) -> str:
    """Return a size that came in MB; `-` where the platform does not tell it."""
    return "-" if value is None else f"{value:,.1f} MB"


def per_second(value: float | None) -> str:
    """Return a rate."""
    return "-" if value is None else f"{value:.1f}/s"


def whole(value: float) -> str:
    """Return a count, its thousands apart."""
    return f"{value:,.0f}"


def printable(text: str) -> str:
    """Return a text that came from elsewhere without what a terminal would obey (a path may hold an escape)."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def sparkline(values: Sequence[float], width: int, blocks: str = BLOCKS) -> str:
    """Return the last values as a line of blocks, from zero to their highest. Nothing looks like next to nothing."""
    shown = values[-width:] if width > 0 else []
    top = max(shown, default=0) or 1
    return "".join(blocks[min(len(blocks) - 1, int(max(0, value) / top * len(blocks)))] for value in shown)


def blocks_for(encoding: str) -> str:
    """Return the blocks that an encoding has."""
    try:
        BLOCKS.encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return PLAIN_BLOCKS
    return BLOCKS
