"""The configuration as the relay uses it: one immutable snapshot, replaced as a whole by a reload.

A request takes the snapshot of its start and keeps it to its end, so live requests go on as they began.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

import attrs

from adaptors.protocol import Adaptor
from relay_trio.accounts.keys import KeyRing
from relay_trio.channels.channel import Channel, channel_from
from relay_trio.scopes.phase import Limit
from relay_trio.settings.model import Settings


@attrs.frozen(eq=False)
class Catalog:
    """The channels, the client keys and the settings they came with."""

    settings: Settings
    channels: tuple[Channel, ...]
    keys: KeyRing
    total: Limit = attrs.field(init=False)
    """The deadline of a request that asks for no shorter one."""
    body: Limit = attrs.field(init=False)
    _serving: dict[tuple[str | None, str, str, str], tuple[Channel, ...]] = attrs.field(factory=dict, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "total", Limit(self.settings.limits.total, "RELAY_TIMEOUT"))
        object.__setattr__(self, "body", Limit(self.settings.limits.body, "RELAY_BODY_TIMEOUT"))

    def serving(self, model: str | None, group: str, dialect: str, endpoint: str) -> tuple[Channel, ...]:
        """Return the channels that serve this model to this group by this endpoint; remembered, within a bound."""
        asked = (model, group, dialect, endpoint)
        found = self._serving.get(asked)
        if found is None:
            fitting = tuple(channel for channel in self.channels if channel.serves(model, group, dialect, endpoint))
            found = _likeliest(fitting, model, dialect)
            if len(self._serving) < _MAX_REMEMBERED:
                self._serving[asked] = found
        return found

    def channel(self, name: str) -> Channel | None:
        """Return the channel of this name."""
        return next((channel for channel in self.channels if channel.name == name), None)


def _likeliest(channels: tuple[Channel, ...], model: str | None, dialect: str) -> tuple[Channel, ...]:
    """Return those of the channels that probably have this model.

    A channel that lists no models takes any. Where several do, those whose provider's own the model is by its name come
    before those that speak the client's dialect, and these before the others: a request for a `claude` is not tried at
    OpenAI because that channel happens to take anything.
    """
    if model is None:
        return tuple(channel for channel in channels if dialect in channel.adaptor.dialects)
    named = [channel for channel in channels if channel.names(model)]
    rest = [channel for channel in channels if not channel.names(model)]
    own = [channel for channel in rest if model.startswith(channel.adaptor.model_families)]
    native = [channel for channel in rest if dialect in channel.adaptor.dialects]
    taken = {*named, *(own or native or (() if named else rest))}
    return tuple(channel for channel in channels if channel in taken)


_MAX_REMEMBERED = 4096
"""Model names come from clients: what is remembered of them is bounded."""


def catalog_from(
    settings: Settings, adaptors: Mapping[str, Adaptor], tls: ssl.SSLContext, extra: tuple[Channel, ...] = ()
) -> Catalog:
    """Build the snapshot; `extra` channels (the demo's) come after the configured ones."""
    configured = tuple(channel_from(channel, settings, adaptors[channel.adaptor], tls) for channel in settings.channels)
    return Catalog(settings, configured + extra, KeyRing(settings.keys))


class CatalogHolder:
    """The current snapshot. Requests read `current` once."""

    def __init__(self, catalog: Catalog) -> None:
        self.current = catalog
        self.on_change: list[Callable[[Catalog], None]] = []

    def replace(self, catalog: Catalog) -> None:
        """New requests see this one; live ones go on."""
        self.current = catalog
        for tell in self.on_change:
            tell(catalog)
