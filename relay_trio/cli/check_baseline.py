"""A baseline: the floor, the middle and the top of a series that was good, kept in a file to set later ones beside it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from relay_trio.cli.language import say
from relay_trio.cli.terminal import CommandFailed
from relay_trio.scopes.trend import GROWTH, Look, proportion, trends_of

Json = dict[str, Any]

BASELINE_VERSION: Final = 1


def baseline_of(looks: Sequence[Look], url: str) -> Json:
    """Return what is kept of a series: the floor, the top and the middle of each quantity."""
    trends = trends_of(looks)
    return {
        "relay_trio_baseline": BASELINE_VERSION,
        "url": url,
        "samples": len(looks),
        "seconds": round(looks[-1].at_s - looks[0].at_s, 1),
        "quantities": {
            name: {"trough": round(trend.trough, 3), "peak": round(trend.peak, 3), "median": round(trend.median, 3)}
            for name, trend in trends.items()
        },
    }


def above_baseline(baseline: Json, today: Json) -> list[str]:
    """Return the quantities whose floor is above that of the baseline by more than noise and more than the load explains."""
    then, now = baseline["quantities"], today["quantities"]
    loads = [_risen(name, then, now, "median") for name in ("requests_per_s", "in_flight")]
    above = []
    for name, matters in GROWTH.items():
        if name not in then or name not in now:
            continue
        rise = _risen(name, then, now, "median")
        amount = now[name]["trough"] - then[name]["trough"]
        if amount >= max(matters.amount, 2 * matters.share * then[name]["trough"]) and rise > 2 * max(loads):
            above.append(name)
    return above


def _risen(name: str, then: Json, now: Json, figure: str) -> float:
    if name not in then or name not in now:
        return 0.0
    return proportion(name, then[name][figure], now[name][figure])


# The file


def write_baseline(path: Path, baseline: Json) -> None:
    """Write it, with the time. Raises CommandFailed."""
    recorded = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    try:
        path.write_text(json.dumps({**baseline, "recorded": recorded}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandFailed(
            say("--record: {path} cannot be written ({why})", path=path, why=error.strerror), status=2
        ) from error


def read_baseline(path: Path) -> Json:
    """Read what `write_baseline` wrote. Raises CommandFailed."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandFailed(
            say("--compare: {path} cannot be read ({why})", path=path, why=error.strerror), status=2
        ) from error
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("relay_trio_baseline") != BASELINE_VERSION:
        raise CommandFailed(
            say("--compare: {path} is no baseline; `--record FILE` makes one", path=path), status=2
        ) from None
    return found
