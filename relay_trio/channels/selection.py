"""Which channel and key a request tries, in which order. A pure function: chance and time are passed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from relay_trio.channels.channel import Channel, ChannelKey
from relay_trio.channels.health import Health, KeyId


@attrs.frozen(eq=False)
class Candidate:
    """One key of one channel, to be tried."""

    channel: Channel
    key: ChannelKey

    @property
    def id(self) -> KeyId:
        """What its health is known by."""
        return self.channel.name, self.key.number


def candidates(
    channels: Sequence[Channel], health: Health, now: float, chance: Callable[[], float]
) -> tuple[Candidate, ...]:
    """Return all keys of these channels in the order of trying.

    Higher priorities first; within one, channels at random by weight; within a channel its keys, beginning anywhere.
    Keys that asked to wait come behind all others, keys that were refused behind those: they are tried only when there
    is nothing better. `chance` returns a number in [0, 1).
    """
    if len(channels) == 1 and len(channels[0].keys) == 1:
        return (Candidate(channels[0], channels[0].keys[0]),)
    ordered = [
        Candidate(channel, key)
        for channel in _by_priority(list(channels), chance)
        for key in _rotated(channel.keys, chance)
    ]
    if len(ordered) > 1:
        ordered.sort(key=lambda candidate: health.burden(candidate.id, now))  # stable
    return tuple(ordered)


def _by_priority(channels: list[Channel], chance: Callable[[], float]) -> list[Channel]:
    if len(channels) <= 1:
        return channels
    # Efraimidis and Spirakis: the order of u^(1/w) is a random order weighted by w.
    return sorted(channels, key=lambda channel: (-channel.priority, -(chance() ** (1.0 / channel.weight))))


def _rotated(keys: Sequence[ChannelKey], chance: Callable[[], float]) -> Sequence[ChannelKey]:
    if len(keys) <= 1:
        return keys
    start = int(chance() * len(keys))
    return [*keys[start:], *keys[:start]]
