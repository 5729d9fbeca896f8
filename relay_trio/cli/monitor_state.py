"""What `monitor` knows: the latest glance, the past as far as it is drawn, and what the keys have chosen. No I/O, no clock."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import attrs

from relay_trio.cli.check_findings import overall, report
from relay_trio.cli.language import later, say

Json = dict[str, Any]

MAX_PAST: Final = 600
"""Glances that are kept: wider than any terminal."""

NO_ERRORS: Final = frozenset({"completed", "client_disconnected", "cancelled_by_operator", "rejected"})
"""Outcomes that are nobody's failure, or the client's own; the others are shown as errors."""

_COUNTED: Final = re.compile(r'^relay_requests_total\{.*?outcome="(\w+)".*?\} (\S+)$', re.MULTILINE)


@attrs.frozen
class Glance:
    """What one look brought. What needs a key that we have not is None, and `closed` says which."""

    at_s: float
    health: Json
    errors: int | None = None
    """Requests that failed, since the start."""
    requests: list[Json] | None = None
    closed: str | None = None


def errors_in(page: str) -> int:
    """Return how many requests have failed, of a page of metrics."""
    return int(sum(float(count) for outcome, count in _COUNTED.findall(page) if outcome not in NO_ERRORS))


# The past


def _past() -> deque[float]:
    return deque(maxlen=MAX_PAST)


@attrs.define
class Past:
    """The figures that are drawn as lines."""

    nurseries: deque[float] = attrs.field(factory=_past)
    requests_per_s: deque[float] = attrs.field(factory=_past)
    memory_mb: deque[float] = attrs.field(factory=_past)
    errors_per_s: deque[float] = attrs.field(factory=_past)
    _before: Glance | None = None

    def add(self, glance: Glance) -> None:
        """Take another glance in."""
        self.nurseries.append(glance.health["nurseries"])
        memory = glance.health["memory"]["rss_mb"]
        if memory is not None:
            self.memory_mb.append(memory)
        if self._before is not None:
            self._add_rates(self._before, glance)
        self._before = glance

    def _add_rates(self, before: Glance, now: Glance) -> None:
        seconds = max(now.at_s - before.at_s, 0.001)
        self.requests_per_s.append(_grown(opened_in(before.health), opened_in(now.health)) / seconds)
        if before.errors is not None and now.errors is not None:
            self.errors_per_s.append(_grown(before.errors, now.errors) / seconds)


def opened_in(health: Json) -> int:
    """Return how many requests have had a slot, since the start."""
    opened: int = health["balance"]["slots"]["opened"]
    return opened


def _grown(before: int, now: int) -> int:
    """Return by how much a counter grew; a relay that started anew began at nothing."""
    return now - before if now >= before else now


# What is chosen


def _by(name: str, sign: int) -> Callable[[Json], Any]:
    return lambda request: sign * request[name]


ORDERS: Final[Mapping[str, tuple[str, Callable[[Json], Any]]]] = {
    "age": (later("oldest first"), _by("age_s", -1)),
    "left": (later("least time left first"), _by("left_s", 1)),
    "out": (later("most bytes first"), _by("bytes_out", -1)),
    "phase": (later("by phase"), lambda request: (request["phase"], -request["age_s"])),
}

Act = Literal["quit", "look", "cancel", "none"]


@attrs.define
class State:
    """All that the screen shows."""

    url: str
    past: Past = attrs.field(factory=Past)
    glance: Glance | None = None
    lost_since: str | None = None
    """The time of day since when nobody answers."""
    lost_why: str = ""
    order: str = "age"
    selected: str | None = None
    """The id of a request: it stays selected wherever the order puts it."""
    asks_for: str | None = None
    """The id of the request that is to be cancelled, if the user says yes."""
    shows_stacks: bool = False
    note: str = ""

    def take(self, glance: Glance) -> None:
        """Take another glance in."""
        self.glance = glance
        self.lost_since = None
        self.past.add(glance)
        if self.selected not in {request["id"] for request in self.requests()}:
            self.selected = None

    def lose(self, now: str, why: str) -> None:
        """Nobody answers: note since when, at the first time."""
        self.lost_since = self.lost_since or now
        self.lost_why = why

    def requests(self) -> list[Json]:
        """Return the live requests in their order, without those that only look."""
        requests = (self.glance.requests if self.glance else None) or []
        return sorted((one for one in requests if one["name"] != "monitoring"), key=ORDERS[self.order][1])

    def chosen(self) -> Json | None:
        """Return the request that is selected."""
        return next((request for request in self.requests() if request["id"] == self.selected), None)

    def level(self) -> str:
        """Return how the relay stands."""
        if self.lost_since is not None:
            return "error"
        return "ok" if self.glance is None else overall(self.glance.health, report(self.glance.health))

    # Keys

    def press(self, key: str) -> Act:
        """Take a key and return what is to be done."""
        if self.asks_for is not None:
            return self._answer(key)
        self.note = ""
        handler = _KEYS.get(key)
        return "none" if handler is None else handler(self)

    def _answer(self, key: str) -> Act:
        if key in {"y", "Y"}:
            return "cancel"
        self.asks_for = None
        return "quit" if key == "q" else "none"


def _sort(state: State) -> Act:
    names = list(ORDERS)
    state.order = names[(names.index(state.order) + 1) % len(names)]
    return "none"


def _move(state: State, by: int) -> Act:
    ids = [request["id"] for request in state.requests()]
    if ids:
        at = ids.index(state.selected) + by if state.selected in ids else 0
        state.selected = ids[max(0, min(at, len(ids) - 1))]
    return "none"


def _toggle_stacks(state: State) -> Act:
    state.shows_stacks = not state.shows_stacks
    if state.shows_stacks and state.chosen() is None:
        _move(state, 0)
    return "look"


def _ask(state: State) -> Act:
    if state.chosen() is None:
        state.note = say("select a request first, with the arrow keys")
    else:
        state.asks_for = state.selected
    return "none"


_KEYS: Final[Mapping[str, Callable[[State], Act]]] = {
    "q": lambda _: "quit",
    "r": lambda _: "look",
    "s": _sort,
    "t": _toggle_stacks,
    "enter": _toggle_stacks,
    "x": _ask,
    "up": lambda state: _move(state, -1),
    "k": lambda state: _move(state, -1),
    "down": lambda state: _move(state, 1),
    "j": lambda state: _move(state, 1),
}
