"""Promises of `keys new`: the key is printed once, and the block for the file works."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from pathlib import Path

import pytest

from relay_trio.accounts.keys import KeyRing
from relay_trio.cli.main import main
from relay_trio.settings.load import load
from relay_trio.settings.model import KeySettings

Capture = pytest.CaptureFixture[str]

ALL_OPTIONS = ["--group", "vip", "--models", "gpt-*, o*", "--concurrency", "5", "--expires", "2999-01-01"]


def made(capsys: Capture, *options: str) -> tuple[str, str]:
    """Return the key and the block."""
    assert main(["keys", "new", "acme", *options]) == 0
    printed = capsys.readouterr().out
    (key,) = re.findall(r"^  (sk-[0-9a-f]{48})$", printed, re.MULTILINE)
    return key, printed[printed.index("[[keys]]") :]


@pytest.mark.parametrize("options", [[], ALL_OPTIONS], ids=["bare", "all options"])
def test_the_block_lets_the_key_in(options: list[str], tmp_path: Path, capsys: Capture) -> None:
    """The block, put into relay.toml, makes a ring that knows the key; the key itself is not in it."""
    key, block = made(capsys, *options)
    (tmp_path / "relay.toml").write_text(block)
    settings = load({}, None, lambda _count: pytest.fail("a key was made"), providers=(), directory=tmp_path)
    found = KeyRing(settings.keys).find(key.encode(), now_s=dt.datetime.now(dt.UTC).timestamp(), client_ip=None)
    assert found.name == "acme"
    assert key not in block


def test_the_options_are_in_the_block(capsys: Capture) -> None:
    """Each option is an entry; what is the default is left out."""
    options = tomllib.loads(made(capsys, *ALL_OPTIONS)[1])["keys"][0]
    assert options.pop("digest").startswith("blake2b:")
    assert options == {
        "name": "acme",
        "group": "vip",
        "models": ["gpt-*", "o*"],
        "concurrency": 5,
        "expires": dt.datetime(2999, 1, 1, tzinfo=dt.UTC),
    }
    assert set(tomllib.loads(made(capsys)[1])["keys"][0]) == {"name", "digest"}
    assert KeySettings(name="a", digest=b"").group == "default"


def test_no_two_keys_are_the_same(capsys: Capture) -> None:
    """192 bits of the system's randomness."""
    assert made(capsys)[0] != made(capsys)[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a b"], "NAME: 'a b' is no name"),
        (["a", "--group", ""], "--group: '' is no group"),
        (["a", "--models", "gpt-*,"], "--models: '' is no model name or pattern"),
        (["a", "--concurrency", "0"], "--concurrency: '0' is out of range"),
        (["a", "--expires", "soon"], "--expires: 'soon' is no date; want e.g. 2027-01-01"),
        (["a", "--expires", "2020-01-01"], "--expires: 2020-01-01 has passed"),
    ],
)
def test_nonsense_makes_no_key(words: list[str], told: str, capsys: Capture) -> None:
    """Status 2, one line, and no key."""
    assert main(["keys", "new", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"relay-trio: {told}")
