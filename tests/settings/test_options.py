"""An option that its adaptor does not know is told when the configuration is read, not when a request fails of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptors.registry import BUILT_IN
from relay_trio.settings.load import ConfigurationErrors, load
from relay_trio.settings.model import Settings


def read(directory: Path, adaptor: str, options: str) -> Settings:
    (directory / "relay.toml").write_text(
        f'[[channels]]\nname = "a"\nadaptor = "{adaptor}"\nbase_url = "http://127.0.0.1:1"\noptions = {{ {options} }}\n'
    )
    return load({}, None, lambda count: "5e" * count, providers=tuple(BUILT_IN.values()), directory=directory)


GOOD = [
    ("openai", 'api = "responses"', {"api": "responses"}),
    ("vllm", 'api = "chat"', {"api": "chat"}),
    ("openai", 'organization = "org-1", project = "p"', {"organization": "org-1", "project": "p"}),
    (
        "azure",
        'api = "responses", api_version = "2025-04-01-preview"',
        {"api": "responses", "api_version": "2025-04-01-preview"},
    ),
]


@pytest.mark.parametrize(("adaptor", "options", "meant"), GOOD)
def test_options_that_an_adaptor_knows(tmp_path: Path, adaptor: str, options: str, meant: dict[str, str]) -> None:
    """They reach it as they are."""
    assert read(tmp_path, adaptor, options).channels[0].options == meant


BAD = [
    ("openai", 'api = "response"', 'options.api: "response": want one of: chat, responses'),
    ("openai", 'apis = "chat"', 'options.apis: "chat": no such setting; did you mean api?'),
    ("groq", 'api_version = "1"', 'options.api_version: "1": no such setting'),
]


@pytest.mark.parametrize(("adaptor", "options", "told"), BAD)
def test_an_option_that_is_wrong_is_told_with_what_would_do(
    tmp_path: Path, adaptor: str, options: str, told: str
) -> None:
    """With its place."""
    with pytest.raises(ConfigurationErrors) as wrong:
        read(tmp_path, adaptor, options)
    (line,) = wrong.value.problems
    assert line == f"relay.toml:5 channels[0].{told}"
