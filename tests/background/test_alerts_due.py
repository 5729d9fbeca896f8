"""Promises of the decision: once for each cause, again while it lasts, once when it is over; and what is a cause at all."""

from __future__ import annotations

from typing import Any

import pytest
from alert_stand import worker

from relay_trio.background.alerts.causes import (
    KINDS,
    TREND_EVERY_S,
    TREND_LOOKS,
    Cause,
    History,
    Observation,
    causes_of,
    remember,
)
from relay_trio.background.alerts.due import Remembered, What, due

REMIND_S = 3600.0
DOWN = Cause("channel_down", "main", "channel main")
REFUSED = Cause("key_refused", "main/1", "key 1")
ASTRAY = Cause("unaccounted", text="1 tasks")

Told = list[tuple[float, str, str]]


def told(*looks: tuple[float, list[Cause]]) -> Told:
    """Return (when, what, kind) of all news that these looks make, one after the other."""
    remembered: Remembered = {}
    news: Told = []
    for now, causes in looks:
        remembered, fresh = due(causes, remembered, now, REMIND_S)
        news += [(now, one.what.value, one.cause.kind) for one in fresh]
    return news


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([(0, []), (15, [])], [], id="nothing is wrong: nothing is told"),
        pytest.param([(0, [DOWN])], [(0, "alarm", "channel_down")], id="a cause is told at once"),
        pytest.param([(0, [DOWN]), (15, [DOWN]), (3585, [DOWN])], [(0, "alarm", "channel_down")], id="and once"),
        pytest.param(
            [(0, [DOWN]), (3600, [DOWN]), (3615, [DOWN]), (7200, [DOWN])],
            [(0, "alarm", "channel_down"), (3600, "reminder", "channel_down"), (7200, "reminder", "channel_down")],
            id="again each hour while it lasts",
        ),
        pytest.param(
            [(0, [DOWN]), (15, []), (300, []), (315, [])],
            [(0, "alarm", "channel_down"), (300, "all_clear", "channel_down")],
            id="all clear once, when it was out of sight for five minutes",
        ),
        pytest.param(
            [(0, [DOWN]), (15, []), (150, [DOWN]), (165, []), (435, []), (450, [])],
            [(0, "alarm", "channel_down"), (450, "all_clear", "channel_down")],
            id="what flickers is one incident",
        ),
        pytest.param(
            [(0, [DOWN]), (300, []), (600, [DOWN])],
            [(0, "alarm", "channel_down"), (300, "all_clear", "channel_down"), (600, "alarm", "channel_down")],
            id="after an all-clear it is a new one",
        ),
        pytest.param([(0, [ASTRAY]), (15, [])], [], id="what must be seen twice and is not is never told"),
        pytest.param([(0, [ASTRAY]), (15, []), (30, [ASTRAY])], [], id="nor if the two looks are not in a row"),
        pytest.param([(0, [ASTRAY]), (15, [ASTRAY])], [(15, "alarm", "unaccounted")], id="and told at the second look"),
        pytest.param(
            [(0, [DOWN, REFUSED])],
            [(0, "alarm", "channel_down"), (0, "alarm", "key_refused")],
            id="two causes at one look are news of one look",
        ),
        pytest.param([(0, [DOWN]), (3600, []), (3601, [])],
                     [(0, "alarm", "channel_down"), (3600, "all_clear", "channel_down")],
                     id="what is over is not told again"),
    ],
)  # fmt: skip
def test_when_what_is_told(looks: list[tuple[float, list[Cause]]], expected: Told) -> None:
    """The table of cases."""
    assert told(*looks) == expected


def test_an_all_clear_says_how_long_it_was() -> None:
    """From the first look that saw it to the last."""
    remembered, _ = due([DOWN], {}, 0, REMIND_S)
    remembered, _ = due([DOWN], remembered, 600, REMIND_S)
    remembered, (news,) = due([], remembered, 1000, REMIND_S)
    assert (news.what, news.lasted_s) == (What.ALL_CLEAR, 600)
    assert not remembered


def test_the_numbers_told_are_those_of_now() -> None:
    """A cause is the same with other numbers, and a reminder has the new ones."""
    remembered, _ = due([Cause("overdue", text="1 request")], {}, 0, REMIND_S)
    _, (news,) = due([Cause("overdue", text="7 requests")], remembered, REMIND_S, REMIND_S)
    assert (news.what, news.cause.text) == (What.REMINDER, "7 requests")


# What is a cause


def seen(*workers: Any, at_s: float = 0.0, silent: tuple[int, ...] = ()) -> Observation:
    return Observation(at_s, workers, silent)


def kinds(*looks: Observation) -> list[tuple[str, str]]:
    """Return the causes at the last of these looks."""
    history = History()
    for look in looks:
        history = remember(history, look)
    return [cause.id for cause in causes_of(looks[-1], history)]


@pytest.mark.parametrize(
    ("differs", "cause"),
    [
        ({}, []),
        ({"nurseries": 4999}, []),
        ({"nurseries": 5000}, [("nurseries", "")]),
        ({"overdue": 1}, [("overdue", "")]),
        ({"unaccounted": 2}, [("unaccounted", "")]),
        ({"unaccounted": -2}, [("unaccounted", "")]),
        ({"down": ["main"]}, [("channel_down", "main")]),
        ({"refused": [["main", 2]]}, [("key_refused", "main/2")]),
        ({"stalls": 99, "dropped": 99}, []),
    ],
)
def test_what_one_worker_says_is_enough(differs: dict[str, Any], cause: list[tuple[str, str]]) -> None:
    """Each kind by itself, in one worker of two. What was counted before the first look is no news."""
    assert kinds(seen(worker(1), worker(2, **differs))) == cause


def test_what_all_workers_see_is_one_cause() -> None:
    """The provider refuses the same key to everybody: one cause, not one of each worker."""
    same = {"down": ["main"], "refused": [["main", 1]]}
    assert kinds(seen(worker(1, **same), worker(2, **same))) == [("channel_down", "main"), ("key_refused", "main/1")]


def test_stalls_count_within_ten_minutes() -> None:
    """More than three of them; and they are forgotten after that."""
    looks = [seen(worker(stalls=0)), seen(worker(stalls=3), at_s=15), seen(worker(stalls=4), at_s=30)]
    assert kinds(*looks[:2]) == []
    assert kinds(*looks) == [("loop_stall", "")]
    assert kinds(*looks, seen(worker(stalls=4), at_s=640)) == []


def test_dropped_lines_are_a_cause_when_they_are_dropped() -> None:
    """At the look after which the count has grown; a new worker's count is all new, a silent one's is not."""
    before = seen(worker(1, dropped=5), worker(2, dropped=7))
    assert kinds(before, seen(worker(1, dropped=5), worker(2, dropped=7), at_s=15)) == []
    assert kinds(before, seen(worker(1, dropped=6), worker(2, dropped=7), at_s=15)) == [("log_dropped", "")]
    assert kinds(before, seen(worker(1, dropped=5), worker(3, dropped=1), at_s=15)) == [("log_dropped", "")]
    quiet = seen(worker(1, dropped=5), at_s=15, silent=(2,))
    assert kinds(before, quiet, seen(worker(1, dropped=5), worker(2, dropped=7), at_s=30)) == []


def test_a_silent_worker_is_named() -> None:
    """By its pid, which is all that is known of it."""
    assert kinds(seen(worker(1), silent=(7,))) == [("worker_silent", "7")]


def series(count: int = TREND_LOOKS, **of_number: Any) -> list[Observation]:
    """Return looks five minutes apart; each argument is a function of their number."""
    return [
        seen(
            worker(opened=100 + 3000 * number, uptime=100_000.0 + number * TREND_EVERY_S,
                   **{name: value(number) for name, value in of_number.items()}),
            at_s=number * TREND_EVERY_S,
        )
        for number in range(count)
    ]  # fmt: skip


def test_growth_that_does_not_follow_the_load_is_a_leak() -> None:
    """Two hours of it, and not less: by the rule of `relay-trio check`."""

    def leaking(number: int) -> int:
        return 10 + 5 * number

    assert kinds(*series(nurseries=leaking)) == [("leak", "nurseries")]
    assert kinds(*series(count=TREND_LOOKS - 1, nurseries=leaking)) == []
    assert kinds(*series(memory=lambda number: 100.0 + 10 * number)) == [("leak", "memory")]
    steady = series(nurseries=lambda number: 10 + number % 3)
    assert kinds(*steady) == []


def test_looks_in_between_are_no_part_of_the_trend() -> None:
    """Four looks a minute are not kept for two hours: what is kept is bounded."""
    history = History()
    for number in range(2000):
        history = remember(history, seen(worker(uptime=100_000.0 + number), at_s=number * 15.0))
    assert len(history.trend) == TREND_LOOKS


def test_every_kind_says_what_to_do() -> None:
    """No alarm leaves its reader alone."""
    assert all(kind.advice for kind in KINDS.values())


def test_a_look_at_some_of_the_workers_is_no_part_of_the_trend() -> None:
    """A sum in which one is missing is lower than what there is, and would hide what grows."""
    history = remember(History(), seen(worker(1), worker(2)))
    assert len(history.trend) == 1
    assert remember(history, seen(worker(1), at_s=TREND_EVERY_S, silent=(2,))).trend == history.trend
