"""From a path to the endpoint that it means: one table for each provider's API, built once from its rows.

Templates hold `{id}` for one segment and `{id+}` for the rest of the path, for names may hold slashes; `/**` stands for
whatever comes below, or nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Final

from adaptors.values import BodyKind, Endpoint

MAX_PATH_BYTES: Final = 8192
"""A longer path is nobody's; the head's own limit allows 32 KiB."""
_MAX_NEAREST_BYTES: Final = 200
"""A longer path is no misspelling of one of ours; comparing costs its length times theirs."""

_Rows = tuple[tuple[re.Pattern[bytes], Endpoint], ...]


def tidied(path: bytes) -> bytes:
    """Return the path without doubled or trailing slashes, which a base URL joined by hand leaves behind."""
    return re.sub(rb"/{2,}", b"/", path).rstrip(b"/") or b"/"


class PathTable:
    """The endpoints of one API, and the families of paths below which everything else goes through unread.

    A path that the table names takes what the table says, and a 405 tells of anything else. Below an id, or a family,
    any method goes through: what is new there is for the provider to judge.
    """

    def __init__(self, endpoints: Iterable[Endpoint], families: Mapping[str, str | None]) -> None:
        """Build the table. A family's value is the kind of stored object that its next segment names, or None."""
        rows = tuple(endpoints)
        self.nameable = tuple(dict.fromkeys(row.template for row in rows if "{" not in row.template))
        """The paths that have no id in them."""
        self._plain = {
            (method.encode(), row.template.encode()): row
            for row in rows
            if row.template in self.nameable
            for method in row.methods
        }
        self._by_name = _rows(row for row in rows if row.template in self.nameable)
        self._by_id = _rows((*(row for row in rows if row.template not in self.nameable), *_families(families)))

    def match(self, method: bytes, path: bytes) -> Endpoint | None:
        """Return the endpoint that this method on this path (below the version prefix) means, or None."""
        found = self._plain.get((method, path))
        if found is not None or len(path) > MAX_PATH_BYTES:
            return found
        verb = method.decode("latin-1")
        return next((endpoint for endpoint in self._fitting(tidied(path)) if verb in endpoint.methods), None)

    def allowed_methods(self, path: bytes) -> tuple[str, ...]:
        """Return the methods that the path takes, for a 405 and its `Allow`; none at all for an unknown path."""
        if len(path) > MAX_PATH_BYTES:
            return ()
        return tuple(sorted({method for endpoint in self._fitting(tidied(path)) for method in endpoint.methods}))

    def _fitting(self, path: bytes) -> tuple[Endpoint, ...]:
        root = path.split(b"/", 2)[1] if path.count(b"/") else b""
        for rows in (self._by_name, self._by_id):
            fitting = tuple(endpoint for pattern, endpoint in rows.get(root, ()) if pattern.fullmatch(path))
            if fitting:
                return fitting
        return ()


def nearest(path: bytes, templates: Iterable[str]) -> str | None:
    """Return the template that was probably meant by an unknown path (below the version prefix)."""
    wanted = tidied(path).decode("latin-1")
    if len(wanted) > _MAX_NEAREST_BYTES:
        return None
    known = list(templates)
    begun = [template for template in known if template.startswith(wanted.rstrip("/") + "/") and wanted != "/"]
    found = begun or difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
    return found[0] if found else None


# How a template becomes a test for paths.


def _pattern(template: str) -> re.Pattern[bytes]:
    text = re.escape(template).replace(r"\{id\}", "[^/]+").replace(r"\{id\+\}", ".+").replace(r"/\*\*", "(?:/.*)?")
    return re.compile(text.encode(), re.DOTALL)


def _family(root: str, stored: str | None) -> tuple[Endpoint, ...]:
    template = f"/{root}/{{id}}/**" if stored else f"/{root}/**"
    name = f"{root.replace('/', '.')}.*"
    return (
        Endpoint(name, ("GET", "DELETE"), template, BodyKind.NONE, stored=stored),
        Endpoint(name, ("POST", "PUT", "PATCH"), template, BodyKind.BY_TYPE, stored=stored),
    )


def _families(families: Mapping[str, str | None]) -> tuple[Endpoint, ...]:
    """Return the endpoints of all families, those of stored objects first: they say more of a path."""
    rows = tuple(endpoint for root, stored in families.items() if stored for endpoint in _family(root, stored))
    return rows + tuple(endpoint for root in families for endpoint in _family(root, None))


def _rows(endpoints: Iterable[Endpoint]) -> Mapping[bytes, _Rows]:
    """Return the endpoints with their tests, by their first segment."""
    rows: dict[bytes, _Rows] = {}
    for endpoint in endpoints:
        root = endpoint.template.split("/")[1].encode()
        rows[root] = (*rows.get(root, ()), (_pattern(endpoint.template), endpoint))
    return rows
