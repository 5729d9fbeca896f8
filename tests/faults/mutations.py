"""Takes out each statement that gives something back, one at a time, and asks the tests whether they notice.

    python -m tests.faults.mutations              all of them (about a quarter of an hour)
    python -m tests.faults.mutations attempt.py   those whose name holds this word
    python -m tests.faults.mutations --list       names them only

The law: what gives back is found in the syntax tree (a call of `close`, `release`, `cancel` and their kin as a statement
of its own, a count that goes down or says closed, a `del`, a callback that is let go), so new code is asked as well. Each
is replaced by `pass` in a copy of the tree. Those that may stay unnoticed are listed, each with its reason.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[2]
LOOKED_AT = (
    "relay_trio/relay",
    "relay_trio/upstream",
    "relay_trio/scopes",
    "relay_trio/edge",
    "relay_trio/channels",
    "relay_trio/sockets.py",
)
COPIED = ("relay_trio", "adaptors", "tests", "pyproject.toml")

GIVES_BACK = frozenset(
    {
        "close", "aclose", "abort", "release", "give_back", "_let_go", "leave", "left", "forget", "discard", "remove",
        "close_all", "cancel", "cancel_helpers_at_end", "_close", "shutdown_write", "_linger", "_end_pieces", "unlink",
        "retire_others",
    }
)  # fmt: skip
LET_GO = frozenset({"on_hangup", "on_readable", "_on_disconnect", "task", "_keepalive_done", "_connection", "running"})
"""Attributes that hold somebody until they are set to None."""

TESTS: dict[str, tuple[str, ...]] = {
    "relay_trio/sockets.py": ("tests/test_sockets.py", "tests/upstream"),
    "relay_trio/upstream": ("tests/upstream",),
    "relay_trio/relay": ("tests/relay", "tests/faults/test_error_bodies.py", "tests/faults/test_fallback.py"),
    "relay_trio/scopes": ("tests/scopes", "tests/faults/test_fallback.py"),
    "relay_trio/channels": ("tests/channels",),
    "relay_trio/edge": ("tests/edge/test_connection.py", "tests/faults/test_clients.py"),
    "relay_trio/edge/handlers": ("tests/edge/test_own_paths.py", "tests/faults/test_clocks.py"),
}
"""The tests that are asked first, by the longest path that fits; if they notice nothing, WIDER_TESTS are, or all."""
WIDER_TESTS: dict[str, tuple[str, ...]] = {
    "relay_trio": (
        "tests/faults/test_clients.py",
        "tests/faults/test_fallback.py",
        "tests/faults/test_clocks.py",
        "tests/faults/test_ancestor.py",
        "tests/faults/test_matrix.py",
        "tests/upstream",
        "tests/edge/test_connection.py",
    ),
    "relay_trio/edge/listening.py": ("tests/cli", "tests/edge"),
    "relay_trio/edge/server.py": ("tests/cli", "tests/edge"),
    "relay_trio/edge/siblings.py": ("tests/edge", "tests/cli"),
    "relay_trio/edge/supervisor.py": ("tests/edge", "tests/cli"),
    "relay_trio/edge/whole_lines.py": ("tests/edge",),
    "relay_trio/edge/worker_seat.py": ("tests/edge", "tests/cli"),
}
TIME_LIMIT_S = 600.0

REDUNDANT: dict[str, str] = {}
"""The name of a mutation -> why nothing can notice it."""


@attrs.frozen
class Mutation:
    """A statement that is taken out: where it stands, and how it reads."""

    path: str
    first_line: int
    last_line: int
    text: str
    ordinal: int
    """Which of its kind in the file, from 1: the same words may stand there several times."""

    @property
    def name(self) -> str:
        """The file and the words: a name that lives longer than a line number."""
        return f"{self.path}: {self.text}" + (f" (#{self.ordinal})" if self.ordinal > 1 else "")

    def applied(self, source: str) -> str:
        """Return the source without the statement."""
        lines = source.splitlines(keepends=True)
        first = lines[self.first_line - 1]
        indent = first[: len(first) - len(first.lstrip())]
        lines[self.first_line - 1 : self.last_line] = [f"{indent}pass\n"]
        return "".join(lines)


# Finding


def mutations() -> list[Mutation]:
    """Return every mutation of the tree, in the order of the files."""
    return [mutation for path in _files() for mutation in _of_file(path)]


def _files() -> Iterator[Path]:
    for place in LOOKED_AT:
        path = ROOT / place
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _of_file(path: Path) -> Iterator[Mutation]:
    source = path.read_text(encoding="utf-8")
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt) and gives_back(node)]
    seen: dict[str, int] = {}
    for node in sorted(found, key=lambda node: node.lineno):
        text = " ".join((ast.get_source_segment(source, node) or "").split())
        seen[text] = seen.get(text, 0) + 1
        assert node.end_lineno is not None
        yield Mutation(path.relative_to(ROOT).as_posix(), node.lineno, node.end_lineno, text, seen[text])


def gives_back(node: ast.stmt) -> bool:
    """Tell whether this statement gives something back and does nothing else."""
    match node:
        case ast.Expr(value=ast.Call() | ast.Await(value=ast.Call())):
            return _called(node.value) in GIVES_BACK
        case ast.AugAssign(target=ast.Attribute(attr="closed")) | ast.AugAssign(target=ast.Attribute(), op=ast.Sub()):
            return True
        case ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Constant(value=None)):
            return name in LET_GO
        case ast.Delete():
            return True
    return False


def _called(value: ast.expr) -> str:
    call = value.value if isinstance(value, ast.Await) else value
    assert isinstance(call, ast.Call)
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


# Asking


def shown_to(path: str, table: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the tests of a table that this file's mutations are shown to."""
    return table[max((place for place in table if path.startswith(place)), key=len)]


def noticed_by(mutation: Mutation, tree: Path) -> str | None:
    """Return what noticed the mutation, a test's name or the clock; None if nothing did."""
    target = tree / mutation.path
    source = target.read_text(encoding="utf-8")
    target.write_text(mutation.applied(source), encoding="utf-8")
    try:
        first, wider = (shown_to(mutation.path, table) for table in (TESTS, WIDER_TESTS))
        return _failure(first, tree) or _failure([test for test in wider if test not in first], tree)
    finally:
        target.write_text(source, encoding="utf-8")


def _failure(tests: Sequence[str], tree: Path) -> str | None:
    present = [test for test in tests if (tree / test).exists()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "--timeout=120", *present]
    environ = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run(
            command, cwd=tree, env=environ, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "the clock"
    if run.returncode == 0:
        return None
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split(" - ")[0] if failed else f"pytest's exit status {run.returncode}"


def copied_tree(directory: Path) -> Path:
    """Copy what the tests need."""
    tree = directory / "tree"
    tree.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, tree / name)
    return tree


def survey(chosen: Iterable[Mutation]) -> list[Mutation]:
    """Ask for each mutation, say what came of it, and return those that nobody noticed and nobody excused."""
    survivors = []
    with tempfile.TemporaryDirectory(prefix="mutations_") as directory:
        tree = copied_tree(Path(directory))
        for mutation in chosen:
            found = noticed_by(mutation, tree)
            excuse = REDUNDANT.get(mutation.name)
            if found is None and excuse is None:
                survivors.append(mutation)
            sys.stdout.write(f"{'SURVIVED' if found is None else 'noticed '} {mutation.name}\n")
            sys.stdout.write(f"         {found or excuse or 'no test failed'}\n")
            sys.stdout.flush()
    return survivors


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status is 1 if a mutation survived."""
    parser = argparse.ArgumentParser(
        prog="mutations", description="Takes out each statement that gives something back."
    )
    parser.add_argument("word", nargs="?", default="", help="only those whose name holds this word")
    parser.add_argument("--list", action="store_true", help="name them and stop")
    options = parser.parse_args(arguments)
    chosen = [mutation for mutation in mutations() if options.word in mutation.name]
    if options.list:
        sys.stdout.writelines(f"{mutation.name}\n" for mutation in chosen)
        return 0
    survivors = survey(chosen)
    sys.stdout.write(f"{len(chosen) - len(survivors)} of {len(chosen)} noticed or excused\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
