"""The oracle as pytest fixtures. A conftest imports both; a test that names `nothing_left_open` must leave nothing open."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator

import pytest

from relay_trio.testing import oracle


@pytest.fixture
async def nothing_left_open(anyio_backend: object, old_objects_aside: None) -> AsyncIterator[oracle.Snapshot]:  # noqa: ARG001 - they come first
    """Fail the test if descriptors, tasks, nurseries, sockets or cancel scopes are left over by it.

    Ask for it first, so that it looks after all other fixtures have ended. What these gave is held by pytest a while
    longer: a value that keeps its closed sockets belongs in a context manager of the test instead.
    """
    async with oracle.nothing_left_open() as before:
        yield before


@pytest.fixture(scope="module")
def old_objects_aside() -> Iterator[None]:
    """Let the collector overlook what was made before the module's first test: a look takes a tenth of the time.

    By module, because libraries go on importing at their first use. Undone, because who asks the collector for an
    object's referrers (hypothesis does) is not told of those that are set aside.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
