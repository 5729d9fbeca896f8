"""A relay between one fake provider and raw clients, all on real sockets in the test's own trio run.

The law: what a test asks of it at the end (`rest`) is the same for all: no live request, an even balance, one log line for
each request, nothing left open by it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from relay_trio.testing.certificates import ca_file, server_context, server_files
from relay_trio.testing.fake_client import FakeClient, Response, connect
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream
from relay_trio.testing.link import PeerGone
from relay_trio.testing.relay import CLIENT_KEY, RelayUnderTest, open_relay_under_test, settings_for
from relay_trio.testing.script import Behaviour, Script
from relay_trio.testing.shapes import chat, post

PROVIDER_KEY = "sk-the-providers-own-0123456789"

CHAT = "/v1/chat/completions"
STREAM = chat(key=CLIENT_KEY)
UNARY = chat(key=CLIENT_KEY, stream=False)
PATIENCE_S = 10_000
"""Of the virtual clock: longer than any request may live in these tests."""

UPLOADS = "/v1/uploads/upload_1/parts"
"""A path whose body streams up unread."""


@attrs.frozen(eq=False)
class Stand:
    """A running relay and the provider behind it."""

    relay: RelayUnderTest
    upstream: FakeUpstream
    first: FakeUpstream | None = None
    """Where there are two channels: the provider that is tried first."""

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect."""
        return self.relay.host, self.relay.port

    async def line(self, number: int = 1) -> dict[str, Any]:
        """Wait until so many requests have been logged, which must be all; return the last one's line."""
        with trio.fail_after(PATIENCE_S):
            while len(self.relay.finished()) < number:  # noqa: ASYNC110 - a log in memory wakes nobody
                await trio.sleep(0.05)
        lines = self.relay.finished()
        assert len(lines) == number, lines
        return lines[-1]

    async def rest(self) -> None:
        """Hold the relay to its rest: every kind of thing that it opened is closed, pooled connections aside."""
        await self.relay.wait_at_rest()
        with trio.move_on_after(2):  # a client that has just left may have connections that linger for a second
            while self.relay.live():  # noqa: ASYNC110 - counts wake nobody
                await trio.sleep(0.1)
        assert self.relay.live() == {}
        assert self.relay.lines("request_crashed") == []
        assert self.relay.lines("connection_crashed") == []
        assert {line["left_open"] for line in self.relay.finished() if "left_open" in line} <= {0}

    async def ask(self, request: bytes) -> Response:
        """Ask on a connection of its own and return the whole answer, which may come before all was sent."""
        async with connect(self.address) as client, trio.open_nursery() as nursery:
            nursery.start_soon(send_what_is_taken, client, request)
            response = await client.read_response()
            nursery.cancel_scope.cancel(reason="it was answered")
        return response


@asynccontextmanager
async def open_stand(
    directory: Path,
    script: Script | Behaviour = "answer",
    *,
    relay: str = "",
    limits: str = "",
    channel: str = "",
    environ: Mapping[str, str] | None = None,
    tls: bool = False,
    receive_buffer: int | None = None,
) -> AsyncIterator[Stand]:
    """Run a relay in front of one provider; the texts go into the tables of `relay.toml` that they are named after.

    With `tls` both sides of the relay speak it. `receive_buffer` is the provider's.
    """
    context = server_context() if tls else None
    async with open_fake_upstream(script, tls=context, receive_buffer=receive_buffer) as upstream:
        toml = f"""
            [relay]
            {relay}
            [relay.limits]
            {limits}
            {channel_table("main", upstream, channel)}
        """
        async with open_with(directory, toml, {**(tls_variables() if tls else {}), **(environ or {})}) as relay_up:
            yield Stand(relay_up, upstream)


@asynccontextmanager
async def open_pair(
    directory: Path,
    first: Script | Behaviour,
    second: Script | Behaviour = "answer",
    *,
    limits: str = "",
    relay: str = "",
) -> AsyncIterator[Stand]:
    """Run a relay in front of two providers; channel `first` is tried before `second`. `upstream` is the second's."""
    async with open_fake_upstream(first) as one, open_fake_upstream(second) as other:
        toml = f"""
            [relay]
            {relay}
            [relay.limits]
            {limits}
            {channel_table("first", one, "priority = 2")}
            {channel_table("second", other, "priority = 1")}
        """
        async with open_with(directory, toml) as relay_up:
            yield Stand(relay_up, other, one)


def channel_table(name: str, upstream: FakeUpstream, more: str = "") -> str:
    """Return the table of a channel to this provider."""
    keys = "" if "api_keys" in more else f'api_keys = ["{PROVIDER_KEY}"]'
    return f"""
        [[channels]]
        name = "{name}"
        adaptor = "openai"
        base_url = "{upstream.base_url()}"
        {keys}
        {more}
    """


def tls_variables() -> dict[str, str]:
    """Return the variables with which the relay speaks TLS and trusts the tests' authority."""
    chain, key = server_files()
    return {"RELAY_TLS_CERT": str(chain), "RELAY_TLS_KEY": str(key), "RELAY_CA_BUNDLE": str(ca_file())}


@asynccontextmanager
async def open_with(
    directory: Path, toml: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[RelayUnderTest]:
    """Run a relay with this configuration; it must be at rest when the block ends."""
    async with open_relay_under_test(settings_for(directory, toml, environ)) as relay:
        yield relay


async def send_what_is_taken(client: FakeClient, data: bytes) -> None:
    """Send until all is sent or the relay has closed its side."""
    with suppress(PeerGone):
        await client.send(data)


def error_of(response: Response) -> dict[str, Any]:
    """Return the error that a JSON answer tells, in OpenAI's shape."""
    error: dict[str, Any] = response.json()["error"]
    assert error["message"], error
    assert {"type", "param", "code"} <= set(error), error
    return error


async def read_failed_stream(client: FakeClient) -> tuple[list[str], dict[str, Any]]:
    """Read a stream to its end; return the data before its error event, and the error. It must not pretend success."""
    stream = await client.read_events()
    assert stream.data, "an error event was due"
    assert "[DONE]" not in stream.data
    assert stream.end.value == "truncated", stream.end
    assert stream.tail == b""
    *before, last = stream.data
    error: dict[str, Any] = json.loads(last)["error"]
    assert error["message"]
    return before, error


def upload(size: int, *, key: str = CLIENT_KEY) -> bytes:
    """Return the bytes of a request whose body streams up: so many bytes of a file."""
    body = b"x" * size
    return post(UPLOADS, body, key=key).replace(b"application/json", b"application/octet-stream")
