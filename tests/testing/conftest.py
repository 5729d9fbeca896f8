"""What the tests of the fakes share: every one of them must leave nothing open."""

from __future__ import annotations

import pytest

from relay_trio.testing.oracle import Snapshot


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""
