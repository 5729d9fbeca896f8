"""What each Claude model takes of a request: one table, by the model's name.

The law: what a model answers 400 to is not sent to it. Sources, under https://platform.claude.com/docs/en/:
about-claude/models/overview (limits), build-with-claude/thinking, .../adaptive-thinking and .../extended-thinking (how it is
told to think), build-with-claude/effort (which words), models/*/migration-guide (what each newer model refuses).
Bedrock and Vertex name the same models with more before and after (`anthropic.claude-opus-4-5-20251101-v1:0`).
"""

from __future__ import annotations

import enum
import re
from typing import Final

import attrs


class Thinking(enum.Enum):
    """How a model is told to think."""

    NEVER = "never"
    BUDGET = "budget"
    """`{"type": "enabled", "budget_tokens": n}`."""
    ADAPTIVE = "adaptive"
    """`{"type": "adaptive"}`, and an effort."""


class Off(enum.Enum):
    """How a model is told not to think."""

    UNSAID = "unsaid"
    """It does not, unless told to."""
    DISABLED = "disabled"
    BETWEEN_TOOLS = "between_tools"
    IMPOSSIBLE = "impossible"
    """It always does; a low effort is the nearest."""


class Sampling(enum.Enum):
    """Which of temperature, top_p and top_k a model takes."""

    ALL = "all"
    ONE = "one"
    """Not temperature and top_p together."""
    DEFAULTS = "defaults"
    """None but what it does anyway."""


_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")


@attrs.frozen
class Claude:
    """What a model takes. `limit` is the `max_tokens` for a request that names none, which the API does not allow."""

    limit: int = 128_000
    thinking: Thinking = Thinking.ADAPTIVE
    off: Off = Off.UNSAID
    efforts: tuple[str, ...] = _EFFORTS
    """The words that it knows, from the least on, where it thinks as it sees fit."""
    sampling: Sampling = Sampling.DEFAULTS
    can_be_forced: bool = True
    """It may be made to use a tool."""


def _before_thinking(limit: int) -> Claude:
    return Claude(limit, Thinking.NEVER, sampling=Sampling.ALL)


def _budgeted(limit: int, sampling: Sampling) -> Claude:
    return Claude(limit, Thinking.BUDGET, sampling=sampling)


_NO_XHIGH: Final = ("low", "medium", "high", "max")
_NO_MINOR: Final = r"(?!-\d{1,2}(?!\d))"
"""Behind a number no other follows, but perhaps a date."""

# Models up to 4.1 answer 400 where the prompt and `max_tokens` together go past their 200,000 tokens of context, later ones
# stop at it (https://platform.claude.com/docs/en/build-with-claude/context-windows): so the older ones get 32,000 of 64,000.
_MODELS: Final[tuple[tuple[str, Claude], ...]] = (
    (r"claude-(?:2|instant)|claude-3-(?:opus|sonnet|haiku)", _before_thinking(4096)),
    (r"claude-3-5", _before_thinking(8192)),
    (r"claude-3-7", _budgeted(32_000, Sampling.ALL)),
    (r"claude-opus-4-1(?!\d)", _budgeted(32_000, Sampling.ONE)),
    (r"claude-(?:opus|sonnet|haiku)-4-5(?!\d)", _budgeted(64_000, Sampling.ONE)),
    (r"claude-(?:opus|sonnet)-4-6(?!\d)", Claude(efforts=_NO_XHIGH, sampling=Sampling.ONE)),
    (r"claude-opus-4-[78](?!\d)", Claude()),
    (rf"claude-(?:opus|sonnet)-4(?:-0(?!\d)|{_NO_MINOR})|claude-4-(?:opus|sonnet)", _budgeted(32_000, Sampling.ALL)),
    (r"claude-(?:fable|mythos)-5-\d{1,2}(?!\d)|claude-opus-5-5", Claude(off=Off.IMPOSSIBLE, can_be_forced=False)),
    (r"claude-(?:fable|mythos)-5", Claude(off=Off.IMPOSSIBLE)),
    (r"claude-mythos-preview", Claude(64_000, off=Off.IMPOSSIBLE, efforts=_NO_XHIGH)),
    (r"claude-sonnet-5-5", Claude(off=Off.BETWEEN_TOOLS, can_be_forced=False)),
    (rf"claude-(?:opus|sonnet)-5{_NO_MINOR}|claude-haiku-5-5", Claude(off=Off.DISABLED)),
)

_UNKNOWN: Final = Claude(32_000, sampling=Sampling.ALL)
"""A name that is not known is of a model to come, or an alias: it thinks as all newer ones do, and the provider says what it
does not take. The limit is one that each model since 3.7 allows."""


def claude(model: str) -> Claude:
    """Return what the model of this name takes."""
    name = model.lower().replace(".", "-").replace("_", "-")
    return next((row for pattern, row in _MODELS if re.search(pattern, name)), _UNKNOWN)
