"""One log line: a JSON object that is always made, whatever was put into it.

Rendering never raises: a line about a failure must not become a second failure. What JSON cannot hold (a lone
surrogate, an object of a strange class) is spelled out so that the rest of the line survives.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping

import msgspec

MAX_LINE_BYTES = 256 * 1024
"""A longer line has its strings cut. Shippers refuse lines long before this (Docker splits at 16 KiB, Loki's default
limit is 256 KiB), and a bound here is what keeps the writer's buffer a matter of many lines, not of one."""

CUT_STRING_CHARACTERS = 2_000


def _spell_out(value: object) -> object:
    """What stands for a value that JSON has no form for: its own text if it is a string, else only its class.

    The class alone, because the text of an unknown object may hold what no log may (a prompt, a key).
    """
    return str.__str__(value) if isinstance(value, str) else f"<{type(value).__qualname__}>"


_encode = msgspec.json.Encoder(enc_hook=_spell_out).encode


def render(fields: Mapping[str, object]) -> bytes:
    """One line of JSON without its newline, at most `MAX_LINE_BYTES` long. Never raises."""
    try:
        line = _encode(fields)
    except Exception:  # noqa: BLE001 - whatever the value was, the line must come
        line = _encode_odd(fields)
    return line if len(line) <= MAX_LINE_BYTES else _render_cut(fields)


def utc_timestamp() -> str:
    """Now, as RFC 3339 in UTC with milliseconds: `2026-01-31T12:00:00.123Z`."""
    now = time.time()
    second = int(now)
    return f"{_to_the_second(second)}.{int((now - second) * 1000):03d}Z"


@functools.lru_cache(maxsize=2)
def _to_the_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _encode_odd(fields: Mapping[str, object]) -> bytes:
    return json.dumps(_plain(fields), separators=(",", ":")).encode("ascii")


def _plain(value: object, depth: int = 0) -> object:
    """The value with everything strange in it spelled out; eight levels deep, so that a circle ends."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None  # noqa: PLR0124 - NaN has no JSON
    if isinstance(value, Mapping) and depth < 8:  # noqa: PLR2004 - see the docstring
        return {str(_plain(str(key))): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) and depth < 8:  # noqa: PLR2004 - see the docstring
        return [_plain(item, depth + 1) for item in value]
    return _spell_out(value)


def _render_cut(fields: Mapping[str, object]) -> bytes:
    """The line with long strings cut; if it is still too long (thousands of items), only its scalars stay."""
    cut = _encode_odd({key: _cut(value) for key, value in fields.items()} | {"cut": True})
    if len(cut) <= MAX_LINE_BYTES:
        return cut
    scalars = {key: _cut(value) for key, value in fields.items() if not isinstance(value, (Mapping, list, tuple))}
    line = _encode_odd(scalars | {"cut": True})
    return line if len(line) <= MAX_LINE_BYTES else _encode_odd({"event": _cut(fields.get("event")), "cut": True})


def _cut(value: object) -> object:
    if isinstance(value, str) and len(value) > CUT_STRING_CHARACTERS:
        return value[:CUT_STRING_CHARACTERS] + "..."
    return value
