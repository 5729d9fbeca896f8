"""The live view as rich draws it: a head, four lines of the past, the live requests, the stacks of one, the keys.

Everything is text that was put together here, never markup: what a client sent cannot colour the screen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from relay_trio.cli.check_findings import STATUSES
from relay_trio.cli.figures import blocks_for, megabytes, per_second, printable, span, sparkline, whole
from relay_trio.cli.language import say
from relay_trio.cli.monitor_state import ORDERS, State

Json = dict[str, Any]

_STYLES: Final = {"ok": "bold green", "warning": "bold yellow", "error": "bold red"}
_BESIDE: Final = 37
"""Columns that stand beside a sparkline."""
_CHROME: Final = 11
"""Lines that are not requests: head, four figures, three for the table, a blank one, two at the foot."""
_WAITING: Final = re.compile(r"trio[/\\]_core[/\\]")
_FOLDERS: Final = re.compile(r"^\S*?(?:site-packages[/\\]|(?=relay_trio[/\\]))")

_WIDE: Final = 110
"""Columns from which on all that is known of a request has room."""


def screen(state: State, console: Console) -> Group:
    """Return all of it, for a terminal of this size."""
    room = max(1, console.height - _CHROME)
    stacks = _stacks(state, room * 2 // 3)
    past = _past(state, console.width, blocks_for(console.encoding))
    requests = _requests(state, max(1, room - len(stacks)), console.width)
    parts = [_head(state), *past, Text(), requests, *stacks, _foot(state)]
    return Group(*parts)


def _head(state: State) -> Text:
    level = state.level()
    head = Text(no_wrap=True)
    head.append(f" {say(STATUSES[level]).upper()} ", style=f"{_STYLES[level]} reverse")
    head.append(f"  {state.url}")
    if state.glance is not None:
        health = state.glance.health
        head.append(f"  relay_trio {health['version']}  {say('up {uptime}', uptime=span(health['uptime_s']))}")
        if health["status"] == "draining":
            head.append(f"  {say('draining')}", style="yellow")
    if state.lost_since is not None:
        told = say("no answer since {time}: {why}", time=state.lost_since, why=state.lost_why)
        head.append(f"\n {printable(told)}", style="red")
    elif state.glance is not None:
        for reason in state.glance.health["reasons"][:1]:
            told = printable(say("the relay says: {reason}", reason=reason))
            head.append(f"\n {told}", style=_STYLES[level])
    return head


# The past


def _past(state: State, width: int, blocks: str) -> list[Text]:
    past, health = state.past, state.glance.health if state.glance else {}
    peak = health["peak"]["1h"] if health else 0
    errors = state.glance.errors if state.glance else None
    rows: Sequence[tuple[str, str, Sequence[float], str]] = (
        (say("nurseries"), say("{now} (peak {peak})", now=_last(past.nurseries, whole), peak=whole(peak)),
         list(past.nurseries), "cyan"),
        (say("requests"), _last(past.requests_per_s, per_second), list(past.requests_per_s), "green"),
        (say("memory"), _last(past.memory_mb, megabytes), list(past.memory_mb), "blue"),
        (say("errors"), _last(past.errors_per_s, per_second) if errors is not None else _closed(),
         list(past.errors_per_s), "red"),
    )  # fmt: skip
    return [_figure(title, now, sparkline(values, width - _BESIDE, blocks), style)
            for title, now, values, style in rows]  # fmt: skip


def _closed() -> str:
    return say("needs RELAY_METRICS_KEY")


def _last(values: Sequence[float], show: Any) -> str:
    return str(show(values[-1])) if values else "-"


def _figure(title: str, now: str, line: str, style: str) -> Text:
    text = Text(no_wrap=True)
    text.append(_fitted(f" {title}", 12))
    text.append(_fitted(now, _BESIDE - 13), style="bold")
    text.append(line, style=style)
    return text


def _fitted(text: str, width: int) -> str:
    fitted = Text(text)
    fitted.truncate(width, pad=True)
    return fitted.plain


# The requests


def _requests(state: State, room: int, width: int) -> Table | Text:
    if state.glance is None or state.glance.requests is None:
        return Text(f" {state.glance.closed if state.glance else ''}", style="dim")
    requests = state.requests()
    table = Table(box=None, expand=True, pad_edge=True, header_style="bold")
    title = say("{count} live requests, {order}", count=len(requests), order=say(ORDERS[state.order][0]))
    for name in (say("age"), say("time left"), say("phase"), say("out"), *_more_heads(width)):
        table.add_column(name, no_wrap=True, justify="left")
    table.add_column(title, no_wrap=True, ratio=1, overflow="ellipsis")
    for request in _window(requests, state.selected, room):
        cells = [*_cells(request), *_more_cells(request, width), _what(request)]
        table.add_row(*cells, style="reverse" if request["id"] == state.selected else "")
    return table


def _window(requests: list[Json], selected: str | None, room: int) -> list[Json]:
    """Return the requests that fit, the selected one among them."""
    at = next((place for place, request in enumerate(requests) if request["id"] == selected), 0)
    begin = max(0, at - room + 1)
    return requests[begin : begin + room]


def _cells(request: Json) -> list[Text]:
    left = request["left_s"]
    style = "red" if left < 0 else "yellow" if left < request["age_s"] / 9 else ""
    return [
        Text(span(request["age_s"])),
        Text(span(left) if left >= 0 else say("overdue"), style=style),
        Text(printable(request["phase"])),
        Text(whole(request["bytes_out"])),
    ]


def _more_heads(width: int) -> list[str]:
    return [say("try"), say("channel"), say("key")] if width >= _WIDE else []


def _more_cells(request: Json, width: int) -> list[Text]:
    told = [str(request["attempt"]), request.get("channel", "-"), request.get("key", "-")]
    return [Text(printable(cell)) for cell in told] if width >= _WIDE else []


def _what(request: Json) -> Text:
    return Text(printable(f"{request['method']} {request['path']}  {request['id']}"))


def _stacks(state: State, room: int) -> list[Text]:
    """Return the stacks of the selected request in so many lines."""
    request = state.chosen()
    if not state.shows_stacks or request is None:
        return []
    lines = [f" {request['id']}"]
    stacks = request.get("stacks", {})
    for task, stack in stacks.items():
        lines.append(f"  {task}")
        lines += [f"    {frame}" for frame in _innermost(stack, max(1, (room - 2) // len(stacks) - 1))]
    return [Text(printable(line), no_wrap=True, overflow="ellipsis", style="dim") for line in ["", *lines][:room]]


def _innermost(stack: list[str], most: int) -> list[str]:
    """Return the last frames, which say what it waits for; how trio waits is the same for all."""
    frames = [_FOLDERS.sub("", frame) for frame in stack if not _WAITING.search(frame)] or stack
    return frames[-most:]


def _foot(state: State) -> Text:
    if state.asks_for is not None:
        chosen = state.chosen()
        path = f"{chosen['method']} {chosen['path']}" if chosen else ""
        question = say("Cancel {id} ({path})? Its client gets an error. y / n", id=state.asks_for, path=path)
        return Text(f"\n {printable(question)}", style="bold reverse", no_wrap=True)
    keys = say("arrows select  t stacks  x cancel  s sort  r look  q leave")
    foot = Text("\n", no_wrap=True)
    if state.note:
        foot.append(f" {printable(state.note)}  ", style="bold yellow")
    return foot.append(f" {keys}", style="dim")
