"""Signatures and event streams as AWS has them: what ours say is what botocore, AWS's own library, says."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any
from urllib.parse import quote
from zlib import crc32

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirCredentials
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from adaptors.aws_events import BadEvents, Message, MessageParser
from adaptors.aws_signature import Credentials, Scope, signed
from adaptors.values import UpstreamRequest

LIMIT = 1 << 20
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

# Signatures


class AtMoment(SigV4Auth):  # type: ignore[misc] # botocore has no types
    """Theirs, at a moment that is told."""

    def __init__(self, who: Credentials, scope: Scope) -> None:
        theirs = TheirCredentials(who.access_key_id, who.secret_access_key, who.session_token or None)
        super().__init__(theirs, scope.service, scope.region)
        self.timestamp = scope.timestamp

    def add_auth(self, request: Any) -> None:
        request.context["timestamp"] = self.timestamp
        self._modify_request_before_signing(request)
        canonical = self.canonical_request(request)
        to_sign = self.string_to_sign(request, canonical)
        self._inject_signature_to_request(request, self.signature(to_sign, request))


def theirs(asked: UpstreamRequest, who: Credentials, scope: Scope) -> dict[str, str]:
    headers = {name.decode(): value.decode() for name, value in asked.headers}
    request = AWSRequest(method=asked.method.decode(), url=asked.url, data=asked.body, headers=headers)
    AtMoment(who, scope).add_auth(request)
    return {name.lower(): str(value) for name, value in request.headers.items()}


plain = st.text("abcXYZ019-_.~", min_size=1, max_size=8)
odd = st.text("abc :/%+&=é 漢!*'()@,;~", max_size=8)
segments = st.lists(odd.filter(lambda text: text not in {".", ".."}), max_size=4).map(
    lambda parts: "/" + "/".join(quote(part, safe="") for part in parts if part)
)
queries = st.lists(st.tuples(plain, odd), max_size=3).map(
    lambda pairs: "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in pairs)
)
values = st.text("abc 019,;=", max_size=12).map(str.strip)
headers = st.dictionaries(st.sampled_from(["content-type", "accept", "x-amzn-thing", "x-b"]), values, max_size=4)


@given(
    method=st.sampled_from([b"GET", b"POST"]),
    path=segments,
    query=queries,
    fields=headers,
    body=st.binary(max_size=40),
    token=st.one_of(st.just(""), plain),
    region=st.sampled_from(["us-east-1", "cn-north-1"]),
    now=st.integers(0, 4_000_000_000),
)
def test_our_signature_is_botocores(  # noqa: PLR0917 - hypothesis gives them by name
    method: bytes, path: str, query: str, fields: dict[str, str], body: bytes, token: str, region: str, now: int
) -> None:
    """Of any request: odd paths and queries, spaces in headers, with a token and without."""
    url = f"https://bedrock-runtime.{region}.amazonaws.com{path}" + (f"?{query}" if query else "")
    request = UpstreamRequest(method, url, tuple((k.encode(), v.encode()) for k, v in fields.items()), body)
    who, scope = Credentials("AKIDEXAMPLE", SECRET, token), Scope(region, "bedrock", now)
    said = dict(signed(request, who, scope).headers)
    assert said[b"authorization"].decode() == theirs(request, who, scope)["authorization"]


def test_the_moment_is_told_as_aws_has_it() -> None:
    """In UTC, without signs."""
    moment = dt.datetime(2015, 8, 30, 12, 36, tzinfo=dt.UTC)
    scope = Scope("us-east-1", "iam", int(moment.timestamp()))
    assert (scope.timestamp, scope.name) == ("20150830T123600Z", "20150830/us-east-1/iam/aws4_request")


def test_the_secret_shows_nowhere() -> None:
    """Neither in what is sent nor in a repr."""
    who = Credentials("AKIDEXAMPLE", SECRET, "the-token")
    assert SECRET not in repr(who)
    assert "the-token" not in repr(who)
    assert SECRET not in repr(signed(UpstreamRequest(b"GET", "https://h/", (), None), who, Scope("r", "s", 0)))


# Event streams


def text_header(name: str, value: str) -> bytes:
    raw = value.encode()
    return bytes([len(name)]) + name.encode() + b"\x07" + len(raw).to_bytes(2, "big") + raw


def message(payload: bytes, headers: bytes = b"", **texts: str) -> bytes:
    """Return one message as AWS writes it."""
    headers += b"".join(text_header(":" + name.replace("_", "-"), value) for name, value in texts.items())
    prelude = (len(headers) + len(payload) + 16).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    head = prelude + crc32(prelude).to_bytes(4, "big") + headers + payload
    return head + crc32(head).to_bytes(4, "big")


# Each type of header that there is: true, false, byte, short, int, long, bytes, text, time, uuid.
OF_EVERY_TYPE = b"".join(
    bytes([2]) + b"h" + str(kind).encode() + bytes([kind]) + value
    for kind, value in enumerate([b"", b"", b"\x01", b"\x01\x02", b"\x00" * 4, b"\x00" * 8, b"\x00\x03abc", b"\x00\x02hi",
                                  b"\x00" * 8, b"\x00" * 16])
)  # fmt: skip
WRITTEN = (
    message(b'{"a":1}', event_type="chunk", message_type="event"),
    message(b""),
    message(b"x" * 300, OF_EVERY_TYPE),
    message("é".encode(), exception_type="throttlingException"),
)
STREAM = b"".join(WRITTEN)
ENDS = {0, *itertools.accumulate(map(len, WRITTEN))}
MESSAGES = [
    Message({":event-type": "chunk", ":message-type": "event"}, b'{"a":1}'),
    Message({}, b""),
    Message({"h7": "hi"}, b"x" * 300),
    Message({":exception-type": "throttlingException"}, "é".encode()),
]


def test_a_stream_is_read_however_it_is_cut() -> None:
    """Whole, byte by byte, and at every place; each cut tells that something is left."""
    assert MessageParser(LIMIT).feed(STREAM) == MESSAGES
    one = MessageParser(LIMIT)
    assert [found for byte in STREAM for found in one.feed(bytes([byte]))] == MESSAGES
    assert one.rest == 0
    for at in range(len(STREAM)):
        parser = MessageParser(LIMIT)
        first = parser.feed(STREAM[:at])
        assert first == MESSAGES[: len(first)]
        assert (parser.rest == 0) == (at in ENDS)
        assert [*first, *parser.feed(STREAM[at:])] == MESSAGES


texts = st.text(min_size=1, max_size=20)


@given(st.lists(st.tuples(st.dictionaries(st.sampled_from([":a", "b-c"]), texts), st.binary(max_size=60)), max_size=4))
def test_what_is_read_is_what_botocore_reads(written: list[tuple[dict[str, str], bytes]]) -> None:
    """Headers and payloads of any stream."""
    stream = b"".join(
        message(payload, b"".join(text_header(name, value) for name, value in fields.items()))
        for fields, payload in written
    )
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    assert [(found.headers, found.payload) for found in buffer] == [
        (dict(found.headers), found.payload) for found in MessageParser(LIMIT).feed(stream)
    ]


@given(st.data())
def test_a_damaged_stream_is_told(data: st.DataObject) -> None:
    """Any byte that is changed is found, at the latest when the message is whole; or the stream does not end."""
    at = data.draw(st.integers(0, len(STREAM) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != STREAM[at]))
    parser = MessageParser(LIMIT)
    with pytest.raises(BadEvents):
        parser.feed(STREAM[:at] + bytes([byte]) + STREAM[at + 1 :])


@pytest.mark.parametrize("size", [0, 15, LIMIT + 1, 2**32 - 1])
def test_a_length_is_believed_up_to_the_limit(size: int) -> None:
    """Nothing is held for a message that is too long, or too short to be one."""
    prelude = size.to_bytes(4, "big") + bytes(4)
    with pytest.raises(BadEvents, match="claims to be"):
        MessageParser(LIMIT).feed(prelude + crc32(prelude).to_bytes(4, "big"))


@pytest.mark.parametrize(
    "headers", [b"\x05ab", b"\x01a\x0a", b"\x01a\x07\xff\xffx", b"\x01a\x07\x00\x01\xff", b"\x01a\x04\x00"]
)
def test_headers_that_cannot_be_read_are_told(headers: bytes) -> None:
    """Cut off, of no known type, longer than there is room, not UTF-8."""
    with pytest.raises(BadEvents):
        MessageParser(LIMIT).feed(message(b"", headers))
