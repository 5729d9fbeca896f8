"""Every word that the process says is one JSON object on one line."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest
from hypercorn.config import Config

from relay_trio.telemetry.log import HYPERCORN_LOGGER, HypercornLogger, catch_all, configure, get_logger
from relay_trio.telemetry.log_writer import MemoryLog
from relay_trio.telemetry.redaction import Redactor

ROOT = Path(__file__).parents[2]
CANARY = "the-content-of-a-prompt"


class Log(Protocol):
    @property
    def events(self) -> list[dict[str, object]]: ...


@pytest.fixture
def caught() -> Iterator[None]:
    undo = catch_all(level="info")
    yield
    undo()


def test_the_first_keys_are_the_same_in_every_line(log_lines: Log) -> None:
    """timestamp, level, event, pid, then what was bound, then the event's own fields in their order."""
    get_logger().bind(request_id="r1").info("request_finished", status=200, ms_total=1.5)
    (line,) = log_lines.events
    assert list(line) == ["timestamp", "level", "event", "pid", "request_id", "status", "ms_total"]
    assert line | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "request_finished",
        "pid": os.getpid(),
        "request_id": "r1",
        "status": 200,
        "ms_total": 1.5,
    }


def test_absent_values_are_left_out(log_lines: Log) -> None:
    """None means that there is nothing to say; zero, false and the empty string are values."""
    get_logger().info("event", nothing=None, zero=0, no=False, empty="")
    assert {"zero": 0, "no": False, "empty": ""}.items() <= log_lines.events[0].items()
    assert "nothing" not in log_lines.events[0]


@pytest.mark.parametrize("level", ["debug", "info", "warning"])
def test_the_short_way_says_what_the_long_way_says(level: str) -> None:
    """`line` is the method of its level without the copies: the same bytes, and the same silence below the level."""
    said = MemoryLog()
    configure(said, Redactor(["sk-secret-0123456789"]), level="info")
    fields = {"request_id": "r", "nothing": None, "message": "sk-secret-0123456789", "bytes_in": 1}
    logger = get_logger().bind(worker=1)
    getattr(logger, level)("request_finished", **fields)
    logger.line(level, {"event": "request_finished", **fields})
    lines = [{**json.loads(line), "timestamp": ""} for line in said.lines]
    assert len(lines) == (0 if level == "debug" else 2)
    assert lines[1:] == lines[:-1]
    assert b"sk-secret" not in b"".join(said.lines)


def test_levels_below_the_configured_one_are_silent() -> None:
    """Configuring again counts at once, also for loggers that were made before."""
    logger = get_logger()
    first, second = MemoryLog(), MemoryLog()
    configure(first, Redactor(), level="info")
    logger.debug("not heard")
    logger.info("heard")
    configure(second, Redactor(), level="debug")
    logger.debug("heard now")
    assert [json.loads(line)["event"] for line in first.lines] == ["heard"]
    assert [json.loads(line)["event"] for line in second.lines] == ["heard now"]


@pytest.mark.parametrize("event", ["request_finished", "attempt_failed", "anything_else"])
def test_registered_secrets_reach_no_line(log_lines: Log, redactor: Redactor, event: str) -> None:
    """Neither in free text, nor in an exception's message, nor in what caused it."""
    redactor.add("sk-registered-0123456789")
    error = RuntimeError("key sk-registered-0123456789 failed")
    error.__cause__ = OSError("refused for sk-registered-0123456789")
    get_logger().error(event, why="because of sk-registered-0123456789", url="http://x/?key=abc", exc_info=error)
    text = json.dumps(log_lines.events)
    assert "0123456789" not in text
    assert text.count("[redacted]") == 4


def test_an_exception_is_its_class_message_and_stack(log_lines: Log) -> None:
    """The stack is file, line and function; no locals, no source lines."""

    def fails(secret_local: str) -> None:
        raise OSError(32, f"Broken pipe after {len(secret_local)}")

    try:
        fails(CANARY)
    except OSError as error:
        get_logger().error("it_failed", exc_info=error)
    (line,) = log_lines.events
    assert line["exception"] == "BrokenPipeError"
    assert line["message"] == f"[Errno 32] Broken pipe after {len(CANARY)}"
    assert all(re.fullmatch(r"\S+:\d+ \S+", frame) for frame in line["stack"])  # type: ignore[attr-defined] # a list
    assert line["stack"][-1].endswith(".<locals>.fails")  # type: ignore[index] # a list
    assert CANARY not in json.dumps(line)


def test_hypercorn_speaks_through_us() -> None:
    """Its own lines are in our form, healthy ones hold no alarming word, and there is no access log."""
    config = Config()
    config.logger_class = HypercornLogger
    sink = MemoryLog()
    configure(sink, Redactor())
    undo = catch_all()
    assert config.log.error_logger is not None
    config.log.error_logger.info("Running on %s", "http://127.0.0.1:3000")
    undo()
    (line,) = (json.loads(line) for line in sink.lines)
    assert line["message"] == "Running on http://127.0.0.1:3000"
    assert not re.search(rb"error|panic|timeout", sink.lines[0], re.IGNORECASE)
    assert config.log.access_logger is None


@pytest.mark.usefixtures("caught")
def test_libraries_are_heard_from_warnings_on(log_lines: Log) -> None:
    """At our debug level, too: HTTP clients print headers and bodies there. A level of their own is rounded down."""
    logging.getLogger("httpcore").debug("headers: %s", CANARY)
    logging.getLogger("httpx").info("HTTP Request: %s", CANARY)
    logging.getLogger("some.library").warning("%d is few", 3)
    logging.getLogger("some.library").log(35, "between the levels")
    assert [(line["level"], line["logger"], line["message"]) for line in log_lines.events] == [
        ("warning", "some.library", "3 is few"),
        ("warning", "some.library", "between the levels"),
    ]


def test_a_record_with_wrong_arguments_still_speaks(log_lines: Log) -> None:
    """A library's mistake in a log call does not cost the line."""
    undo = catch_all()  # here, so that the handlers of pytest, which would raise, are put aside
    logging.getLogger("some.library").error("%d and %d", 1)  # noqa: PLE1206
    undo()
    assert log_lines.events[0]["message"] == "%d and %d"


@pytest.mark.usefixtures("caught")
def test_a_library_s_exception_is_described(log_lines: Log) -> None:
    """logging.exception gives class, message and stack like our own lines."""
    try:
        _fail()
    except TypeError:
        logging.getLogger(HYPERCORN_LOGGER).exception("Error in ASGI Framework")
    assert log_lines.events[0]["exception"] == "TypeError"
    assert log_lines.events[0]["logger"] == "hypercorn"


@pytest.mark.usefixtures("caught")
def test_warnings_become_lines(log_lines: Log) -> None:
    """With category, text and place."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning("old", DeprecationWarning, __file__, 12)
    (line,) = log_lines.events
    assert (line["event"], line["category"], line["message"]) == ("python_warning", "DeprecationWarning", "old")
    assert str(line["where"]).endswith("test_log.py:12")


@pytest.mark.usefixtures("caught")
def test_a_thread_s_death_becomes_a_line(log_lines: Log) -> None:
    """What ends a thread is an error line; SystemExit, which ends it on purpose, is none."""
    for target in (_fail, sys.exit):
        thread = threading.Thread(target=target, name="the thread")
        thread.start()
        thread.join()
    (line,) = log_lines.events
    assert (line["event"], line["thread"], line["exception"]) == ("thread_crashed", "the thread", "TypeError")


@pytest.mark.usefixtures("caught")
def test_what_a_finalizer_raises_becomes_a_line(log_lines: Log) -> None:
    """An exception that nobody can catch is told."""

    class Leaver:
        def __del__(self) -> None:
            _fail()

    Leaver()
    gc.collect()
    (line,) = log_lines.events
    assert (line["event"], line["exception"]) == ("exception_ignored", "TypeError")
    assert str(line["where"]).endswith("Leaver.__del__")


def _fail() -> None:
    raise TypeError("on purpose")


def test_catching_all_can_be_undone() -> None:
    """The undo gives every hook and logger back as it was."""

    def hooks() -> tuple[object, ...]:
        root, hypercorn = logging.getLogger(), logging.getLogger(HYPERCORN_LOGGER)
        modules: tuple[tuple[ModuleType, str], ...] = ((sys, "excepthook"), (sys, "unraisablehook"))
        mine = tuple(getattr(module, name) for module, name in modules)
        loggers = tuple((tuple(logger.handlers), logger.level, logger.propagate) for logger in (root, hypercorn))
        return (*mine, threading.excepthook, warnings.showwarning, *loggers)

    before = hooks()
    undo: Callable[[], None] = catch_all()
    assert hooks() != before
    undo()
    assert hooks() == before


CRASH = """
from relay_trio.telemetry.log import catch_all, configure, get_logger
from relay_trio.telemetry.log_writer import LogWriter
from relay_trio.telemetry.redaction import Redactor
writer = LogWriter(1)
writer.start()
configure(writer, Redactor())
catch_all()
get_logger().info("started")
def outer():
    raise RuntimeError("the end")
outer()
"""


def test_a_crash_s_last_words_are_a_line() -> None:
    """A process that dies of an exception has written its lines, the crash as the last one, and nothing elsewhere."""
    died = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, check=False, cwd=ROOT)
    started, crashed = (json.loads(line) for line in died.stdout.splitlines())
    assert died.returncode == 1
    assert died.stderr == b""
    assert started["event"] == "started"
    assert (crashed["event"], crashed["level"], crashed["message"]) == ("crashed", "critical", "the end")
    assert crashed["stack"] == ["<string>:12 <module>", "<string>:11 outer"]
