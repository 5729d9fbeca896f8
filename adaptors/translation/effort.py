"""How much to think, in words and in tokens: formats say the one or the other, and models take the one or the other."""

from __future__ import annotations

from typing import Final

_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 24_576, "xhigh": 32_768, "max": 32_768}
"""Beyond 32,768 tokens more thinking gains little
(https://platform.claude.com/docs/en/build-with-claude/extended-thinking)."""
_LEAST_FOR_MEDIUM, _LEAST_FOR_HIGH = 4096, 16_384


def budget_of(effort: str) -> int:
    """Return the tokens that a word stands for; a word that is not known is a middling one."""
    return _BUDGETS.get(effort, _BUDGETS["medium"])


def effort_of(budget: int) -> str:
    """Return the word for so many tokens, one that every format knows."""
    return "low" if budget < _LEAST_FOR_MEDIUM else "medium" if budget < _LEAST_FOR_HIGH else "high"
