"""The tables of all settings, in Markdown, for the README: `python -m relay_trio.settings.table`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from relay_trio.settings.kinds import Kind, ListOf, MapOf
from relay_trio.settings.model import About, ChannelSettings, KeySettings, listed, named

BEGIN: Final = "<!-- settings:begin -->"
END: Final = "<!-- settings:end -->"

_Row = tuple[str, ...]

_SHORT_WAYS: Final[tuple[_Row, ...]] = (
    ("", "`RELAY_CONFIG`", "relay.toml, if it is there", "path of a file", "the file that all the others may stand in"),
    ("", "`RELAY_HOST`, `RELAY_PORT`", "", "host, 0..65535", "replace one half of each address in `listen`"),
    ("", "`RELAY_API_KEYS`", "", "list of keys", "clients' keys, named key-1, key-2, ...; added to `[[keys]]`"),
)


_INTRODUCTION: Final = (
    "`[relay]`, and the variables that beat it. Times are in seconds, or written `90s`, `15m`, `1h30m`; sizes in bytes, "
    "or `64MiB`, `500MB`. Lists have commas between in a variable. A key or another secret may be said as `env:NAME` or "
    "`file:path`."
)

_HEAD: Final = ("`relay.toml`", "variable", "default", "allowed", "meaning")
_ALERTS: Final = "alerts."
_INNER_HEAD: Final = ("key", "default", "allowed", "meaning")


def tables() -> str:
    """Return the block that the README holds between BEGIN and END."""
    return "\n\n".join(
        (
            _INTRODUCTION,
            _markdown(_HEAD, [*(row for name, row in _rows() if not name.startswith(_ALERTS)), *_SHORT_WAYS]),
            "`[alerts]`, who is told when something is wrong ([operations](docs/operations.md#being-told) says of what):",
            _markdown(_HEAD, [row for name, row in _rows() if name.startswith(_ALERTS)]),
            "`[[channels]]`, one for each account at a provider:",
            _markdown(_INNER_HEAD, list(_inner_rows(ChannelSettings))),
            "`[[keys]]`, one for each client (`relay-trio keys new NAME` prints it):",
            _markdown(_INNER_HEAD, list(_inner_rows(KeySettings))),
        )
    )


def _rows() -> Iterator[tuple[str, _Row]]:
    """Yield each setting's name and its row."""
    for name, field, about in named():
        short = name.removeprefix(_ALERTS)
        yield name, (f"`{short}`", f"`{about.variable}`", _default(field, about), _allowed(about.kind), about.help)


def _inner_rows(cls: type[attrs.AttrsInstance]) -> Iterator[_Row]:
    for field, about in listed(cls):
        yield f"`{field.name}`", _default(field, about), _allowed(about.kind), about.help


def _default(field: attrs.Attribute[Any], about: About) -> str:
    if about.required:
        return "required"
    kind = about.kind
    if not isinstance(kind, ListOf | MapOf):
        return "" if field.default is None and kind.off is None else kind.show(field.default)
    return ", ".join(kind.item.show(item) for item in field.default or ())


def _allowed(kind: Kind[Any]) -> str:
    return kind.allowed


def _markdown(head: _Row, rows: Sequence[_Row]) -> str:
    return "\n".join(_line(row) for row in (head, ("---",) * len(head), *rows))


def _line(row: _Row) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


if __name__ == "__main__":
    print(tables())  # noqa: T201 - this is the command
