"""From what was written to values: by the kinds that the classes of `model` name, collecting every problem."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs

from relay_trio.settings.kinds import Kind, ListOf, MapOf, NotAllowed, Scalar, Unfit
from relay_trio.settings.model import About, listed
from relay_trio.settings.written import InFile, Problems, Written, hidden_problem, problem, suggestion

Table = TypeVar("Table", bound=attrs.AttrsInstance)


class _Failed(enum.Enum):
    FAILED = enum.auto()


FAILED: Final = _Failed.FAILED
"""In place of a value that could not be read; the problem has been noted."""


def read_value(about: About, default: object, written: Written, problems: Problems) -> Any:
    """Return the value of a setting, or FAILED."""
    return _read(about.kind, default, written, problems)


def read_kind(kind: Kind[Any], written: Written, problems: Problems) -> Any:
    """Return a value that has no default, or FAILED."""
    return _read(kind, attrs.NOTHING, written, problems)


def read_table(cls: type[Table], written: InFile, problems: Problems) -> Table | None:
    """Return an instance of `cls` made from a table of the file; None if anything in it is wrong."""
    entries = written.entries()
    if entries is None:
        problems.append(hidden_problem(written, "is no table"))  # a key in clear text, as like as not
        return None
    before = len(problems)
    problems += unknown_entries(entries, [field.name for field, _ in listed(cls)])
    values: dict[str, Any] = {}
    for field, about in listed(cls):
        if field.name in entries:
            values[field.name] = read_value(about, field.default, entries[field.name], problems)
        elif about.required:
            problems.append(f"{written.subject}: no {field.name}, which must be given: {about.help}")
    return cls(**values) if len(problems) == before else None


def read_tables(cls: type[Table], written: InFile, problems: Problems) -> list[tuple[Table, InFile]]:
    """Return an instance of `cls` for each table of an array of tables that is right, and the table."""
    elements = written.elements()
    if elements is None:
        problems.append(hidden_problem(written, f"is no list of tables; want [[{written.path[-1]}]]"))
        return []
    read = [(read_table(cls, element, problems), element) for element in elements]
    return [(made, element) for made, element in read if made is not None]


def same_twice(named: Iterable[tuple[object, InFile]], entry: str) -> Problems:
    """Return a problem for each table whose entry says what another one's has said before."""
    first: dict[object, InFile] = {}
    problems: Problems = []
    for value, table in named:
        other = first.setdefault(value, table)
        if other is not table:
            place = table.entry(entry) or table
            problems.append(f"{place.subject}: the same as in {other.source}")
    return problems


def unknown_entries(entries: Mapping[str, InFile], known: Sequence[str], elsewhere: Sequence[str] = ()) -> Problems:
    """Return a problem for each entry that no setting has the name of; `elsewhere` are names that belong to `[relay]`."""
    unknown = [(entry.subject, name) for name, entry in entries.items() if name not in known]
    misplaced = "no such setting here; it belongs to relay.{}"
    return [
        f"{subject}: {misplaced.format(name) if name in elsewhere else suggestion(name, known)}"
        for subject, name in unknown
    ]


def _read(kind: Kind[Any], default: object, written: Written, problems: Problems) -> Any:
    if isinstance(kind, ListOf):
        return _read_list(kind, written, problems)
    if isinstance(kind, MapOf):
        return _read_map(kind, written, problems)
    return _read_scalar(kind, default, written, problems)


def _read_list(kind: ListOf[Any], written: Written, problems: Problems) -> Any:
    elements = written.elements()
    if elements is None:
        return _failed(problems, kind.item, written, "is no list: want it in [brackets]")
    if not elements and kind.empty:
        return _failed(problems, kind.item, written, kind.empty)
    values = [_read_scalar(kind.item, attrs.NOTHING, element, problems) for element in elements]
    return FAILED if FAILED in values else tuple(values)


def _read_map(kind: MapOf[Any], written: Written, problems: Problems) -> Any:
    entries = written.entries() if isinstance(written, InFile) else None
    if entries is None:
        return _failed(problems, kind.item, written, "is no table: want { name = value }")
    values = {name: _read_scalar(kind.item, attrs.NOTHING, entry, problems) for name, entry in entries.items()}
    return FAILED if FAILED in values.values() else values


def _read_scalar(kind: Scalar[Any], default: object, written: Written, problems: Problems) -> Any:
    try:
        return kind.read(written.raw, written.around)
    except NotAllowed as unfit:
        default_shown = "" if default is attrs.NOTHING else f", default {kind.show(default)}"
        return _failed(problems, kind, written, f"{unfit.why}; allowed {kind.allowed}{default_shown}")
    except Unfit as unfit:
        return _failed(problems, kind, written, unfit.reason)


def _failed(problems: Problems, kind: Scalar[Any], written: Written, why: str) -> _Failed:
    problems.append(hidden_problem(written, why) if kind.hidden else problem(written, why))
    return FAILED
