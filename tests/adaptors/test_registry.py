"""The table of adaptors: ours, and those that other packages bring."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from adaptors.openai import OpenAICompatible
from adaptors.registry import BUILT_IN, ENTRY_POINT_GROUP, BadAdaptor, UnknownAdaptor, find, installed, load

OURS = OpenAICompatible("ours", "https://ours.example/v1", "OURS_API_KEY")
TAKEN = OpenAICompatible("openai", "https://ours.example/v1", "OURS_API_KEY")


def make() -> OpenAICompatible:
    return OURS


def entry(name: str) -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{name}", ENTRY_POINT_GROUP)


def test_the_built_in_adaptors_are_there_without_more() -> None:
    """By their own names."""
    assert {"openai", "deepseek", "ollama"} <= set(load())
    assert all(adaptor.name == name for name, adaptor in load().items())
    load(installed())


@pytest.mark.parametrize("name", ["OURS", "make"])
def test_another_package_brings_an_adaptor_or_what_makes_one(name: str) -> None:
    """It stands beside ours, and ours are not touched."""
    adaptors = load([entry(name)])
    assert find(adaptors, "ours") is OURS
    assert "ours" not in BUILT_IN


def test_a_name_that_is_taken_is_refused() -> None:
    """Nobody replaces an adaptor unseen."""
    with pytest.raises(BadAdaptor, match='"openai" is taken'):
        load([entry("TAKEN")])


def nothing() -> object:
    return object()


def test_what_is_no_adaptor_is_refused() -> None:
    """The entry point is named, and so is what it lacks."""
    with pytest.raises(BadAdaptor, match=r'"nothing".*lacks.*request'):
        load([entry("nothing")])


@pytest.mark.parametrize(
    ("name", "told"), [("opnai", 'did you mean "openai"'), ("deepseak", '"deepseek"'), ("zzz", "known are .*cerebras")]
)
def test_an_unknown_name_names_the_nearest(name: str, told: str) -> None:
    """Or all there are."""
    with pytest.raises(UnknownAdaptor, match=told):
        find(load(), name)
