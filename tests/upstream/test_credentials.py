"""Tokens that clouds lend: borrowed once for all, kept while they are good, and never a reason for a request to hang."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs

import attrs
import pytest
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from stand import open_with

from adaptors.registry import BUILT_IN
from adaptors.values import Lender, ProviderAccount
from relay_trio.errors import UpstreamFailed
from relay_trio.testing.answers_gemini import GeminiProvider
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.fake_client import connect
from relay_trio.testing.fake_upstream import open_fake_upstream
from relay_trio.upstream import credentials
from relay_trio.upstream.credentials import NotLent, Token, Tokens, borrowed

pytestmark = pytest.mark.anyio

VERTEX = BUILT_IN["vertex"]
ACCOUNT = ProviderAccount("https://h/v1/projects/p/locations/l", "")
OTHER = attrs.evolve(ACCOUNT, options={"credentials": "other.json"})


@attrs.define
class Log:
    lines: list[dict[str, object]] = attrs.field(factory=list)

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append({"event": event, **fields})


@attrs.define
class Bank:
    """A lender that does what it is told, in the test's own run: no thread, so that the clock may jump."""

    lifetime_s: float = 3600.0
    fails: bool = False
    takes_s: float = 0.0
    lent: list[Lender] = attrs.field(factory=list)

    async def borrowed(self, lender: Lender, *_: object) -> Token:
        self.lent.append(lender)
        await trio.sleep(self.takes_s)
        if self.fails:
            raise NotLent("the bank is closed")
        return Token(f"token-{len(self.lent)}", self.lifetime_s)


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> Bank:
    bank = Bank()
    monkeypatch.setattr(credentials, "borrowed", bank.borrowed)
    return bank


@asynccontextmanager
async def running(log: Log | None = None) -> AsyncIterator[Callable[[ProviderAccount], Awaitable[str]]]:
    """Run the service; yield what returns the key of an account."""
    tokens = Tokens(log or Log())

    async def key(account: ProviderAccount) -> str:
        return (await tokens.account(VERTEX, account)).key

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tokens.run)
        yield key
        nursery.cancel_scope.cancel(reason="the test has ended")


async def test_a_key_of_ones_own_is_left_alone(bank: Bank) -> None:
    """And so is an adaptor that borrows nothing."""
    tokens = Tokens(Log())
    own = attrs.evolve(ACCOUNT, key="ya29")
    assert await tokens.account(VERTEX, own) is own
    assert await tokens.account(BUILT_IN["openai"], ACCOUNT) is ACCOUNT
    assert bank.lent == []


async def test_many_requests_are_one_question(bank: Bank) -> None:
    """At once and later; another account has a token of its own."""
    bank.takes_s = 2
    keys: list[str] = []
    async with running() as key:

        async def ask() -> None:
            keys.append(await key(ACCOUNT))

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask)
        await ask()
        assert await key(OTHER) == "token-2"
    assert keys == ["token-1"] * 101
    assert bank.lent == [Lender("google"), Lender("google", "other.json")]


async def test_a_token_is_borrowed_anew_before_its_end(bank: Bank) -> None:
    """While it still serves: nobody waits; after its end everybody does."""
    async with running() as key:
        assert await key(ACCOUNT) == "token-1"
        bank.takes_s = 10
        await trio.sleep(3600 - 299)
        start = trio.current_time()
        assert await key(ACCOUNT) == "token-1"
        assert trio.current_time() == start
        await trio.sleep(11)
        assert await key(ACCOUNT) == "token-2"
        await trio.sleep(5000)
        assert await key(ACCOUNT) == "token-3"


async def test_a_lender_that_fails_is_told_and_asked_again_later(bank: Bank) -> None:
    """The request fails at once, curably; the next ones do not ask; after some seconds one does."""
    bank.fails, log = True, Log()
    async with running(log) as key:
        for _ in range(10):
            with pytest.raises(UpstreamFailed) as raised:
                await key(ACCOUNT)
            assert (raised.value.code, raised.value.retryable) == ("upstream_token_not_lent", True)
        assert len(bank.lent) == 1
        assert log.lines == [{"event": "token_not_lent", "lender": "google", "why": "the bank is closed"}]
        bank.fails = False
        await trio.sleep(6)
        assert await key(ACCOUNT) == "token-2"


async def test_a_request_that_leaves_leaves_the_question(bank: Bank) -> None:
    """The next one has its answer."""
    bank.takes_s = 20
    async with running() as key:
        with trio.move_on_after(5) as scope:
            await key(ACCOUNT)
        assert scope.cancelled_caught
        assert await key(ACCOUNT) == "token-1"
    assert len(bank.lent) == 1


# Google's own library, before a server that lends


def a_service_account(directory: Path, token_uri: str) -> str:
    """Write the file of a service account, with a key of its own; return its path."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = directory / "account.json"
    fields = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "relay@p.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(fields))
    return str(path)


async def lends(conversation: Conversation) -> None:
    """Lend for an hour (RFC 7523)."""
    asked = parse_qs(conversation.request.body.decode())
    assert asked["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    body = {"access_token": "ya29.lent", "expires_in": 3600, "token_type": "Bearer"}
    await conversation.send_in_place(200, ((b"content-type", b"application/json"),), json.dumps(body).encode())


@pytest.mark.real_clock
async def test_a_service_account_is_lent_a_token(tmp_path: Path) -> None:
    """By what its own file says, over our HTTP client."""
    async with open_fake_upstream(lends) as server:
        path = a_service_account(tmp_path, f"{server.url}/token")
        token = await borrowed(Lender("google", path))
    assert token.text == "ya29.lent"
    assert 3000 < token.lifetime_s <= 3600
    assert "ya29" not in repr(token)


@pytest.mark.real_clock
async def test_what_cannot_be_lent_says_why(tmp_path: Path) -> None:
    """A file that is none, or not there; a lender that refuses."""
    (tmp_path / "none.json").write_text("[]")
    (tmp_path / "other.json").write_text('{"type": "something_else"}')
    said = {"none.json": "no credentials", "other.json": "something_else", "missing.json": "missing.json"}
    for name, why in said.items():
        with pytest.raises(NotLent, match=why):
            await borrowed(Lender("google", str(tmp_path / name)))
    async with open_fake_upstream("answer;status=400") as server:
        with pytest.raises(NotLent, match="RefreshError"):
            await borrowed(Lender("google", a_service_account(tmp_path, f"{server.url}/token")))


async def test_a_lender_that_hangs_is_given_up() -> None:
    """Its thread is left behind."""
    released = trio.Event()
    hold = trio.lowlevel.current_trio_token()

    def hangs(_: Lender) -> Token:
        trio.from_thread.run(released.wait, trio_token=hold)
        return Token("late", 1)

    with pytest.raises(NotLent, match="no answer within 30 s"):
        await borrowed(Lender("google"), hangs)
    released.set()


async def test_lenders_that_hang_take_no_threads_of_others() -> None:
    """Each is left behind in its own place, and when there is none left, none is started: names are looked up still."""
    released, started = threading.Event(), []

    def hangs(lender: Lender) -> Token:
        started.append(lender)
        released.wait()
        return Token("late", 1)

    async with trio.open_nursery() as nursery:
        tokens = Tokens(Log(), hangs)
        nursery.start_soon(tokens.run)
        try:
            for _ in range(credentials.MAX_THREADS + 2):
                with pytest.raises(UpstreamFailed):
                    await tokens.account(VERTEX, ACCOUNT)
                await trio.sleep(6)
            assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
            assert len(started) <= credentials.MAX_THREADS
        finally:
            released.set()
            nursery.cancel_scope.cancel(reason="the test has ended")


async def sends_without_end(conversation: Conversation) -> None:
    """Answer with more than a token can be."""
    body = b'{"access_token": "' + b"y" * 2_000_000 + b'"}'
    await conversation.send_in_place(200, ((b"content-type", b"application/json"),), body)


@pytest.mark.real_clock
async def test_a_lender_that_sends_without_end_is_given_up(tmp_path: Path) -> None:
    """Its answer is not kept."""
    async with open_fake_upstream(sends_without_end) as server:
        with pytest.raises(NotLent, match=r"127\.0\.0\.1 sends an answer without end"):
            await borrowed(Lender("google", a_service_account(tmp_path, f"{server.url}/token")))


@pytest.mark.real_clock
async def test_a_thread_that_was_given_up_ends_at_the_next_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read of an answer that drips comes in time; the whole never does, and no thread is kept for it."""
    monkeypatch.setattr(credentials, "_LENDER_S", 1.0)
    async with open_fake_upstream("endless-drip;interval=0.1") as server:
        with pytest.raises(NotLent, match="no answer within 1 s"):
            await borrowed(Lender("google", a_service_account(tmp_path, f"{server.url}/token")))
        with trio.fail_after(20):
            await server.wait_no_connections()


@pytest.mark.real_clock
async def test_a_request_goes_up_with_the_token(tmp_path: Path) -> None:
    """Through a running relay; no log line and no error holds it."""
    async with open_fake_upstream(lends) as server, open_fake_upstream() as upstream:
        upstream.provider = GeminiProvider()
        path = a_service_account(tmp_path, f"{server.url}/token")
        toml = f"""
            [[channels]]
            name = "v"
            adaptor = "vertex"
            base_url = "{upstream.url}/v1/projects/p/locations/l"
            options = {{credentials = {json.dumps(path)}}}
        """
        async with open_with(tmp_path, toml) as relay, connect(relay.url) as client:
            for _ in range(2):
                body = {"model": "gemini-x", "messages": [{"role": "user", "content": "q"}]}
                await client.post_json("/v1/chat/completions", body, relay.key)
                assert (await client.read_response()).status == 200
            assert server.request_count == 1
            request = upstream.requests[-1]
            assert request.path == "/v1/projects/p/locations/l/publishers/google/models/gemini-x:generateContent"
            assert request.get("authorization") == "Bearer ya29.lent"
            assert "ya29" not in json.dumps(relay.lines())
