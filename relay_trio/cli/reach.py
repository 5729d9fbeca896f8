"""Do the providers answer where the channels say they are? Asked once, with the listing of models, which costs nothing.

The commonest mistake is a base URL without its `/v1`, or with one too many: both ways are tried and the right one named.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Final

import attrs
import httpx
import trio

from adaptors.failure import AnswerFailed
from adaptors.protocol import Adaptor, at_moment
from adaptors.values import ProviderAccount
from relay_trio.cli.language import say
from relay_trio.cli.summary import base_url_of
from relay_trio.settings.model import ChannelSettings, Settings
from relay_trio.settings.units import MIB, show_seconds
from relay_trio.upstream.credentials import NotLent, borrowed, lender_of
from relay_trio.upstream.target import tls_context

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
class Answer:
    """How an address answered: with these models if it was a listing; `told` says what it was."""

    told: str
    status: int | None = None
    models: tuple[str, ...] | None = None

    @property
    def refused(self) -> bool:
        """The address is right, the key is not."""
        return self.status in _REFUSED


@attrs.frozen
class Asked:
    """What a channel's address answered to each of its keys; `other` is the address that lists models in its place."""

    base_url: str
    answers: tuple[Answer, ...]
    tried: str | None = None
    """The other address, if it was tried too."""
    other: str | None = None

    @property
    def is_right(self) -> bool:
        """The address is that of a provider's API."""
        return any(answer.models is not None or answer.refused for answer in self.answers)


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
        async with client_for(channel, settings) as client:
            return _findings(number, channel, await ask_channel(Asker(client, adaptor, channel)))
    told = no_answer_within(limit)
    return [Finding(channel.name, right=False, text=told)]


def no_answer_within(limit_s: float) -> str:
    """Return what is said when the quick limit fired."""
    return say("no answer within {seconds} s (limit RELAY_QUICK_TIMEOUT)", seconds=show_seconds(limit_s))


def client_for(channel: ChannelSettings, settings: Settings) -> httpx.AsyncClient:
    """Return a client that goes the channel's way, by its proxy, and has no limits of its own."""
    context = tls_context(settings.ca_bundle)  # the relay's own: what it trusts is what is tried
    proxy = None if channel.proxy is None else channel.proxy.reveal()
    # no limits of httpx's own: the caller's scope is the limit
    return httpx.AsyncClient(verify=context, proxy=proxy, trust_env=False, timeout=None)  # noqa: S113


async def ask_channel(asker: Asker) -> Asked:
    """Ask with every key; where the address lists nothing, with `/v1` added or taken away too."""
    channel = asker.channel
    given = base_url_of(channel, {channel.adaptor: asker.adaptor})
    keys = [key.reveal() for key in channel.api_keys] or [""]
    asked = Asked(given, tuple([await asker.ask(given, key) for key in keys]))
    if asked.is_right or asked.answers[0].status is None:
        return asked
    other = other_way(given)
    lists = (await asker.ask(other, keys[0])).models is not None
    return attrs.evolve(asked, tried=other, other=other if lists else None)


def _findings(number: int, channel: ChannelSettings, asked: Asked) -> list[Finding]:
    if asked.is_right:
        return [
            Finding(channel.name, right=answer.models is not None, text=with_key(channel, place, answer.told))
            for place, answer in enumerate(asked.answers)
        ]
    return [Finding(channel.name, right=False, text=what_is_wrong(number, asked))]


def with_key(channel: ChannelSettings, place: int, told: str) -> str:
    """Return what was told to a key, by the key's place; a channel without keys has none."""
    return f"api_keys[{place}]: {told}" if channel.api_keys else told


def what_is_wrong(number: int, asked: Asked) -> str:
    """Return what is wrong with an address that lists no models, and which one does."""
    told = asked.answers[0].told
    if asked.tried is None:
        return f"{asked.base_url} {told}"
    if asked.other is None:
        return say("{url} {told}, and {other} lists no models either", url=asked.base_url, told=told, other=asked.tried)
    return say(
        'channels[{number}].base_url: "{url}" lists no models ({told}), "{other}" does: use that',
        number=number,
        url=asked.base_url,
        told=told,
        other=asked.other,
    )


def other_way(base_url: str) -> str:
    """Return the base URL with `/v1` if it has none, and without if it has."""
    bare = base_url.rstrip("/")
    return bare.removesuffix("/v1") if bare.endswith("/v1") else f"{bare}/v1"


@attrs.frozen
class Asker:
    """Asks one channel's provider for its models."""

    client: httpx.AsyncClient
    adaptor: Adaptor
    channel: ChannelSettings

    async def ask(self, base_url: str, key: str) -> Answer:
        """Ask one address with one key for its models."""
        account = ProviderAccount(base_url, key, options=self.channel.options)
        lender = lender_of(self.adaptor, account)
        try:
            account = account if lender is None else attrs.evolve(account, key=(await borrowed(lender)).text)
        except NotLent as error:
            return Answer(say("its cloud lends no token ({why})", why=error))
        wanted = at_moment(self.adaptor, time.time()).models_request(account)
        request = self.client.build_request(wanted.method.decode(), wanted.url, headers=list(wanted.headers))
        try:
            status, body = await self._answered(request)
        except httpx.HTTPError as error:
            why = _without(key, str(error) or type(error).__name__)
            return Answer(say("cannot be reached ({why})", why=why))
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

    def _read(self, status: int, body: bytes) -> Answer:
        if status in _REFUSED:
            return Answer(say("answers, but refuses the key ({status})", status=status), status)
        if status != httpx.codes.OK:
            return Answer(say("answers {status} to GET models", status=status), status)
        try:
            models = self.adaptor.models(body)
        except AnswerFailed:
            return Answer(say("answers, but with no list of models"), status)
        return Answer(say("answers, {count} models", count=len(models)), status, models)


def _without(key: str, text: str) -> str:
    return text.replace(key, "(hidden)") if key else text


def all_right(findings: Sequence[Finding]) -> bool:
    """Nobody has to do anything."""
    return all(finding.right for finding in findings)
