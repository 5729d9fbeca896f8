"""Streams as the Gemini API writes them.

Typed from https://ai.google.dev/api/generate-content (the fields of GenerateContentResponse) and the examples of
https://ai.google.dev/gemini-api/docs/text-generation and .../function-calling; lines end with CR LF, as they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adaptors.gemini_paths import GEMINI_PATHS, split_version
from adaptors.values import Call

_TEXT = b"""\
data: {"candidates": [{"content": {"parts": [{"text": "Hello"}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 10,"totalTokenCount": 10},"modelVersion": "gemini-2.5-flash","responseId": "mAitaLmkHPPlz7IPvtfUqQ4"}

data: {"candidates": [{"content": {"parts": [{"text": " \\"finish\\""}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 10,"candidatesTokenCount": 4,"totalTokenCount": 14},"modelVersion": "gemini-2.5-flash","responseId": "mAitaLmkHPPlz7IPvtfUqQ4"}

data: {"candidates": [{"content": {"parts": [{"text": "!"}],"role": "model"},"finishReason": "STOP","index": 0}],"usageMetadata": {"promptTokenCount": 10,"cachedContentTokenCount": 3,"candidatesTokenCount": 7,"thoughtsTokenCount": 22,"toolUsePromptTokenCount": 2,"totalTokenCount": 41},"modelVersion": "gemini-2.5-flash","responseId": "mAitaLmkHPPlz7IPvtfUqQ4"}

"""

_CALL = b"""\
data: {"candidates": [{"content": {"parts": [{"functionCall": {"name": "get_weather","args": {"location": "Utrecht"}},"thoughtSignature": "CpwBAVSoXO4"}],"role": "model"},"finishReason": "STOP","index": 0}],"usageMetadata": {"promptTokenCount": 94,"candidatesTokenCount": 29,"totalTokenCount": 123},"modelVersion": "gemini-2.5-flash","responseId": "mAitaLmkHPPlz7IPvtfUqQ5"}

"""

_BLOCKED = b"""\
data: {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},"usageMetadata": {"promptTokenCount": 8,"totalTokenCount": 8},"modelVersion": "gemini-2.5-flash"}

"""

STREAMS = {
    name: text.replace(b"\n", b"\r\n") for name, text in (("text", _TEXT), ("call", _CALL), ("blocked", _BLOCKED))
}


JUNK: tuple[Any, ...] = (None, True, -1, 1.5, "x", "", [], [1], [{}], {}, {"a": []}, "\ud800")


def mutants(document: Any) -> Iterator[Any]:
    """Yield the document with each of these in the place of each value in it."""
    yield from JUNK
    places = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for place, value in list(places):
        for mutant in mutants(value):
            changed = document.copy()
            changed[place] = mutant
            yield changed


def call(
    path: bytes = b"/v1beta/models/gemini-2.5-flash:streamGenerateContent",
    body: bytes = b"{}",
    query: bytes = b"alt=sse",
) -> Call:
    """Return a call of a Gemini client."""
    endpoint = GEMINI_PATHS.match(b"POST", split_version(path)[1])
    assert endpoint is not None
    stream = path.endswith(b":streamGenerateContent")
    return Call(endpoint, "gemini", b"POST", path, query, (), body, model="gemini-2.5-flash", stream=stream)
