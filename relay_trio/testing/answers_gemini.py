"""What an honest provider of the Gemini API would answer: a pure table from request to answer.

The law is that of `answers`: the same requests in the same order get the same bytes. Shapes are those of the API reference
(https://ai.google.dev/api/generate-content) and are read by the official SDK in the tests; lines end as Google's do.
"""

from __future__ import annotations

import re

import attrs

from relay_trio.testing.answers import (
    Answer,
    Asked,
    Json,
    Provider,
    Wanted,
    echo,
    encode,
    json_answer,
    stream_answer,
    words_of,
)

MODELS = ("gemini-fake-small", "gemini-fake-large")
THOUGHTS = 5
"""Tokens of thought; `candidatesTokenCount` leaves them out."""


@attrs.define(eq=False)
class GeminiProvider(Provider):
    """Answers as the Gemini API does. Give it to a fake upstream as its `provider`."""

    def answer(self, asked: Asked, wanted: Wanted) -> Answer:
        """Return the answer to this request."""
        number = next(self.numbers)
        if wanted.status >= 400:
            return error_answer(wanted.status)
        path = asked.path
        if re.search(r"/models/[^:]+:generateContent$", path):
            return json_answer(generated(asked, wanted, number, "".join(words_of(wanted)), last=True))
        if re.search(r"/models/[^:]+:streamGenerateContent$", path):
            return streamed(asked, wanted, number)
        if path.endswith(":countTokens"):
            return json_answer({"totalTokens": prompt_tokens(asked)})
        if path.endswith(":embedContent"):
            return json_answer({"embedding": {"values": [0.25, 0.5]}})
        if path.endswith(":batchEmbedContents"):
            count = len(asked.fields.get("requests") or ())
            return json_answer({"embeddings": [{"values": [0.25, 0.5]}] * count})
        if path.endswith("/models"):
            return json_answer({"models": [model_object(name) for name in MODELS]})
        return echo(self, asked, wanted, number)


def streamed(asked: Asked, wanted: Wanted, number: int) -> Answer:
    """POST :streamGenerateContent, as events; the relay asks for nothing else."""
    if "alt=sse" not in asked.query:
        return error_answer(400)
    words = words_of(wanted)
    pieces = (generated(asked, wanted, number, word, last=at == len(words)) for at, word in enumerate(words, start=1))
    return stream_answer(b"data: " + encode(piece) + b"\r\n\r\n" for piece in pieces)


def generated(asked: Asked, wanted: Wanted, number: int, text: str, *, last: bool) -> Json:
    """Return a GenerateContentResponse."""
    candidate: Json = {"content": {"parts": parts_of(asked, text), "role": "model"}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    output = len(words_of(wanted))
    prompt = prompt_tokens(asked)
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": prompt,
            "candidatesTokenCount": output,
            "thoughtsTokenCount": THOUGHTS,
            "totalTokenCount": prompt + output + THOUGHTS,
        },
        "modelVersion": asked.path.rsplit("/", 1)[1].partition(":")[0],
        "responseId": f"fake{number:06d}",
    }


def parts_of(asked: Asked, text: str) -> list[Json]:
    """Return the parts: a call of the first function, if there is any, else words."""
    tools = asked.fields.get("tools") or []
    declared = [function for tool in tools for function in tool.get("functionDeclarations", ())]
    if not declared:
        return [{"text": text}]
    return [
        {"functionCall": {"name": declared[0]["name"], "args": {"city": "Utrecht"}}, "thoughtSignature": "c2lnbmVk"}
    ]


def prompt_tokens(asked: Asked) -> int:
    """Return a token for each word."""
    return len(str(asked.fields.get("contents") or "").split())


def model_object(name: str) -> Json:
    """Return one entry of the list of models."""
    methods = ["generateContent", "countTokens"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


def error_answer(status: int) -> Answer:
    """Return the API's error for this status (https://ai.google.dev/gemini-api/docs/troubleshooting)."""
    error: Json = {"code": status, "message": f"The fake upstream answers {status}.", "status": WORDS[status]}
    if status == 429:
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12s"}]
    return json_answer({"error": error}, status)


WORDS: dict[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
