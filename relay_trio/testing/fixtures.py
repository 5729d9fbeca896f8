"""The oracle as a pytest fixture. A conftest imports it; a test that names it must leave nothing open."""

from __future__ import annotations

import functools
import gc
from collections.abc import AsyncIterator

import pytest

from relay_trio.testing import oracle


@pytest.fixture
async def nothing_left_open(anyio_backend: object) -> AsyncIterator[oracle.Snapshot]:  # noqa: ARG001 - orders the two
    """Fail the test if descriptors, tasks, nurseries, sockets or cancel scopes are left over by it.

    Ask for it first, so that it looks after all other fixtures have ended.
    """
    set_the_old_aside()
    async with oracle.nothing_left_open() as before:
        yield before


@functools.cache
def set_the_old_aside() -> None:
    """Let the collector overlook, from now on, what the imports have made: a look takes a tenth of the time."""
    gc.collect()
    gc.freeze()
