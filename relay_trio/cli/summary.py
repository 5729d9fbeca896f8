"""A configuration in plain lines: each value and where it came from, the channels, the keys; never a secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adaptors.protocol import Adaptor
from relay_trio.cli.terminal import show_table
from relay_trio.settings.model import ChannelSettings, KeySettings, Settings
from relay_trio.settings.shown import Row, setting_rows


def changed_rows(settings: Settings) -> list[Row]:
    """Return the rows of the settings that somebody has set."""
    return [row for row in setting_rows(settings) if row[2] != "default"]


def channel_lines(settings: Settings, adaptors: Mapping[str, Adaptor]) -> list[str]:
    """Return a line for each channel: its address, how many keys it has, whom it serves with what."""
    rows = [
        (
            channel.name,
            channel.adaptor,
            base_url_of(channel, adaptors),
            _counted(len(channel.api_keys), "key"),
            f"models {_listed(channel.models)}",
            f"groups {_listed(channel.groups)}",
            f"priority {channel.priority}, weight {channel.weight}",
            settings.sources.get(f"channels[{number}]", ""),
        )
        for number, channel in enumerate(settings.channels)
    ]
    return show_table(rows)


def key_lines(settings: Settings, most: int = 20) -> list[str]:
    """Return a line for each key, at most so many."""
    rows = [
        (key.name, *_permissions(key), _source(settings, number)) for number, key in enumerate(settings.keys[:most])
    ]
    more = len(settings.keys) - len(rows)
    return show_table(rows) + ([f"  ... and {more} more"] if more > 0 else [])


def base_url_of(channel: ChannelSettings, adaptors: Mapping[str, Adaptor]) -> str:
    """Return the address that the channel speaks to."""
    return channel.base_url or adaptors[channel.adaptor].default_base_url


def _permissions(key: KeySettings) -> tuple[str, ...]:
    return (
        f"group {key.group}",
        f"models {_listed(key.models)}",
        f"concurrency {key.concurrency or 'unlimited'}",
        f"expires {key.expires.isoformat() if key.expires else 'never'}",
        f"from {', '.join(map(str, key.allow_from)) or 'anywhere'}",
    )


def _source(settings: Settings, number: int) -> str:
    return settings.sources.get(f"keys[{number}]", "")


def _listed(names: Sequence[str] | None) -> str:
    return "all" if names is None else ", ".join(names)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
