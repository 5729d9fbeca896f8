"""This machine's clock against the time that providers tell in their answers."""

from __future__ import annotations

import email.utils
import statistics
import time
from collections.abc import Sequence
from typing import Final

import attrs
import httpx

from relay_trio.cli.doctor_findings import Finding, Level
from relay_trio.cli.language import say

SKEW_S: Final = 5.0
"""Signed requests to clouds bear minutes, tokens seconds; a clock that is set from the network is right to a tenth."""

_WHOLE_SECOND_S: Final = 0.5
"""A Date header has no fractions (RFC 9110, 5.6.7): on average it is half a second behind."""


def utc_now() -> float:
    """Return this machine's time, in seconds since 1970."""
    return time.time()


@attrs.define
class Watch:
    """Compares every answer's Date with this machine's clock, at the middle of the question."""

    name: str
    skew_s: float | None = None
    _asked_at: float = 0.0

    async def note_request(self, _: httpx.Request) -> None:
        """Note when it was asked."""
        self._asked_at = utc_now()

    async def note_response(self, response: httpx.Response) -> None:
        """Note how far the answer's time is from ours; positive: our clock is ahead."""
        told = _moment(response.headers.get("date"))
        if told is not None:
            self.skew_s = (self._asked_at + utc_now()) / 2 - told - _WHOLE_SECOND_S


def _moment(text: str | None) -> float | None:
    try:
        return None if text is None else email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None


def clock_finding(watches: Sequence[Watch]) -> Finding:
    """Return whether this machine's clock is right: the median of what the providers say, so that one may be wrong."""
    skews = {watch.name: watch.skew_s for watch in watches if watch.skew_s is not None}
    if not skews:
        return Finding(
            Level.NOTE, "clock", say("no provider told the time, so nothing is known of this machine's clock")
        )
    skew_s = statistics.median(skews.values())
    by = ", ".join(skews)
    if abs(skew_s) <= SKEW_S:
        return Finding(Level.OK, "clock", say("right, by the Date of {names}", names=by))
    ahead = say("{seconds:.0f} s ahead of the Date of {names}", seconds=skew_s, names=by)
    behind = say("{seconds:.0f} s behind the Date of {names}", seconds=-skew_s, names=by)
    advice = say("keys expire and tokens are signed by it: let it be set from the network (timedatectl set-ntp true)")
    return Finding(Level.WARNING, "clock", ahead if skew_s > 0 else behind, advice)
