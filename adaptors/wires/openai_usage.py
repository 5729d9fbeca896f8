"""Tokens as OpenAI-like providers count them, brought to one rule: input includes cached, output includes reasoning."""

from __future__ import annotations

from adaptors.jsonbytes import Json
from adaptors.values import Usage

_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")


def read_usage(usage: Json) -> Usage | None:
    """Return the counts of a `usage` object, of chat (`prompt_tokens`) or Responses (`input_tokens`) alike."""
    if not isinstance(usage, dict):
        return None
    input_tokens, output_tokens = _count(usage, *_INPUT), _count(usage, *_OUTPUT)
    reasoning = _count(_object(usage, _OUTPUT_DETAILS), "reasoning_tokens")
    # DeepSeek also says prompt_cache_hit_tokens (https://api-docs.deepseek.com/guides/kv_cache)
    cached = _count(_object(usage, _INPUT_DETAILS), "cached_tokens") or _count(usage, "prompt_cache_hit_tokens")
    # xAI leaves reasoning out of completion_tokens and has it in total_tokens (https://docs.x.ai); the total tells.
    if reasoning and _count(usage, "total_tokens") == input_tokens + output_tokens + reasoning:
        output_tokens += reasoning
    written = _count(_object(usage, _INPUT_DETAILS), "cache_write_tokens")  # openai-python, types/completion_usage.py
    return Usage(input_tokens, output_tokens, cached, reasoning, written)


def _count(counts: Json, *names: str) -> int:
    for name in names:
        value = counts.get(name)
        if type(value) is int and value > 0:
            return value
    return 0


def _object(usage: Json, names: tuple[str, ...]) -> Json:
    return next((usage[name] for name in names if isinstance(usage.get(name), dict)), {})
