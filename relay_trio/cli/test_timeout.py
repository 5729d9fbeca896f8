"""`relay-trio test-timeout URL KEY`: see the clocks of a running relay fire, each beside what it was expected to do.

On a demo every clock can be tried, and nothing is spent. Elsewhere a model has to be named: its long answers are cut short.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from relay_trio.cli.doctor_findings import Level, exit_status, mark, worst
from relay_trio.cli.language import choose, say
from relay_trio.cli.relay_client import Question, Refused, RelayClient
from relay_trio.cli.relay_place import RelayPlace, place_at, place_of
from relay_trio.cli.terminal import CommandFailed, paint, show_table
from relay_trio.cli.test_timeout_probes import Clock, Models, Prober, Row, attempt
from relay_trio.demo import STALLING
from relay_trio.settings.kinds import Around, Unfit
from relay_trio.settings.references import resolve_secret
from relay_trio.settings.secret import Secret

Json = dict[str, Any]

_SHOWN: Final = ("total", "connect", "headers", "first_event", "idle", "body", "send", "queue", "client_write")
_OK: Final = 200
_LONGEST_S: Final = 86400.0


@attrs.frozen
class Found:
    """What was found out of one relay."""

    place: RelayPlace
    clocks: Mapping[str, Clock] | None
    rows: list[Row]
    notes: list[str]


def run(arguments: argparse.Namespace) -> int:
    """Try the clocks. 0: those that could be tried did what they should; 2: one did not."""
    if arguments.json:
        choose("en", os.environ)  # what machines read is in one language
    within_s = _seconds(arguments.within)
    place = _place(arguments)
    key = _key(arguments.client_key)
    found = trio.run(_try, place, key, arguments.model, within_s, not arguments.json)
    if arguments.json:
        print(json.dumps(_as_json(found), ensure_ascii=False, indent=1))
    return exit_status(worst(row.level for row in found.rows))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= _LONGEST_S:
        raise CommandFailed(say("--within: {text} is no number of seconds from 1 to 86400", text=repr(text)), status=2)
    return seconds


def _place(arguments: argparse.Namespace) -> RelayPlace:
    """Return the relay's place. The client's key is no operator's key: that one is said by --admin-key or its variable."""
    place_at(arguments.url, "URL")  # a bad one is told under this name
    wanted = argparse.Namespace(url=arguments.url, key=arguments.admin_key, ca=arguments.ca, config=None)
    return attrs.evolve(place_of(wanted, os.environ), source="URL")


def _key(text: str) -> Secret:
    try:
        return Secret(resolve_secret(text, Around(os.environ, Path())))
    except Unfit as unfit:
        raise CommandFailed(f"KEY: {unfit.reason}", status=2) from unfit


async def _try(place: RelayPlace, key: Secret, model: str | None, within_s: float, aloud: bool) -> Found:  # noqa: FBT001 - trio.run takes no keywords
    client = RelayClient(place)
    await client.health()  # not reached, or no relay: told in full, before anything else
    models = Models.named(model) if model is not None else await _models_of(client, key)
    clocks, notes = await _clocks(client)
    found = Found(place, clocks, [], notes)
    if aloud:
        print("\n".join(_opening(found, models)), flush=True)
    prober = Prober(client, key, models, clocks, within_s)
    await _probe(prober, found, aloud=aloud)
    if aloud:
        print("\n".join(_verdict(found.rows)))
    return found


async def _probe(prober: Prober, found: Found, *, aloud: bool) -> None:
    """Try each clock; those that only wait do so side by side. What is found is told in its order."""

    def tell(row: Row) -> None:
        found.rows.append(row)
        if aloud:
            print("\n".join(_lines(row)), flush=True)

    first = await attempt("short", prober.short)
    tell(first)
    if first.level is Level.ERROR:
        return  # a relay that does not answer at all shows nothing of its clocks
    tell(await attempt("disconnect", prober.disconnect))
    waiting = {"headers": prober.headers, "total": prober.total, "connect": prober.connect}
    rows: dict[str, Row] = {}

    async def wait(name: str) -> None:
        rows[name] = await attempt(name, waiting[name])

    async with trio.open_nursery() as nursery:
        for name in waiting:
            nursery.start_soon(wait, name, name=f"try {name}")
    for name in waiting:
        tell(rows[name])
    tell(await attempt("left", prober.left))


async def _models_of(client: RelayClient, key: Secret) -> Models:
    """Return the demo's models if this relay is a demo. Raises CommandFailed: a model has to be named."""
    answer = await client.ask(Question("GET", "/v1/models", key))
    document = answer.json() or {}
    if answer.status != _OK:
        error = document.get("error") or {}
        told = f"{answer.status}: {error.get('message', '')}"
        raise Refused(answer.status, told, say("KEY is a client's key, as RELAY_API_KEYS or [[keys]] have it"))
    names = [str(entry.get("id")) for entry in document.get("data", [])]
    if STALLING in names:
        return Models.of_demo()
    raise CommandFailed(
        say("this relay is no demo: name a model with --model, whose long answers are asked for and cut short"),
        say("it lists: {names}", names=", ".join(names[:10]) or say("nothing")),
        status=2,
    )


async def _clocks(client: RelayClient) -> tuple[Mapping[str, Clock] | None, list[str]]:
    """Return the clocks that the relay says it has; None, and why, if it does not say."""
    if client.place.admin_key is None:
        why = say("which clocks it has, the relay tells only with its RELAY_ADMIN_KEY (--admin-key)")
        return None, [why]
    try:
        told = await client.settings()
    except Refused as refused:
        return None, [say("the relay does not tell its clocks: {why}", why=refused.lines[0])]
    settings = told["settings"]
    total = float(settings["limits.total"]["value"])
    clocks = {name: _clock(settings[f"limits.{name}"], total) for name in _SHOWN}
    notes = [
        say(
            "channel {name} has clocks of its own: {clocks}",
            name=name,
            clocks=", ".join(f"{clock} {value:g}" for clock, value in channel["limits"].items()),
        )
        for name, channel in told["channels"].items()
        if channel["limits"]
    ]
    waiting = told["wait_for_restart"]
    return clocks, notes + ([say("these wait for a restart: {names}", names=", ".join(waiting))] if waiting else [])


def _clock(setting: Json, total: float) -> Clock:
    value = setting["value"]
    seconds = total if value == "= total" else None if value == "off" else float(value)
    return Clock(seconds, setting["setting"], setting["source"])


# What is printed


def _opening(found: Found, models: Models) -> list[str]:
    lines = [paint(say("the clocks of {url}", url=found.place.url), "bold", sys.stdout)]
    if found.clocks is not None:
        lines += show_table(
            [
                (name, say("off") if clock.seconds is None else f"{clock.seconds:g} s", clock.setting, clock.source)
                for name, clock in found.clocks.items()
            ]
        )
    lines += [f"  {note}" for note in found.notes]
    if models.spends:
        lines.append(
            say("  {model} is asked five times, four of them for a long answer that is cut short", model=models.short)
        )
    return [*lines, paint(say("tried"), "bold", sys.stdout)]


def _lines(row: Row) -> list[str]:
    indent = " " * 11
    return [
        f"  {mark(row.level)}{row.clock}",
        f"{indent}{say('expected: {what}', what=row.expected)}",
        f"{indent}{say('seen:     {what}', what=row.seen)}",
    ]


def _verdict(rows: list[Row]) -> list[str]:
    failed = [row.clock for row in rows if row.level is Level.ERROR]
    if failed:
        return [paint(say("not as expected: {names}", names=", ".join(failed)), "red", sys.stdout)]
    lines = [say("every clock that was tried did what it should")]
    shortened = [row.clock for row in rows if row.by_own_deadline]
    if shortened:
        names = ", ".join(shortened)
        lines.append(
            say("of {names} only a shorter deadline was seen; to wait for the clocks themselves: --within", names=names)
        )
    untried = [row.clock for row in rows if row.level is Level.NOTE]
    return [*lines, say("not tried: {why}", why=", ".join(untried))] if untried else lines


def _as_json(found: Found) -> Json:
    clocks = None if found.clocks is None else {name: attrs.asdict(clock) for name, clock in found.clocks.items()}
    return {
        "url": found.place.url,
        "level": worst(row.level for row in found.rows).name.lower(),
        "clocks": clocks,
        "notes": found.notes,
        "tried": [{**attrs.asdict(row), "level": row.level.name.lower()} for row in found.rows],
    }
