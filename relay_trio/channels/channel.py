"""A channel: one configured account at a provider, ready to be used."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from fnmatch import translate

import attrs

from adaptors.protocol import Adaptor, BorrowsTokens, TellsTime, WantsFetched
from adaptors.values import ProviderAccount
from relay_trio.scopes.phase import Limit
from relay_trio.settings.model import ChannelSettings, Limits, Settings, variable_of
from relay_trio.upstream.target import Proxy, Route, proxy_of


@attrs.frozen
class ChannelClocks:
    """The limits of an attempt on this channel. None is off, or the total's business."""

    headers: Limit | None
    first_event: Limit | None
    idle: Limit | None
    total: Limit
    client_write: Limit | None = None
    quick: Limit | None = None
    """These two: None is the relay's own."""


@attrs.frozen(eq=False)
class ChannelKey:
    """One of a channel's keys. `number` counts from 1: that is all that logs say of it."""

    number: int
    account: ProviderAccount


@attrs.frozen(eq=False)
class Channel:
    """One configured account at a provider. Immutable: a reload makes new ones."""

    name: str
    adaptor: Adaptor
    base_url: str
    keys: tuple[ChannelKey, ...]
    route: Route
    clocks: ChannelClocks
    groups: frozenset[str] | None = None
    priority: int = 0
    weight: int = 1
    transport: str = "native"
    proxy_url: str | None = attrs.field(default=None, repr=False)
    """For httpx's own transport only; ours has it in `route`."""
    model_map: Mapping[str, str] = attrs.field(factory=dict)
    model_patterns: tuple[str, ...] | None = None
    _matches: Callable[[str], object] = attrs.field(default=bool, repr=False)
    wants_preparation: bool = attrs.field(init=False, repr=False)
    """Its adaptor wants the time, a token or files before it makes a request."""

    @wants_preparation.default
    def _wants_any(self) -> bool:
        return isinstance(self.adaptor, TellsTime | BorrowsTokens | WantsFetched)

    def serves(self, model: str | None, group: str, dialect: str, endpoint: str) -> bool:
        """Say whether a key of this group may reach this model by this endpoint of a dialect. No model: any will do."""
        return (
            (dialect in self.adaptor.dialects or endpoint in self.adaptor.translates)
            and (self.groups is None or group in self.groups)
            and (model is None or self.model_patterns is None or model in self.model_map or bool(self._matches(model)))
        )

    def names(self, model: str) -> bool:
        """Say whether the configuration speaks of this model: a channel that lists no models takes any."""
        return self.model_patterns is not None or model in self.model_map

    def upstream_model(self, model: str | None) -> str | None:
        """Return the provider's name of a model."""
        return None if model is None else self.model_map.get(model, model)

    def plain_models(self) -> tuple[str, ...]:
        """Return the models that are named in full: patterns name none."""
        named = [model for model in self.model_patterns or () if not any(mark in model for mark in "*?[")]
        return tuple(dict.fromkeys([*named, *self.model_map]))

    @property
    def lists_all(self) -> bool:
        """Its configuration says all that it serves, so that the provider need not be asked."""
        return self.model_patterns is not None and not any(
            mark in model for model in self.model_patterns for mark in "*?["
        )


def channel_from(settings: ChannelSettings, relay: Settings, adaptor: Adaptor, tls: ssl.SSLContext) -> Channel:
    """Build a channel from its settings. The settings were checked when they were read."""
    base_url = (settings.base_url or adaptor.default_base_url).rstrip("/")
    limits = relay.limits.with_channel(settings.limits)
    proxy: Proxy | None = None
    if settings.proxy is not None and settings.transport == "native":
        proxy = proxy_of(settings.proxy.reveal())
    keys = tuple(
        ChannelKey(
            number,
            ProviderAccount(
                base_url=base_url,
                key=secret.reveal(),
                ask_usage=settings.ask_usage,
                options=settings.options,
            ),
        )
        for number, secret in enumerate(settings.api_keys, start=1)
    ) or (ChannelKey(1, ProviderAccount(base_url, "", settings.ask_usage, settings.options)),)
    return Channel(
        name=settings.name,
        adaptor=adaptor,
        base_url=base_url,
        keys=keys,
        route=Route(
            connect=_limit(limits, "connect", settings),
            send=_limit(limits, "send", settings),
            tls=tls,
            proxy=proxy,
            pool_idle_s=settings.limits.get("pool_idle"),
        ),
        clocks=ChannelClocks(
            headers=_optional_limit(limits, "headers", settings),
            first_event=_optional_limit(limits, "first_event", settings),
            idle=_optional_limit(limits, "idle", settings),
            total=_limit(limits, "total", settings),
            client_write=_own_limit(limits, "client_write", settings),
            quick=_own_limit(limits, "quick", settings),
        ),
        groups=None if settings.groups is None else frozenset(settings.groups),
        priority=settings.priority,
        weight=settings.weight,
        transport=settings.transport,
        proxy_url=settings.proxy.reveal() if settings.proxy is not None else None,
        model_map=settings.model_map,
        model_patterns=settings.models,
        matches=_matcher(settings.models),
    )


def _limit(limits: Limits, name: str, settings: ChannelSettings) -> Limit:
    seconds: float = getattr(limits, name)
    return Limit(seconds, f"{variable_of('limits.' + name)}{' of the channel' if name in settings.limits else ''}")


def _own_limit(limits: Limits, name: str, settings: ChannelSettings) -> Limit | None:
    return _limit(limits, name, settings) if name in settings.limits else None


def _optional_limit(limits: Limits, name: str, settings: ChannelSettings) -> Limit | None:
    return None if getattr(limits, name) is None else _limit(limits, name, settings)


def _matcher(patterns: tuple[str, ...] | None) -> Callable[[str], object]:
    if patterns is None:
        return bool
    return re.compile("|".join(f"(?:{translate(pattern)})" for pattern in patterns)).match
