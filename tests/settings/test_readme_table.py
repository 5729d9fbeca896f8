"""Promises of the README's table of settings."""

from __future__ import annotations

from pathlib import Path

from relay_trio.settings.model import VARIABLES, named
from relay_trio.settings.table import BEGIN, END, tables

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_holds_the_table_that_the_classes_make() -> None:
    """Settings in the README cannot drift. To bring them up to date: python -m relay_trio.settings.table."""
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == tables().strip()


def test_every_setting_has_a_variable_of_its_own() -> None:
    """Whatever `[relay]` may say, one variable may say too, and no two settings share one."""
    names = [name for name, _, _ in named()]
    assert sorted(VARIABLES) == sorted(names)
    assert len(set(VARIABLES.values())) == len(names)
    assert all(variable.startswith("RELAY_") for variable in VARIABLES.values())


def test_every_setting_is_explained() -> None:
    """No row of the table is without its meaning, and none breaks out of its cell."""
    rows = [line for line in tables().splitlines() if line.startswith("| `")]
    assert len(rows) > len(VARIABLES)
    assert all(row.count(" | ") == row.count("|") - 2 for row in rows)
    assert all(about.help and about.kind.allowed for _, _, about in named())
