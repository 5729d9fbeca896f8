"""Every word that the process says is one JSON object on one line: ours, our libraries' and Python's own.

structlog does it with one processor, which renders the line and hands it to a sink (`log_writer`). Nothing goes through
the standard library's `logging` on the way out; what comes in through it, through the crash hooks or as a warning leaves
in the same form.

The first keys are the same in every line: timestamp, level, event, pid, and what was bound (request_id). A value of None
is left out. Healthy lines hold none of the words that operators search for (error, panic, and the like): neither as an
event, nor as a key, nor as a value; that is a rule for whoever adds a line.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import types
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol, TextIO, cast

import structlog
from hypercorn.config import Config
from hypercorn.logging import Logger as HypercornBase
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from relay_trio.telemetry.exceptions import describe, message_of, short_path
from relay_trio.telemetry.json_line import render, utc_timestamp
from relay_trio.telemetry.log_writer import LogSink
from relay_trio.telemetry.redaction import Redactor

LEVELS = ("debug", "info", "warning", "error", "critical")

HYPERCORN_LOGGER = "hypercorn.error"


def configure(sink: LogSink, redactor: Redactor, *, level: str = "info") -> None:
    """Send all that structlog is given, from `level` on, to this sink. May be called again, and then counts at once."""
    structlog.configure(
        processors=[_LineRenderer(redactor)],
        wrapper_class=_logger_class(level),
        logger_factory=_SinkLogger.factory(sink),
        context_class=dict,
        cache_logger_on_first_use=False,  # else a module's logger would keep the first sink for ever
    )


class LineLogger(FilteringBoundLogger, Protocol):
    """structlog's filtering logger, and a shorter way for the one line that every request has."""

    def bind(self, **new_values: object) -> LineLogger:
        """Return a logger that says these with every line."""

    def line(self, level: str, fields: dict[str, object]) -> None:
        """As the method of this level, the `event` among the fields, which are used up. structlog would copy them twice."""


def get_logger() -> LineLogger:
    """A logger that follows `configure`, also if it was made before. On the hot path, `bind` once and keep the result."""
    return cast("LineLogger", structlog.get_logger())


@functools.cache
def _logger_class(level: str) -> type:
    """Return the class of loggers that say what is of this level at least."""
    base = structlog.make_filtering_bound_logger(level)
    said = frozenset(LEVELS[LEVELS.index(level) :])

    class LineLoggerOfLevel(base):  # type: ignore[valid-type, misc] # structlog makes it
        def line(self, level: str, fields: dict[str, object]) -> None:
            if level in said:
                if self._context:
                    fields = {**self._context, **fields}
                self._logger.info(self._processors[0](self._logger, level, fields))  # all levels are the same door

    return LineLoggerOfLevel


def catch_all(*, level: str = "info") -> Callable[[], None]:
    """Take over what Python and libraries would print: `logging`, warnings, and crashes wherever they happen.

    Returns the undo. Libraries are heard from warnings on, whatever our level is: at debug, HTTP clients print headers
    and bodies, and no key or prompt may reach a log. hypercorn alone follows `level`.
    """
    undo = ExitStack()
    for owner, name, value in _HOOKS:
        undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)
    _take_over_logger(logging.getLogger(), logging.WARNING, undo)
    _take_over_logger(logging.getLogger(HYPERCORN_LOGGER), logging.getLevelNamesMapping()[level.upper()], undo)
    return undo.close


class HypercornLogger(HypercornBase):
    """For `Config.logger_class`: hypercorn's own lines in our form.

    There is no access log: hypercorn's copies the whole environment into a dict for each request (`AccessLogAtoms`),
    and `request_finished` says more.
    """

    def __init__(self, config: Config) -> None:  # noqa: ARG002 - hypercorn's signature
        self.access_logger = None
        self.error_logger = logging.getLogger(HYPERCORN_LOGGER)
        self.error_logger.handlers = [_StdlibHandler()]
        self.error_logger.propagate = False


class _LineRenderer:
    """The one processor: a structlog event becomes the bytes of a line."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._pid = os.getpid()

    def __call__(self, _logger: WrappedLogger, level: str, fields: EventDict) -> bytes:
        if "exc_info" in fields:
            fields.update(_describe_exc_info(fields.pop("exc_info")))
        line: dict[str, object] = {
            "timestamp": utc_timestamp(),
            "level": level,
            "event": fields.pop("event", None),
            "pid": self._pid,
            **fields,
        }
        if None in line.values():
            line = {name: value for name, value in line.items() if value is not None}
        self._redactor.clean_fields(line)
        return render(line)


class _SinkLogger:
    """What structlog hands the finished line to: every level is the same door."""

    def __init__(self, sink: LogSink) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = sink.write

    @classmethod
    def factory(cls, sink: LogSink) -> Callable[..., _SinkLogger]:
        logger = cls(sink)
        return lambda *_arguments: logger


def _describe_exc_info(exc_info: object) -> dict[str, object]:
    """The fields of what was given as exc_info: an exception, a triple, or a true value for the one being handled."""
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    elif not isinstance(exc_info, BaseException):
        exc_info = sys.exception() if exc_info else None
    return describe(exc_info) if isinstance(exc_info, BaseException) else {}


# What comes in from outside structlog


class _StdlibHandler(logging.Handler):
    """A record of the standard library's logging as one of our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        get_logger().log(
            _known_level(record.levelno),
            "library_message",
            logger=record.name.removesuffix(".error"),  # hypercorn's healthy lines come from "hypercorn.error"
            message=_text_of(record),
            exc_info=record.exc_info,
        )


def _known_level(level: int) -> int:
    """The level rounded down to one that structlog knows; it refuses others, and libraries invent some."""
    return max(logging.DEBUG, min(level // 10 * 10, logging.CRITICAL))


def _text_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit the text must not cost us the line
        return str(record.msg)


def _log_crash(_kind: type[BaseException], error: BaseException, _trace: types.TracebackType | None) -> None:
    """In place of `sys.excepthook`: what ended the process."""
    get_logger().critical("crashed", exc_info=error)


def _log_thread_crash(crash: threading.ExceptHookArgs) -> None:
    """In place of `threading.excepthook`: what ended a thread."""
    if crash.exc_value is not None and not isinstance(crash.exc_value, SystemExit):  # which ends a thread silently
        get_logger().error("thread_crashed", thread=crash.thread and crash.thread.name, exc_info=crash.exc_value)


def _log_unraisable(found: sys.UnraisableHookArgs) -> None:
    """In place of `sys.unraisablehook`: what a finalizer or a callback raised, to nobody."""
    where = getattr(found.object, "__qualname__", type(found.object).__qualname__)
    get_logger().error("exception_ignored", where=where, exc_info=found.exc_value)


def _log_warning(  # noqa: PLR0917 - the library's signature
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """In place of `warnings.showwarning`."""
    text = message_of(message) if isinstance(message, Warning) else message
    where = f"{short_path(filename)}:{lineno}"
    get_logger().warning("python_warning", category=category.__name__, message=text, where=where)


_HOOKS: tuple[tuple[object, str, object], ...] = (
    (sys, "excepthook", _log_crash),
    (sys, "unraisablehook", _log_unraisable),
    (threading, "excepthook", _log_thread_crash),
    (warnings, "showwarning", _log_warning),
)


def _take_over_logger(logger: logging.Logger, level: int, undo: ExitStack) -> None:
    undo.callback(setattr, logger, "handlers", logger.handlers)
    undo.callback(setattr, logger, "propagate", logger.propagate)
    undo.callback(logger.setLevel, logger.level)
    logger.handlers = [_StdlibHandler()]
    logger.propagate = False
    logger.setLevel(level)
