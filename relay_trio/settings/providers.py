"""Channels and the providers they speak for: what a channel must have, and the ones that need no file.

Where no channel is configured, a provider's own variables make one: whoever has `OPENAI_API_KEY` set is ready.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol
from urllib.parse import urlsplit

from adaptors.protocol import KnowsOptions, ReadsVariables
from relay_trio.settings.addresses import is_loopback
from relay_trio.settings.kinds import url
from relay_trio.settings.model import (
    CHANNEL_CLOCKS,
    LENGTHENED_BY_CHANNELS,
    ChannelSettings,
    Limits,
    listed,
    variable_of,
)
from relay_trio.settings.read import FAILED, read_kind, read_tables, same_twice
from relay_trio.settings.references import secret
from relay_trio.settings.sources import Sources
from relay_trio.settings.units import show_seconds
from relay_trio.settings.written import InFile, InText, Problems, hidden_problem, problem, suggestion


class Provider(Protocol):
    """What the settings need to know of an adaptor; each adaptor is one."""

    @property
    def name(self) -> str:
        """The adaptor's name in the registry."""

    @property
    def default_base_url(self) -> str:
        """The provider's address; empty if every account has its own."""

    @property
    def key_variable(self) -> str:
        """The variable that the provider's own SDK reads its key from; empty if there is none."""

    @property
    def base_url_variable(self) -> str:
        """The variable that the provider's own SDK reads its address from; empty if there is none."""


def read_channels(
    sources: Sources, providers: Sequence[Provider], limits: Limits, problems: Problems
) -> list[tuple[ChannelSettings, str]]:
    """Return the channels, each with where it came from: the file's, or those that the providers' variables make."""
    written = sources.in_file("channels")
    if written is None:
        return _channels_from_variables(sources, providers, problems)
    by_name = {provider.name: provider for provider in providers}
    found = read_tables(ChannelSettings, written, problems)
    for channel, table in found:
        problems += _channel_problems(channel, table, by_name, limits)
    problems += same_twice([(channel.name, table) for channel, table in found], "name")
    return [(channel, table.source) for channel, table in found]


# Channels in the file


def _channel_problems(
    channel: ChannelSettings, written: InFile, providers: Mapping[str, Provider], limits: Limits
) -> Problems:
    """Return what is wrong with a channel whose values are each right."""
    provider = providers.get(channel.adaptor)
    if provider is None:
        adaptor = written.entry("adaptor") or written
        return [problem(adaptor, f"is no adaptor; {_known(channel.adaptor, providers)}")]
    return [
        *_address_problems(channel, written, provider),
        *_proxy_problems(channel, written),
        *_limit_problems(channel, written, limits),
        *_option_problems(channel, written, provider),
    ]


def _known(name: str, providers: Mapping[str, Provider]) -> str:
    near = suggestion(name, providers).partition("; ")[2]
    return near or f"known: {', '.join(sorted(providers))}"


def _address_problems(channel: ChannelSettings, written: InFile, provider: Provider) -> Problems:
    base_url = channel.base_url or provider.default_base_url
    if not base_url:
        return [f"{written.subject}: no base_url; {provider.name} has no address of its own"]
    remote = not is_loopback(f"{urlsplit(base_url).hostname}:0")
    if channel.base_url is None and remote and provider.key_variable and not channel.api_keys:
        return [f'{written.subject}: no api_keys; want e.g. api_keys = ["env:{provider.key_variable}"]']
    return []


def _proxy_problems(channel: ChannelSettings, written: InFile) -> Problems:
    proxy = written.entry("proxy")
    if channel.proxy is None or proxy is None or not channel.proxy.reveal().startswith("socks"):
        return []
    if channel.transport != "httpx":
        return [hidden_problem(proxy, 'is a SOCKS proxy, which needs transport = "httpx"')]
    if importlib.util.find_spec("socksio") is None:
        return [hidden_problem(proxy, "is a SOCKS proxy, which needs: pip install 'relay-trio[socks]'")]
    return []


_CLOCK_NAMES = [field.name for field, _ in listed(Limits)]


def _limit_problems(channel: ChannelSettings, written: InFile, limits: Limits) -> Problems:
    entries = (written.entry("limits") or written).entries() or {}
    reasons = ((entries[name], _limit_refused(name, value, limits)) for name, value in channel.limits.items())
    return [problem(entry, reason) for entry, reason in reasons if reason]


def _limit_refused(name: str, value: float, limits: Limits) -> str | None:
    if name not in _CLOCK_NAMES:
        return suggestion(name, sorted(CHANNEL_CLOCKS))
    if name not in CHANNEL_CLOCKS:
        return f"is no clock of a channel; these are: {', '.join(sorted(CHANNEL_CLOCKS))}"
    whole = getattr(limits, name)
    if name not in LENGTHENED_BY_CHANNELS and value > whole:
        return f"is longer than {variable_of(f'limits.{name}')} ({show_seconds(whole)}); a channel may only shorten it"
    return None


def _option_problems(channel: ChannelSettings, written: InFile, provider: Provider) -> Problems:
    if not isinstance(provider, KnowsOptions):
        return []
    entries = (written.entry("options") or written).entries() or {}
    reasons = (
        (entries[name], _option_refused(name, value, provider.options)) for name, value in channel.options.items()
    )
    return [problem(entry, reason) for entry, reason in reasons if reason]


def _option_refused(name: str, value: str, known: Mapping[str, tuple[str, ...]]) -> str | None:
    if name not in known:
        return suggestion(name, sorted(known))
    return f"want one of: {', '.join(known[name])}" if known[name] and value not in known[name] else None


# Channels from the providers' own variables


def _channels_from_variables(
    sources: Sources, providers: Sequence[Provider], problems: Problems
) -> list[tuple[ChannelSettings, str]]:
    found: dict[str, ChannelSettings] = {}
    for provider in providers:
        made_by = next((name for name in _variables(provider) if sources.variable(name)), None)
        if made_by is not None and made_by not in found:  # two adaptors may share a variable: the first has it
            make = _channel_found if isinstance(provider, ReadsVariables) else _channel_from_variables
            channel = make(provider, sources, problems)
            if channel is not None:
                found[made_by] = channel
    return [(channel, made_by) for made_by, channel in found.items()]


def _variables(provider: Provider) -> Sequence[str]:
    if isinstance(provider, ReadsVariables):
        return provider.variables
    return [name for name in (provider.key_variable, provider.base_url_variable) if name]


def _channel_from_variables(provider: Provider, sources: Sources, problems: Problems) -> ChannelSettings | None:
    key, base_url = sources.variable(provider.key_variable), sources.variable(provider.base_url_variable)
    if base_url is None and not provider.default_base_url:
        needed = provider.base_url_variable or "base_url in a [[channels]] table"
        problems.append(f"{provider.key_variable}: {provider.name} has no address of its own; set {needed} too")
        return None
    key_read = read_kind(secret(), key, problems) if key else None
    base_url_read = read_kind(url(), base_url, problems) if base_url else None
    if key_read is FAILED or base_url_read is FAILED:
        return None
    return ChannelSettings(
        name=provider.name,
        adaptor=provider.name,
        base_url=base_url_read,
        api_keys=() if key_read is None else (key_read,),
    )


def _channel_found(provider: Provider, sources: Sources, problems: Problems) -> ChannelSettings | None:
    """Return the channel of a provider that reads its variables itself."""
    assert isinstance(provider, ReadsVariables)
    said = {name: text.raw for name in provider.variables if (text := sources.variable(name)) is not None}
    try:
        account = provider.account_from(MappingProxyType(said))
    except ValueError as error:
        problems.append(str(error))
        return None
    if account is None:
        return None
    made_by = next(iter(said))
    around = sources.around
    key = read_kind(secret(), InText(account.key, made_by, around), problems) if account.key else None
    base_url = read_kind(url(), InText(account.base_url, made_by, around), problems) if account.base_url else None
    if key is FAILED or base_url is FAILED:
        return None
    return ChannelSettings(
        name=provider.name,
        adaptor=provider.name,
        base_url=base_url,
        api_keys=() if key is None else (key,),
        options=account.options,
    )
