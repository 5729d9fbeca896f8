"""The table of all dialects by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from adaptors.dialects.anthropic import ANTHROPIC
from adaptors.dialects.gemini import GEMINI
from adaptors.dialects.openai import CHAT, RESPONSES
from adaptors.protocol import Dialect

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {dialect.name: dialect for dialect in (CHAT, RESPONSES, ANTHROPIC, GEMINI)}
)
