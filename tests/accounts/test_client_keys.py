"""Promises of clients' keys: where they are read, whose they are, and what is said when they are not."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptors.values import Headers
from relay_trio.accounts import keys
from relay_trio.accounts.keys import Key, KeyRing, digest_of, format_digest, presented_key
from relay_trio.errors import Unauthorized
from relay_trio.settings.model import KeySettings

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


def ring(**of_the_key: object) -> KeyRing:
    return KeyRing([KeySettings(name="acme", digest=digest_of("sk-acme"), **of_the_key)])  # type: ignore[arg-type]  # the cases name the fields


def refused(keyring: KeyRing, presented: bytes | None, client_ip: str | None = "203.0.113.7") -> Unauthorized:
    with pytest.raises(Unauthorized) as caught:
        keyring.find(presented, now_s=NOW.timestamp(), client_ip=client_ip)
    return caught.value


# Where a key is read

BEARER = (b"authorization", b"Bearer sk-bearer")
X_API_KEY = (b"x-api-key", b"sk-anthropic")
API_KEY = (b"api-key", b"sk-azure")
GOOG = (b"x-goog-api-key", b"sk-gemini")
OTHER = (b"content-type", b"application/json")


@pytest.mark.parametrize(
    ("headers", "query", "key", "rest"),
    [
        ((OTHER, BEARER), b"", b"sk-bearer", b""),
        ((X_API_KEY,), b"", b"sk-anthropic", b""),
        ((API_KEY,), b"", b"sk-azure", b""),
        ((GOOG,), b"", b"sk-gemini", b""),
        ((), b"key=sk-query", b"sk-query", b""),
        ((), b"alt=sse&key=sk-query&x=%20", b"sk-query", b"alt=sse&x=%20"),
        ((), b"alt=sse&monkey=1", None, b"alt=sse&monkey=1"),
        ((), b"k%65y=sk%2Dquery&a", b"sk-query", b"a"),
        ((), b"key=&key=sk-2&key=sk-3", b"sk-2", b""),
        ((), b"key", None, b""),
        ((), b"", None, b""),
        # the order of precedence
        ((GOOG, API_KEY, X_API_KEY, BEARER), b"key=sk-query", b"sk-bearer", b""),
        ((GOOG, API_KEY, X_API_KEY), b"key=sk-query", b"sk-anthropic", b""),
        ((GOOG, API_KEY), b"key=sk-query", b"sk-azure", b""),
        ((GOOG,), b"key=sk-query", b"sk-gemini", b""),
        # what counts as none
        (((b"authorization", b"Basic dTpw"), X_API_KEY), b"", b"sk-anthropic", b""),
        (((b"authorization", b"Bearer"), X_API_KEY), b"", b"sk-anthropic", b""),
        (((b"authorization", b"Bearer   "),), b"", None, b""),
        (((b"x-api-key", b""), API_KEY), b"", b"sk-azure", b""),
        # as clients write it
        (((b"authorization", b"bearer  sk-x "),), b"", b"sk-x", b""),
        (((b"authorization", b"Basic dTpw"), BEARER), b"", b"sk-bearer", b""),
        ((BEARER, (b"authorization", b"Bearer sk-second")), b"", b"sk-bearer", b""),
    ],
)
def test_where_a_key_is_read(headers: Headers, query: bytes, key: bytes | None, rest: bytes) -> None:
    """Bearer, x-api-key, api-key, x-goog-api-key, then ?key=; and no `key` is left in the query."""
    assert presented_key(headers, query) == (key, rest)


@given(st.lists(st.sampled_from([b"key=sk-secret", b"a=1", b"ke%79=sk-secret", b"", b"b", b"keys=2", b"=key"])))
def test_no_key_is_left_in_any_query(pairs: list[bytes]) -> None:
    """Whatever the query, all else stays in its order and its spelling."""
    rest = presented_key((), b"&".join(pairs))[1]
    assert rest == b"&".join(pair for pair in pairs if b"sk-secret" not in pair)


@given(st.lists(st.tuples(st.sampled_from([*keys.KEY_HEADERS, b"x"]), st.binary(max_size=20))), st.binary(max_size=40))
def test_no_request_is_too_strange(headers: list[tuple[bytes, bytes]], query: bytes) -> None:
    """Any bytes in any header or query are read without failing; a key is never empty."""
    key, _ = presented_key(tuple(headers), query)
    assert key is None or key


# Whose it is


def test_a_known_key_is_found_with_what_it_may_do() -> None:
    """The key's settings come with it, without the key."""
    key = ring(group="vip", models=("gpt-*",), concurrency=5).find(b"sk-acme", now_s=NOW.timestamp(), client_ip=None)
    assert key == Key("acme", "vip", ("gpt-*",), 5)
    assert "sk-acme" not in repr(key)


@pytest.mark.parametrize(
    "presented", [b"sk-acmf", b"SK-ACME", b"sk-acme ", b"sk", b"\xff\x00", b"x" * 513, b"x" * 10**6, b"sk-acme" * 100]
)
def test_an_unknown_key_is_refused_without_being_quoted(presented: bytes) -> None:
    """401, one listed sentence; what was presented is not said back."""
    error = refused(ring(), presented)
    assert (error.status, error.code) == (401, "invalid_api_key")
    assert error.message == "The API key is not one of this relay's keys."


@pytest.mark.parametrize("presented", [None, b""])
def test_who_sends_no_key_is_told_where_to_put_it(presented: bytes | None) -> None:
    """The sentence names every place that is read."""
    error = refused(ring(), presented)
    assert (error.status, error.code) == (401, "missing_api_key")
    named = [*(name.decode() for name in keys.KEY_HEADERS), "bearer", "?key="]
    assert all(place in error.message.lower() for place in named)


def test_a_key_expires_at_its_moment() -> None:
    """At the very moment it is refused, and not before; whatever the time zone it was written in."""
    late = dt.timezone(dt.timedelta(hours=8))
    keyring = ring(expires=NOW.astimezone(late))
    before = NOW - dt.timedelta(microseconds=1)
    assert keyring.find(b"sk-acme", now_s=before.timestamp(), client_ip=None).name == "acme"
    assert (refused(keyring, b"sk-acme").status, refused(keyring, b"sk-acme").code) == (401, "expired_api_key")


@pytest.mark.parametrize(
    ("client_ip", "allowed"),
    [
        ("203.0.113.7", True), ("::ffff:203.0.113.7", True), ("2001:db8::5", True), ("2001:db8::5%eth0", True),
        ("203.0.114.1", False), ("::1", False), ("::ffff:10.0.0.1", False), ("", False), (None, False), ("unix", False),
    ],
)  # fmt: skip
def test_a_key_may_be_bound_to_networks(client_ip: str | None, allowed: bool) -> None:  # noqa: FBT001 - a case
    """Elsewhere it is refused with 403; an IPv4 client seen through an IPv6 socket is the same client."""
    keyring = ring(allow_from=(ipaddress.ip_network("203.0.113.0/24"), ipaddress.ip_network("2001:db8::/32")))
    if allowed:
        assert keyring.find(b"sk-acme", now_s=NOW.timestamp(), client_ip=client_ip).name == "acme"
    else:
        error = refused(keyring, b"sk-acme", client_ip)
        assert (error.status, error.code) == (403, "address_not_allowed")


@pytest.mark.parametrize(
    ("models", "allowed", "not_allowed"),
    [
        (None, ["gpt-4o", "", "anything/at:all"], []),
        (("gpt-*", "o?"), ["gpt-4o", "gpt-", "o1"], ["GPT-4o", "o", "o10", "chatgpt-4o", "gpt"]),
        (("claude-[34]*",), ["claude-3-opus"], ["claude-2"]),
        (("gpt-4.1",), ["gpt-4.1"], ["gpt-4x1", "gpt-4.1-mini", "gpt-4.1\n"]),
        (("a|b", "c+"), ["a|b", "c+"], ["a", "b", "cc"]),
    ],
)
def test_models_are_patterns(models: tuple[str, ...] | None, allowed: list[str], not_allowed: list[str]) -> None:
    """A key's models are matched whole, as a shell matches, and case counts; none listed allows all."""
    key = Key("a", models=models)
    assert [name for name in allowed + not_allowed if key.allows(name)] == allowed


def test_five_thousand_keys_cost_what_one_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One digest and one comparison for each look, however many keys there are; each finds its own."""
    digests: list[bytes] = []
    known = [f"sk-{secrets.token_hex(8)}" for _ in range(5000)]
    keyring = KeyRing(KeySettings(name=f"k{number}", digest=digest_of(key)) for number, key in enumerate(known))

    def counted(key: bytes) -> bytes:
        digests.append(hashlib.blake2b(key, digest_size=32).digest())
        return digests[-1]

    monkeypatch.setattr(keys, "digest_of_bytes", counted)
    assert len(keyring) == 5000
    assert keyring.find(known[4321].encode(), now_s=NOW.timestamp(), client_ip=None).name == "k4321"
    assert len(digests) == 1


def test_a_stranger_makes_no_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is longer than any key is refused unread."""
    monkeypatch.setattr(keys, "digest_of_bytes", lambda _key: pytest.fail("it was hashed"))
    assert refused(ring(), b"x" * 513).code == "invalid_api_key"


def test_the_longest_key_that_may_be_configured_is_found() -> None:
    """512 bytes, as the settings allow."""
    keyring = KeyRing([KeySettings(name="long", digest=digest_of("x" * 512))])
    assert keyring.find(b"x" * 512, now_s=NOW.timestamp(), client_ip=None).name == "long"
    assert repr(keyring) == "<KeyRing 1 keys>"


def test_a_digest_is_what_b2sum_prints() -> None:
    """Anybody can make a digest with the tools of the system: printf %s sk-acme | b2sum -l 256 (its output, pasted)."""
    assert format_digest(digest_of("sk-acme")) == f"blake2b:{B2SUM}"


B2SUM = "6c7a938c6903efee33414c331f60bb2fddc7f79fcfc0a7de08fdd097dec19564"
