"""`relay-trio monitor`: a running relay, live on a terminal; on a pipe, or without rich, a line for each look.

It never gives up: a relay that does not answer is asked again at every interval, and the view says since when.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from relay_trio.cli.figures import megabytes, per_second, printable, span, whole
from relay_trio.cli.language import choose, say
from relay_trio.cli.monitor_keys import POLL_S, Keys, open_keys
from relay_trio.cli.monitor_state import Glance, State, errors_in
from relay_trio.cli.relay_client import NotReached, Refused, RelayClient
from relay_trio.cli.relay_place import place_of
from relay_trio.cli.terminal import CommandFailed, complain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

Json = dict[str, Any]

_REDRAW_S: Final = 1.0
"""Ages go on between two looks."""

_ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP")
"""What ends the view; the terminal is put back whichever it is. Windows has the first alone."""


def run(arguments: argparse.Namespace) -> int:
    """Watch until told to stop. 0, also if the relay was away: that was told as it happened."""
    if arguments.json:
        choose("en", {})  # what machines read is the same everywhere
    place = place_of(arguments, os.environ)
    complain(place.notes)
    client, state = RelayClient(place), State(place.url)
    watch = _on_screen if not arguments.json and _wants_screen() else _in_lines
    try:
        trio.run(watch, client, state, arguments)
    except KeyboardInterrupt:  # between two lines: the usual way out
        return 0
    return 0


def _wants_screen() -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        return False
    if importlib.util.find_spec("rich") is None:
        complain([say("for the live view: pip install 'relay-trio[cli]'; until then, a line for each look")])
        return False
    return True


# Looking


async def glance(client: RelayClient, *, stacks: bool = False) -> Glance:
    """Look once. Raises CommandFailed if the relay does not answer; what needs a key that we have not is left out."""
    health = await client.health()
    seen = Glance(trio.current_time(), health)
    with contextlib.suppress(Refused):  # the line of errors says which key is missing
        seen = attrs.evolve(seen, errors=errors_in(await client.metrics()))
    if client.place.admin_key is None:
        return attrs.evolve(seen, closed=say("the live requests need the operator's key: --key, or RELAY_ADMIN_KEY"))
    try:
        return attrs.evolve(seen, requests=await client.nurseries(stacks=stacks))
    except Refused as refused:
        return attrs.evolve(seen, closed=say("the live requests are not shown: {why}", why=refused.lines[0]))


async def _look(client: RelayClient, state: State) -> None:
    try:
        state.take(await glance(client, stacks=state.shows_stacks))
    except CommandFailed as failed:
        why = f"{failed.stage}: {failed.why}" if isinstance(failed, NotReached) else failed.lines[0]
        state.lose(_time_of_day(), why)


def _time_of_day() -> str:
    return dt.datetime.now().astimezone().strftime("%H:%M:%S")


# In lines


async def _in_lines(client: RelayClient, state: State, arguments: argparse.Namespace) -> None:
    show: Callable[[State], str] = _json_line if arguments.json else _line
    while True:
        started = trio.current_time()
        await _look(client, state)
        print(show(state), flush=True)
        await trio.sleep_until(started + arguments.interval)


def _line(state: State) -> str:
    now = _time_of_day()
    if state.lost_since is not None or state.glance is None:
        return f"{now}  {say('no answer since {time}: {why}', time=state.lost_since, why=state.lost_why)}"
    health, past = state.glance.health, state.past
    told = say(
        "{status}  nurseries {nurseries}  requests {rate}  errors {errors}  memory {memory}  oldest {oldest}",
        status=state.level(),
        nurseries=whole(health["nurseries"]),
        rate=per_second(past.requests_per_s[-1] if past.requests_per_s else None),
        errors=per_second(past.errors_per_s[-1] if past.errors_per_s else None),
        memory=megabytes(health["memory"]["rss_mb"]),
        oldest=span(health["requests"]["oldest_s"]),
    )
    return f"{now}  {told}{_oldest(state)}"


def _oldest(state: State) -> str:
    requests = state.requests()
    if not requests:
        return ""
    told = "{id} {method} {path} ({phase})".format_map(requests[0])
    return f"  {printable(told)}"


def _json_line(state: State) -> str:
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    if state.lost_since is not None or state.glance is None:
        return json.dumps({"timestamp": now, "status": "unreachable", "since": state.lost_since, "why": state.lost_why})
    past = state.past
    return json.dumps(
        {
            "timestamp": now,
            "status": state.level(),
            "requests_per_s": round(past.requests_per_s[-1], 3) if past.requests_per_s else None,
            "errors_per_s": round(past.errors_per_s[-1], 3) if past.errors_per_s else None,
            "health": state.glance.health,
            "live_requests": state.glance.requests,
        }
    )


# On a terminal


async def _on_screen(client: RelayClient, state: State, arguments: argparse.Namespace) -> None:
    from rich.console import Console  # noqa: PLC0415 - an extra, and only a terminal needs it
    from rich.live import Live  # noqa: PLC0415

    console = Console()
    # without a thread of its own: what draws is the task that knows what has changed
    with open_keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        view = _View(client, state, arguments.interval, keys, console, live)
        await view.run()


@attrs.define(eq=False)
class _View:
    """The tasks of the live view: one looks, one takes keys and draws, one waits for a signal."""

    client: RelayClient
    state: State
    interval_s: float
    keys: Keys
    console: Console
    live: Live
    _wanted: trio.Event = attrs.field(factory=trio.Event)
    """Somebody wants a look now."""
    _changed: bool = True

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_for_signal, nursery.cancel_scope)
            nursery.start_soon(self._look_on)
            await self._take_keys(nursery)
            nursery.cancel_scope.cancel(reason="the user leaves")

    async def _wait_for_signal(self, scope: trio.CancelScope) -> None:
        ending = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
        with trio.open_signal_receiver(*ending) as signals:
            async for _ in signals:
                scope.cancel(reason="a signal")

    async def _look_on(self) -> None:
        while True:
            started = trio.current_time()
            await _look(self.client, self.state)
            self._changed = True
            with trio.move_on_at(started + self.interval_s):
                await self._wanted.wait()
            self._wanted = trio.Event()

    async def _take_keys(self, nursery: trio.Nursery) -> None:
        drawn_at, size = float("-inf"), self.console.size
        while True:
            for key in self.keys.pressed():
                self._changed = True
                act = self.state.press(key)
                if act == "quit":
                    return
                if act == "look":
                    self._wanted.set()
                if act == "cancel":
                    nursery.start_soon(self._cancel)
            resized, size = size != self.console.size, self.console.size
            if self._changed or resized or trio.current_time() - drawn_at >= _REDRAW_S:
                self._draw()
                drawn_at = trio.current_time()
            await trio.sleep(POLL_S)

    def _draw(self) -> None:
        from relay_trio.cli.monitor_screen import screen  # noqa: PLC0415 - needs rich

        self._changed = False
        self.live.update(screen(self.state, self.console), refresh=True)

    async def _cancel(self) -> None:
        """Cancel the request that the user has said yes to."""
        request_id, self.state.asks_for = self.state.asks_for, None
        if request_id is None:
            return
        try:
            await self.client.cancel(request_id)
            self.state.note = say("{id} was cancelled", id=request_id)
        except CommandFailed as failed:
            self.state.note = say("{id} was not cancelled: {why}", id=request_id, why=failed.lines[0])
        self._changed = True
        self._wanted.set()
