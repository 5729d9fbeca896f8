"""A request goes up as it came, but for address, key, and what the channel says."""

from __future__ import annotations

import json

import attrs
import pytest
from openai_streams import LIMIT, call

from adaptors.bodies import BadBody
from adaptors.compatible import COMPATIBLE
from adaptors.endpoints import match
from adaptors.failure import AnswerFailed, BodyState, FailureKind
from adaptors.openai import OpenAICompatible
from adaptors.protocol import Adaptor
from adaptors.values import Call, ProviderAccount
from adaptors.wires.openai_chat import ChatAnswer
from adaptors.wires.openai_json import JSONAnswer, PassedOn
from adaptors.wires.openai_responses import ResponsesAnswer

OPENAI = OpenAICompatible(
    "openai", "https://api.openai.com/v1", "OPENAI_API_KEY", dialects=("openai_chat", "openai_responses")
)
ACCOUNT = ProviderAccount("https://api.example/v1/", "sk-up")
AUTHORIZATION = (b"authorization", b"Bearer sk-up")
IDENTITY = (b"accept-encoding", b"identity")


def test_a_call_goes_up_as_it_came() -> None:
    """Path, query, repeated and unknown headers and the body's very bytes; address and key are the channel's."""
    headers = ((b"accept-encoding", b"gzip"), (b"content-length", b"9"), (b"x-a", b"1"), (b"x-a", b"2"))
    came = attrs.evolve(call(body=b'{ "model":"m" }'), headers=headers, query=b"a=%20b&c")
    request = OPENAI.request(came, ACCOUNT, "m")
    assert request.url == "https://api.example/v1/chat/completions?a=%20b&c"
    assert request.method == b"POST"
    assert request.headers == ((b"x-a", b"1"), (b"x-a", b"2"), IDENTITY, AUTHORIZATION)
    assert request.body is came.body


def test_an_answer_that_no_wire_reads_may_come_compressed() -> None:
    """The client's own wish for an encoding goes up."""
    endpoint = match(b"GET", b"/files/f/content")
    assert endpoint is not None
    came = Call(endpoint, "openai_chat", b"GET", b"/files/f%2F/content", b"", ((b"accept-encoding", b"br"),), b"")
    request = OPENAI.request(came, ACCOUNT, None)
    assert request.headers == ((b"accept-encoding", b"br"), AUTHORIZATION)
    assert request.url.endswith("/files/f%2F/content")


def test_an_upload_has_no_body_here() -> None:
    """It streams up; its length is still to be told."""
    came = attrs.evolve(call(path=b"/files"), body=None, headers=((b"content-length", b"9"),))
    request = OPENAI.request(came, ACCOUNT, None)
    assert request.body is None
    assert (b"content-length", b"9") in request.headers


def test_a_channel_without_a_key_sends_none() -> None:
    """Servers on one's own machine want none."""
    account = ProviderAccount("http://localhost:11434/v1", "")
    assert OPENAI.request(call(), account, "m").headers == (IDENTITY,)


def test_a_channel_may_say_who_pays() -> None:
    """Then the client's organization and project do not go up beside our key."""
    account = attrs.evolve(ACCOUNT, options={"organization": "org-1"})
    came = attrs.evolve(call(), headers=((b"openai-organization", b"org-c"), (b"openai-project", b"p-c")))
    headers = OPENAI.request(came, account, "m").headers
    assert [field for field in headers if field[0].startswith(b"openai-")] == [
        (b"openai-project", b"p-c"),
        (b"openai-organization", b"org-1"),
    ]


def test_a_mapped_model_goes_up_under_the_providers_name() -> None:
    """In JSON and in forms."""
    request = OPENAI.request(call(body=b'{"x":{"model":"m"},"model":"m"}'), ACCOUNT, "m-2026")
    assert request.body == b'{"x":{"model":"m"},"model":"m-2026"}'
    form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--b--'
    came = call(path=b"/audio/transcriptions", body=form)
    came = attrs.evolve(came, headers=((b"content-type", b"multipart/form-data; boundary=b"),))
    assert OPENAI.request(came, ACCOUNT, "m-2026").body == form.replace(b"\r\nm\r\n", b"\r\nm-2026\r\n")
    with pytest.raises(BadBody):
        OPENAI.request(call(body=b'{"model":"m","model":"m"}'), ACCOUNT, "m-2026")


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (b'{"model":"m"}', {"include_usage": True}),
        (b'{"model":"m","stream_options":null}', {"include_usage": True}),
        (b'{"stream_options":{"include_obfuscation":false,"include_usage":false},"model":"m"}',
         {"include_obfuscation": False, "include_usage": True}),
    ],
)  # fmt: skip
def test_usage_is_asked_for_where_the_channel_says_so(body: bytes, options: dict[str, bool]) -> None:
    """Of a stream whose client did not ask; and only then is the usage chunk withheld."""
    account = attrs.evolve(ACCOUNT, ask_usage=True)
    sent = OPENAI.request(call(body=body), account, "m").body
    assert sent is not None
    assert json.loads(sent) == {**json.loads(body), "stream_options": options}
    for came, asking in [
        (call(body=body), ACCOUNT),
        (call(body=body, stream=False), account),
        (call(body=body, include_usage=True), account),
        (call(path=b"/responses", body=body), account),
    ]:
        assert OPENAI.request(came, asking, "m").body is body


@pytest.mark.parametrize(
    ("path", "stream", "kind"),
    [
        (b"/chat/completions", True, ChatAnswer),
        (b"/completions", False, ChatAnswer),
        (b"/responses", True, ResponsesAnswer),
        (b"/embeddings", False, JSONAnswer),
        (b"/images/generations", True, PassedOn),
        (b"/audio/speech", False, PassedOn),
    ],
)
def test_the_reader_of_an_answer_follows_from_the_call(path: bytes, stream: bool, kind: type) -> None:  # noqa: FBT001
    """A fresh one each time."""
    answers = [OPENAI.answer(call(path=path, stream=stream), ACCOUNT, "m", LIMIT) for _ in range(2)]
    assert [type(answer) for answer in answers] == [kind, kind]
    assert answers[0] is not answers[1]


def test_an_answer_is_renamed_only_where_the_model_was() -> None:
    """The client's name comes back; without a mapping the provider's own name stays."""
    body = b'{"model":"m-2026","choices":[]}'
    assert OPENAI.answer(call(), ACCOUNT, "m-2026", LIMIT).whole(body) == b'{"model":"m","choices":[]}'
    assert OPENAI.answer(call(), ACCOUNT, "m", LIMIT).whole(body) == body
    assert OPENAI.answer(call(), ACCOUNT, None, LIMIT).whole(body) == body


def test_an_error_answer_is_read() -> None:
    """By the one reader of OpenAI-like errors."""
    failure = OPENAI.failure(429, ((b"retry-after", b"2"),), b'{"error":{"message":"m"}}', BodyState.WHOLE)
    assert (failure.kind, failure.message, failure.retry_after) == (FailureKind.RATE_LIMITED, "m", 2.0)


def test_the_list_of_models_is_asked_for() -> None:
    """With the channel's key, uncompressed."""
    request = OPENAI.models_request(ACCOUNT)
    assert (request.method, request.url, request.body) == (b"GET", "https://api.example/v1/models", None)
    assert AUTHORIZATION in request.headers
    assert IDENTITY in request.headers


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"object":"list","data":[{"id":"a"},{"id":"b"}]}', ("a", "b")),
        (b'[{"id":"a"},{"id":""},7]', ("a",)),  # Together lists without an envelope
        (b'{"models":[{"name":"a"},"b"]}', ("a", "b")),
        (b'{"data":[]}', ()),
    ],
)
def test_the_list_of_models_is_read(body: bytes, names: tuple[str, ...]) -> None:
    """Names are what counts."""
    assert OPENAI.models(body) == names


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"data":7}', b"7"])
def test_what_is_no_list_of_models_is_a_failure(body: bytes) -> None:
    """It is told as one."""
    with pytest.raises(AnswerFailed):
        OPENAI.models(body)


@pytest.mark.parametrize("row", COMPATIBLE, ids=lambda row: row.name)
def test_every_row_of_the_table_is_an_adaptor(row: Adaptor) -> None:
    """With an address that can be asked, a name that can be written, and variables that can be set."""
    assert row.default_base_url.startswith(("https://", "http://localhost:"))
    assert not row.default_base_url.endswith("/")
    assert row.name.isidentifier()
    assert row.name.islower()
    assert all(not name or name.isupper() for name in (row.key_variable, row.base_url_variable))
    assert "openai_chat" in row.dialects


def test_no_two_rows_share_a_name_or_a_variable() -> None:
    """A key belongs to one provider."""
    for field in ("name", "key_variable", "base_url_variable", "default_base_url"):
        values = [getattr(row, field) for row in COMPATIBLE if getattr(row, field)]
        assert len(values) == len(set(values))
