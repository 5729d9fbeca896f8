"""Did this change make the relay slower? An answer in under a minute, before each commit that touches the hot path.

    python bench/guard.py            compare with bench/guard.json; status 1 if it got worse
    python bench/guard.py --keep     and write the new figures there

Two measures, both of W1 and W2. The number of calls of Python and C functions for each request does not depend on how
busy the machine is: it may grow by 3 %. The CPU time as a share of the naive relay's, measured in turn with it, says
what the calls cost; it swings by some 15 % on a busy machine, so only 25 % are called worse.
"""

from __future__ import annotations

import argparse
import json
import sys
from statistics import median

import peers
import processes
import rigging
from fetching import BENCH
from rigging import STREAM_50, UNARY, Ask, Stand, standing
from watching import Watched, watched_relay

KEPT = BENCH / "guard.json"
SHAPES = {"W1": UNARY, "W2": STREAM_50}
ROUNDS, ROUND_S = 5, 1.0
COUNTED = 400
MAY_GROW = {"calls": 1.03, "cpu_of_naive": 1.25}

Figures = dict[str, dict[str, float]]


def main() -> int:
    processes.end_as_interrupted()
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--keep", action="store_true", help="write the figures to guard.json")
    keep = arguments.parse_args().keep
    rigging.build()
    shares, calls = cpu_of_naive(), calls_per_request()
    found = {name: {"calls": calls[name], "cpu_of_naive": shares[name]} for name in SHAPES}
    kept: Figures = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    worse = compare(found, kept)
    if keep:
        KEPT.write_text(json.dumps(found, indent=2) + "\n")
    return 1 if worse and not keep else 0


def compare(found: Figures, kept: Figures) -> bool:
    """Print the figures beside those that were kept; True if one got worse."""
    worse = False
    for name, figures in found.items():
        for measure, value in figures.items():
            before = kept.get(name, {}).get(measure)
            grown = before is not None and value > before * MAY_GROW[measure]
            worse = worse or grown
            was = f"was {before:g}" if before is not None else "not kept yet"
            print(f"{name} {measure:14} {value:10g}   {was}{'   WORSE' if grown else ''}")
    return worse


def cpu_of_naive() -> dict[str, float]:
    """Return the relay's CPU time for each answer as a share of the naive relay's: the median of the rounds."""
    with standing(peers.TARGETS["relay"]) as relay, standing(peers.TARGETS["naive"]) as naive:
        return {name: round(_share(relay, naive, ask), 3) for name, ask in SHAPES.items()}


def _share(relay: Stand, naive: Stand, ask: Ask) -> float:
    for stand in (relay, naive):
        stand.load(ask, "-c", 16, seconds=0.5)
    return median(_cpu_us_each(relay, ask) / _cpu_us_each(naive, ask) for _ in range(ROUNDS))


def _cpu_us_each(stand: Stand, ask: Ask) -> float:
    report = stand.load(ask, "-c", 64, seconds=ROUND_S)
    return float(report["cpu_us"] / max(1, report["done"]))


# Calls


def calls_per_request() -> dict[str, float]:
    """Return how many functions the relay's event loop calls for each request: of one client, one after another."""
    with watched_relay("calls") as watched:
        return {shape: round(_calls(watched, ask), 1) for shape, ask in SHAPES.items()}


def _calls(watched: Watched, ask: Ask) -> float:
    watched.stand.load(ask, "-c", 1, "-n", 50, seconds=20)
    report, calls = watched.during(ask, "-c", 1, "-n", COUNTED, seconds=20)
    return int(calls) / int(report["done"])


if __name__ == "__main__":
    sys.exit(main())
