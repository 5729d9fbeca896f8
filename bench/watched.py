"""Serve as `relay-trio serve` does, and watch the event loop between two signals.

    python bench/watched.py calls FILE serve --config relay.toml     how many Python and C functions were called
    python bench/watched.py turns FILE serve --config relay.toml     how long each turn of the loop took

SIGUSR1 begins, and the next one ends and writes JSON to FILE. Only the event loop's thread is watched. SIGUSR2 is the
relay's own: it starts a successor.
"""

from __future__ import annotations

import cProfile
import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import trio

from relay_trio.cli.main import main


class Watch(Protocol):
    """What is watched between two signals."""

    def begin(self) -> None:
        """Begin, or begin anew."""

    def end(self) -> object:
        """Return what was seen."""


class Calls:
    """The number of functions that were called, as the profiler counts them."""

    def __init__(self) -> None:
        self._profile = cProfile.Profile()

    def begin(self) -> None:
        self._profile.clear()
        self._profile.enable()

    def end(self) -> object:
        self._profile.disable()
        return sum(entry.callcount for entry in self._profile.getstats())


class Turns(trio.abc.Instrument):
    """How long each turn of the loop took: the time from one wait for sockets to the next, in which no socket is read.

    A list without a bound: a load of some seconds fills it, and this is no part of the relay.
    """

    def __init__(self) -> None:
        self._begun = 0.0
        self._seconds: list[float] = []

    def begin(self) -> None:
        self._begun = 0.0
        self._seconds = []
        trio.lowlevel.add_instrument(self)

    def end(self) -> object:
        trio.lowlevel.remove_instrument(self)
        return self._seconds

    def after_io_wait(self, _timeout: float) -> None:
        self._begun = time.perf_counter()

    def before_io_wait(self, _timeout: float) -> None:
        if self._begun:
            self._seconds.append(time.perf_counter() - self._begun)


WATCHES: Mapping[str, type[Watch]] = {"calls": Calls, "turns": Turns}


def watch_into(watch: Watch, file: Path) -> None:
    """Install the signal. Its handler runs in the loop's thread, between two steps of a task."""
    begun = False

    def toggle(_number: int, _frame: object) -> None:
        nonlocal begun
        begun = not begun
        if begun:
            watch.begin()
        else:
            _write(file, watch.end())

    signal.signal(signal.SIGUSR1, toggle)


def _write(file: Path, found: object) -> None:
    beside = file.with_suffix(".part")
    beside.write_text(json.dumps(found))
    beside.rename(file)


if __name__ == "__main__":
    watch_into(WATCHES[sys.argv.pop(1)](), Path(sys.argv.pop(1)))
    sys.exit(main())
