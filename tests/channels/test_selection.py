"""Who is tried, in which order: priority, then chance by weight, and behind all others who asked for it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import channel

from relay_trio.channels.health import Health
from relay_trio.channels.selection import candidates


def always(number: float) -> Callable[[], float]:
    return lambda: number


def test_one_key_of_one_channel_needs_no_chance() -> None:
    """The common case costs nothing, whatever is known of the key."""

    def no_chance() -> float:
        raise AssertionError

    health = Health()
    health.refused(("only", 1), 0.0)
    (only,) = candidates((channel("only"),), health, 0.0, no_chance)
    assert only.id == ("only", 1)


@pytest.mark.parametrize("number", [0.0, 0.3, 0.999999])
def test_a_higher_priority_is_tried_first(number: float) -> None:
    """Whatever the weights and the chance."""
    channels = (channel("low", priority=-1, weight=100), channel("high", priority=5), channel("middle"))
    order = candidates(channels, Health(), 0.0, always(number))
    assert [one.channel.name for one in order] == ["high", "middle", "low"]


def test_a_weight_is_a_share_of_the_first_tries() -> None:
    """Three to one, over many requests."""
    channels = (channel("heavy", weight=3), channel("light", weight=1))
    chance = random.Random(7).random  # noqa: S311 - the same chance in every run
    first = Counter(candidates(channels, Health(), 0.0, chance)[0].channel.name for _ in range(4000))
    assert first["heavy"] / first["light"] == pytest.approx(3, rel=0.15)


def test_the_keys_of_a_channel_are_tried_in_turn_beginning_anywhere() -> None:
    """Each is first as often as the others."""
    one = (channel("many", keys=4),)
    orders = [[each.key.number for each in candidates(one, Health(), 0.0, always(part / 4))] for part in range(4)]
    assert orders == [[1, 2, 3, 4], [2, 3, 4, 1], [3, 4, 1, 2], [4, 1, 2, 3]]


def test_who_asked_to_wait_comes_behind_who_did_not() -> None:
    """And who was refused behind those: also behind a lower priority, but never left out."""
    channels = (channel("high", keys=3, priority=1), channel("low"))
    health = Health()
    health.asked_to_wait(("high", 1), 0.0, 30)
    health.refused(("high", 2), 0.0)
    order = [one.id for one in candidates(channels, health, 1.0, always(0))]
    assert order == [("high", 3), ("low", 1), ("high", 1), ("high", 2)]
    later = [one.id for one in candidates(channels, health, 1000.0, always(0))]
    assert later == [("high", 1), ("high", 2), ("high", 3), ("low", 1)]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(-2, 2), st.integers(1, 9)), max_size=5),
    st.floats(0, 1, exclude_max=True),
)
def test_everybody_is_there_once(drawn: list[tuple[int, int, int]], number: float) -> None:
    """Whatever the chance: nobody is lost, nobody comes twice, priorities never rise."""
    channels = tuple(
        channel(f"c{place}", keys=keys, priority=priority, weight=weight)
        for place, (keys, priority, weight) in enumerate(drawn)
    )
    order = candidates(channels, Health(), 0.0, always(number))
    assert sorted(one.id for one in order) == sorted((one.name, key.number) for one in channels for key in one.keys)
    priorities = [one.channel.priority for one in order]
    assert priorities == sorted(priorities, reverse=True)
