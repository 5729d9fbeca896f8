"""The tables `[relay]` and `[alerts]` and the variables that stand for them: each setting from the first place that says it."""

from __future__ import annotations

from typing import Any

import attrs

from relay_trio.settings import addresses
from relay_trio.settings.kinds import Unfit
from relay_trio.settings.model import VARIABLES, Alerts, Limits, Settings, Watchdog, listed, named, path_in_file
from relay_trio.settings.read import FAILED, read_value, unknown_entries
from relay_trio.settings.sources import Sources
from relay_trio.settings.written import Problems, problem, unfit_problem

_TABLES = {
    (): ("relay", "alerts", "channels", "keys"),
    ("relay",): (*(field.name for field, _ in listed(Settings)), "limits", "watchdog"),
    ("relay", "limits"): tuple(field.name for field, _ in listed(Limits)),
    ("relay", "watchdog"): tuple(field.name for field, _ in listed(Watchdog)),
    ("alerts",): tuple(field.name for field, _ in listed(Alerts)),
}
"""What each table of the file may hold, less the channels and keys."""


@attrs.frozen
class RelayTable:
    """The values by their names in Settings, and where each came from."""

    values: dict[str, Any]
    sources: dict[str, str]

    def below(self, prefix: str) -> dict[str, Any]:
        """Return the values of a table inside: `limits.`, `watchdog.`, `alerts.`; or, of the empty prefix, those of none."""
        names = {name: name.removeprefix(prefix) for name in self.values if name.startswith(prefix)}
        return {short: self.values[name] for name, short in names.items() if "." not in short}


def read_relay(sources: Sources, problems: Problems) -> RelayTable:
    """Return the settings of `[relay]` and `[alerts]`."""
    problems += _unknown_names(sources)
    table = RelayTable({}, {})
    for name, field, about in named():
        written = sources.of(name, about.variable, path_in_file(name))
        value = FAILED if written is None else read_value(about, field.default, written, problems)
        table.values[name] = field.default if value is FAILED else value
        table.sources[name] = "default" if written is None else written.source
    _apply_host_and_port(table, sources, problems)
    _fit_defaults(table)
    return table


def _unknown_names(sources: Sources) -> Problems:
    problems: Problems = []
    for place, known in _TABLES.items():
        table = sources.in_file(*place)
        entries = {} if table is None else table.entries()
        if table is not None and entries is None:
            problems.append(problem(table, "is no table"))
        problems += unknown_entries(entries or {}, known, elsewhere=() if place else _TABLES["relay",])
    return problems


def _apply_host_and_port(table: RelayTable, sources: Sources, problems: Problems) -> None:
    parts = ((addresses.with_host, addresses.HOST_VARIABLE), (addresses.with_port, addresses.PORT_VARIABLE))
    for apply, name in parts:
        written = sources.variable(name)
        if written is None or table.sources["listen"].startswith("--"):
            continue
        if table.sources["listen"] == VARIABLES["listen"]:
            problems.append(f"{name}: {VARIABLES['listen']} is set too; say it once")
            continue
        try:
            changed = [apply(written, address) for address in table.values["listen"]]
        except Unfit as unfit:
            problems.append(unfit_problem(written, unfit))
        else:
            table.values["listen"] = tuple(dict.fromkeys(changed))
            table.sources["listen"] = name


def _fit_defaults(table: RelayTable) -> None:
    """Less memory for whole bodies than a default allows for one: that default follows, it was not anybody's word."""
    room = table.values["max_buffered_bytes"]
    for name in ("max_body_bytes", "max_answer_bytes"):
        if table.sources[name] == "default" and table.values[name] > room:
            table.values[name] = room
            table.sources[name] = "default, no more than max_buffered_bytes"
