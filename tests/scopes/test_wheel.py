"""The timing wheel: what is due is taken once and in time, whatever is put, moved and removed meanwhile."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from relay_trio.scopes.wheel import TimingWheel

TICK_S = 0.5


def wheel(**times: float) -> TimingWheel[str]:
    made: TimingWheel[str] = TimingWheel(TICK_S)
    for name, at in times.items():
        made.put(name, at)
    return made


def test_what_is_due_is_taken_and_the_rest_stays() -> None:
    """Up to a tick early, so that a look at every tick finds all that is due by it; never late."""
    made = wheel(now=10.0, soon=10.4, later=10.5, past=3.0)
    assert made.take_due(9.9) == ["past"]
    assert sorted(made.take_due(10.0)) == ["now", "soon"]
    assert made.take_due(10.0) == [], "what was taken is gone"
    assert list(made) == ["later"]


def test_what_is_taken_may_be_put_in_again_at_once() -> None:
    """Also where it is due again: the next look takes it, this one has ended."""
    made = wheel(a=1.0)
    for now in (1.0, 1.5):
        for item in made.take_due(now):
            made.put(item, now)
        assert list(made) == ["a"]


def test_to_put_again_is_to_move() -> None:
    """To a later time and to an earlier one."""
    made = wheel(late=1.0, early=9.0)
    made.put("late", 9.0)
    made.put("early", 1.0)
    assert made.take_due(1.0) == ["early"]
    assert made.take_due(9.0) == ["late"]


def test_what_is_removed_is_never_taken() -> None:
    """And what is not there may be removed."""
    made = wheel(a=1.0, b=1.0)
    made.remove("a")
    made.remove("a")
    assert made.take_due(2.0) == ["b"]
    made.remove("b")
    assert (len(made), made._slots) == (0, {}), "an empty wheel holds nothing"


@attrs.frozen
class Step:
    """One thing done to a wheel."""

    what: str
    item: int
    after_s: float


STEPS = st.builds(
    Step, st.sampled_from(["put", "put", "remove", "look"]), st.integers(0, 5), st.floats(0, 3, allow_nan=False)
)


@given(st.lists(STEPS, max_size=60))
def test_a_look_at_every_moment_finds_what_is_due_and_nothing_that_is_far_off(steps: list[Step]) -> None:
    """Against a dictionary that is gone through."""
    made: TimingWheel[int] = TimingWheel(TICK_S)
    plain: dict[int, float] = {}
    now = 0.0
    for step in steps:
        if step.what == "put":
            made.put(step.item, now + step.after_s)
            plain[step.item] = now + step.after_s
        elif step.what == "remove":
            made.remove(step.item)
            plain.pop(step.item, None)
        else:
            now += step.after_s
            taken = made.take_due(now)
            assert {item for item, at in plain.items() if at <= now} <= set(taken)
            assert all(plain.pop(item) < now + TICK_S for item in taken)
        assert set(made) == set(plain)
        assert len(made) == len(plain)
