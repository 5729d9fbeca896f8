"""The language that commands speak: the English text stands in the code, and is the key to its Chinese one.

`say("Text with {name}", name=value)`, as gettext's `_`. Only what a person reads is translated: JSON, log lines, and the
names of settings, phases and commands are the same in every language. The tables are imported when Chinese is chosen.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Mapping
from typing import Final

LANGUAGES: Final = ("en", "zh")
VARIABLE: Final = "RELAY_LANG"

_LOCALE_VARIABLES: Final = ("LC_ALL", "LC_MESSAGES", "LANG")
"""The first that is set counts (POSIX.1-2017, XBD 8.2)."""

_OF_CHINA: Final = ("zh", "chinese")
"""`zh_CN.UTF-8` in an environment; Windows may also call it `Chinese (Simplified)_China`."""

_words: Final[dict[str, str]] = {}


def say(text: str, /, **values: object) -> str:
    """Return the text in the chosen language, its fields filled in. A brace that is no field is doubled."""
    return _words.get(text, text).format(**values)


def later(text: str, /) -> str:
    """Return the text as it is: it stands in a table, and is said when the language is known (gettext calls this N_)."""
    return text


def choose(lang: str | None, environ: Mapping[str, str]) -> str:
    """Choose the language: what `--lang` said, else RELAY_LANG, else the locale's. Return which it is."""
    language = lang or _of_environment(environ)
    _words.clear()
    if language == "zh":
        _words.update(chinese())
    return language


def chinese() -> dict[str, str]:
    """Return all tables as one."""
    import pkgutil  # noqa: PLC0415 - English needs none of this

    package = importlib.import_module("relay_trio.cli.zh")
    words: dict[str, str] = {}
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        words.update(importlib.import_module(module.name).WORDS)
    return words


def speak_safely() -> None:
    """Let no letter that the output cannot carry end a command: a pipe on Windows, a terminal in an old encoding."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # replaced by something that has no encoding
            stream.reconfigure(errors="replace")  # type: ignore[union-attr] # TextIO does not promise it


def _of_environment(environ: Mapping[str, str]) -> str:
    said = environ.get(VARIABLE, "").strip().lower()
    if said:
        return _language_of(said)
    named = next((environ[name] for name in _LOCALE_VARIABLES if environ.get(name)), None)
    return _language_of(named if named is not None else _of_system())


def _of_system() -> str:
    """Return the locale's name where no variable tells it: Windows, and programs that macOS did not start in a terminal."""
    if sys.platform not in ("win32", "darwin"):
        return ""
    import locale  # noqa: PLC0415 - most have a variable

    with contextlib.suppress(ValueError):  # a locale that Python cannot name
        return locale.getlocale()[0] or ""
    return ""


def _language_of(name: str) -> str:
    return "zh" if name.lower().startswith(_OF_CHINA) else "en"
