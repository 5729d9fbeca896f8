"""Promises of the seconds and bytes that people write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_trio.settings.units import bytes_of, seconds_of, show_bytes, show_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("0.5", 0.5), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("1d", 86400), ("250ms", 0.25),
        ("1m30s", 90), ("1.5h", 5400), ("-5", -5), ("0", 0),
        ("", None), ("m", None), ("30m1h", None), ("1h 30m", None), ("15 min", None), ("inf", None), ("1e3", None),
        ("nan", None), ("٣", None),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float | None) -> None:
    """A duration is a number of seconds, or numbers with units from the largest to the smallest."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 2**20), ("64MiB", 2**26), ("64mib", 2**26), ("1GiB", 2**30), ("500MB", 500_000_000), ("1.5KiB", 1536),
        ("10 MB", 10_000_000), ("7B", 7), ("-1", -1),
        ("", None), ("64M", None), ("64 M iB", None), ("1.5", None), ("many", None),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int | None) -> None:
    """A size is a number of bytes, or a number with a unit: decimal as MB, binary as MiB; a bare M could be either."""
    assert bytes_of(text) == size


@given(st.integers(1, 2**50))
def test_a_shown_size_is_the_size(size: int) -> None:
    """What the table and the errors show may be written back."""
    assert bytes_of(show_bytes(size)) == size


@given(st.integers(1, 10**9).map(lambda milliseconds: milliseconds / 1000))
def test_a_shown_duration_is_the_duration(seconds: float) -> None:
    """What the table and the errors show may be written back."""
    assert seconds_of(show_seconds(seconds)) == seconds
