"""A log line is always made, whatever was put into it."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_trio.telemetry.json_line import MAX_LINE_BYTES, render, utc_timestamp

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(codec=None)), anything))
def test_anything_becomes_one_line_of_json(fields: dict[str, object]) -> None:
    """Lone surrogates, huge integers, NaN, bytes: the line is JSON in UTF-8, without a newline inside."""
    line = render(fields)
    assert b"\n" not in line
    assert isinstance(json.loads(line), dict)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\ud800", "\\ud800"),
        (PurePosixPath("/secret"), "<PurePosixPath>"),
        (type("Text", (str,), {})("plain"), "plain"),
        (float("nan"), None),
        ({"inner": ["\ud800"]}, {"inner": ["\\ud800"]}),
    ],
)
def test_strange_values_are_spelled_out(value: object, shown: object) -> None:
    """A string of any kind keeps its text; an object of an unknown class shows its class and nothing of its content."""
    assert json.loads(render({"value": value, "next": 1})) == {"value": shown, "next": 1}


def test_a_circle_ends() -> None:
    """A value that holds itself does not recurse for ever."""
    circle: list[object] = []
    circle.append(circle)
    assert json.loads(render({"value": circle}))["value"]


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "big", "text": "x" * 3_000_000},
        {"event": "big", "many": ["y" * 100] * 30_000},
        {"event": "big"} | {f"k{number}": "z" * 2_000 for number in range(1_000)},
    ],
)
def test_a_line_is_bounded(fields: dict[str, object]) -> None:
    """However much is put in, the line stays below its limit, is still JSON, keeps its event and says it was cut."""
    line = render(fields)
    assert len(line) <= MAX_LINE_BYTES
    assert json.loads(line)["event"] == "big"
    assert json.loads(line)["cut"] is True


def test_the_timestamp_is_utc_with_milliseconds() -> None:
    """RFC 3339, always three digits after the second, always Z."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", utc_timestamp())
