"""A relay that is watched from within while a load runs: how many functions it calls, how long its loop's turns are.

See watched.py for what runs inside it. What is watched so costs a little: such a relay is never measured for its speed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import peers
from fetching import BENCH
from peers import Place
from processes import Process
from rigging import Ask, Report, Stand, standing


@attrs.frozen
class Watched:
    """A stand whose gateway writes what it saw to a file."""

    stand: Stand
    _file: Path

    def during(self, ask: Ask, *options: object, seconds: float) -> tuple[Report, Any]:
        """Load it and return the load's report with what was seen meanwhile."""
        self._tell()
        report = self.stand.load(ask, *options, seconds=seconds)
        self._tell()
        return report, self._seen()

    def _tell(self) -> None:
        assert self.stand.gateway is not None
        os.kill(self.stand.gateway.pid, signal.SIGUSR1)

    def _seen(self) -> Any:
        until = time.monotonic() + 10
        while not self._file.exists():
            if time.monotonic() > until:
                raise RuntimeError("the relay did not write what it saw")
            time.sleep(0.05)
        seen = json.loads(self._file.read_bytes())
        self._file.unlink()
        return seen


@contextlib.contextmanager
def watched_relay(watch: str) -> Iterator[Watched]:
    """Yield a relay that is watched: its `calls` or its `turns`."""
    with tempfile.TemporaryDirectory(prefix="bench-watch-") as name:
        file = Path(name) / "seen"

        def start(place: Place) -> Process:
            return peers.start_relay(place, str(BENCH / "watched.py"), watch, str(file))

        with standing(attrs.evolve(peers.TARGETS["relay"], start=start)) as stand:
            yield Watched(stand, file)
