"""What `check` tells of its looks: to a person in lines, to a program in JSON."""

from __future__ import annotations

import sys
from typing import Any, Final

import attrs

from relay_trio.cli.check_baseline import above_baseline, baseline_of
from relay_trio.cli.check_findings import STATUSES, SUBJECTS, Line, overall, report, worst
from relay_trio.cli.check_series import TEXTS
from relay_trio.cli.figures import megabytes, per_second, printable, span, whole
from relay_trio.cli.language import later, say
from relay_trio.cli.relay_client import NotReached
from relay_trio.cli.relay_place import RelayPlace
from relay_trio.cli.terminal import CommandFailed, paint, show_table
from relay_trio.scopes.trend import Look, Trend, Verdict, judge, since_restart, trends_of

Json = dict[str, Any]

_STYLES: Final = {"ok": "green", "warning": "yellow", "error": "red"}
_MARKS: Final = {"ok": "+", "warning": "!", "error": "x"}
"""They say also without colour how it stands."""


@attrs.define
class Checked:
    """What the looks saw."""

    health: Json = attrs.field(factory=dict)
    """Of the last that was answered."""
    looks: list[Look] = attrs.field(factory=list)  # at most --samples
    unanswered: int = 0


@attrs.frozen
class Result:
    """What it comes to. `verdict` is that of a series, `above` what stands above the baseline."""

    url: str
    checked: Checked
    lines: list[Line]
    level: str
    verdict: Verdict | None
    today: Json
    baseline: Json | None
    above: list[str]


def conclude(url: str, checked: Checked, baseline: Json | None, *, series: bool) -> Result:
    """Judge the looks."""
    lines = report(checked.health)
    verdict = judge(checked.looks) if series else None
    today = baseline_of(since_restart(checked.looks), url)
    above = above_baseline(baseline, today) if baseline else []
    levels = [overall(checked.health, lines), verdict.level if verdict else "ok"]
    levels += ["warning"] if above or checked.unanswered else []
    return Result(url, checked, lines, worst(levels), verdict, today, baseline, above)


# For people


def look_line(checked: Checked) -> str:
    """Return one look of a series as a line."""
    look = checked.looks[-1]
    rate = trends_of(checked.looks[-2:]).get("requests_per_s")
    return say(
        "after {span}: nurseries {nurseries}, in flight {in_flight}, requests {rate}, memory {memory}",
        span=span(look.at_s),
        nurseries=whole(look.nurseries),
        in_flight=whole(look.in_flight),
        rate=per_second(rate.median if rate else None),
        memory=megabytes(look.memory_mb),
    )


def print_all(result: Result) -> None:
    """Tell a person."""
    _print_look(result)
    if result.verdict:
        _print_series(result.checked, result.verdict)
    if result.baseline:
        _print_comparison(result.baseline, result.today, result.above)


def _print_look(result: Result) -> None:
    health, lines = result.checked.health, result.lines
    head = f"{_marked(result.level)}  {result.url}  relay_trio {health['version']}"
    print(f"{head}  {say('draining')}" if health["status"] == "draining" else head)
    rows = [(_mark(line.level), say(SUBJECTS[line.subject]), line.text) for line in lines]
    print("\n".join(show_table(rows)))
    for reason in health["reasons"]:
        print(printable(say("the relay says: {reason}", reason=reason)))
    for line in lines:
        if line.level != "ok" and line.advice:
            print(say("{subject}, what to do: {advice}", subject=say(SUBJECTS[line.subject]), advice=line.advice))


def _marked(level: str) -> str:
    return paint(say(STATUSES[level]).upper(), _STYLES[level], sys.stdout)


def _mark(level: str) -> str:
    return paint(_MARKS[level], _STYLES[level], sys.stdout)


_QUANTITIES: Final = {
    "nurseries": (later("nurseries"), whole),
    "in_flight": (later("in flight"), whole),
    "requests_per_s": (later("requests"), per_second),
    "memory_mb": (later("memory"), megabytes),
}

_DIRECTIONS: Final = {
    "growing": later("growing"),
    "falling": later("falling"),
    "stable": later("steady"),
    "unknown": later("unknown"),
}


def _print_series(checked: Checked, verdict: Verdict) -> None:
    looks = since_restart(checked.looks)
    print(say("looks: {count}, in {span}", count=len(looks), span=span(looks[-1].at_s - looks[0].at_s)))
    if len(looks) < len(checked.looks):
        print(say("the relay, or a worker, has started anew in between: only what came after counts"))
    if checked.unanswered:
        print(say("looks without an answer: {count}", count=checked.unanswered))
    heads = ("", say("lowest"), say("median"), say("highest"), say("slope per hour"), say("trend"))
    print("\n".join(show_table([heads, *(_trend_row(name, trend) for name, trend in trends_of(looks).items())])))
    print(f"{_marked(verdict.level)}  {say(TEXTS[verdict.code])}")


def _trend_row(name: str, trend: Trend) -> tuple[str, ...]:
    title, show = _QUANTITIES[name]
    sign = "+" if trend.slope_per_h > 0 else ""
    return (
        say(title),
        show(trend.trough),
        show(trend.median),
        show(trend.peak),
        f"{sign}{trend.slope_per_h:,.1f}",
        say(_DIRECTIONS[trend.direction]),
    )


def _print_comparison(baseline: Json, today: Json, above: list[str]) -> None:
    print(say("against the baseline of {recorded}", recorded=baseline["recorded"]))
    heads = ("", say("lowest then"), say("now"), say("median then"), say("now"), say("highest then"), say("now"))
    rows = []
    for name, (title, show) in _QUANTITIES.items():
        then, now = (side["quantities"].get(name) for side in (baseline, today))
        if then and now:
            pairs = [show(side[figure]) for figure in ("trough", "median", "peak") for side in (then, now)]
            rows.append((say(title), *pairs))
    print("\n".join(show_table([heads, *rows])))
    for name in above:
        title = say(_QUANTITIES[name][0])
        print(f"{_marked('warning')}  {say('{quantity}: the floor has risen, and the load has not', quantity=title)}")


# For machines


def as_json(result: Result) -> Json:
    """Return all of it for a program."""
    findings = [
        {"subject": line.subject, "level": line.level, "text": line.text, "advice": line.advice}
        for line in result.lines
        if line.level != "ok"
    ]
    checked, verdict = result.checked, result.verdict
    told: Json = {"status": result.level, "url": result.url, "findings": findings, "health": checked.health}
    if verdict is not None:
        told["series"] = {
            "verdict": {"status": verdict.level, "code": verdict.code, "text": TEXTS[verdict.code]},
            "unanswered": checked.unanswered,
            "trends": {name: attrs.asdict(trend) for name, trend in trends_of(since_restart(checked.looks)).items()},
            "looks": [attrs.asdict(look) for look in checked.looks],
        }
    if result.baseline is not None:
        told["comparison"] = {"baseline": result.baseline, "today": result.today, "above": result.above}
    return told


def failure_json(place: RelayPlace, failed: CommandFailed) -> Json:
    """Return for a program that no relay answered."""
    tried = [{"stage": stage, "told": told} for stage, told in failed.tried] if isinstance(failed, NotReached) else []
    stage = failed.stage if isinstance(failed, NotReached) else "HTTP"
    why = failed.why if isinstance(failed, NotReached) else failed.lines[0]
    return {"status": "unreachable", "url": place.url, "stage": stage, "why": why, "tried": tried}
