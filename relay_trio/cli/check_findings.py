"""What one look at a relay's health comes to: a level for each line, and for what is not green what to do next. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from relay_trio.cli.figures import megabytes, span, whole
from relay_trio.cli.language import later, say

Json = dict[str, Any]

LEVELS: Final = ("ok", "warning", "error")
"""In this order; their place is the exit status."""

_LEVEL_OF: Final[Mapping[str, str]] = {"ok": "ok", "warning": "warning", "error": "error", "draining": "warning"}

_SLOW_LOOP_MS: Final = 500
"""As the watchdog has it: a loop that is so late makes every stream of the process wait."""

_FULL: Final = 0.8
"""Of the descriptors. The relay stops accepting before it has none, so this is early."""


@attrs.frozen
class Line:
    """One line of the report: what about, how it stands, in words, and what to do if it is not well."""

    subject: str
    level: str
    text: str
    advice: str | None = None


def worst(levels: Iterable[str]) -> str:
    """Return the worst of these levels."""
    return max(levels, key=LEVELS.index, default="ok")


def report(health: Json) -> list[Line]:
    """Return the lines, in the order in which one wants to know."""
    return [line(health) for line in _LINES]


def overall(health: Json, lines: list[Line]) -> str:
    """Return the worst of what the relay says of itself and what the lines say."""
    return worst([_LEVEL_OF.get(health["status"], "error"), *(line.level for line in lines)])


def nurseries_level(health: Json) -> str:
    """Return how the live nurseries stand, by the relay's own thresholds, which are each worker's."""
    thresholds = health["thresholds"]
    most = max(worker["nurseries"] for worker in health["workers"])
    return "error" if most >= thresholds["error"] else "warning" if most >= thresholds["warn"] else "ok"


def _nurseries(health: Json) -> Line:
    thresholds, peak = health["thresholds"], health["peak"]
    text = say(
        "{live} (each worker: warning from {warn}, error from {error}); peak {hour} in 1 h, {day} in 24 h",
        live=whole(health["nurseries"]),
        warn=whole(thresholds["warn"]),
        error=whole(thresholds["error"]),
        hour=whole(peak["1h"]),
        day=whole(peak["24h"]),
    )
    advice = say(
        "see what they wait for: `relay-trio monitor`; is it a leak? `relay-trio check --samples 20 --every 30`"
    )
    return Line("nurseries", nurseries_level(health), text, advice)


def _requests(health: Json) -> Line:
    requests = health["requests"]
    text = say(
        "{live} live, {queued} queued, {overdue} overdue; oldest {oldest} (at most {total})",
        live=whole(requests["live"]),
        queued=whole(requests["queued"]),
        overdue=whole(requests["overdue"]),
        oldest=span(requests["oldest_s"]),
        total=span(health["thresholds"]["total_s"]),
    )
    advice = say(
        "a request outlived its deadline, which is a fault of the relay: keep its stacks "
        "(GET /debug/nurseries?stacks=1), report them, restart"
    )
    return Line("requests", "error" if requests["overdue"] else "ok", text, advice)


def _balance(health: Json) -> Line:
    uneven = [
        f"{kind} {count['opened']} = {count['closed']} + {count['live']}"
        for kind, count in health["balance"].items()
        if count["opened"] != count["closed"] + count["live"]
    ]
    astray = [f"{kind} {count['unaccounted']}" for kind, count in health["balance"].items() if count["unaccounted"]]
    advice = say(
        "something is open that no request owns: look again in a minute; if it stays, keep GET /debug/nurseries?stacks=1, "
        "report it, restart"
    )
    if uneven:
        text = say("uneven, opened = closed + live: {kinds}", kinds=", ".join(uneven))
        return Line("balance", "error", text, advice)
    if astray:
        return Line("balance", "error", say("unaccounted: {kinds}", kinds=", ".join(astray)), advice)
    return Line("balance", "ok", say("even: opened = closed + live for every kind, nothing unaccounted"))


def _memory(health: Json) -> Line:
    memory = health["memory"]
    text = say("{rss} resident, {alloc} private", rss=megabytes(memory["rss_mb"]), alloc=megabytes(memory["alloc_mb"]))
    return Line("memory", "ok", text)


def _descriptors(health: Json) -> Line:
    opened, limit = health["fds"]["open"], health["fds"]["limit"]
    if opened is None or limit is None:
        return Line("descriptors", "ok", say("not told by this platform"))
    limit *= len(health["workers"])  # the limit is each worker's
    level = "warning" if opened >= _FULL * limit else "ok"
    text = say("{count} of {limit}", count=whole(opened), limit=whole(limit))
    return Line("descriptors", level, text, say("raise the limit (`ulimit -n`, LimitNOFILE), or start more workers"))


def _workers(health: Json) -> Line:
    workers = health["workers"]
    each = ", ".join(f"{worker['pid']} {worker['status']} {whole(worker['nurseries'])}" for worker in workers)
    text = say("{count}: {each}; up {uptime}", count=len(workers), each=each, uptime=span(health["uptime_s"]))
    return Line("workers", "ok", text)


def _channels(health: Json) -> Line:
    up, down = health["channels"]["up"], health["channels"]["down"]
    level = "ok" if not down else "warning" if up else "error"
    advice = say("ask the providers: `relay-trio doctor`; the log's `key_set_aside` and `attempt_failed` say why")
    return Line("channels", level, say("{up} up, {down} down", up=up, down=down), advice)


def _loop(health: Json) -> Line:
    lag = health["loop_lag_ms"]
    text = say("late by {lag:g} ms at worst", lag=lag)
    return Line(
        "loop", "warning" if lag >= _SLOW_LOOP_MS else "ok", text, say("the core is overloaded: RELAY_WORKERS=auto")
    )


def _log(health: Json) -> Line:
    dropped = health["log"]["dropped"]
    advice = say("whoever reads stdout is too slow: give it more room (RELAY_LOG_BUFFER_BYTES) or a faster reader")
    return Line("log", "warning" if dropped else "ok", say("{count} lines dropped", count=whole(dropped)), advice)


_LINES: Final[tuple[Callable[[Json], Line], ...]] = (
    _nurseries,
    _requests,
    _balance,
    _memory,
    _descriptors,
    _workers,
    _channels,
    _loop,
    _log,
)

SUBJECTS: Final[Mapping[str, str]] = {
    "nurseries": later("nurseries"),
    "requests": later("requests"),
    "balance": later("balance"),
    "memory": later("memory"),
    "descriptors": later("descriptors"),
    "workers": later("workers"),
    "channels": later("channels"),
    "loop": later("loop"),
    "log": later("log"),
}
"""The subjects as a person reads them; JSON has them as they are."""

STATUSES: Final[Mapping[str, str]] = {"ok": later("ok"), "warning": later("warning"), "error": later("error")}
