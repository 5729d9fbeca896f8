"""A relay before fake providers of every format, all on real sockets in the test's own trio run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import anthropic
import attrs
import openai
import trio
from google import genai
from google.genai import types as genai_types

from relay_trio.testing.answers import Provider
from relay_trio.testing.answers_anthropic import AnthropicProvider
from relay_trio.testing.answers_gemini import GeminiProvider
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream
from relay_trio.testing.relay import CLIENT_KEY, RelayUnderTest, open_relay_under_test, settings_for

T = TypeVar("T")

PROVIDER_KEY = "sk-the-providers-own-0123456789"

# adaptor -> what its fake answers with, the version in its base URL, the pattern of its models
PROVIDERS: Mapping[str, tuple[Callable[[], Provider], str, str]] = {
    "openai": (Provider, "/v1", "gpt-*"),
    "anthropic": (AnthropicProvider, "", "claude-*"),
    "gemini": (GeminiProvider, "", "gemini-*"),
    "deepseek": (Provider, "/v1", "deepseek-*"),
}


@attrs.frozen(eq=False)
class WireStand:
    """A running relay and the providers behind it, by adaptor."""

    relay: RelayUnderTest
    upstreams: Mapping[str, FakeUpstream]

    async def with_anthropic(self, work: Callable[[anthropic.Anthropic], T]) -> T:
        """Run this with the official SDK as the client, in a thread."""
        with anthropic.Anthropic(base_url=self.relay.url, api_key=CLIENT_KEY, max_retries=0) as sdk:
            return await trio.to_thread.run_sync(work, sdk)

    async def with_gemini(self, work: Callable[[genai.Client], T]) -> T:
        """Run this with the official SDK as the client, in a thread."""
        options = genai_types.HttpOptions(base_url=self.relay.url)

        def run() -> T:
            sdk = genai.Client(api_key=CLIENT_KEY, http_options=options)
            try:
                return work(sdk)
            finally:
                sdk.close()

        return await trio.to_thread.run_sync(run)

    async def with_openai(self, work: Callable[[openai.OpenAI], T]) -> T:
        """Run this with the official SDK as the client, in a thread."""
        with openai.OpenAI(base_url=f"{self.relay.url}/v1", api_key=CLIENT_KEY, max_retries=0) as sdk:
            return await trio.to_thread.run_sync(work, sdk)

    def sent(self, adaptor: str) -> dict[str, object]:
        """Return the body of the last request that a provider got."""
        fields: dict[str, object] = self.upstreams[adaptor].requests[-1].asked().fields
        return fields

    async def rest(self) -> None:
        """Hold the relay to its rest."""
        await self.relay.wait_at_rest()
        with trio.move_on_after(2):
            while self.relay.live():  # noqa: ASYNC110 - counts wake nobody
                await trio.sleep(0.05)
        assert self.relay.live() == {}
        assert self.relay.lines("request_crashed") == []


@asynccontextmanager
async def open_wire_stand(
    directory: Path, *adaptors: str, channel: str = "", list_models: bool = True
) -> AsyncIterator[WireStand]:
    """Run a relay with one channel for each of these adaptors; `channel` goes into each of their tables.

    They are tried in their order. Without `list_models` a channel takes any model.
    """
    async with AsyncExitStack() as stack:
        upstreams = {name: await stack.enter_async_context(_open_provider(name)) for name in adaptors}
        tables = [_channel(name, upstream, channel, list_models=list_models) for name, upstream in upstreams.items()]
        toml = "".join(f"{table}\npriority = {-at}\n" for at, table in enumerate(tables))
        relay = await stack.enter_async_context(open_relay_under_test(settings_for(directory, toml)))
        stand = WireStand(relay, upstreams)
        yield stand
        await stand.rest()


@asynccontextmanager
async def _open_provider(adaptor: str) -> AsyncIterator[FakeUpstream]:
    async with open_fake_upstream() as upstream:
        upstream.provider = PROVIDERS[adaptor][0]()
        yield upstream


def _channel(adaptor: str, upstream: FakeUpstream, more: str, *, list_models: bool) -> str:
    _, version, models = PROVIDERS[adaptor]
    named = f'models = ["{models}"]' if list_models else ""
    return f"""
        [[channels]]
        name = "{adaptor}"
        adaptor = "{adaptor}"
        base_url = "{upstream.url}{version}"
        api_keys = ["{PROVIDER_KEY}"]
        {named}
        {more}
    """
