"""Which dialect a client speaks: a pure function of path and headers.

A client that speaks to a path of one provider's API wants its errors, its keep-alives and its model lists as that
provider writes them, also when the relay itself has something to say.
"""

from __future__ import annotations

from adaptors.dialects.openai import CHAT, dialect_of
from adaptors.endpoints import allowed_methods, match, nearest, normalise
from adaptors.protocol import Dialect
from adaptors.values import Endpoint

DEFAULT: Dialect = CHAT
"""For paths of nobody's API: the shape that most tools read."""


def endpoint_of(method: str, raw_path: bytes) -> tuple[Endpoint | None, bytes]:
    """Return the API's endpoint at this path, if it is one, and the path below the version prefix."""
    path = normalise(raw_path)
    return match(method.encode("ascii"), path), path


def dialect_at(endpoint: Endpoint | None) -> Dialect:
    """Return the dialect of the clients of an endpoint."""
    return DEFAULT if endpoint is None else dialect_of(endpoint)


def methods_at(path: bytes) -> tuple[str, ...]:
    """Return the methods that this path (below the version prefix) takes; none where there is no such path."""
    return allowed_methods(path)


def nearest_path(path: bytes) -> str | None:
    """Return the path that was probably meant, as a client would write it."""
    return nearest(path)
