"""One member of a document changes, and no other byte; what is no JSON is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors.jsonbytes import NotJSON, decoded, encoded, member_span, with_member

keys = st.sampled_from(["model", "messages", "mod", "model2", 'mo"del', "é", "", "\\", "response"])
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 10**6), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["model", '"model":"x"', '{"model":', "gpt", "\\", '\\"', "é\u2028", "]}"]),
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)
objects = st.dictionaries(keys, values, max_size=6)
forms = st.sampled_from(
    [{"separators": (",", ":")}, {}, {"indent": 2}, {"ensure_ascii": False}, {"separators": (" ,\t", " :\r\n ")}]
)


@given(objects, forms, st.sampled_from(["model", "response", "absent"]))
@settings(max_examples=500)
def test_only_the_top_level_member_changes(document: dict[str, Any], form: dict[str, Any], key: str) -> None:
    """Wherever else the key stands, deeper or inside strings, the document differs in that one value alone."""
    body = json.dumps(document, **form).encode()
    changed = with_member(body, key, b'"new"')
    assert json.loads(changed) == {**document, key: "new"}
    span = member_span(body, key)
    if span is not None:
        assert json.loads(body[slice(*span)]) == document[key]
        assert changed == body[: span[0]] + b'"new"' + body[span[1] :]


@given(objects, values, forms)
def test_a_member_that_stands_twice_is_refused(document: dict[str, Any], value: Any, form: dict[str, Any]) -> None:
    """First or last: nobody can say which of two counts, so neither is changed."""
    body = json.dumps({"model": "a", **document}, **form).encode()
    again = body.rstrip()[:-1] + b',"model":' + json.dumps(value).encode() + b"}"
    with pytest.raises(NotJSON, match="twice"):
        member_span(again, "model")


@pytest.mark.parametrize(
    ("document", "key"),
    [
        (b'{"mod\\u0065l":"a","x":{"model":"b"}}', "model"),
        (b'{"x":"{","model":"a"}', "model"),
        (b' \n{ "model" : "a\\"b" , "y":1}', "model"),
    ],
)
def test_odd_spellings_of_a_key_are_found(document: bytes, key: str) -> None:
    """A key may be spelt with escapes and stand behind anything."""
    changed = with_member(document, key, b'"new"')
    assert json.loads(changed) == {**json.loads(document), key: "new"}


@pytest.mark.parametrize(
    "document",
    [
        b'{"x":{"model":"a"}}',
        b'{"x":[{"model":"a"}]}',
        b'{"x":["model"]}',
        b'{"x":"model","y":1}',
        b'{"x":"{\\"model\\":1}"}',
        b"{}",
        b' { "x" : 1 } ',
    ],
)
def test_a_key_that_stands_only_deeper_is_not_there(document: bytes) -> None:
    """The member is put in at the top, and what stands deeper stays."""
    assert member_span(document, "model") is None
    assert json.loads(with_member(document, "model", b'"new"')) == {**json.loads(document), "model": "new"}


@pytest.mark.parametrize(
    "document",
    [
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"mod\\u0065l":"b","x":1,"model":"a"}',
        b'{"x":{},"model":"a","model":"a"}',
        b'{"a":", ",":8, ":1,"a":7}',  # stepping over the first "a" by the length of the last one lands in a string
    ],
)
def test_two_members_of_one_name_are_seen_however_they_are_spelt(document: bytes) -> None:
    """With escapes, with the same value, with a value that leads astray."""
    with pytest.raises(NotJSON, match="twice"):
        with_member(document, "a" if b'"a":7' in document else "model", b"1")


@pytest.mark.parametrize("document", [b"[]", b'"model"', b"", b"{", b'{"model":', b"[" * 100_000, b'{"a":1}x'])
def test_what_is_no_object_cannot_be_changed(document: bytes) -> None:
    """There is nothing to change in it, and the caller is told."""
    with pytest.raises(NotJSON):
        with_member(document, "model", b'"new"')


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (b'{"a":1,\n "b" 2}', r"line 2, column 6 \(byte 13\)"),
        ('{"é": }'.encode(), r"line 1, column 7 \(byte 7\)"),
        (b'{"a":"\xff"}', r"not UTF-8 \(byte 6\)"),
        (b"[" * 200_000, "nested too deeply"),
        (b"9" * 5_000, "too long"),
        (b"", "line 1, column 1"),
    ],
)
def test_what_is_no_json_says_where(document: bytes, told: str) -> None:
    """Line, column and byte; or what else is wrong with it."""
    with pytest.raises(NotJSON, match=told):
        decoded(document)


def test_what_providers_write_against_the_letter_is_read() -> None:
    """NaN and half a surrogate pair do not make an answer unreadable."""
    assert decoded(b'{"a":"\\ud83d"}') == {"a": "\ud83d"}
    assert decoded(b"[NaN]") != decoded(b"[1]")
    assert encoded({"a": "\ud83d"}) == b'{"a":"?"}'
