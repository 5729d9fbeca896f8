"""`adaptors` stands on the standard library, attrs and msgspec: no I/O, no clock, no randomness."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import adaptors

PACKAGE = Path(adaptors.__file__).parent
ALLOWED = frozenset(
    {"__future__", "adaptors", "attrs", "base64", "binascii", "collections", "difflib", "enum", "hashlib", "hmac", "http",
     "importlib", "json", "math", "msgspec", "re", "struct", "types", "typing"}
)  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_nothing_that_could_do_io(module: Path) -> None:
    """Also inside functions. `http` is for its table of statuses, `importlib` for the entry points."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert names <= ALLOWED


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_awaits(module: Path) -> None:
    """The relay owns every await."""
    awaiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not any(isinstance(node, awaiting) for node in ast.walk(ast.parse(module.read_text())))
