"""Which dialect a client speaks: a pure function of path and headers.

A client that speaks to a path of one provider's API wants its errors, its keep-alives and its model lists as that
provider writes them, also when the relay itself has something to say.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

import attrs

from adaptors.anthropic_paths import ANTHROPIC_PATHS, is_anthropic
from adaptors.dialects.anthropic import ANTHROPIC
from adaptors.dialects.gemini import GEMINI, GEMINI_ARRAY
from adaptors.dialects.openai import CHAT, dialect_of
from adaptors.endpoints import OPENAI_PATHS, nearest, normalise
from adaptors.gemini_paths import GEMINI_PATHS, asks_for_events, is_gemini, split_version
from adaptors.paths import PathTable
from adaptors.protocol import Dialect
from adaptors.values import Endpoint

DEFAULT: Dialect = CHAT
"""For paths of nobody's API: the shape that most tools read."""


@attrs.frozen
class Place:
    """Where a request goes: the path below the version prefix, whose API it is, and what it means there, if anything.

    Gemini's paths keep their version, which says what may stand in a body.
    """

    path: bytes
    dialect: Dialect
    endpoint: Endpoint | None
    table: PathTable

    def methods(self) -> tuple[str, ...]:
        """Return the methods that the path takes; none where there is no such path."""
        path = split_version(self.path)[1] if self.table is GEMINI_PATHS else self.path
        return self.table.allowed_methods(path)


_NAMES_GEMINI = frozenset({b"x-goog-api-key", b"x-goog-api-client"})
_GEMINI_KEY = re.compile(rb"(?:^|&)key=")


def place_of(method: str, raw_path: bytes, query: bytes, fields: Mapping[bytes, bytes]) -> Place:
    """Return what a request is for, by its path and, where two providers share it, by its headers and its query."""
    names_gemini = not _NAMES_GEMINI.isdisjoint(fields) or (bool(query) and _GEMINI_KEY.search(query) is not None)
    return _place(
        method, raw_path, b"anthropic-version" in fields, names_gemini, bool(query) and asks_for_events(query)
    )


@functools.lru_cache(maxsize=1024)  # clients send the same few paths again and again; what they invent falls out
def _place(method: str, raw_path: bytes, names_anthropic: bool, names_gemini: bool, wants_events: bool) -> Place:  # noqa: FBT001 - a cache's key
    path = normalise(raw_path)
    verb = method.encode("ascii")
    if is_anthropic(path, version_named=names_anthropic):
        return Place(path, ANTHROPIC, ANTHROPIC_PATHS.match(verb, path), ANTHROPIC_PATHS)
    version, below = split_version(raw_path)
    if is_gemini(verb, version, below, named=names_gemini):
        dialect = GEMINI if wants_events or not below.endswith(_STREAM_METHOD) else GEMINI_ARRAY
        return Place(version + below, dialect, GEMINI_PATHS.match(verb, below), GEMINI_PATHS)
    endpoint = OPENAI_PATHS.match(verb, path)
    return Place(path, DEFAULT if endpoint is None else dialect_of(endpoint), endpoint, OPENAI_PATHS)


_STREAM_METHOD = b":streamGenerateContent"


def nearest_path(path: bytes) -> str | None:
    """Return the path that was probably meant, as a client would write it."""
    return nearest(path)
