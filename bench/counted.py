"""Serve as `relay-trio serve` does, and count the calls of Python and C functions between two signals.

    python bench/counted.py FILE serve --config relay.toml

SIGUSR1 starts the count, and the next one ends it and writes the number to FILE. Only the event loop's thread is counted.
SIGUSR2 is the relay's own: it starts a successor.
"""

from __future__ import annotations

import cProfile
import signal
import sys
from pathlib import Path

from relay_trio.cli.main import main


def count_calls_into(file: Path) -> None:
    """Install the signal."""
    profile = cProfile.Profile()
    counts = False

    def toggle(_number: int, _frame: object) -> None:
        nonlocal counts
        counts = not counts
        if counts:
            profile.enable()
        else:
            finish()

    def finish() -> None:
        profile.disable()
        beside = file.with_suffix(".part")
        beside.write_text(str(sum(entry.callcount for entry in profile.getstats())))
        beside.rename(file)
        profile.clear()

    signal.signal(signal.SIGUSR1, toggle)


if __name__ == "__main__":
    count_calls_into(Path(sys.argv.pop(1)))
    sys.exit(main())
