"""Serve as `relay-trio serve` does, and count the calls of Python and C functions between two signals.

    python bench/counted.py FILE serve --config relay.toml

SIGUSR1 starts the count, SIGUSR2 ends it and writes the number to FILE. Only the event loop's thread is counted.
"""

from __future__ import annotations

import cProfile
import signal
import sys
from pathlib import Path

from relay_trio.cli.main import main


def count_calls_into(file: Path) -> None:
    """Install the two signals."""
    profile = cProfile.Profile()

    def begin(_number: int, _frame: object) -> None:
        profile.enable()

    def finish(_number: int, _frame: object) -> None:
        profile.disable()
        beside = file.with_suffix(".part")
        beside.write_text(str(sum(entry.callcount for entry in profile.getstats())))
        beside.rename(file)
        profile.clear()

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, finish)


if __name__ == "__main__":
    count_calls_into(Path(sys.argv.pop(1)))
    sys.exit(main())
