"""Promises of Secret: it is never shown by accident."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest

from relay_trio.settings.model import ChannelSettings
from relay_trio.settings.secret import Secret

CANARY = "sk-canary-0123456789"


def test_no_way_of_printing_shows_it() -> None:
    """repr, str, format, %, f-strings and the repr of what holds it hide the text."""
    secret = Secret(CANARY)
    channel = ChannelSettings(name="a", adaptor="openai", api_keys=(secret,), proxy=secret)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>40}",
        "%s" % (secret,),  # noqa: UP031 - as logging does it
        repr(channel),
        str(attrs.asdict(channel)),
    ]
    assert all(CANARY not in text for text in shown)


def test_it_is_not_pickled() -> None:
    """What a pickle holds ends in a file or a pipe, in clear text: refused."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Secret(CANARY))


def test_it_is_a_value() -> None:
    """Two of the same text are equal, a copy is the same, reveal gives the text."""
    assert Secret(CANARY) == Secret(CANARY) != Secret("other")
    assert len({Secret(CANARY), Secret(CANARY)}) == 1
    assert copy.deepcopy(Secret(CANARY)).reveal() == CANARY
    assert Secret(CANARY) != CANARY
    assert not Secret("")
