"""`relay-trio check`: one look at a running relay, or a series of looks and whether it leaks.

Exit status 0 fine, 1 warning, 2 error, also when no relay answers; with `--alive`, for health checks, 0 or 1.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable

import trio

from relay_trio.cli.check_baseline import read_baseline, write_baseline
from relay_trio.cli.check_findings import LEVELS
from relay_trio.cli.check_report import Checked, as_json, conclude, failure_json, look_line, print_all
from relay_trio.cli.language import choose, say
from relay_trio.cli.relay_client import NotReached, Question, RelayClient
from relay_trio.cli.relay_place import RelayPlace, place_of
from relay_trio.cli.terminal import CommandFailed, complain
from relay_trio.scopes.trend import look_of

Tell = Callable[[int, Checked, NotReached | None], None]

_OK = 200
_ALIVE_WITHIN_S = 4.0
"""Before a container's health check gives up by itself (5 s, as our own sets it), and with it what was tried."""


def run(arguments: argparse.Namespace) -> int:
    """Look, tell, and return how it stands."""
    if arguments.json:
        choose("en", {})  # what machines read is the same everywhere
    baseline = read_baseline(arguments.compare) if arguments.compare else None
    place = place_of(arguments, os.environ)
    complain(place.notes)
    if arguments.alive:
        return trio.run(_alive, place)
    try:
        checked = trio.run(look, RelayClient(place), arguments.samples, arguments.every, _teller(arguments))
    except CommandFailed as failed:
        if not arguments.json:
            raise
        print(json.dumps(failure_json(place, failed)))
        return 2
    result = conclude(place.url, checked, baseline, series=arguments.samples > 1)
    if arguments.json:
        print(json.dumps(as_json(result)))
    elif result.level != "ok" or not arguments.quiet:
        print_all(result)
    if arguments.record:
        write_baseline(arguments.record, result.today)
    return LEVELS.index(result.level)


async def _alive(place: RelayPlace) -> int:
    """Ask only whether the event loop turns: a relay that has much to do is not to be restarted for it."""
    try:
        answer = await RelayClient(place, _ALIVE_WITHIN_S).ask(Question("GET", "/livez"))
    except NotReached as failed:
        complain(failed.lines)
        return 1
    alive = answer.status == _OK
    print(say("alive") if alive else say("{url} answers {status} to /livez", url=place.url, status=answer.status))
    return 0 if alive else 1


async def look(client: RelayClient, samples: int, every_s: float, tell: Tell) -> Checked:
    """Look so many times, at equal intervals. Raises CommandFailed if the first look, or the last, is not answered."""
    checked = Checked()
    begun = trio.current_time()
    for number in range(samples):
        await trio.sleep_until(begun + number * every_s)
        failed = None
        try:
            checked.health = await client.health()
            checked.looks.append(look_of(checked.health, trio.current_time() - begun))
        except NotReached as error:
            if number in {0, samples - 1}:
                raise
            checked.unanswered += 1
            failed = error
        tell(number, checked, failed)
    return checked


def _teller(arguments: argparse.Namespace) -> Tell:
    """Return what tells each look of a series as it happens."""
    shown = arguments.samples > 1 and not arguments.json and not arguments.quiet
    width = len(str(arguments.samples))

    def tell(number: int, checked: Checked, failed: NotReached | None) -> None:
        if shown:
            told = look_line(checked) if failed is None else _unanswered(failed)
            print(f"  {number + 1:>{width}}/{arguments.samples}  {told}", flush=True)

    return tell


def _unanswered(failed: NotReached) -> str:
    return say("no answer ({stage}: {why})", stage=failed.stage, why=failed.why)
