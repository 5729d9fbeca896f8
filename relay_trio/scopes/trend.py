"""A series of looks at a relay, and the verdict: is what grows a leak, or does it follow the load?

The rule. The series is cut into four quarters. A quantity *grows* if its floor, the lowest value of a quarter, rises from
each quarter to the next, and over all by a share and an amount that matter (`GROWTH`). Floors, because what leaks never
comes back: load swings, and the floor of a sawtooth stays where it is.

Growth *follows the load* if the load rose by at least half the proportion. In a steady state the requests in flight are
their rate of arrival times their duration (Little's law), so nurseries grow no faster than arrivals; memory no faster than
arrivals or requests in flight. Growth that follows neither is a leak.

One case lies between. If nurseries grow together with the requests in flight while arrivals stay the same, requests last
longer: slow providers, or load that has just begun. No request may outlive the deadline, so this settles within it. If it
still goes on in quarters that began more than a deadline after the series did, it is a leak too.

All of it is pure: times and counts come in as values.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import attrs

Json = dict[str, Any]
Level = Literal["ok", "warning", "error"]
Direction = Literal["growing", "falling", "stable", "unknown"]

QUARTERS: Final = 4
FEWEST: Final = 2 * QUARTERS
"""A quarter of one look has no floor."""

SETTLING_S: Final = 600.0
"""An interpreter's memory grows for some minutes after the start: modules, caches, the allocator's arenas."""


@attrs.frozen
class Matters:
    """How much growth is more than noise: a share of where it began, and an amount."""

    share: float
    amount: float


GROWTH: Final[Mapping[str, Matters]] = {"nurseries": Matters(0.10, 5), "memory_mb": Matters(0.05, 10)}

_LEAST: Final[Mapping[str, float]] = {"nurseries": 1, "memory_mb": 1, "in_flight": 1, "requests_per_s": 0.1}
"""Where a proportion is taken of nearly nothing, it is taken of this."""


@attrs.frozen
class Look:
    """What one look at the health saw."""

    at_s: float
    nurseries: int
    in_flight: int
    """Requests with a slot, and waiting for one."""
    opened: int
    """Requests that have had a slot, since the start."""
    memory_mb: float | None
    """Private memory; None where the platform does not tell it (macOS tells only the highest so far: no floor)."""
    uptime_s: float
    total_s: float
    """The longest life of a request."""


def look_of(health: Json, at_s: float) -> Look:
    """Read a health."""
    requests = health["requests"]
    return Look(
        at_s=at_s,
        nurseries=health["nurseries"],
        in_flight=requests["live"] + requests["queued"],
        opened=health["balance"]["slots"]["opened"],
        memory_mb=health["memory"]["alloc_mb"],
        uptime_s=health["uptime_s"],
        total_s=health["thresholds"]["total_s"],
    )


def since_restart(looks: Sequence[Look]) -> list[Look]:
    """Return the looks since the relay, or one of its workers, last started: counts begin anew there."""
    kept: list[Look] = []
    for look in looks:
        if kept and (look.uptime_s < kept[-1].uptime_s or look.opened < kept[-1].opened):
            kept = []
        kept.append(look)
    return kept


# Quantities over time


@attrs.frozen
class Trend:
    """One quantity over the series."""

    trough: float
    peak: float
    median: float
    slope_per_h: float
    direction: Direction


def values_of(looks: Sequence[Look]) -> dict[str, list[tuple[float, float]]]:
    """Return (time, value) of each quantity, by its name; rates between each two looks."""
    values = {
        "nurseries": [(look.at_s, float(look.nurseries)) for look in looks],
        "in_flight": [(look.at_s, float(look.in_flight)) for look in looks],
        "requests_per_s": _rates(looks),
        "memory_mb": [(look.at_s, look.memory_mb) for look in looks if look.memory_mb is not None],
    }
    return {name: points for name, points in values.items() if points}


def _rates(looks: Sequence[Look]) -> list[tuple[float, float]]:
    return [
        (after.at_s, (after.opened - before.opened) / (after.at_s - before.at_s))
        for before, after in itertools.pairwise(looks)
        if after.at_s > before.at_s
    ]


def trends_of(looks: Sequence[Look]) -> dict[str, Trend]:
    """Return the trend of each quantity, by its name."""
    return {name: _trend(name, points) for name, points in values_of(looks).items()}


def _trend(name: str, points: Sequence[tuple[float, float]]) -> Trend:
    values = [value for _, value in points]
    return Trend(
        trough=min(values),
        peak=max(values),
        median=statistics.median(values),
        slope_per_h=_slope(points) * 3600,
        direction=_direction(values, GROWTH.get(name, Matters(0.10, 0))),
    )


def _slope(points: Sequence[tuple[float, float]]) -> float:
    times = [at for at, _ in points]
    if len(set(times)) < 2:  # noqa: PLR2004 - two points make a line
        return 0.0
    return statistics.linear_regression(times, [value for _, value in points]).slope


def _direction(values: Sequence[float], matters: Matters) -> Direction:
    if len(values) < FEWEST - 1:  # a rate needs two looks
        return "unknown"
    if _grows(_each(values, min), matters):
        return "growing"
    return "falling" if _grows([-value for value in _each(values, max)], matters) else "stable"


def _each(values: Sequence[float], what: Callable[[Sequence[float]], float]) -> list[float]:
    """Return what is to be known of each quarter."""
    edges = [round(number * len(values) / QUARTERS) for number in range(QUARTERS + 1)]
    return [what(values[begin:end]) for begin, end in itertools.pairwise(edges)]


def _grows(floors: Sequence[float], matters: Matters) -> bool:
    rises = all(one < other for one, other in itertools.pairwise(floors))
    return rises and floors[-1] - floors[0] >= max(matters.amount, matters.share * abs(floors[0]))


# The verdict


@attrs.frozen
class Verdict:
    """What the series says."""

    level: Level
    code: str


TOO_FEW: Final = Verdict("ok", "too_few")
STABLE: Final = Verdict("ok", "stable")
FOLLOWS: Final = Verdict("ok", "follows_load")
SETTLING: Final = Verdict("ok", "settling")
LONGER: Final = Verdict("warning", "requests_last_longer")
NURSERIES_LEAK: Final = Verdict("error", "nurseries_leak")
MEMORY_LEAK: Final = Verdict("error", "memory_leak")

_WORST_FIRST: Final = (NURSERIES_LEAK, MEMORY_LEAK, LONGER, SETTLING, FOLLOWS, STABLE)


def judge(looks: Sequence[Look]) -> Verdict:
    """Return the verdict over the looks since the last start."""
    looks = since_restart(looks)
    if len(looks) < FEWEST:
        return TOO_FEW
    found = {_judge_nurseries(looks), _judge_memory(looks)}
    return next(verdict for verdict in _WORST_FIRST if verdict in found)


def _judge_nurseries(looks: Sequence[Look]) -> Verdict:
    rise = _rise(looks, "nurseries")
    if trends_of(looks)["nurseries"].direction != "growing":
        return STABLE
    if _explains(_rise(looks, "requests_per_s"), rise):
        return FOLLOWS
    second_half = looks[len(looks) // 2].at_s - looks[0].at_s
    if _explains(_rise(looks, "in_flight"), rise) and second_half <= looks[-1].total_s:
        return LONGER
    return NURSERIES_LEAK


def _judge_memory(looks: Sequence[Look]) -> Verdict:
    trend = trends_of(looks).get("memory_mb")
    if trend is None or trend.direction != "growing":
        return STABLE
    rise = _rise(looks, "memory_mb")
    if any(_explains(_rise(looks, load), rise) for load in ("requests_per_s", "in_flight")):
        return FOLLOWS
    return SETTLING if looks[0].uptime_s < SETTLING_S else MEMORY_LEAK


def _rise(looks: Sequence[Look], name: str) -> float:
    """Return by which proportion the mean of a quantity rose from the first quarter to the last: 1.0 is twice as much."""
    quarters = _each([value for _, value in values_of(looks)[name]], statistics.fmean)
    return proportion(name, quarters[0], quarters[-1])


def proportion(name: str, before: float, after: float) -> float:
    """Return by which proportion a quantity rose."""
    return (after - before) / max(before, _LEAST[name])


def _explains(rise_of_load: float, rise: float) -> bool:
    return rise_of_load >= rise / 2
