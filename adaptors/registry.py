"""The table of all adaptors by name: ours, and those that other packages bring by an entry point.

Nothing registers itself by being imported. Who assembles the relay calls `load` once and hands the table on.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Final

from adaptors.anthropic import Anthropic
from adaptors.azure import Azure
from adaptors.bedrock import Bedrock
from adaptors.compatible import COMPATIBLE
from adaptors.gemini import Gemini
from adaptors.protocol import Adaptor
from adaptors.vertex import Vertex
from adaptors.xai import XAI

ENTRY_POINT_GROUP: Final = "relay_trio.adaptors"

_OURS: Final[tuple[Adaptor, ...]] = (*COMPATIBLE, XAI(), Azure(), Anthropic(), Gemini(), Bedrock(), Vertex())
BUILT_IN: Final[Mapping[str, Adaptor]] = MappingProxyType({adaptor.name: adaptor for adaptor in _OURS})


class UnknownAdaptor(LookupError):
    """No adaptor has this name; the message names the nearest one that exists, or all of them."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(names)}"
        super().__init__(f'no adaptor is named "{name[:80]}"; {hint}')


class BadAdaptor(ValueError):
    """An entry point brought something that is no adaptor, or one whose name is taken."""


def installed() -> tuple[EntryPoint, ...]:
    """Return the entry points of the packages that are installed. Reads their metadata from the disk."""
    return tuple(entry_points(group=ENTRY_POINT_GROUP))


def load(extra: Iterable[EntryPoint] = ()) -> Mapping[str, Adaptor]:
    """Return the table: the built-in adaptors, and those behind these entry points.

    An entry point names an adaptor, or a function without arguments that returns one. Raises BadAdaptor, and whatever
    the import of a package raises.
    """
    adaptors = dict(BUILT_IN)
    for entry in extra:
        adaptor = _loaded(entry)
        if adaptor.name in adaptors:
            raise BadAdaptor(f'entry point "{entry.name}": the adaptor name "{adaptor.name}" is taken')
        adaptors[adaptor.name] = adaptor
    return MappingProxyType(adaptors)


def _loaded(entry: EntryPoint) -> Adaptor:
    found = entry.load()
    adaptor: Adaptor = found if hasattr(found, "request") and not isinstance(found, type) else found()
    missing = [name for name in _CONTRACT if not hasattr(adaptor, name)]
    if missing:
        raise BadAdaptor(f'entry point "{entry.name}": {adaptor!r} is no adaptor; it lacks {", ".join(missing)}')
    return adaptor


_CONTRACT: Final = tuple(name for name in vars(Adaptor) if not name.startswith("_"))


def find(adaptors: Mapping[str, Adaptor], name: str) -> Adaptor:
    """Return the adaptor of this name. Raises UnknownAdaptor."""
    if name not in adaptors:
        raise UnknownAdaptor(name, adaptors)
    return adaptors[name]
