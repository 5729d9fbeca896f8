"""The Chinese documents say what the English ones say: the same commands, tables, names and order, so none falls behind.

What a sentence means no test can compare. But a setting, a command, a code, an event or a file that is named on one side
only is found here, and so are a heading, a row, a list item or a block that is missing.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest
from documents import all_blocks, document, headings, named, rows, without_blocks

PAIRS = [("README.md", "README.zh.md"), ("docs/operations.md", "docs/operations.zh.md")]

pytestmark = pytest.mark.parametrize(("english", "chinese"), PAIRS)


def sections(text: str) -> list[str]:
    """Return a document cut at its headings, without its fenced blocks."""
    return re.split(r"^#+ .+$", without_blocks(text), flags=re.MULTILINE)


def test_the_blocks_are_the_same(english: str, chinese: str) -> None:
    """Whatever can be pasted is the same in both, to the letter."""
    assert all_blocks(document(chinese)) == all_blocks(document(english))


def test_the_headings_have_the_same_order(english: str, chinese: str) -> None:
    """As many headings, of the same depths."""
    theirs, ours = headings(document(english)), headings(document(chinese))
    assert [depth for depth, _ in ours] == [depth for depth, _ in theirs]


def test_each_section_names_the_same(english: str, chinese: str) -> None:
    """In each section what stands in backticks is the same, as often; and it has as many list items."""
    pairs = zip(sections(document(english)), sections(document(chinese)), strict=True)
    for (theirs, ours), (_, title) in zip(pairs, [(0, "the beginning"), *headings(document(english))], strict=True):
        assert Counter(named(ours)) == Counter(named(theirs)), title
        assert len(_items(ours)) == len(_items(theirs)), title
        assert Counter(_links(ours)) == Counter(_links(theirs)), title


def _links(text: str) -> list[str]:
    """Return the files that are linked, a translated one as the one that it is translated from; headings have other names."""
    links = (link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text))
    return [link.replace(".zh.md", ".md") for link in links]


def _items(text: str) -> list[str]:
    return re.findall(r"^(?:- |\d+\. )", text, re.MULTILINE)


def test_each_row_tells_of_the_same(english: str, chinese: str) -> None:
    """Tables have the same rows and columns; what a cell names, and its numbers, are the same."""
    theirs, ours = rows(document(english)), rows(document(chinese))
    for their_row, our_row in zip(theirs, ours, strict=True):
        assert [Counter(named(cell)) for cell in our_row] == [Counter(named(cell)) for cell in their_row], their_row
        assert _numbers(our_row) >= _numbers(their_row), their_row


def _numbers(row: list[str]) -> Counter[str]:
    """Return the numbers of a row outside of backticks; in Chinese there may be more, for words such as `half`."""
    plain = re.sub(r"`[^`]+`", "", " ".join(row))
    return Counter(re.findall(r"\d+(?:[.,:]\d+)*", plain))


def test_each_points_to_the_other(english: str, chinese: str) -> None:
    """Whoever has opened the wrong one finds the right one in its first lines."""
    assert f"]({chinese.rpartition('/')[2]})" in document(english)[:200]
    assert f"]({english.rpartition('/')[2]})" in document(chinese)[:200]
