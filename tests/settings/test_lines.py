"""Promises of the line finder, held against tomllib and against texts whose lines are known as they are made."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_trio.settings.lines import KeyPath, lines_of, nearest_line, show_path

SAMPLE = '''\
# a comment with [brackets] and = signs
title = """
[not.a.table]
key = 1 \\""" still "" text"""   # four words
[relay] # [[no]]
listen = [
  "a", # first
  'b',
]
watchdog = { interval = 30, "warn at" = { x = 1 } }
limits.total = 900
[[channels]]
name = 'one'
[channels.model_map]
"gpt-4.1" = \'\'\'
x\'\'\'\'\'
[[channels]]
name = "two"
model_map = {"a.b" = "c"}
[[channels.inner]]
x = 1979-05-27T07:32:00Z
[channels.inner.deep]
y = [[1, 2], [3,
  4]]
'''


def test_each_kind_of_key_is_found() -> None:
    """Tables, arrays of tables, arrays, inline tables, dotted and quoted keys: each has its line."""
    lines = lines_of(SAMPLE)
    assert {show_path(path): line for path, line in lines.items()} == {
        "title": 2,
        "relay": 5,
        "relay.listen": 6,
        "relay.listen[0]": 7,
        "relay.listen[1]": 8,
        "relay.watchdog": 10,
        "relay.watchdog.interval": 10,
        'relay.watchdog."warn at"': 10,
        'relay.watchdog."warn at".x': 10,
        "relay.limits": 11,
        "relay.limits.total": 11,
        "channels": 12,
        "channels[0]": 12,
        "channels[0].name": 13,
        "channels[0].model_map": 14,
        'channels[0].model_map."gpt-4.1"': 15,
        "channels[1]": 17,
        "channels[1].name": 18,
        "channels[1].model_map": 19,
        'channels[1].model_map."a.b"': 19,
        "channels[1].inner": 20,
        "channels[1].inner[0]": 20,
        "channels[1].inner[0].x": 21,
        "channels[1].inner[0].deep": 22,
        "channels[1].inner[0].deep.y": 23,
        "channels[1].inner[0].deep.y[0]": 23,
        "channels[1].inner[0].deep.y[0][0]": 23,
        "channels[1].inner[0].deep.y[0][1]": 23,
        "channels[1].inner[0].deep.y[1]": 23,
        "channels[1].inner[0].deep.y[1][0]": 23,
        "channels[1].inner[0].deep.y[1][1]": 24,
    }


@pytest.mark.parametrize("text", [SAMPLE, SAMPLE.replace("\n", "\r\n")], ids=["lf", "crlf"])
def test_the_line_end_does_not_matter(text: str) -> None:
    """A file from Windows has the same lines."""
    assert lines_of(text) == lines_of(SAMPLE)


def test_a_missing_key_is_shown_at_its_table() -> None:
    """What is not written has the line of the innermost table that is."""
    lines = lines_of(SAMPLE)
    assert nearest_line(lines, ("channels", 1, "adaptor")) == 17
    assert nearest_line(lines, ("keys", 0)) == 1


# Texts made with their lines known

QUOTED = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", exclude_categories=["Cc", "Cs"]), max_size=6)
NAMES = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True),
    QUOTED.filter(lambda text: "'" not in text).map(lambda text: f"'{text}'"),
    QUOTED.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'),
    st.sampled_from(['"\\u00e9"', '"\\t"', '"\\U0001F600"', '"a\\"b"']),
)
SCALARS = st.sampled_from(
    ["1", "-0.5", "inf", "true", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00", "'#'", '"]"', '"\\""', "''", '""',
     '"""\n[x]\n"""', '"""a\n""b"""""', "'''\n\\\n'''", "''''''", '"""\\""""', '"a = [{"']
)  # fmt: skip
SPACES = st.sampled_from(["", " ", "\t"])
BLANKS = st.sampled_from(["", " ", "\n", "\n  # ] , }\n", "\r\n"])


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> str:
    kind = draw(st.sampled_from(["scalar", "scalar", "array", "table"] if depth else ["scalar"]))
    if kind == "array":
        members = draw(st.lists(values(depth - 1), max_size=3))
        inside = ",".join(draw(BLANKS) + member + draw(BLANKS) for member in members)
        return "[" + inside + (draw(st.sampled_from(["", ",", " ,\n"])) if members else draw(BLANKS)) + "]"
    if kind == "table":
        names = draw(st.lists(NAMES, max_size=3))
        return "{" + ", ".join(f"{name} = {draw(values(depth - 1))}" for name in names) + "}"
    return draw(SCALARS)


@st.composite
def documents(draw: st.DrawFn) -> str:
    statements = []
    for _ in range(draw(st.integers(1, 8))):
        key = draw(st.lists(NAMES, min_size=1, max_size=3))
        dotted = (draw(SPACES) + "." + draw(SPACES)).join(key)
        form = draw(st.sampled_from(["[{}]", "[[{}]]", "[ {} ]", "pair", "pair", "pair"]))
        statement = f"{dotted}{draw(SPACES)}={draw(SPACES)}{draw(values())}" if form == "pair" else form.format(dotted)
        statements.append(draw(BLANKS) + statement + draw(st.sampled_from(["", " # end", "\t"])) + "\n")
    return "".join(statements)


def paths_in(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path}.union(*(paths_in(member, (*path, name)) for name, member in members))


def accepted(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


@given(documents())
def test_exactly_the_keys_of_tomllib_are_found(text: str) -> None:
    """Whatever tomllib accepts: the paths with a line are the paths of the values, no more and no less."""
    table = accepted(text)
    if table is not None:
        assert {(), *lines_of(text)} == paths_in(table)


@given(documents())
def test_a_line_is_where_its_key_begins(text: str) -> None:
    """The text up to the line before a key does not hold the key; up to the end of its value it does."""
    table = accepted(text)
    if table is None:
        return
    whole = text.replace("\r\n", "\n").split("\n")
    for path, line in lines_of(text).items():
        before = accepted("\n".join(whole[: line - 1]))
        if before is not None:
            assert path not in paths_in(before), (path, line)
        assert 1 <= line <= len(whole)


PIECES = {
    "{} = 1": True, "[{}]": True, "[[{}]]": True, '{} = """\n\n"""': True, "{} = [\n]": True, "# {}": False, "": False,
}  # fmt: skip
"""Statements that may follow each other in any order, and whether they make a key."""


@given(st.lists(st.sampled_from(sorted(PIECES)), max_size=12))
def test_lines_are_counted_as_an_editor_counts(pieces: list[str]) -> None:
    """A key with a name of its own is found on the line where a search for it stops."""
    names = [f"n{number:03}" for number in range(len(pieces))]
    text = "".join(piece.format(name) + "\n" for piece, name in zip(pieces, names, strict=True))
    searched = [text[: text.index(n)].count("\n") + 1 for n, piece in zip(names, pieces, strict=True) if PIECES[piece]]
    assert sorted(line for path, line in lines_of(text).items() if isinstance(path[-1], str)) == searched
