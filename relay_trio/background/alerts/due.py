"""Who must be told of what, now: once when a cause appears, again while it lasts, and once when it is over.

    due(causes, remembered, now, remind_s) -> what is remembered from now on, and the news

A pure function, so that a table of cases can hold it. What appears must be seen as often as its kind says before it is
told; what is over must be out of sight as long as its kind says: a cause that flickers is one incident.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

import attrs

from relay_trio.background.alerts.causes import KINDS, Cause


class What(enum.StrEnum):
    """The kinds of news."""

    ALARM = "alarm"
    REMINDER = "reminder"
    ALL_CLEAR = "all_clear"
    TEST = "test"


@attrs.frozen
class News:
    """One thing to tell. `lasted_s` is how long the cause has been there, or was."""

    what: What
    cause: Cause
    lasted_s: float = 0.0


@attrs.frozen
class Incident:
    """A cause that is remembered: seen since when, in how many looks, last when; told last when, if it was."""

    cause: Cause
    since_s: float
    seen_s: float
    looks: int = 1
    told_s: float | None = None


Remembered = Mapping[tuple[str, str], Incident]
"""By the cause's id: no more than there are channels, keys and workers, and a handful."""


def due(
    causes: Iterable[Cause], remembered: Remembered, now: float, remind_s: float
) -> tuple[Remembered, tuple[News, ...]]:
    """Return what is to be remembered, and what is to be told now."""
    present = {cause.id: cause for cause in causes}
    kept: dict[tuple[str, str], Incident] = {}
    news: list[News] = []
    for key, cause in present.items():
        incident = _seen(cause, remembered.get(key), now)
        what = _word_of(incident, now, remind_s)
        if what is not None:
            news.append(News(what, cause, now - incident.since_s))
            incident = attrs.evolve(incident, told_s=now)
        kept[key] = incident
    for key, incident in remembered.items():
        if key in present or incident.told_s is None:  # what nobody was told of is forgotten in silence
            continue
        if now - incident.seen_s >= KINDS[incident.cause.kind].calm_s:
            news.append(News(What.ALL_CLEAR, incident.cause, incident.seen_s - incident.since_s))
        else:
            kept[key] = incident
    return kept, tuple(news)


def _seen(cause: Cause, incident: Incident | None, now: float) -> Incident:
    if incident is None:
        return Incident(cause, since_s=now, seen_s=now)
    return attrs.evolve(incident, cause=cause, seen_s=now, looks=incident.looks + 1)


def _word_of(incident: Incident, now: float, remind_s: float) -> What | None:
    if incident.told_s is None:
        return What.ALARM if incident.looks >= KINDS[incident.cause.kind].looks else None
    return What.REMINDER if now - incident.told_s >= remind_s else None
