"""Promises of the verdict: a leak is growth that does not follow the load, and nothing else is called one.

Series made by hand: twenty looks, thirty seconds apart, unless a test says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from relay_trio.cli.check_baseline import above_baseline, baseline_of, read_baseline, write_baseline
from relay_trio.cli.check_series import TEXTS
from relay_trio.cli.terminal import CommandFailed
from relay_trio.scopes import trend
from relay_trio.scopes.trend import Look, judge, since_restart, trends_of

Of = Callable[[int], float]


def flat(value: float) -> Of:
    return lambda _: value


def ramp(start: float, step: float) -> Of:
    return lambda number: start + step * number


def saw(low: float, high: float, period: int) -> Of:
    """From low to high and back at once."""
    return lambda number: low + (high - low) * (number % period) / (period - 1)


def restless(around: float, by: float) -> Of:
    """Up and down without a trend; the pattern has no period that fits into the series."""
    return lambda number: around + by * (((number * 7919) % 13) - 6) / 6


HUNDRED, TEN, TWO_HUNDRED = flat(100), flat(10), flat(200)


def series(
    *,
    nurseries: Of = HUNDRED,
    in_flight: Of = HUNDRED,
    rate: Of = TEN,
    memory: Of | None = TWO_HUNDRED,
    count: int = 20,
    every_s: float = 30,
    uptime_s: float = 100_000,
    total_s: float = 900,
) -> list[Look]:
    opened, looks = 0.0, []
    for number in range(count):
        opened += rate(number) * every_s
        looks.append(
            Look(
                at_s=number * every_s,
                nurseries=round(nurseries(number)),
                in_flight=round(in_flight(number)),
                opened=round(opened),
                memory_mb=None if memory is None else memory(number),
                uptime_s=uptime_s + number * every_s,
                total_s=total_s,
            )
        )
    return looks


# What is no leak


def test_rest_is_stable() -> None:
    """Nothing happens: fine."""
    assert judge(series(nurseries=flat(1), in_flight=flat(0), rate=flat(0))).code == "stable"


def test_a_load_ramp_is_no_leak() -> None:
    """Ten times the requests are ten times the nurseries, and more memory."""
    climbing = series(
        nurseries=ramp(100, 50), in_flight=ramp(100, 50), rate=ramp(10, 5), memory=ramp(200, 10), uptime_s=100_000
    )
    verdict = judge(climbing)
    assert (verdict.level, verdict.code) == ("ok", "follows_load")
    assert trends_of(climbing)["nurseries"].direction == "growing"


def test_a_sawtooth_is_no_leak() -> None:
    """What comes back to where it was has not leaked, however high it went."""
    verdict = judge(series(nurseries=saw(10, 900, 4), in_flight=saw(10, 900, 4), memory=saw(150, 400, 4)))
    assert verdict.code == "stable"


@pytest.mark.parametrize("period", [3, 5])
def test_a_sawtooth_of_any_period_up_to_a_quarter_is_no_leak(period: int) -> None:
    """Floors are compared, so a tooth that fits into a quarter leaves no trace."""
    assert judge(series(memory=saw(150, 400, period), nurseries=saw(5, 90, period))).code == "stable"


def test_restlessness_is_stable() -> None:
    """Noise has no trend."""
    assert judge(series(nurseries=restless(100, 60), rate=restless(10, 6), memory=restless(200, 15))).code == "stable"


def test_growth_that_does_not_matter_is_stable() -> None:
    """A nursery an hour, a megabyte in ten minutes: below what could be told from noise."""
    assert judge(series(nurseries=ramp(100, 0.2), memory=ramp(200, 0.3))).code == "stable"


def test_the_end_of_load_is_no_leak() -> None:
    """All falls."""
    falling = series(nurseries=ramp(2000, -90), in_flight=ramp(2000, -90), rate=ramp(20, -1), memory=flat(300))
    assert judge(falling).code == "stable"
    assert trends_of(falling)["nurseries"].direction == "falling"


def test_memory_that_stays_after_a_burst_is_no_leak() -> None:
    """The allocator keeps what a burst needed; one step is not growth from quarter to quarter."""
    assert judge(series(memory=lambda number: 150 if number < 9 else 400)).code == "stable"


def test_memory_in_the_first_minutes_settles() -> None:
    """After a start it grows for a while; the same growth in a relay that has run for a day is a leak."""
    assert judge(series(memory=ramp(50, 2), uptime_s=5)).code == "settling"
    assert judge(series(memory=ramp(50, 2), uptime_s=86_400)).code == "memory_leak"


def test_memory_may_follow_the_requests_in_flight() -> None:
    """Longer answers at the same rate are more requests at once, and these hold memory."""
    verdict = judge(series(nurseries=flat(100), in_flight=ramp(100, 50), memory=ramp(200, 10)))
    assert verdict.code == "follows_load"


# What is one


def test_slow_growth_under_flat_load_is_a_leak() -> None:
    """The ancestor's: each failed request leaves something behind, and the load is what it always was."""
    verdict = judge(series(nurseries=ramp(100, 2), in_flight=flat(99), rate=flat(10)))
    assert (verdict.level, verdict.code) == ("error", "nurseries_leak")


def test_slow_growth_under_restless_load_is_a_leak() -> None:
    """Load that swings without a trend explains nothing."""
    leaking = series(nurseries=ramp(100, 4), in_flight=restless(99, 30), rate=restless(10, 6))
    assert judge(leaking).code == "nurseries_leak"


def test_growth_with_falling_load_is_a_leak() -> None:
    """All the more."""
    assert judge(series(nurseries=ramp(100, 4), in_flight=ramp(100, -3), rate=ramp(10, -0.3))).code == "nurseries_leak"


def test_a_little_more_load_does_not_excuse_much_growth() -> None:
    """Nurseries that triple are not explained by a tenth more requests."""
    leaking = series(nurseries=ramp(100, 10), in_flight=ramp(100, 0.5), rate=ramp(10, 0.05))
    assert judge(leaking).code == "nurseries_leak"


def test_memory_that_grows_alone_is_a_leak() -> None:
    """Nurseries are even, memory is not."""
    verdict = judge(series(memory=ramp(200, 3)))
    assert (verdict.level, verdict.code) == ("error", "memory_leak")


def test_a_leaking_sawtooth_is_a_leak() -> None:
    """Teeth whose floor rises: the collector frees much, and each time less than all."""
    tooth = saw(0, 100, 4)
    assert judge(series(memory=lambda number: 150 + tooth(number) + 4 * number)).code == "memory_leak"


# What lies between


def test_requests_that_last_longer_are_a_warning_until_the_deadline_has_passed() -> None:
    """In flight they grow at a flat rate: slow providers, or load that has just begun. No request outlives its deadline."""
    for every_s, code in ((30, "requests_last_longer"), (200, "nurseries_leak")):
        growing = series(nurseries=ramp(100, 50), in_flight=ramp(99, 50), every_s=every_s)
        assert judge(growing).code == code
    assert judge(series(nurseries=ramp(100, 50), in_flight=ramp(99, 50))).level == "warning"


def test_too_few_looks_say_nothing() -> None:
    """A quarter of one look has no floor; a longer series before a restart does not help."""
    assert judge(series(count=7, nurseries=ramp(1, 100))).code == "too_few"
    assert judge(series(count=1)).code == "too_few"
    again = [attrs.evolve(look, uptime_s=look.at_s, opened=0) for look in series(count=5)]
    assert judge(series(count=20) + again).code == "too_few"


def test_only_what_came_after_a_restart_counts() -> None:
    """The counts begin anew with the process; a worker that died shows in fewer opened."""
    looks = series(count=12)
    restarted = [*looks[:4], *(attrs.evolve(look, uptime_s=look.uptime_s - 100_000) for look in looks[4:])]
    assert since_restart(restarted) == restarted[4:]
    worker_died = [*looks[:6], *(attrs.evolve(look, opened=look.opened - 1500) for look in looks[6:])]
    assert since_restart(worker_died) == worker_died[6:]
    assert since_restart(looks) == looks


def test_without_memory_the_nurseries_are_judged() -> None:
    """On macOS only the highest memory so far is told, which can but grow: it is not judged."""
    looks = series(memory=None, nurseries=ramp(100, 4))
    assert "memory_mb" not in trends_of(looks)
    assert judge(looks).code == "nurseries_leak"


def test_the_slope_is_per_hour() -> None:
    """Two nurseries in thirty seconds are 240 in an hour."""
    assert trends_of(series(nurseries=ramp(100, 2)))["nurseries"].slope_per_h == pytest.approx(240)
    assert trends_of(series(count=1))["nurseries"].slope_per_h == 0


# Baselines


def test_a_baseline_is_written_and_read(tmp_path: Path) -> None:
    """The floor, the middle and the top of each quantity, with the time."""
    path = tmp_path / "b.json"
    write_baseline(path, baseline_of(series(nurseries=saw(10, 90, 5)), "http://a"))
    found = read_baseline(path)
    assert found["quantities"]["nurseries"] == {"trough": 10, "peak": 90, "median": 50}
    assert found["recorded"].endswith("+00:00")


def test_above_the_baseline_is_a_floor_that_the_load_does_not_explain() -> None:
    """A higher floor at the same load is named; at a higher load it is not."""
    then = baseline_of(series(), "http://a")
    assert above_baseline(then, baseline_of(series(), "http://a")) == []
    assert above_baseline(then, baseline_of(series(memory=flat(300)), "http://a")) == ["memory_mb"]
    busy = series(nurseries=flat(300), in_flight=flat(300), rate=flat(30), memory=flat(300))
    assert above_baseline(then, baseline_of(busy, "http://a")) == []


def test_what_is_no_baseline_is_told(tmp_path: Path) -> None:
    """Not there, not JSON, not ours, not writable: a line and status 2."""
    (tmp_path / "text").write_text("x")
    (tmp_path / "other.json").write_text("{}")
    for name, told in (("none", "cannot be read"), ("text", "is no baseline"), ("other.json", "is no baseline")):
        with pytest.raises(CommandFailed, match=told) as caught:
            read_baseline(tmp_path / name)
        assert caught.value.status == 2
    with pytest.raises(CommandFailed, match="cannot be written"):
        write_baseline(tmp_path, {})


def test_every_verdict_has_its_words() -> None:
    """No verdict of the rule ends a command for want of a text."""
    verdicts = [value for value in vars(trend).values() if isinstance(value, trend.Verdict)]
    assert {verdict.code for verdict in verdicts} == set(TEXTS)
