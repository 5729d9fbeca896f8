"""How keys fare: who is to be left alone, until when, and that success forgives everything."""

from __future__ import annotations

from relay_trio.channels.health import MAX_RETRY_AFTER_S, SET_ASIDE_S, Health

KEY = ("main", 1)


def test_a_key_that_nobody_complains_of_may_be_asked() -> None:
    """Nothing is kept of it."""
    health = Health()
    assert (health.burden(KEY, 0.0), health.is_down(KEY, 0.0)) == (0, False)
    health.succeeded(KEY)


def test_a_key_that_asked_to_wait_is_left_alone_until_then() -> None:
    """To the moment, and no longer than is sane."""
    health = Health()
    health.asked_to_wait(KEY, 100.0, 30.0)
    assert [health.burden(KEY, now) for now in (100.0, 129.9, 130.0)] == [1, 1, 0]
    health.asked_to_wait(KEY, 100.0, 10**9)
    assert health.burden(KEY, 100.0 + MAX_RETRY_AFTER_S) == 0
    assert not health.is_down(KEY, 101.0)


def test_a_refused_key_is_set_aside_for_a_while() -> None:
    """Behind those that only asked to wait; it is down."""
    health = Health()
    health.refused(KEY, 0.0)
    health.asked_to_wait(KEY, 0.0, SET_ASIDE_S + 10)
    assert (health.burden(KEY, 1.0), health.is_down(KEY, 1.0)) == (2, True)
    assert (health.burden(KEY, SET_ASIDE_S), health.is_down(KEY, SET_ASIDE_S)) == (1, False)


def test_three_failures_without_a_success_are_down() -> None:
    """Which is said to operators; it is asked all the same."""
    health = Health()
    for _ in range(3):
        assert not health.is_down(KEY, 0.0)
        health.failed(KEY)
    assert (health.burden(KEY, 0.0), health.is_down(KEY, 0.0)) == (0, True)


def test_a_success_forgives_everything() -> None:
    """Of that key alone."""
    health = Health()
    for key in (KEY, ("main", 2)):
        health.refused(key, 0.0)
        health.asked_to_wait(key, 0.0, 60)
        health.failed(key)
    health.succeeded(KEY)
    assert (health.burden(KEY, 1.0), health.burden(("main", 2), 1.0)) == (0, 2)


def test_a_reload_forgets_keys_that_are_gone() -> None:
    """And keeps what is known of the others."""
    health = Health()
    health.refused(KEY, 0.0)
    health.refused(("gone", 1), 0.0)
    health.forget_others({KEY})
    assert (health.burden(KEY, 1.0), health.burden(("gone", 1), 1.0)) == (2, 0)
