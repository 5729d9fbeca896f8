"""`relay-trio selftest`: the table of faults under your own configuration, on a clock that jumps: hours in seconds.

The relay runs in this process as `serve` would run it, with the clocks and limits of the configuration. Its providers are
replaced by fakes on loopback that misbehave by name; nothing leaves this machine, and nothing is spent.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import time
from typing import Any, Final

import attrs
import trio
import trio.testing

from relay_trio.cli.configuration import configured
from relay_trio.cli.language import later, say
from relay_trio.cli.terminal import CommandFailed, paint
from relay_trio.settings.model import ChannelSettings, Settings
from relay_trio.settings.units import show_seconds
from relay_trio.testing.trial import Met, Outcome, distinct_clocks, hold, names
from relay_trio.testing.truths import Bounds, Said

LONGEST_TOTAL_S: Final = 3600.0
"""A total above an hour is tried as an hour: each of its seconds costs a hundred microseconds, also on a clock that jumps."""

_BROKEN: Final = 2
_NOTED_S: Final = 0.5
"""What took less is said to have come at once."""

_COLUMNS: Final = (
    ("stream", later("stream")),
    ("whole", later("no stream")),
    ("error", later("429, stream")),
    ("whole error", later("429, no stream")),
)
_SAID: Final = {
    Said.ANSWER: later("answer"),
    Said.ERROR: later("error {status}"),
    Said.ERROR_IN_BAND: later("error event"),
    Said.NOTHING: later("nothing"),
    None: later("untrue"),
}


@attrs.define
class Results:
    """What one set of clocks was found to do."""

    channel: ChannelSettings | None
    shared_by: list[str]
    bounds: Bounds
    outcomes: list[Outcome] = attrs.field(factory=list)  # one for each fault of the table
    left: list[str] = attrs.field(factory=list)

    @property
    def kept(self) -> bool:
        """Every promise was kept."""
        return not self.left and all(outcome.kept for outcome in self.outcomes)


def run(arguments: argparse.Namespace) -> int:
    """Hold the configuration to the table. 0: every promise is kept; 2: one is not."""
    only = _named(arguments.only or [])
    settings = _in_reach(configured(arguments.config).settings)
    since = time.monotonic()
    results = []
    for channel, shared_by in distinct_clocks(settings):
        found = Results(channel, shared_by, Bounds.of(settings, channel))
        results.append(found)
        _hold(settings, found, only, table=not arguments.json)
    took_s = time.monotonic() - since
    if arguments.json:
        print(json.dumps(_as_json(results, took_s), indent=1))
    else:
        _tell_verdict(results, took_s)
    return 0 if all(found.kept for found in results) else _BROKEN


def _named(only: list[str]) -> list[str]:
    """Return the faults that were asked for. Raises CommandFailed."""
    known = names()
    for name in only:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            hint = say("near: {names}", names=", ".join(near)) if near else ""
            raise CommandFailed(
                say("--only: there is no fault {name}", name=repr(name)), *filter(None, [hint]), status=2
            )
    return only


def _in_reach(settings: Settings) -> Settings:
    total = min(settings.limits.total, LONGEST_TOTAL_S)
    return attrs.evolve(settings, limits=attrs.evolve(settings.limits, total=total))


def _hold(settings: Settings, found: Results, only: list[str], *, table: bool) -> None:
    if table:
        print("\n".join([paint(_title(found), "bold", sys.stdout), _head()]))

    def told(outcome: Outcome) -> None:
        found.outcomes.append(outcome)
        if table:
            print(_row(outcome), flush=True)

    clock = trio.testing.MockClock(autojump_threshold=0)
    found.left = trio.run(hold, settings, found.channel, told, only, clock=clock)


# What is printed


def _title(found: Results) -> str:
    bounds = found.bounds
    clocks = ", ".join(
        f"{name} {'off' if value is None else show_seconds(value)}"
        for name, value in (
            ("total", bounds.total),
            ("connect", bounds.connect),
            ("headers", bounds.headers or bounds.total),
            ("first_event", bounds.first_event),
            ("idle", bounds.idle),
        )
    )
    if found.channel is None:
        return say("the clocks of [relay]: {clocks}", clocks=clocks)
    named = ", ".join(found.shared_by)
    return say("the clocks of {channels} (transport {transport}): {clocks}", channels=named,
               transport=found.channel.transport, clocks=clocks)  # fmt: skip


_WIDTHS: Final = (6, 29, 20, 20, 20, 20)


def _head() -> str:
    return _line(("", say("fault"), *(say(title) for _, title in _COLUMNS), say("left")))


def _row(outcome: Outcome) -> str:
    mark = paint("ok    ", "green", sys.stdout) if outcome.kept else paint("broken", "red", sys.stdout)
    left = ", ".join(outcome.left) or say("nothing")
    cells: tuple[str, ...]
    if "client" in outcome.by_form:
        cells = (_met(outcome.by_form["client"]), "", "", "")
    else:
        cells = tuple(_met(outcome.by_form.get(form)) for form, _ in _COLUMNS)
    return "\n".join([_line((mark, outcome.fault, *cells, left)), *(f"          {why}" for why in outcome.wrong)])


def _line(cells: tuple[str, ...]) -> str:
    padded = [cell + " " * (width - _width(cell)) for cell, width in zip(cells[:-1], _WIDTHS, strict=True)]
    return "  " + "  ".join([*padded, cells[-1]]).rstrip()


def _width(text: str) -> int:
    """Return how many columns a terminal takes for a text: two for each Chinese letter, none for a colour."""
    from unicodedata import east_asian_width  # noqa: PLC0415 - only a table needs it

    plain = text.partition("m")[2].removesuffix("\x1b[0m") if text.startswith("\x1b[") else text
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in plain)


def _met(met: Met | None) -> str:
    if met is None:
        return say("no answer at all")
    said = say(_SAID[met.said], status=met.status)
    return said if met.after_s < _NOTED_S else say("{said}, {seconds} s", said=said, seconds=f"{met.after_s:.0f}")


def _tell_verdict(results: list[Results], took_s: float) -> None:
    outcomes = [outcome for found in results for outcome in found.outcomes]
    broken = sum(not outcome.kept for outcome in outcomes)
    left = [text for found in results for text in found.left]
    for text in left:
        print(say("left at the end: {what}", what=text))
    asked = sum(len(outcome.by_form) for outcome in outcomes)
    counted = {"faults": len(outcomes), "requests": asked, "seconds": f"{took_s:.1f}"}
    if broken or left:
        told = say(
            "{broken} of {faults} faults break a promise ({requests} requests, {seconds} s)", broken=broken, **counted
        )
        print(paint(told, "red", sys.stdout))
        print(say("this is a fault of relay_trio: please report it with the lines above and your [relay.limits]"))
    else:
        told = say(
            "{faults} faults, {requests} requests: every client was told the truth in time, nothing was left ({seconds} s)",
            **counted,
        )
        print(paint(told, "green", sys.stdout))


# What machines read


def _as_json(results: list[Results], took_s: float) -> dict[str, Any]:
    return {
        "kept": all(found.kept for found in results),
        "took_s": round(took_s, 1),
        "clocks": [
            {
                "channels": found.shared_by,
                "transport": "native" if found.channel is None else found.channel.transport,
                **{name: value for name, value in attrs.asdict(found.bounds).items() if value != float("inf")},
                "left": found.left,
                "faults": [_outcome_as_json(outcome) for outcome in found.outcomes],
            }
            for found in results
        ],
    }


def _outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    met = {
        form: {"said": None if met.said is None else met.said.name.lower(), "status": met.status,
               "after_s": round(met.after_s, 3)}
        for form, met in outcome.by_form.items()
    }  # fmt: skip
    return {"fault": outcome.fault, "kept": outcome.kept, "met": met, "wrong": outcome.wrong, "left": outcome.left}
