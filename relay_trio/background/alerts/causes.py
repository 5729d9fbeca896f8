"""What is wrong, as values: from what the workers say of themselves at one look, and from what they said before.

All of it is pure: a look comes in as plain dictionaries (a worker asks its siblings for theirs over a socket), times as
numbers. A cause is named by its kind and what it is about, so that it is the same cause at the next look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import attrs

from relay_trio.scopes.trend import MEMORY_LEAK, NURSERIES_LEAK, Look, judge, look_of, since_restart

Json = dict[str, Any]

MINUTE_S: Final = 60.0

STALLS_WITHIN_S: Final = 10 * MINUTE_S
MOST_STALLS: Final = 3
"""As the rule RelayLoopStalls of deploy/prometheus has it: one late turn is a busy machine, many are a fault."""

TREND_EVERY_S: Final = 5 * MINUTE_S
TREND_LOOKS: Final = 24
"""Two hours: each of the quarters that are compared is as long as two default deadlines."""


@attrs.frozen
class Kind:
    """What all causes of a kind have in common."""

    advice: str
    looks: int = 1
    """So many looks in a row must see it before anybody is told."""
    calm_s: float = 5 * MINUTE_S
    """It is over when it was not seen for so long: what comes and goes is one incident, not many."""


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "nurseries": Kind(
            "`relay-trio check --samples 20` tells load from a leak; /debug/nurseries shows their phases"
        ),
        "overdue": Kind("a fault of the relay's: report it with the log's `watchdog` lines, which hold the stacks"),
        "unaccounted": Kind(
            "a fault of the relay's: report it with /debug/nurseries?stacks=1; a restart frees it", looks=2
        ),
        "loop_stall": Kind("the machine has too little CPU: compare load and steal; `loop_blocked` lines say when"),
        "leak": Kind("`relay-trio check --samples 20 --every 300` shows the slope", calm_s=30 * MINUTE_S),
        "channel_down": Kind("the provider's status page, or `relay-trio doctor`; other channels take over meanwhile"),
        "key_refused": Kind("replace the key or pay its account; the configuration is read again when it changes"),
        "log_dropped": Kind("nobody reads the log fast enough: look at the collector; requests are not delayed by it"),
        "worker_silent": Kind("is it busy or stuck? Its last `watchdog` and `loop_blocked` lines tell", looks=2),
    }
)
"""Every kind of cause, by the name that alarms, log lines and the documents have for it."""


@attrs.frozen
class Cause:
    """One thing that is wrong now. `subject` is the channel, key or quantity that it is about, if there are several."""

    kind: str
    subject: str = ""
    text: str = attrs.field(default="", eq=False)
    """One line, made of counts and configured names only: no prompt and no key can be in it."""

    @property
    def id(self) -> tuple[str, str]:
        """What makes it the same cause at the next look."""
        return self.kind, self.subject


@attrs.frozen
class Observation:
    """One look at all workers. `silent` are the pids of those that did not answer in time."""

    at_s: float
    workers: tuple[Json, ...]
    silent: tuple[int, ...] = ()


@attrs.frozen
class History:
    """What earlier looks saw, as far as the next one needs it. Bounded by the two windows and the number of workers."""

    stalls: Mapping[int, int] = attrs.field(factory=dict)
    dropped: Mapping[int, int] = attrs.field(factory=dict)
    just_dropped: int = 0
    recent_stalls: tuple[tuple[float, int], ...] = ()
    trend: tuple[Look, ...] = ()


def causes_of(seen: Observation, history: History) -> tuple[Cause, ...]:
    """Return everything that is wrong now. `history` is what `remember` made of this look and those before it."""
    return (
        *_counted(seen),
        *_of_history(history, seen),
        *_of_channels(seen),
        *(Cause("worker_silent", str(pid), f"worker {pid} does not answer the others") for pid in seen.silent),
    )


def _counted(seen: Observation) -> Iterator[Cause]:
    crowded = [worker for worker in seen.workers if worker["nurseries"] >= worker["thresholds"]["error"]]
    if crowded:
        live, limit = max(worker["nurseries"] for worker in crowded), crowded[0]["thresholds"]["error"]
        yield Cause("nurseries", text=f"{live} live requests in one worker (error from {limit})")
    overdue = sum(worker["requests"]["overdue"] for worker in seen.workers)
    if overdue:
        yield Cause("overdue", text=f"{overdue} requests live on past their deadline and its clean-up")
    astray = _unaccounted(seen.workers)
    if astray:
        yield Cause("unaccounted", text=f"open, and owned by no live request: {astray}")


def _unaccounted(workers: Sequence[Json]) -> str:
    """Return what is astray, `2 tasks, 1 client_connections`; least of all is told too: then a count is wrong."""
    counts: dict[str, int] = {}
    for worker in workers:
        for kind, of_kind in worker["balance"].items():
            counts[kind] = counts.get(kind, 0) + abs(of_kind["unaccounted"])
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _of_channels(seen: Observation) -> Iterator[Cause]:
    """A worker knows only what it tried itself: one that has a reason to complain is enough."""
    down = {name: None for worker in seen.workers for name in worker["alerts"]["channels_down"]}
    for name in down:
        yield Cause(
            "channel_down", name, f"channel {name}: every key of it was refused, or failed three times in a row"
        )
    refused = {(name, number): None for worker in seen.workers for name, number in worker["alerts"]["keys_refused"]}
    for name, number in refused:
        yield Cause("key_refused", f"{name}/{number}", f"channel {name}: the provider refused key number {number}")


# What only several looks show


def remember(history: History, seen: Observation) -> History:
    """Return the history with this look in it."""
    now = {worker["pid"]: worker for worker in seen.workers}
    stalls = {pid: int(worker["alerts"]["loop_stalls"]) for pid, worker in now.items()}
    dropped = {pid: int(worker["log"]["dropped"]) for pid, worker in now.items()}
    late = _added(history.stalls, stalls)
    recent = tuple(entry for entry in history.recent_stalls if entry[0] > seen.at_s - STALLS_WITHIN_S)
    return History(
        stalls={**_of_silent(history.stalls, seen), **stalls},
        dropped={**_of_silent(history.dropped, seen), **dropped},
        just_dropped=_added(history.dropped, dropped),
        recent_stalls=(*recent, (seen.at_s, late)) if late else recent,
        trend=_trend(history.trend, seen),
    )


def _of_silent(before: Mapping[int, int], seen: Observation) -> dict[int, int]:
    """A worker that did not answer goes on counting: what it had counted is not new when it answers again."""
    return {pid: count for pid, count in before.items() if pid in seen.silent}


def _added(before: Mapping[int, int], now: Mapping[int, int]) -> int:
    """Return what was counted since: nothing at the first look, all of it for a worker that started since."""
    return sum(max(0, count - before.get(pid, 0)) for pid, count in now.items()) if before else 0


def _trend(looks: tuple[Look, ...], seen: Observation) -> tuple[Look, ...]:
    """A look every five minutes, at all workers: a sum in which one is missing is no lower floor."""
    if seen.silent or not seen.workers or (looks and seen.at_s - looks[-1].at_s < TREND_EVERY_S):
        return looks
    return tuple(since_restart([*looks, _whole(seen)]))[-TREND_LOOKS:]


def _whole(seen: Observation) -> Look:
    """Return the look at all workers as one; the youngest tells how long they all have been there."""
    looks = [look_of(worker, seen.at_s) for worker in seen.workers]
    memory = [look.memory_mb for look in looks if look.memory_mb is not None]
    return Look(
        at_s=seen.at_s,
        nurseries=sum(look.nurseries for look in looks),
        in_flight=sum(look.in_flight for look in looks),
        opened=sum(look.opened for look in looks),
        memory_mb=sum(memory) if len(memory) == len(looks) else None,
        uptime_s=min(look.uptime_s for look in looks),
        total_s=max(look.total_s for look in looks),
    )


_LEAKS: Final = {NURSERIES_LEAK: ("nurseries", "live requests grow"), MEMORY_LEAK: ("memory", "memory grows")}


def _of_history(history: History, seen: Observation) -> Iterator[Cause]:
    stalls = sum(count for _, count in history.recent_stalls)
    if stalls > MOST_STALLS:
        minutes = round(STALLS_WITHIN_S / MINUTE_S)
        yield Cause("loop_stall", text=f"the event loop stood still {stalls} times in {minutes} minutes")
    if history.just_dropped:
        yield Cause("log_dropped", text=f"{history.just_dropped} log lines were dropped: nobody reads them fast enough")
    leak = _LEAKS.get(judge(history.trend)) if len(history.trend) >= TREND_LOOKS and seen.workers else None
    if leak is not None:
        subject, what = leak
        yield Cause("leak", subject, f"{what} and the load does not, for two hours")
