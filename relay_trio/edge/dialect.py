"""Which dialect a client speaks: a pure function of path and headers.

A client that speaks to a path of one provider's API wants its errors, its keep-alives and its model lists as that
provider writes them, also when the relay itself has something to say.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from adaptors.anthropic_paths import ANTHROPIC_PATHS, is_anthropic
from adaptors.dialects.anthropic import ANTHROPIC
from adaptors.dialects.openai import CHAT, dialect_of
from adaptors.endpoints import OPENAI_PATHS, nearest, normalise
from adaptors.paths import PathTable
from adaptors.protocol import Dialect
from adaptors.values import Endpoint

DEFAULT: Dialect = CHAT
"""For paths of nobody's API: the shape that most tools read."""


@attrs.frozen
class Place:
    """Where a request goes: the path below the version prefix, whose API it is, and what it means there, if anything."""

    path: bytes
    dialect: Dialect
    endpoint: Endpoint | None
    table: PathTable

    def methods(self) -> tuple[str, ...]:
        """Return the methods that the path takes; none where there is no such path."""
        return self.table.allowed_methods(self.path)


def place_of(method: str, raw_path: bytes, fields: Mapping[bytes, bytes]) -> Place:
    """Return what a request is for, by its path and, where two providers share it, by its headers."""
    path = normalise(raw_path)
    verb = method.encode("ascii")
    if is_anthropic(path, version_named=b"anthropic-version" in fields):
        return Place(path, ANTHROPIC, ANTHROPIC_PATHS.match(verb, path), ANTHROPIC_PATHS)
    endpoint = OPENAI_PATHS.match(verb, path)
    return Place(path, DEFAULT if endpoint is None else dialect_of(endpoint), endpoint, OPENAI_PATHS)


def nearest_path(path: bytes) -> str | None:
    """Return the path that was probably meant, as a client would write it."""
    return nearest(path)
