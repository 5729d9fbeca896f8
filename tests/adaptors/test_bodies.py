"""What a request asks for is seen in its body, and what is wrong with the body is said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptors.bodies import BadBody, Peeked, peek, rename_model
from adaptors.endpoints import match
from adaptors.values import Endpoint

JSON = b"application/json"
FORM = b'multipart/form-data; boundary="b b"'


def endpoint(path: bytes = b"/chat/completions", method: bytes = b"POST") -> Endpoint:
    found = match(method, path)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("path", "document", "peeked"),
    [
        (b"/chat/completions", {"model": "m"}, Peeked("m")),
        (b"/chat/completions", {"model": "m", "stream": None, "stream_options": None}, Peeked("m")),
        (b"/chat/completions", {"messages": [{"model": "x"}], "model": "m", "stream": True}, Peeked("m", stream=True)),
        (b"/chat/completions", {"model": "m", "stream": True, "stream_options": {"include_usage": True}},
         Peeked("m", stream=True, include_usage=True)),
        (b"/chat/completions", {"model": "m", "stream_options": {"include_usage": False}}, Peeked("m")),
        (b"/responses", {"input": "x"}, Peeked()),
        (b"/responses", {"model": "m", "previous_response_id": "resp_1", "conversation": "conv_1"},
         Peeked("m", references=("resp_1", "conv_1"))),
        (b"/responses", {"conversation": {"id": "conv_1"}}, Peeked(references=("conv_1",))),
        (b"/responses", {"input": [{"content": [{"type": "input_file", "file_id": "file-1"}]}],
                         "tools": [{"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]},
                                   {"type": "code_interpreter", "container": "cntr_1"},
                                   {"type": "code_interpreter", "container": {"file_ids": ["file-2", "file-1"]}}]},
         Peeked(references=("file-1", "vs_1", "vs_2", "cntr_1", "file-2"))),
        (b"/responses", {"input": 'say "file_id": "file-9"', "metadata": {"container": 7}}, Peeked()),
        (b"/batches", {"input_file_id": "file-1", "endpoint": "/v1/responses"}, Peeked(references=("file-1",))),
        (b"/fine_tuning/jobs", {"model": "m", "training_file": "file-1", "validation_file": None},
         Peeked("m", references=("file-1",))),
        (b"/moderations", {"input": "x"}, Peeked()),
    ],
)  # fmt: skip
def test_what_a_json_body_asks_for(path: bytes, document: dict[str, Any], peeked: Peeked) -> None:
    """Model, stream, usage, and the ids of the objects it builds on; deeper members are not taken for these."""
    assert peek(endpoint(path), JSON, json.dumps(document).encode()) == peeked


def test_so_many_references_are_followed_and_no_more() -> None:
    """One is enough to find the channel; a body full of them costs no more than a few."""
    for document in ({"model": "m", "x": {"file_ids": [f"f{n}" for n in range(99)]}},
                     {"model": "m", "x": [{"file_id": f"f{n}"} for n in range(99)]}):  # fmt: skip
        peeked = peek(endpoint(), JSON, json.dumps(document).encode())
        assert peeked.references == tuple(f"f{n}" for n in range(16))


@pytest.mark.parametrize(
    ("path", "body", "param", "code", "told"),
    [
        (b"/chat/completions", b"", None, "invalid_body", "is empty"),
        (b"/chat/completions", b" \n", None, "invalid_body", "is empty"),
        (b"/chat/completions", b'{"model": "m",\n "x": }', None, "invalid_json", r"line 2, column 7 \(byte 21\)"),
        (b"/chat/completions", b'{"model": "\xff', None, "invalid_json", r"not UTF-8 \(byte 11\)"),
        (b"/chat/completions", b"[" * 200_000, None, "invalid_json", "nested too deeply"),
        (b"/chat/completions", b"[]", None, "invalid_json", "no object"),
        (b"/chat/completions", b'"m"', None, "invalid_json", "no object"),
        (b"/chat/completions", b"model=m", None, "invalid_json", "not JSON"),
        (b"/chat/completions", b"{}", "model", "missing_model", "names no model"),
        (b"/chat/completions", b'{"model":null}', "model", "missing_model", "names no model"),
        (b"/chat/completions", b'{"model":""}', "model", "missing_model", "names no model"),
        (b"/chat/completions", b'{"model":4}', "model", "invalid_type", "must be a string"),
        (b"/responses", b'{"model":["m"]}', "model", "invalid_type", "must be a string"),
        (b"/chat/completions", b'{"model":"' + b"m" * 257 + b'"}', "model", "invalid_value", "256 characters"),
        (b"/chat/completions", b'{"model":"m","stream":"true"}', "stream", "invalid_type", "true or false"),
        (b"/chat/completions", b'{"model":"m","stream":1}', "stream", "invalid_type", "true or false"),
    ],
)
def test_what_is_wrong_with_a_json_body_is_said(
    path: bytes, body: bytes, param: str | None, code: str, told: str
) -> None:
    """Where and why, in a whole sentence; the field is named."""
    with pytest.raises(BadBody, match=told) as raised:
        peek(endpoint(path), JSON, body)
    assert (raised.value.param, raised.value.code) == (param, code)
    assert raised.value.message.endswith((".", "}."))


def test_json_that_only_some_parsers_take_is_not_refused() -> None:
    """Half a surrogate pair and NaN are the provider's to judge."""
    body = b'{"messages":[{"content":"\\ud83d"}],"x":NaN,"model":"m","stream":true}'
    assert peek(endpoint(), JSON, body) == Peeked("m", stream=True)


def test_a_body_that_may_be_empty_may_be_empty() -> None:
    """Cancelling takes none."""
    assert peek(endpoint(b"/responses/resp_1/cancel"), b"", b"") == Peeked()


@pytest.mark.parametrize(
    ("query", "stream"),
    [(b"stream=true", True), (b"a=b&stream=true&c", True), (b"stream=false", False), (b"xstream=true", False), (b"", False)],
)  # fmt: skip
def test_a_stored_response_may_be_asked_for_as_a_stream(query: bytes, stream: bool) -> None:  # noqa: FBT001
    """By the query: a GET has no body."""
    assert peek(endpoint(b"/responses/resp_1", b"GET"), b"", b"", query) == Peeked(stream=stream)


def form(*fields: tuple[bytes, bytes]) -> bytes:
    parts = b"".join(b"--b b\r\n" + head + b"\r\n\r\n" + value + b"\r\n" for head, value in fields)
    return parts + b"--b b--\r\n"


def named(name: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"'


FILE = (
    b'content-type: audio/x\r\nContent-Disposition: form-data; filename="model"; name="file"',
    b'\x00\r\n--b name="model"',
)
TRANSCRIBE = endpoint(b"/audio/transcriptions")


@pytest.mark.parametrize(
    ("body", "peeked"),
    [
        (form((named(b"model"), b"whisper-1"), FILE), Peeked("whisper-1")),
        (form(FILE, (named(b"model"), b"whisper-1")), Peeked("whisper-1")),
        (form(FILE, (named(b"stream"), b"true"), (named(b"model"), b"m")), Peeked("m", stream=True)),
        (form((named(b"stream"), b"false"), (named(b"model"), b"m")), Peeked("m")),
        (form((b"content-disposition: form-data; name=model", b"m")), Peeked("m")),
        (b"preamble\r\n" + form((named(b"model"), b"m")) + b"epilogue", Peeked("m")),
    ],
)
def test_what_a_form_asks_for(body: bytes, peeked: Peeked) -> None:
    """Wherever in it the model stands; the bytes of files are no fields."""
    assert peek(TRANSCRIBE, FORM, body) == peeked


@pytest.mark.parametrize(
    ("content_type", "body", "told"),
    [
        (FORM, form(FILE), "names no model"),
        (FORM, form((named(b"model"), b"")), "names no model"),
        (FORM, form((named(b"model"), b"\xff")), "not UTF-8"),
        (FORM, form((named(b"model"), b"m"))[:-12], "breaks off"),
        (FORM, b"", "breaks off"),
        (FORM, b"{}", "breaks off"),
        (b"multipart/form-data", form((named(b"model"), b"m")), "names no boundary"),
        (FORM, form((b"x: " + b"y" * 17_000, b"m")), "longer than 16384 bytes"),
        (FORM, form(*[(named(b"x"), b"")] * 1001), "more than 1000 parts"),
    ],
)
def test_what_is_wrong_with_a_form_is_said(content_type: bytes, body: bytes, told: str) -> None:
    """Bounded in its parts and their heads; what cannot be read is told."""
    with pytest.raises(BadBody, match=told):
        peek(TRANSCRIBE, content_type, body)


@given(st.lists(st.tuples(st.sampled_from([b"model", b"file", b"stream"]), st.binary(max_size=30)), max_size=5))
def test_only_the_model_of_a_form_is_renamed(fields: list[tuple[bytes, bytes]]) -> None:
    """Every field of that name, and no other byte, whatever the files hold."""
    fields = [(name, value.replace(b"--b b", b"")) for name, value in fields]
    body = form(*((named(name), value) for name, value in fields))
    expected = form(*((named(name), b"new" if name == b"model" else value) for name, value in fields))
    assert rename_model(body, FORM, "new") == expected


def test_only_the_model_of_a_json_body_is_renamed() -> None:
    """Deeper models and texts that speak of it stay."""
    body = b'{ "messages": [{"content": "\\"model\\":\\"m\\"", "model": "m"}], "model" : "m" , "tools": [{"model": 1}]}'
    assert rename_model(body, JSON, 'né"w') == body.replace(b'"model" : "m"', '"model" : "né\\"w"'.encode())


def test_a_body_that_names_its_model_twice_is_refused_where_it_must_be_renamed() -> None:
    """Nobody can say which one counts."""
    with pytest.raises(BadBody, match="twice"):
        rename_model(b'{"model":"a","model":"b"}', JSON, "m")
