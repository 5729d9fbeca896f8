"""What every test stands on: trio, a virtual clock unless the real one is asked for, and nothing left behind."""

from __future__ import annotations

import hypothesis
import pytest
import trio.testing

from relay_trio.cli.language import choose
from relay_trio.testing.fixtures import nothing_left_open, old_objects_aside  # noqa: F401 - fixtures for every test

hypothesis.settings.register_profile("relay", deadline=None)  # no test asserts a time: machines are shared and noisy
hypothesis.settings.load_profile("relay")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_clock: runs on the real clock (a thread, a process or an SDK takes part)")


@pytest.fixture(autouse=True)
def english() -> None:
    """Commands speak English in every test that does not choose otherwise: the language is the process's."""
    choose("en", {})


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Trio with a clock that jumps as soon as all tasks are blocked, or the real clock for tests marked so."""
    if request.node.get_closest_marker("real_clock") is not None:
        return "trio", {}
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
