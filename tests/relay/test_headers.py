"""Which header fields cross the relay, and which end here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_trio.relay.headers import advice, sane_request_id, to_client, to_upstream, upstream_request_id, value

KEYS = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key")
ABOUT_THE_CLIENT = (
    b"cookie", b"origin", b"referer", b"forwarded", b"via", b"x-real-ip", b"x-forwarded-for", b"x-forwarded-host",
    b"x-forwarded-proto", b"x-forwarded-port", b"true-client-ip", b"cf-connecting-ip", b"x-client-ip",
)  # fmt: skip
HOP_BY_HOP = (
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
)  # fmt: skip
OURS = (b"host", b"content-length", b"expect", b"x-relay-timeout")


@pytest.mark.parametrize("name", [*KEYS, *ABOUT_THE_CLIENT, *HOP_BY_HOP, *OURS])
def test_a_provider_never_sees(name: bytes) -> None:
    """The client's key, who the client is, and what belongs to one hop."""
    assert to_upstream([(name, b"x"), (b"x-mine", b"1")]) == ((b"x-mine", b"1"),)


@pytest.mark.parametrize(
    "name", [*HOP_BY_HOP, b"set-cookie", b"alt-svc", b"strict-transport-security", b"content-length"]
)
def test_a_client_never_sees(name: bytes) -> None:
    """What belongs to one hop, and what would make it talk to somebody else."""
    assert to_client([(name, b"x"), (b"x-mine", b"1")]) == [(b"x-mine", b"1")]


@pytest.mark.parametrize("name", [b"x-request-id", b"request-id"])
def test_a_client_has_one_request_id(name: bytes) -> None:
    """Ours; the provider's is in the log."""
    assert to_client([(name, b"theirs")]) == []
    assert upstream_request_id({name: b"theirs"}) == "theirs"


def test_what_a_connection_names_ends_with_it() -> None:
    """RFC 9110, 7.6.1; in any case and spacing, and in each of several fields."""
    fields = [
        (b"connection", b"keep-alive, X-One ,x-two"),
        (b"connection", b"x-three"),
        (b"x-one", b"1"),
        (b"x-two", b"2"),
        (b"x-three", b"3"),
        (b"x-four", b"4"),
    ]
    assert to_upstream(fields) == ((b"x-four", b"4"),)
    assert to_client(fields) == [(b"x-four", b"4")]


def test_repeated_and_unknown_fields_cross_in_their_order() -> None:
    """Byte for byte."""
    fields = [(b"x-a", b"1"), (b"openai-beta", b"assistants=v2"), (b"x-a", b"\xe9"), (b"x-b", b"")]
    assert to_upstream(fields) == tuple(fields)
    assert to_client(fields) == fields


def test_what_an_error_says_about_trying_again_is_kept() -> None:
    """Those fields and no others."""
    kept = [
        (b"retry-after", b"7"),
        (b"retry-after-ms", b"7000"),
        (b"x-should-retry", b"true"),
        (b"x-ratelimit-remaining-requests", b"0"),
        (b"anthropic-ratelimit-requests-reset", b"2026-01-01T00:00:00Z"),
    ]
    assert advice([*kept, (b"content-type", b"text/html"), (b"server", b"nginx")]) == kept


def test_a_value_is_the_first_of_its_name() -> None:
    """None where there is none."""
    assert value([(b"a", b"1"), (b"a", b"2")], b"a") == b"1"
    assert value([], b"a") is None


@pytest.mark.parametrize(
    ("given_id", "taken"),
    [
        (b"req_1", "req_1"),
        (b"a" * 128, "a" * 128),
        (b"a" * 129, None),
        (b"", None),
        (None, None),
        (b"a b", None),
        (b"a\nb", None),
        (b'"', None),
        (b"\xc3\xa9", None),
    ],
)
def test_a_clients_request_id_is_taken_if_it_is_sane(given_id: bytes | None, taken: str | None) -> None:
    """It stands in headers and in log lines: nothing that could break out of either."""
    assert sane_request_id(given_id) == taken


FIELDS = st.lists(
    st.tuples(st.sampled_from([*KEYS, *HOP_BY_HOP, b"x-a", b"accept"]), st.binary(max_size=20)), max_size=8
)


@given(FIELDS)
def test_no_key_ever_crosses(fields: list[tuple[bytes, bytes]]) -> None:
    """Whatever else is there."""
    assert not {name for name, _ in to_upstream(fields)} & {*KEYS, *HOP_BY_HOP}
    assert not {name for name, _ in to_client(fields)} & set(HOP_BY_HOP)
