"""The only shield: clean-up goes on although its scope is cancelled, and not a moment longer than its bound."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import trio

import relay_trio
from relay_trio.scopes.shielded import shielded
from relay_trio.settings.model import CLEANUP_S
from relay_trio.testing.oracle import Snapshot

pytestmark = pytest.mark.anyio

PACKAGE = Path(relay_trio.__file__).parent


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


async def test_clean_up_happens_although_its_scope_is_cancelled() -> None:
    """And then the cancellation goes on."""
    done = []
    with trio.CancelScope() as scope:
        try:
            scope.cancel()
            await trio.lowlevel.checkpoint()
        finally:
            with shielded():
                await trio.sleep(CLEANUP_S - 0.1)
                done.append("clean")
            await trio.lowlevel.checkpoint()
            done.append("never")
    assert done == ["clean"]
    assert scope.cancelled_caught


@pytest.mark.parametrize("seconds", [None, 1.0])
async def test_a_clean_up_that_hangs_is_ended(seconds: float | None) -> None:
    """After five seconds, or sooner if so said; quietly, since there is nobody to tell (guarantee G1)."""
    with trio.CancelScope() as scope:
        scope.cancel()
        with shielded() if seconds is None else shielded(seconds) as shield:
            await trio.sleep_forever()
        assert shield.cancelled_caught
        assert trio.current_time() == (seconds or CLEANUP_S)


async def test_what_a_clean_up_raises_passes() -> None:
    """It is not for the shield to say."""
    with pytest.raises(ZeroDivisionError), shielded():
        raise ZeroDivisionError


def test_there_is_no_other_shield() -> None:
    """Every `shield=True` and `.shield =` of the package stands in that one module."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        if "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            keyword = isinstance(node, ast.keyword) and node.arg == "shield"
            attribute = isinstance(node, ast.Attribute) and node.attr == "shield" and isinstance(node.ctx, ast.Store)
            if keyword or attribute:
                found.append(path.name)
    assert found == ["shielded.py"]
