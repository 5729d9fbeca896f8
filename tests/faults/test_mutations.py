"""The tool that takes releases out finds them all, and the tests notice the one that killed the relay's ancestor."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from mutations import (
    LOOKED_AT,
    REDUNDANT,
    ROOT,
    TESTS,
    Mutation,
    copied_tree,
    gives_back,
    mutations,
    noticed_by,
    shown_to,
)

FOUND = mutations()


@pytest.mark.parametrize("place", LOOKED_AT)
def test_every_place_gives_something_back(place: str) -> None:
    """A package in which nothing is found has moved, or its releases have other names now."""
    assert [mutation for mutation in FOUND if mutation.path.startswith(place)]


@pytest.mark.parametrize(
    "name",
    [
        "relay_trio/relay/attempt.py: await response.aclose()",
        "relay_trio/relay/relaying.py: admission.give_back(key.name)",
        "relay_trio/upstream/transport.py: self.release(key, connection)",
        "relay_trio/upstream/transport.py: self._counts.closed += 1",
        "relay_trio/scopes/nursery.py: del self._live[serial]",
        "relay_trio/sockets.py: self._raw.close()",
        "relay_trio/edge/connection.py: self._close(raw)",
    ],
)
def test_the_releases_that_we_know_are_found(name: str) -> None:
    """Renamed or rewritten, they are named here anew; the tool itself needs no list."""
    assert name in {mutation.name for mutation in FOUND}


def test_names_are_unique() -> None:
    """Each stands for one statement."""
    assert len({mutation.name for mutation in FOUND}) == len(FOUND)


@pytest.mark.parametrize("path", sorted({mutation.path for mutation in FOUND}))
def test_what_is_left_is_python(path: str) -> None:
    """Exactly the one statement is gone, whatever stands around it."""
    source = (ROOT / path).read_text(encoding="utf-8")
    releases = count_of_releases(source)
    for mutation in (one for one in FOUND if one.path == path):
        assert count_of_releases(mutation.applied(source)) == releases - 1, mutation.name


def count_of_releases(source: str) -> int:
    return sum(isinstance(node, ast.stmt) and gives_back(node) for node in ast.walk(ast.parse(source)))


def test_excuses_are_for_what_exists() -> None:
    """An excuse for a statement that is gone must go too."""
    assert set(REDUNDANT) <= {mutation.name for mutation in FOUND}


def test_the_ancestors_death_is_noticed(tmp_path: Path) -> None:
    """The error answer whose body is read and never closed: taken out, a test fails."""
    name = "relay_trio/relay/attempt.py: await response.aclose()"
    found: list[Mutation] = [mutation for mutation in FOUND if mutation.name.startswith(name)]
    tree = copied_tree(tmp_path)

    assert found
    assert shown_to(found[0].path, TESTS)
    assert noticed_by(found[0], tree) is not None
