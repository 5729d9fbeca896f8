"""An exception as log fields: its class, its message, its stack. Never locals, never source lines, never content.

What an exception says can quote what it choked on: `int("...")`, a failed lookup, a codec. In a relay that is
somebody's prompt. So only the classes whose texts are made by the system or by ourselves are quoted whole; of all
others, whatever stands between quotation marks is left out.
"""

from __future__ import annotations

import functools
import re
import sys
import traceback
from types import CodeType, TracebackType

from relay_trio.errors import RelayError, UpstreamAnswered

MAX_FRAMES = 40
"""A deep recursion has a thousand; the first ones and the last ones tell what happened."""

MAX_RELATED = 5
"""Causes in a chain and members of a group that are described; a nursery's group can have thousands of members."""

MAX_MESSAGE_CHARACTERS = 500

_SPOKEN_BY_THE_SYSTEM = (
    RelayError,
    OSError,
    AttributeError,
    ImportError,
    MemoryError,
    NameError,
    NotImplementedError,
    RecursionError,
    SystemExit,
    TypeError,
)
_SPOKEN_BY_US = frozenset({"trio", "relay_trio"})
"""Top-level packages whose exceptions carry listed texts: RuntimeErrors of trio, its broken and closed resources."""

_QUOTED = re.compile(r"""'.*'|".*"|`.*`""", re.DOTALL)  # greedy: the content may itself hold a quotation mark


def describe(error: BaseException) -> dict[str, object]:
    """The fields `exception`, `message`, `stack`, and where they apply `caused_by` and `exceptions`."""
    fields = _one(error)
    if causes := [_one(cause) for cause in _causes(error)]:
        fields["caused_by"] = causes
    return fields


def message_of(error: BaseException) -> str:
    """What the exception says, without what it may quote from a request or an answer."""
    if isinstance(error, UpstreamAnswered):
        return f"the provider answered with status {error.status}"  # its own words may repeat the prompt
    if isinstance(error, BaseExceptionGroup):
        return f"{len(error.exceptions)} exceptions"
    text = _text_of(error)
    if not isinstance(error, _SPOKEN_BY_THE_SYSTEM) and type(error).__module__.split(".")[0] not in _SPOKEN_BY_US:
        text = _QUOTED.sub("'...'", text)
    return text[:MAX_MESSAGE_CHARACTERS]


def stack_of(trace: TracebackType | None) -> list[str]:
    """`file:line function` for each frame, outermost first; the middle of a very deep stack is left out."""
    frames = [frame_line(frame.f_code, line) for frame, line in traceback.walk_tb(trace)]
    if len(frames) <= MAX_FRAMES:
        return frames
    return [*frames[:10], f"... {len(frames) - MAX_FRAMES} more", *frames[10 - MAX_FRAMES :]]


def frame_line(code: CodeType, line: int) -> str:
    """One frame as `relay_trio/edge/app.py:12 App.handle`."""
    return f"{short_path(code.co_filename)}:{line} {code.co_qualname}"


def _one(error: BaseException, depth: int = 0) -> dict[str, object]:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    fields: dict[str, object] = {
        "exception": name,
        "message": message_of(error),
        "stack": stack_of(error.__traceback__),
    }
    if isinstance(error, BaseExceptionGroup) and depth < MAX_RELATED:
        fields["exceptions"] = [_one(member, depth + 1) for member in error.exceptions[:MAX_RELATED]]
    return fields


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    while len(causes) < MAX_RELATED and (cause := _cause(error)) is not None:
        causes.append(cause)
        error = cause
    return causes


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not cost us the stack
        return "(it has no text)"


@functools.lru_cache(maxsize=1024)
def short_path(path: str) -> str:
    """A source file's path below its import root: `trio/_core/_run.py`, not where it happens to be installed."""
    for root in sorted(filter(None, sys.path), key=len, reverse=True):
        below = path.removeprefix(root.rstrip("/\\"))
        if below != path and below[:1] in ("/", "\\"):
            return below[1:].replace("\\", "/")
    return path
