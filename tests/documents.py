"""The documents as tests read them: their sections, fenced blocks, tables and headings."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def document(name: str) -> str:
    """Return a document of the repository, by its path from the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of its kind."""
    found = re.search(rf"^## {re.escape(heading)}$\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no heading {heading!r}"
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return [block for marked, block in all_blocks(text) if marked == language]


def all_blocks(text: str) -> list[tuple[str, str]]:
    """Return all fenced blocks, each with its language."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def without_blocks(text: str) -> str:
    """Return a document without its fenced blocks: a `#` in those is no heading."""
    return re.sub(r"^```\w*\n.*?^```$\n", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(text: str) -> list[tuple[int, str]]:
    """Return the headings, each with its depth."""
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.+)$", without_blocks(text), re.MULTILINE)]


def anchors(text: str) -> set[str]:
    """Return the names by which GitHub lets a link reach the headings."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for _, title in headings(text)}


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables' rows, the heads and the rules below them left out."""
    found: list[list[str]] = []
    for line, following in itertools.pairwise([*without_blocks(text).splitlines(), ""]):
        if line.startswith("|") and not _is_rule(line) and not _is_rule(following):
            found.append([cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def _is_rule(line: str) -> bool:
    return re.fullmatch(r"\|[ :|-]+\|", line) is not None


def named(text: str) -> list[str]:
    """Return what a text names in backticks."""
    return re.findall(r"`([^`]+)`", text)


def first_column(text: str) -> list[str]:
    """Return what the first cells of all tables' rows name, in backticks."""
    return [name for row in rows(text) for name in named(row[0])]
