"""The snapshot of a configuration: who serves what, remembered within a bound, replaced as a whole."""

from __future__ import annotations

import ssl

from parts import ADAPTORS, channel

from relay_trio.accounts.keys import KeyRing
from relay_trio.channels.catalog import _MAX_REMEMBERED, Catalog, CatalogHolder, catalog_from
from relay_trio.channels.channel import Channel
from relay_trio.settings.model import ChannelSettings, Settings

DIALECT, ENDPOINT = "openai_chat", "chat.completions"


def catalog(*channels: Channel) -> Catalog:
    return Catalog(Settings(), channels, KeyRing(()))


def names(snapshot: Catalog, model: str | None) -> list[str]:
    return [one.name for one in snapshot.serving(model, "default", DIALECT, ENDPOINT)]


def test_who_serves_a_model_is_found_and_remembered() -> None:
    """In the order of the configuration; the same question has the same answer."""
    snapshot = catalog(
        channel("a", model_patterns=("m",), matches=lambda model: model == "m"),
        channel("b", model_patterns=("n",), matches=lambda model: model == "n"),
        channel("c", model_patterns=("m", "n"), matches=lambda model: model in {"m", "n"}),
    )
    assert names(snapshot, "m") == ["a", "c"]
    assert names(snapshot, "n") == ["b", "c"]
    assert names(snapshot, "x") == []
    assert names(snapshot, "m") == ["a", "c"]
    assert snapshot.channel("b") is snapshot.channels[1]
    assert snapshot.channel("x") is None


def test_who_names_a_model_comes_before_who_takes_anything() -> None:
    """Unless the model is the taker's own by its name."""
    listed = channel("listed", model_patterns=("mine",), matches=lambda model: model == "mine")
    anything = channel("anything")
    snapshot = catalog(anything, listed)
    assert "listed" in names(snapshot, "mine")
    assert names(snapshot, "other") == ["anything"]
    assert names(snapshot, None) == ["anything", "listed"]


def test_invented_names_fill_no_memory() -> None:
    """Model names come from clients (guarantee G7)."""
    snapshot = catalog(channel("a"))
    for number in range(_MAX_REMEMBERED + 100):
        assert names(snapshot, f"invented-{number}") == ["a"]
    assert len(snapshot._serving) == _MAX_REMEMBERED


def test_a_catalog_is_made_of_the_settings() -> None:
    """The configured channels, then those that are built in."""
    settings = Settings(channels=(ChannelSettings(name="one", adaptor="openai"),))
    snapshot = catalog_from(settings, ADAPTORS, ssl.create_default_context(), (channel("demo"),))
    assert [one.name for one in snapshot.channels] == ["one", "demo"]


def test_a_new_snapshot_takes_the_place_of_the_old_one() -> None:
    """Whoever asked to be told is told; who has the old one keeps it."""
    old, new = catalog(channel("old")), catalog(channel("new"))
    holder = CatalogHolder(old)
    told: list[Catalog] = []
    holder.on_change.append(told.append)
    mine = holder.current
    holder.replace(new)
    assert (mine, holder.current, told) == (old, new, [new])
