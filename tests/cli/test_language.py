"""Promises of the language that commands speak: the one that was asked for, complete, and never in what machines read."""

from __future__ import annotations

import ast
import importlib
import io
import pkgutil
import string
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import relay_trio.cli
import relay_trio.cli.zh
from relay_trio.cli import language
from relay_trio.cli.language import chinese, choose, later, say
from relay_trio.cli.main import main
from relay_trio.settings.sources import COMMAND_VARIABLES

CLI = Path(relay_trio.cli.__file__).parent


def said_literals() -> Iterator[tuple[str, str]]:
    """Yield where, and which, every literal given to `say` and `later` is."""
    for path in sorted(CLI.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"say", "later"}:
                text = node.args[0]
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    yield f"{path.name}:{node.lineno}", text.value


def fields_of(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def tables() -> dict[str, Mapping[str, str]]:
    modules = pkgutil.iter_modules(relay_trio.cli.zh.__path__, "relay_trio.cli.zh.")
    return {module.name: importlib.import_module(module.name).WORDS for module in modules}


def test_everything_that_is_said_has_a_chinese_text() -> None:
    """No command speaks half a language."""
    known = chinese()
    assert [f"{place}: {text}" for place, text in said_literals() if text not in known] == []


def test_both_texts_have_the_same_fields() -> None:
    """What a sentence tells in one language it tells in the other."""
    assert [english for english, other in chinese().items() if fields_of(english) != fields_of(other)] == []


def test_no_chinese_text_is_stale() -> None:
    """A text that nobody says any more is gone from the tables too."""
    assert set(chinese()) - {text for _, text in said_literals()} == set()


def test_one_text_is_translated_in_one_way() -> None:
    """A text that two commands say reads the same in both."""
    known = chinese()
    assert [text for words in tables().values() for text, other in words.items() if known[text] != other] == []


def test_every_table_is_a_modules() -> None:
    """The texts of `check.py` stand in `zh/check.py`."""
    assert [name for name in tables() if not (CLI / f"{name.rpartition('.')[2]}.py").exists()] == []


@pytest.mark.parametrize(
    ("lang", "environ", "chosen"),
    [
        (None, {}, "en"),
        ("zh", {}, "zh"),
        ("en", {"RELAY_LANG": "zh", "LANG": "zh_CN.UTF-8"}, "en"),
        (None, {"RELAY_LANG": "zh"}, "zh"),
        (None, {"RELAY_LANG": "ZH-cn"}, "zh"),
        (None, {"RELAY_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
        (None, {"RELAY_LANG": "", "LANG": "zh_CN.UTF-8"}, "zh"),
        (None, {"LANG": "zh_TW"}, "zh"),
        (None, {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        (None, {"LC_ALL": "", "LC_MESSAGES": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, "zh"),
        (None, {"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_who_decides(lang: str | None, environ: dict[str, str], chosen: str) -> None:
    """The option beats the variable, the variable beats the locale, and what is not Chinese is English."""
    assert choose(lang, environ) == chosen
    assert say(later("start the relay")) == ("启动中继" if chosen == "zh" else "start the relay")


@pytest.mark.parametrize(("platform", "name"), [("win32", "Chinese (Simplified)_China"), ("darwin", "zh_CN")])
def test_where_no_variable_tells(platform: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and macOS keep the locale elsewhere; a variable that is there still beats it."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("locale.getlocale", lambda: (name, "936"))
    assert choose(None, {}) == "zh"
    assert choose(None, {"LANG": "en_US.UTF-8"}) == "en"
    monkeypatch.setattr("locale.getlocale", lambda: (None, None))
    assert choose(None, {}) == "en"


def test_fields_are_filled_in() -> None:
    """A value stands where the field is; a doubled brace is a brace."""
    assert say("{count} of {{x}}", count=3) == "3 of {x}"


@pytest.mark.parametrize("words", [["--help"], ["keys", "new", "--help"]])
def test_help_is_in_the_language(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`--lang zh` may stand anywhere, and is heard before the help is made."""
    assert main([*words, "--lang", "zh"]) == 0
    translated = capsys.readouterr().out
    assert main([*words, "--lang=en"]) == 0
    english = capsys.readouterr().out
    assert any("一" <= letter <= "鿿" for letter in translated)
    assert english.isascii()


def test_a_language_that_we_do_not_speak_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Words that make no sense: status 2, with what would."""
    assert main(["serve", "--lang", "fr"]) == 2
    assert "no LANGUAGE 'fr'; one of: en, zh" in capsys.readouterr().err


def test_no_letter_ends_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """An output that cannot carry Chinese shows question marks rather than a traceback."""
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    assert main(["--help", "--lang", "zh"]) == 0
    narrow.flush()


def test_its_variables_are_no_mistakes() -> None:
    """The configuration knows what only commands read, so that setting it stops no relay."""
    assert language.VARIABLE in COMMAND_VARIABLES
