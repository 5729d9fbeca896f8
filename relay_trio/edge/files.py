"""The configuration and the certificate as they are on disk: looked at every second, and on SIGHUP.

A changed file makes a new snapshot that new requests see; live ones go on with theirs. A bad file changes nothing and is
reported, once for each change.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

_LOOK_INTERVAL_S = 1.0
"""A removed key is refused within two seconds. A stat costs 2 us and works on every platform and file system; what
watches directories for us (inotify, watchfiles) does not tell of changes on all of them."""

Stamp = tuple[int, int, int] | None


class ConfigurationFile:
    """Watches one file and calls `reload` when it has changed, or when asked to; one reload at a time."""

    def __init__(self, path: Path | None, reload: Callable[[], Awaitable[None]], look_too: Callable[[], None]) -> None:
        self._path = path
        self._reload = reload
        self._look_too = look_too
        self._stamp = _stamp(path)
        self._asked = trio.Event()

    async def run(self) -> None:
        """Look every second until cancelled. A service task."""
        while True:
            with trio.move_on_after(_LOOK_INTERVAL_S):
                await self._asked.wait()
            asked = self._asked.is_set()
            if asked:
                self._asked = trio.Event()
            self._look_too()
            stamp = _stamp(self._path)
            if asked or stamp != self._stamp:
                self._stamp = stamp
                await self._reload()

    def reload_soon(self) -> None:
        """Load it again, changed or not: files that it names may have changed (SIGHUP)."""
        self._asked.set()


def _stamp(path: Path | None) -> Stamp:
    """Return what changes with a file; a symlink is followed, so that a swapped one (Kubernetes) is a change."""
    if path is None:
        return None
    try:
        stat = os.stat(path)  # noqa: PTH116 - one call, and it follows links
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size
