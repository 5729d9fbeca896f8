"""Do the providers answer where the channels say they are? Asked once, with the listing of models, which costs nothing.

The commonest mistake is a base URL without its `/v1`, or with one too many: both ways are tried and the right one named.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Final

import attrs
import httpx
import trio

from adaptors.failure import AnswerFailed
from adaptors.protocol import Adaptor
from adaptors.values import ProviderAccount
from relay_trio.cli.summary import base_url_of
from relay_trio.settings.model import ChannelSettings, Settings
from relay_trio.settings.units import MIB, show_seconds

_LISTING_BYTES: Final = 8 * MIB
"""OpenRouter's listing, the longest we know, is below 1 MiB."""

_AT_ONCE: Final = 8
"""Channels that are asked at the same time: a check is no load test."""

_REFUSED: Final = frozenset({401, 403})


@attrs.frozen
class Finding:
    """What was found out about a channel. `right` is False if somebody has to do something."""

    channel: str
    right: bool
    text: str


@attrs.frozen
class _Answer:
    """How an address answered: `models` is their number if it was a listing, else `told` says what it was."""

    told: str
    status: int | None = None
    models: int | None = None


async def check_channels(settings: Settings, adaptors: Mapping[str, Adaptor]) -> list[Finding]:
    """Ask every channel, each under its quick limit."""
    findings: dict[int, list[Finding]] = {}
    slots = trio.CapacityLimiter(_AT_ONCE)

    async def check(number: int, channel: ChannelSettings) -> None:
        async with slots:
            findings[number] = await _check_channel(number, channel, adaptors[channel.adaptor], settings)

    async with trio.open_nursery() as nursery:
        for number, channel in enumerate(settings.channels):
            nursery.start_soon(check, number, channel, name=f"check {channel.name}")
    return [finding for number in sorted(findings) for finding in findings[number]]


async def _check_channel(number: int, channel: ChannelSettings, adaptor: Adaptor, settings: Settings) -> list[Finding]:
    limit = settings.limits.with_channel(channel.limits).quick
    with trio.move_on_after(limit):
        async with _client(channel, settings) as client:
            return await _asked(number, channel, _Asker(client, adaptor, channel))
    told = f"no answer within {show_seconds(limit)} s (limit RELAY_QUICK_TIMEOUT)"
    return [Finding(channel.name, right=False, text=told)]


def _client(channel: ChannelSettings, settings: Settings) -> httpx.AsyncClient:
    context = ssl.create_default_context()
    if settings.ca_bundle is not None:
        context.load_verify_locations(settings.ca_bundle)
    proxy = None if channel.proxy is None else channel.proxy.reveal()
    # no limits of httpx's own: the caller's scope is the limit
    return httpx.AsyncClient(verify=context, proxy=proxy, trust_env=False, timeout=None)  # noqa: S113


async def _asked(number: int, channel: ChannelSettings, asker: _Asker) -> list[Finding]:
    given = base_url_of(channel, {channel.adaptor: asker.adaptor})
    keys = [key.reveal() for key in channel.api_keys] or [""]
    answers = [await asker.ask(given, key) for key in keys]
    if any(answer.models is not None or answer.status in _REFUSED for answer in answers):
        return [_key_finding(channel, place, answer) for place, answer in enumerate(answers)]
    if answers[0].status is None:
        return [Finding(channel.name, right=False, text=f"{given} {answers[0].told}")]
    other = other_way(given)
    if (await asker.ask(other, keys[0])).models is not None:
        told = f'channels[{number}].base_url: "{given}" lists no models ({answers[0].told}), "{other}" does: use that'
        return [Finding(channel.name, right=False, text=told)]
    return [Finding(channel.name, right=False, text=f"{given} {answers[0].told}, and {other} lists no models either")]


def _key_finding(channel: ChannelSettings, place: int, answer: _Answer) -> Finding:
    text = f"api_keys[{place}]: {answer.told}" if channel.api_keys else answer.told
    return Finding(channel.name, right=answer.models is not None, text=text)


def other_way(base_url: str) -> str:
    """Return the base URL with `/v1` if it has none, and without if it has."""
    bare = base_url.rstrip("/")
    return bare.removesuffix("/v1") if bare.endswith("/v1") else f"{bare}/v1"


@attrs.frozen
class _Asker:
    """Asks one channel's provider for its models."""

    client: httpx.AsyncClient
    adaptor: Adaptor
    channel: ChannelSettings

    async def ask(self, base_url: str, key: str) -> _Answer:
        account = ProviderAccount(base_url, key, options=self.channel.options)
        wanted = self.adaptor.models_request(account)
        request = self.client.build_request(wanted.method.decode(), wanted.url, headers=list(wanted.headers))
        try:
            status, body = await self._answered(request)
        except httpx.HTTPError as error:
            return _Answer(f"cannot be reached ({_without(key, str(error) or type(error).__name__)})")
        return self._read(status, body)

    async def _answered(self, request: httpx.Request) -> tuple[int, bytes]:
        response = await self.client.send(request, stream=True)
        body = bytearray()
        # cancelled rather than left: httpx's iterators stand in one another, and only an exception ends them all
        with trio.CancelScope() as reading:
            async with aclosing(response):
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _LISTING_BYTES:
                        reading.cancel(reason="no list of models is so long")
        return response.status_code, bytes(body)

    def _read(self, status: int, body: bytes) -> _Answer:
        if status in _REFUSED:
            return _Answer(f"answers, but refuses the key ({status})", status)
        if status != httpx.codes.OK:
            return _Answer(f"answers {status} to GET models", status)
        try:
            models = self.adaptor.models(body)
        except AnswerFailed:
            return _Answer("answers, but with no list of models", status)
        return _Answer(f"answers, {len(models)} models", status, len(models))


def _without(key: str, text: str) -> str:
    return text.replace(key, "(hidden)") if key else text


def all_right(findings: Sequence[Finding]) -> bool:
    """Nobody has to do anything."""
    return all(finding.right for finding in findings)
