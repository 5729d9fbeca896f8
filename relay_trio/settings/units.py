"""Seconds and bytes as people write them: `15m`, `1h30m`, `64MiB`; and back, as the table and the errors show them."""

from __future__ import annotations

import re
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)"
_PLAIN = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,15})?")
_DURATION = re.compile("".join(rf"(?:{_NUMBER}{unit})?" for unit in ("d", "h", "m", "s", "ms")))
_IN_SECONDS = (86400.0, 3600.0, 60.0, 1.0, 0.001)

_SIZE = re.compile(rf"{_NUMBER} ?([kmg]?i?b)", re.IGNORECASE)
_IN_BYTES = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": KIB, "mib": MIB, "gib": GIB,
}  # fmt: skip


def seconds_of(text: str) -> float | None:
    """Return the seconds that `90`, `90s`, `15m`, `1h30m` or `250ms` mean; None if the text is no duration."""
    if _PLAIN.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    return sum(float(part) * unit for part, unit in zip(match.groups(), _IN_SECONDS, strict=True) if part)


def bytes_of(text: str) -> int | None:
    """Return the bytes that `1048576`, `500MB` (decimal) or `64MiB` (binary) mean; None if the text is no size."""
    if _PLAIN.fullmatch(text) and "." not in text:
        return int(text)
    match = _SIZE.fullmatch(text)
    unit = _IN_BYTES.get(match[2].lower()) if match else None
    return int(float(match[1]) * unit) if match and unit else None


def show_seconds(seconds: float) -> str:
    """Return `900`, `0.5`: what may be written back."""
    return f"{seconds:.10g}"


def show_bytes(size: int) -> str:
    """Return the largest binary unit that is exact: `64MiB`, `1000`."""
    for unit in ("GiB", "MiB", "KiB"):
        count, rest = divmod(size, _IN_BYTES[unit.lower()])
        if count and not rest:
            return f"{count}{unit}"
    return str(size)
