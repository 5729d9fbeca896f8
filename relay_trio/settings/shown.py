"""The settings of `[relay]` as a person reads them: each value and where it came from; of a secret only that there is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from relay_trio.settings.kinds import Kind, ListOf, MapOf
from relay_trio.settings.model import Settings, named

Row = tuple[str, str, str]


def setting_rows(settings: Settings) -> Iterator[Row]:
    """Yield the name, the value and the source of each setting."""
    for name, _, about in named():
        yield name, shown(about.kind, _value(settings, name)), settings.sources.get(name, "default")


def shown(kind: Kind[Any], value: Any) -> str:
    """Return a value as a person reads it; of a secret, that there is one."""
    if isinstance(kind, MapOf):
        return ", ".join(f"{name} = {kind.item.show(item)}" for name, item in value.items()) or "none"
    if isinstance(kind, ListOf):
        return "none" if not value else ", ".join(kind.item.show(item) for item in value)
    if kind.hidden:
        return "unset" if value is None else "set"
    return "unset" if value is None and kind.off is None else kind.show(value)


def _value(settings: Settings, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value
