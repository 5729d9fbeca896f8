"""Imports go one way. Read from the sources, also inside functions and for type checkers only, so that no circle hides.

The house is drawn in one line, `ORDER`: a room may import from the rooms to its left, and from itself.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[1]

ORDER = (
    ("adaptors",),
    ("errors", "sockets"),
    ("settings",),
    ("telemetry",),
    ("scopes",),
    ("storage", "upstream"),
    ("accounts",),
    ("channels",),
    ("demo",),
    ("relay",),
    ("background",),
    ("edge",),
    ("assembly",),
    ("cli",),
    ("asgi", "__main__"),
)
"""Rooms of one step do not import each other. `channels` may see `accounts`: its catalog is the snapshot of both."""

PLACE = {room: step for step, rooms in enumerate(ORDER) for room in rooms}
VERSION = "relay_trio"
"""The package itself, which holds its version and nothing else: anybody may read it."""

ON_THE_TEST_KIT = frozenset({"relay_trio.cli.selftest"})
"""`relay-trio selftest` is a test that operators run: it stands on the fakes, and nothing that serves stands on it."""

PURE = frozenset({"attrs", "msgspec"})
"""What `adaptors` may import beside the standard library."""


@attrs.frozen
class Import:
    """One name that one module imports."""

    module: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.name}"


def modules() -> dict[str, Path]:
    """Return every module of both packages by its name."""
    found: dict[str, Path] = {}
    for package in ("adaptors", "relay_trio"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(module: str) -> Iterator[Import]:
    """Yield what a module imports, wherever in it: `from a import b` is a.b if that is a module, else a."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(module, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import hides which room it reaches into"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield Import(module, node.lineno, inner if inner in MODULES else node.module or "")


def ours(module: str) -> Iterator[Import]:
    """Yield what a module imports of the two packages."""
    return (found for found in imports_of(module) if found.name.partition(".")[0] in {"adaptors", "relay_trio"})


def room_of(name: str) -> str:
    """Return the room that a module lives in."""
    package, _, inner = name.partition(".")
    return package if package == "adaptors" or not inner else inner.partition(".")[0]


PRODUCT = [name for name in MODULES if room_of(name) not in {"testing", VERSION}]


def test_every_module_has_a_room() -> None:
    """A new room is drawn into the line above, where its neighbours see it, before it is built."""
    assert {room_of(name) for name in PRODUCT} <= set(PLACE)


def test_imports_go_to_the_left() -> None:
    """A room imports from the rooms to its left and from itself, lazily or not."""
    wrong = [
        str(found)
        for name in PRODUCT
        for found in ours(name)
        if (there := room_of(found.name)) not in {room_of(name), VERSION}
        and not (there == "testing" and name in ON_THE_TEST_KIT)
        and PLACE.get(there, 99) >= PLACE[room_of(name)]
    ]
    assert wrong == []


def test_nothing_that_serves_stands_on_the_test_kit() -> None:
    """`testing` is for tests and benchmarks alone: what a product imports runs in production."""
    standing = {name for name in PRODUCT for found in ours(name) if room_of(found.name) == "testing"}
    assert standing == ON_THE_TEST_KIT
    assert [str(found) for name in PRODUCT for found in ours(name) if found.name in ON_THE_TEST_KIT] == []


def test_what_operators_run_needs_no_development_package() -> None:
    """The self-test runs where only the run-time dependencies are: pytest and trustme are not among them."""
    seen, waiting = set(), list(ON_THE_TEST_KIT)
    while waiting:
        name = waiting.pop()
        seen.add(name)
        waiting += {found.name for found in ours(name)} - seen
    foreign = {found.name for name in seen for found in imports_of(name)}
    assert {name.partition(".")[0] for name in foreign} & {
        "pytest",
        "trustme",
        "hypothesis",
        "openai",
        "anthropic",
    } == set()
    assert [
        name for name in foreign if name.startswith("google.genai")
    ] == []  # google.auth is an extra of the relay's own


def test_no_circle() -> None:
    """No module is imported, through whatever chain, by one that it imports itself; inside a room neither."""
    graph = {name: {found.name for found in ours(name)} - {name} for name in MODULES}
    finished: set[str] = set()

    def descend(name: str, chain: tuple[str, ...]) -> None:
        assert name not in chain, " -> ".join((*chain[chain.index(name) :], name))
        if name not in finished:
            for imported in sorted(graph[name]):
                descend(imported, (*chain, name))
            finished.add(name)

    for name in sorted(graph):
        descend(name, ())


def test_adaptors_stand_on_nearly_nothing() -> None:
    """The standard library, attrs and msgspec: who writes an adaptor needs neither trio nor an HTTP library."""
    strangers = [
        str(found)
        for name in MODULES
        if room_of(name) == "adaptors"
        for found in imports_of(name)
        if (top := found.name.partition(".")[0]) not in {"adaptors", *PURE} and top not in sys.stdlib_module_names
    ]
    assert strangers == []


@pytest.mark.parametrize("package", [name for name, path in MODULES.items() if path.name == "__init__.py"])
def test_packages_export_nothing_again(package: str) -> None:
    """A package's `__init__` says what its room is for. Each name has one address."""
    body = ast.parse(MODULES[package].read_text(encoding="utf-8")).body
    allowed = (ast.Expr, ast.Assign, ast.AnnAssign) if package == VERSION else (ast.Expr,)
    assert body, f"{package} says nothing of itself"
    assert [node for node in body if not isinstance(node, allowed) and not _is_future(node)] == []


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def test_every_module_opens_with_its_idea() -> None:
    """The first thing that a reader sees of a file is what it is for."""
    silent = [
        name for name, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_this_reads_the_installed_packages() -> None:
    """The sources that are read here are those that the other tests run."""
    for package in ("adaptors", "relay_trio"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        assert Path(spec.origin) == MODULES[package]
