"""Promises of the command line: it answers at once, says what was meant, and never shows a traceback unasked."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest

import relay_trio
from relay_trio.cli.main import main
from relay_trio.cli.terminal import CommandFailed, paint, show_table

Capture = pytest.CaptureFixture[str]


def run_alone(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the real program."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environ | variables, timeout=60, check=False
    )


def test_help_imports_nothing_heavy() -> None:
    """`--help` and `--version` answer before trio, hypercorn, httpx or attrs could be imported."""
    program = (
        "import sys; from relay_trio.cli.main import main; status = main([sys.argv[1]]);"
        "print(status, sorted({'trio', 'hypercorn', 'httpx', 'attrs', 'attr', 'structlog', 'ssl'} & set(sys.modules)))"
    )
    for option in ("--help", "--version"):
        assert run_alone("-c", program, option).stdout.splitlines()[-1] == "0 []"


def test_the_module_is_the_program() -> None:
    """`python -m relay_trio` does what `relay-trio` does."""
    done = run_alone("-m", "relay_trio", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"relay-trio {relay_trio.__version__}\n", "")


def test_a_wrong_configuration_is_lines_and_status_2() -> None:
    """The whole program: each problem a line on stderr, nothing on stdout, no traceback."""
    done = run_alone(
        "-m", "relay_trio", "check-config", "--offline", RELAY_TIMEOUT="0", RELAY_HOST="x y", RELAY_PROT="3"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "relay-trio: RELAY_TIMEOUT=0: no unlimited here (one-api's meaning); allowed 1..86400, default 900",
        'relay-trio: RELAY_HOST=x y is no host; want e.g. "0.0.0.0" or "::1"',
        "relay-trio: RELAY_PROT: no such setting; did you mean RELAY_PORT?",
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["srve"], "no command 'srve'; did you mean serve?"),
        (["checkconfig"], "no command 'checkconfig'; did you mean check-config?"),
        (["zzz"], "no command 'zzz'; one of: serve, check-config, keys"),
        (["serve", "--confg", "x"], "no option --confg; did you mean --config?"),
        (["serve", "--lisen=x"], "no option --lisen=x; did you mean --listen?"),
        (["keys", "new", "a", "--modles", "x"], "no option --modles; did you mean --models?"),
        (["keys", "nwe"], "no action 'nwe'; did you mean new?"),
        (["keys"], "the following arguments are required: action"),
        (["keys", "new"], "the following arguments are required: NAME"),
        (["serve", "--conf", "x"], "no option --conf; did you mean --config?"),
    ],
)
def test_what_was_probably_meant(words: list[str], told: str, capsys: Capture) -> None:
    """A misspelt command or option is named with the nearest right one; exit status 2."""
    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_nothing_said_is_help(capsys: Capture) -> None:
    """Without a command the help is shown, and the status says that nothing was done."""
    assert main([]) == 2
    assert "check-config" in capsys.readouterr().err


def put_in_place(monkeypatch: pytest.MonkeyPatch, command: Callable[[argparse.Namespace], int]) -> None:
    monkeypatch.setitem(sys.modules, "relay_trio.cli.serve", cast("ModuleType", SimpleNamespace(run=command)))


def test_a_command_gets_its_options_and_gives_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `run` returns is the exit status."""
    seen: list[argparse.Namespace] = []

    def command(arguments: argparse.Namespace) -> int:
        seen.append(arguments)
        return 1

    put_in_place(monkeypatch, command)
    assert main(["serve", "--config", "here.toml", "--listen", "127.0.0.1:1"]) == 1
    assert (str(seen[0].config), seen[0].listen) == ("here.toml", "127.0.0.1:1")


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def command(_arguments: argparse.Namespace) -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (CommandFailed("one", "two"), 1, "relay-trio: one\nrelay-trio: two\n"),
        (CommandFailed("one", status=2), 2, "relay-trio: one\n"),
        (KeyboardInterrupt(), 1, ""),
        (BaseExceptionGroup("nursery", [KeyboardInterrupt()]), 1, ""),
        (ExceptionGroup("nursery", [CommandFailed("one", status=2)]), 2, "relay-trio: one\n"),
        (
            ExceptionGroup("out", [ExceptionGroup("in", [ValueError("many\nlines")])]),
            1,
            "relay-trio: unexpected ValueError: many lines\nrelay-trio: to see where: relay-trio serve --traceback\n",
        ),
    ],
)
def test_every_failure_is_lines(
    error: BaseException, status: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """What a command raises becomes lines and a status, never a traceback."""
    put_in_place(monkeypatch, raising(error))
    assert main(["serve"]) == status
    assert capsys.readouterr().err == told


def test_a_traceback_is_shown_to_who_asks(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """`--traceback` says where."""
    put_in_place(monkeypatch, raising(ValueError("deep")))
    assert main(["serve", "--traceback"]) == 1
    assert "in command" in capsys.readouterr().err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_failure_to_tell_of(unbuffered: str) -> None:
    """`relay-trio ... | head -0`: no message from us, none from the interpreter as it ends."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "relay_trio", "keys", "new", "a"],
            stdout=writing,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """In colour on a terminal; plain in a file, with NO_COLOR, on a dumb terminal."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert paint("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert paint("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert paint("x", "red", Terminal()) == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("x", "red", Terminal()) == "x"


def test_tables_have_columns() -> None:
    """Each column is as wide as its widest cell, and no line ends in blanks."""
    assert show_table([("a", "bb", "c"), ("aaa", "b", "")]) == ["  a    bb  c", "  aaa  b"]
    assert show_table([]) == []
