"""Tokens as OpenAI-like providers count them, brought to one rule: input includes cached, output includes reasoning."""

from __future__ import annotations

from adaptors.jsonbytes import Json
from adaptors.values import Usage


def read_usage(usage: Json) -> Usage | None:
    """Return the counts of a `usage` object, of chat (`prompt_tokens`) or Responses (`input_tokens`) alike."""
    if not isinstance(usage, dict):
        return None
    told = usage.get
    input_tokens = _count(told("prompt_tokens") or told("input_tokens"))
    output_tokens = _count(told("completion_tokens") or told("output_tokens"))
    inputs = _object(told("prompt_tokens_details") or told("input_tokens_details"))
    outputs = _object(told("completion_tokens_details") or told("output_tokens_details"))
    reasoning = _count(outputs.get("reasoning_tokens"))
    # DeepSeek also says prompt_cache_hit_tokens (https://api-docs.deepseek.com/guides/kv_cache)
    cached = _count(inputs.get("cached_tokens") or told("prompt_cache_hit_tokens"))
    # xAI leaves reasoning out of completion_tokens and has it in total_tokens (https://docs.x.ai); the total tells.
    if reasoning and told("total_tokens") == input_tokens + output_tokens + reasoning:
        output_tokens += reasoning
    written = _count(inputs.get("cache_write_tokens"))  # openai-python, types/completion_usage.py
    return Usage(input_tokens, output_tokens, cached, reasoning, written)


def _count(value: Json) -> int:
    return value if type(value) is int and value > 0 else 0


_NOTHING: dict[str, Json] = {}


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else _NOTHING
