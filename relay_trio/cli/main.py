"""`relay-trio`: one table of commands, each in a module of its own that is imported when it runs.

Exit status: 0 it went well, 1 it did not, 2 what was asked or configured makes no sense. Never a traceback, unless
`--traceback` asks for one. `--help` imports neither trio nor an HTTP library, so it answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import relay_trio
from relay_trio.cli.language import LANGUAGES, choose, later, say, speak_safely
from relay_trio.cli.terminal import CommandFailed, complain

_PROGRAM: Final = "relay-trio"

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    speak_safely()
    choose(_language_in(words), os.environ)  # before the parser is made: its help is in that language
    parser = _parser()
    if not words:
        parser.print_help(sys.stderr)
        return 2
    try:
        arguments, strangers = parser.parse_known_args(words)
        if strangers:
            hint = _did_you_mean(strangers[0].partition("=")[0], _options(parser))
            parser.error(say("no option {word}{hint}", word=strangers[0], hint=hint))
    except SystemExit as wanted:  # argparse has printed what it had to say
        return wanted.code if isinstance(wanted.code, int) else 2
    return _run(arguments)


def _language_in(words: Sequence[str]) -> str | None:
    """Return what `--lang` says. Words that make no sense are the parser's business."""
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        said = following if word == "--lang" else word.removeprefix("--lang=")
        if word.startswith("--lang") and said in LANGUAGES:
            return said
    return None


def _command(name: str) -> Command:
    """Return `run` of the command's module; `check-config` lives in `check_config`."""
    module = importlib.import_module(f"relay_trio.cli.{name.replace('-', '_')}")
    return cast("Command", module.run)


def _run(arguments: argparse.Namespace) -> int:
    """Run the command. What ends it may come in a group, if it was in a nursery: it is told as if it came alone."""
    status = 1
    try:
        status = _command(arguments.command)(arguments)
        sys.stdout.flush()  # here, where a reader that has gone is understood, and not as the interpreter ends
    except* CommandFailed as failures:
        failed = cast("CommandFailed", _innermost(failures))
        complain(failed.lines)
        status = failed.status
    except* KeyboardInterrupt:
        status = 1
    except* BrokenPipeError:
        _forget_stdout()
        status = 1
    except* Exception as errors:  # noqa: BLE001 - the last door: told in one line
        status = 1
        if arguments.traceback:
            traceback.print_exception(errors)
        where = f"{_PROGRAM} {arguments.command} --traceback"
        complain(
            [
                say("unexpected {error}", error=_told(_innermost(errors))),
                say("to see where: {command}", command=where),
            ]
        )
    return status


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _told(error: BaseException) -> str:
    """Return a failure in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _forget_stdout() -> None:
    """The reader of our output has gone (`| head`): let the interpreter's own flush at exit go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# What may be said


class _Parser(argparse.ArgumentParser):
    """An argument parser that says what was probably meant, and its headings in the language."""

    def __init__(self, *, add_help: bool = True, **options: Any) -> None:
        super().__init__(add_help=False, **options)
        self._optionals.title, self._positionals.title = say("options"), say("arguments")
        if add_help:
            self.add_argument("-h", "--help", action="help", help=say("show this help and leave"))

    def error(self, message: str) -> NoReturn:
        complain([message, say("see: {command}", command=f"{self.prog} --help")])
        sys.exit(2)

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            words = [str(choice) for choice in action.choices]
            hint = _did_you_mean(str(value), words) or say("; one of: {words}", words=", ".join(words))
            what = action.metavar or action.dest
            self.error(say("no {what} {value!r}{hint}", what=what, value=str(value), hint=hint))


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return say("; did you mean {word}?", word=near[0]) if near else ""


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """Return the options of a parser and of all its commands."""
    known = list(parser._option_string_actions)  # noqa: SLF001 - argparse has no other way to list them
    commands = [action.choices for action in parser._actions if isinstance(action.choices, dict)]  # noqa: SLF001
    return known + [option for choices in commands for command in choices.values() for option in _options(command)]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM, description=say("An LLM API relay in which one request is one nursery."), allow_abbrev=False
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"{_PROGRAM} {relay_trio.__version__}",
        help=say("show the version and leave"),
    )
    _language_option(parser)
    commands = parser.add_subparsers(dest="command", metavar="command", required=True, parser_class=_Parser)
    common = _common_options()
    for name, (text, add_options) in _COMMANDS.items():
        told = say(text)
        parser_of_command = commands.add_parser(
            name,
            help=told,
            description=told,
            epilog=_examples(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,  # keeps the examples' lines
            parents=[common],
            allow_abbrev=False,
        )
        add_options(parser_of_command)
    return parser


def _examples(name: str) -> str:
    return "\n  ".join([say("examples:"), *(f"{_PROGRAM} {words}" for words in _EXAMPLES[name])])


def _common_options() -> _Parser:
    common = _Parser(add_help=False)
    common.add_argument("--traceback", action="store_true", help=say("show where an unexpected failure happened"))
    _language_option(common)
    return common


def _language_option(parser: argparse.ArgumentParser) -> None:
    """Declare what `_language_in` has read by now."""
    parser.add_argument(
        "--lang", choices=LANGUAGES, metavar="LANGUAGE", help=say("en or zh; default: RELAY_LANG, else your locale's")
    )


def _config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=say("default: RELAY_CONFIG, or relay.toml where you are, if it is there"),
    )


def _relay_options(parser: argparse.ArgumentParser) -> None:
    """Declare how to find a running relay: what `relay_place.place_of` reads."""
    parser.add_argument(
        "--url", metavar="URL", help=say("the relay's address; default: RELAY_URL, else the configuration")
    )
    parser.add_argument("--key", metavar="KEY", help=say("default: RELAY_ADMIN_KEY and RELAY_METRICS_KEY"))
    parser.add_argument("--ca", type=Path, metavar="FILE", help=say("certificates (PEM) to trust besides the system's"))
    _config_option(parser)


def _serve_options(parser: argparse.ArgumentParser) -> None:
    _config_option(parser)
    parser.add_argument(
        "--listen", metavar="HOST:PORT", help=say("addresses with commas between; beats all other settings")
    )


def _check_config_options(parser: argparse.ArgumentParser) -> None:
    _config_option(parser)
    parser.add_argument("--offline", action="store_true", help=say("do not ask the providers whether they answer"))
    parser.add_argument("--all", action="store_true", help=say("show also the settings that have their defaults"))


def _test_timeout_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help=say("the relay's address"))
    parser.add_argument("client_key", metavar="KEY", help=say("a client's key, or env:NAME, or file:path"))
    parser.add_argument(
        "--model", metavar="MODEL", help=say("what is asked; default: the demo's models, if it is a demo")
    )
    parser.add_argument(
        "--within", metavar="SECONDS", default="15", help=say("the longest clock that is waited for; default: 15")
    )
    parser.add_argument("--admin-key", metavar="KEY", help=say("default: RELAY_ADMIN_KEY; shows more"))
    parser.add_argument("--ca", type=Path, metavar="FILE", help=say("certificates (PEM) to trust besides the system's"))
    parser.add_argument("--json", action="store_true", help=say("print JSON, for programs"))


def _doctor_options(parser: argparse.ArgumentParser) -> None:
    _config_option(parser)
    parser.add_argument(
        "--channel", action="append", metavar="NAME", help=say("only this channel; may be given more than once")
    )
    parser.add_argument("--spend", action="store_true", help=say("ask each channel for one tiny completion, too"))
    parser.add_argument("--model", metavar="MODEL", help=say("what --spend asks for; default: a cheap one"))
    parser.add_argument("--json", action="store_true", help=say("print JSON, for programs"))


def _selftest_options(parser: argparse.ArgumentParser) -> None:
    _config_option(parser)
    parser.add_argument(
        "--only", action="append", metavar="FAULT", help=say("only this fault; may be given more than once")
    )
    parser.add_argument("--json", action="store_true", help=say("print JSON, for programs"))


def _alert_test_options(parser: argparse.ArgumentParser) -> None:
    _config_option(parser)
    parser.add_argument("--json", action="store_true", help=say("print JSON, for programs"))


def _check_options(parser: argparse.ArgumentParser) -> None:
    _relay_options(parser)
    parser.add_argument(
        "--samples", type=_between(1, 100_000, int), default=1, metavar="N", help=say("look so many times")
    )
    parser.add_argument(
        "--every",
        type=_between(0.1, 86400, float),
        default=30.0,
        metavar="SECONDS",
        help=say("between two looks; default: 30"),
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help=say("keep what was seen as a baseline"))
    parser.add_argument("--compare", type=Path, metavar="FILE", help=say("set a baseline beside what is seen"))
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help=say("for machines"))
    forms.add_argument("--quiet", action="store_true", help=say("say nothing if all is well"))
    forms.add_argument("--alive", action="store_true", help=say("for health checks: 0 if it answers, however it fares"))


def _monitor_options(parser: argparse.ArgumentParser) -> None:
    _relay_options(parser)
    parser.add_argument(
        "--interval",
        type=_between(0.2, 3600, float),
        default=5.0,
        metavar="SECONDS",
        help=say("between two looks; default: 5"),
    )
    parser.add_argument("--json", action="store_true", help=say("for machines: a JSON object a line"))


def _between(low: float, high: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(say("{text} is not within {low}..{high}", text=text, low=low, high=high))
        return value

    return read


def _keys_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="action", required=True, parser_class=_Parser)
    new = actions.add_parser(
        "new", help=say("make a key and print it, once"), parents=[_common_options()], allow_abbrev=False
    )
    new.add_argument("name", metavar="NAME", help=say("names the key in logs and metrics"))
    new.add_argument("--group", metavar="GROUP", help=say("decides which channels serve it; default: default"))
    new.add_argument("--models", metavar="PATTERNS", help=say('with commas between, such as "gpt-*,o*"; default: all'))
    new.add_argument("--concurrency", metavar="N", help=say("requests at the same time; default: no limit of its own"))
    new.add_argument("--expires", metavar="DATE", help=say("2027-01-01 or 2027-01-01T12:00:00+02:00; default: never"))


_COMMANDS: Final[Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]]] = {
    "serve": (later("start the relay"), _serve_options),
    "check-config": (later("say what is wrong with the configuration, without starting"), _check_config_options),
    "keys": (later("make keys for clients"), _keys_options),
    "check": (later("look at a running relay: how it fares, whether it leaks"), _check_options),
    "test-timeout": (later("see the clocks of a running relay fire"), _test_timeout_options),
    "doctor": (later("look at the way to every provider, and at this machine; say what to do"), _doctor_options),
    "monitor": (later("watch a running relay, and cancel single requests"), _monitor_options),
    "selftest": (later("hold your configuration to the table of faults, on a clock that jumps"), _selftest_options),
    "alert-test": (later("send a test message every way that alarms would go"), _alert_test_options),
}

_EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "serve": ("serve", "serve --config /etc/relay.toml --listen 0.0.0.0:3000"),
    "check-config": ("check-config", "check-config --config /etc/relay.toml --offline --all"),
    "test-timeout": (
        "test-timeout http://127.0.0.1:3000 env:MY_KEY",
        "test-timeout https://relay.example env:MY_KEY --model gpt-4o-mini --within 30",
    ),
    "doctor": ("doctor", "doctor --channel openai-main --spend", "doctor --config /etc/relay.toml --json"),
    "alert-test": ("alert-test", "alert-test --config /etc/relay.toml --json"),
    "selftest": ("selftest", "selftest --config /etc/relay.toml --only silent-mid-body"),
    "check": (
        "check",
        "check --url https://relay.example --json",
        "check --samples 20 --every 30 --record monday.json",
        "check --compare monday.json",
        "check --alive",
    ),
    "monitor": ("monitor", "monitor --url https://relay.example --interval 2", "monitor --json >> relay.jsonl"),
    "keys": ("keys new alice", 'keys new ci --models "gpt-*" --concurrency 5 --expires 2027-01-01'),
}
