"""The providers that speak as OpenAI does, one row each: where they are, and where they read their key from.

A new provider is a new row.
"""

from __future__ import annotations

from typing import Final

from adaptors.openai import CHAT, RESPONSES, OpenAICompatible

_BOTH: Final = (CHAT, RESPONSES)

COMPATIBLE: Final[tuple[OpenAICompatible, ...]] = (
    # openai-python, src/openai/_client.py: the key, the base URL and the variables of both
    OpenAICompatible("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL", _BOTH),
)
