"""Names of models as `relay.toml` lists them: `gpt-*`, `o?`, `claude-[34]*`; matched as a shell does, case and all."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence


def _any_model(_model: str) -> bool:
    return True


def matcher(patterns: Sequence[str] | None) -> Callable[[str], bool]:
    """Return a function that says whether a model is among the patterns; None is all models.

    Compiled once into one expression: fnmatch's own cache holds 32,768 patterns for the whole process, and its
    `fnmatch` ignores case on Windows.
    """
    if patterns is None:
        return _any_model
    expression = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns) or r"(?!)")
    return lambda model: expression.match(model) is not None
