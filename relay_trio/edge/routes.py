"""The table of paths: who answers what. Everything that is not the relay's own belongs to the providers' APIs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from relay_trio.relay.exchange import Exchange

Handler = Callable[[Exchange], Awaitable[None]]


@attrs.frozen
class OwnPath:
    """One of the relay's own paths. `{id}` stands for one segment."""

    template: str
    methods: tuple[str, ...]
    handler: str
    """The name of the method of `handlers.Own` that answers."""


OWN_PATHS: tuple[OwnPath, ...] = (
    OwnPath("/api/monitor/health", ("GET", "HEAD"), "health"),
    OwnPath("/livez", ("GET", "HEAD"), "alive"),
    OwnPath("/readyz", ("GET", "HEAD"), "ready"),
    OwnPath("/metrics", ("GET", "HEAD"), "metrics"),
    OwnPath("/debug/settings", ("GET",), "settings"),
    OwnPath("/debug/nurseries", ("GET",), "nurseries"),
    OwnPath("/debug/nurseries/{id}", ("DELETE",), "cancel"),
    OwnPath("/debug/pprof/goroutine", ("GET",), "goroutines"),
)

_PLAIN = {own.template: own for own in OWN_PATHS if "{" not in own.template}
_WITH_ID = {own.template.removesuffix("{id}"): own for own in OWN_PATHS if own.template.endswith("/{id}")}


def own_path(path: str) -> tuple[OwnPath | None, str]:
    """Return which of the relay's own paths this is, and the id in it."""
    plain = _PLAIN.get(path)
    if plain is not None:
        return plain, ""
    for parent, own in _WITH_ID.items():
        if path.startswith(parent) and len(path) > len(parent) and "/" not in path[len(parent) :]:
            return own, path[len(parent) :]
    return None, ""
