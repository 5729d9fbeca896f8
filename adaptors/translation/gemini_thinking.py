"""How much a model of the Gemini API is told to think: in levels or in tokens, as its family takes it.

Facts: https://ai.google.dev/gemini-api/docs/thinking. Up to Gemini 2.5 a model takes a budget of tokens, from Gemini 3 on a
level; both in one request are refused. Families before 2.5, and Gemma, take neither.
"""

from __future__ import annotations

import re
from typing import Final

from adaptors.jsonbytes import Json
from adaptors.translation.conversation import Reasoning
from adaptors.translation.effort import effort_of

_LEVELLED = re.compile(r"gemini-(?:[3-9]|[1-9]\d|(?:flash|pro)(?:-lite)?-latest)")
_TAKES_MINIMAL = re.compile(r"flash-lite|gemini-3(?:\.[0-6])?-flash")
_LACKS_MEDIUM = re.compile(r"gemini-3-pro")

# Models that take a budget: the pattern, the least and the most, and whether thinking can be switched off.
_BUDGETED: Final = (
    (re.compile(r"gemini-2\.5-flash-lite"), 512, 24_576, True),
    (re.compile(r"gemini-2\.5-flash"), 1, 24_576, True),
    (re.compile(r"gemini-2\.5"), 128, 32_768, False),
)
# What the efforts of OpenAI's API are, by Google's own account (https://ai.google.dev/gemini-api/docs/openai#thinking).
_BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 32_768, "max": 32_768}
_LEVELS: Final = {
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
_DYNAMIC: Final = -1


def wants_signatures(model: str) -> bool:
    """Whether the model refuses a turn whose first call comes back without a signature."""
    return _LEVELLED.search(model) is not None


def written_thinking(reasoning: Reasoning | None, model: str, dropped: list[str]) -> Json:
    """Return the `thinkingConfig`, or None. What the model cannot be told goes to `dropped`."""
    if reasoning is None:
        return None
    config = _level(reasoning, model, dropped) if _LEVELLED.search(model) else _budget(reasoning, model, dropped)
    if config is None or reasoning.effort == "none":
        return config
    return config | {"includeThoughts": reasoning.shown is not False}


def _level(reasoning: Reasoning, model: str, dropped: list[str]) -> dict[str, Json] | None:
    effort = reasoning.effort
    if effort == "none":  # the least there is: thinking cannot be switched off
        dropped.append("reasoning_effort")
        effort = "minimal"
    if not effort and reasoning.budget:
        effort = effort_of(reasoning.budget)
    level = _LEVELS.get(effort)
    if level == "minimal" and not _TAKES_MINIMAL.search(model):
        level = "low"
    if level == "medium" and _LACKS_MEDIUM.search(model):
        level = "high"
    return {} if level is None else {"thinkingLevel": level.upper()}


def _budget(reasoning: Reasoning, model: str, dropped: list[str]) -> dict[str, Json] | None:
    limits = next((row for row in _BUDGETED if row[0].search(model)), None)
    if limits is None:
        if reasoning.effort != "none":
            dropped.append("reasoning_effort")
        return None
    _, least, most, can_be_off = limits
    if reasoning.effort == "none":
        if not can_be_off:
            dropped.append("reasoning_effort")
        return {"thinkingBudget": 0 if can_be_off else least}
    wanted = reasoning.budget or _BUDGETS.get(reasoning.effort, _DYNAMIC)
    return {"thinkingBudget": wanted if wanted == _DYNAMIC else min(max(wanted, least), most)}
