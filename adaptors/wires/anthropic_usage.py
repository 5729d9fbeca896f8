"""Tokens as the Anthropic API counts them, brought to one rule.

`input_tokens` leaves out what was written to and read from the cache; the three together are what went in. In a stream
`message_start` tells the input, and each `message_delta` tells cumulative counts, of which those that it names replace
what was known (https://docs.claude.com/en/build-with-claude/streaming).
"""

from __future__ import annotations

from adaptors.jsonbytes import Json
from adaptors.values import Usage


def merged(known: Json, told: Json) -> dict[str, Json]:
    """Return the counts of a stream so far, with what its next event tells; null tells nothing."""
    if not isinstance(told, dict):
        return known if isinstance(known, dict) else {}
    return {**(known or {}), **{name: value for name, value in told.items() if value is not None}}


def read_anthropic_usage(usage: Json) -> Usage | None:
    """Return the counts of a `usage` object; None where there is none."""
    if not isinstance(usage, dict) or not usage:
        return None
    cached, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    details = usage.get("output_tokens_details")
    return Usage(
        input_tokens=_count(usage, "input_tokens") + written + cached,
        output_tokens=_count(usage, "output_tokens"),
        cached_tokens=cached,
        reasoning_tokens=_count(details, "thinking_tokens") if isinstance(details, dict) else 0,
        cache_written_tokens=written,
    )


def _count(counts: dict[str, Json], name: str) -> int:
    value = counts.get(name)
    return value if type(value) is int and value > 0 else 0
