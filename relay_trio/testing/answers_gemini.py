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
THOUGHT = "**Looking up**"
SIGNATURE = "c2lnbmVk"
VECTOR = (0.25, 0.5)
"""What is embedded becomes this, cut to the dimensions that are wanted."""


@attrs.define(eq=False)
class GeminiProvider(Provider):
    """Answers as the Gemini API does. Give it to a fake upstream as its `provider`."""

    def answer(self, asked: Asked, wanted: Wanted) -> Answer:
        """Return the answer to this request."""
        number = next(self.numbers)
        if wanted.status >= 400:
            return error_answer(wanted.status)
        path = asked.path
        if lacks_signature(asked):
            return json_answer({"error": {"code": 400, "message": UNSIGNED, "status": WORDS[400]}}, 400)
        if re.search(r"/models/[^:]+:generateContent$", path):
            said = calls_of(asked) or [{"text": "".join(words_of(wanted))}]
            return json_answer(generated(asked, wanted, number, [*thoughts_of(asked), *said], last=True))
        if re.search(r"/models/[^:]+:streamGenerateContent$", path):
            return streamed(asked, wanted, number)
        if path.endswith(":countTokens"):
            return json_answer({"totalTokens": prompt_tokens(asked)})
        if path.endswith(":embedContent"):
            return json_answer({"embedding": embedding(asked.fields), "usageMetadata": embedding_usage(asked)})
        if path.endswith(":batchEmbedContents"):
            made = [embedding(request) for request in asked.fields.get("requests") or ()]
            return json_answer({"embeddings": made, "usageMetadata": embedding_usage(asked)})
        if path.endswith("/models"):
            return json_answer({"models": [model_object(name) for name in MODELS]})
        return echo(self, asked, wanted, number)


def streamed(asked: Asked, wanted: Wanted, number: int) -> Answer:
    """POST :streamGenerateContent, as events; the relay asks for nothing else."""
    if "alt=sse" not in asked.query:
        return error_answer(400)
    said = [calls] if (calls := calls_of(asked)) else [[{"text": word}] for word in words_of(wanted)]
    pieces = [*([part] for part in thoughts_of(asked)), *said]
    return stream_answer(
        b"data: " + encode(generated(asked, wanted, number, piece, last=at == len(pieces))) + b"\r\n\r\n"
        for at, piece in enumerate(pieces, start=1)
    )


def generated(asked: Asked, wanted: Wanted, number: int, parts: list[Json], *, last: bool) -> Json:
    """Return a GenerateContentResponse."""
    config = asked.fields.get("generationConfig") or {}
    candidates = [
        {"content": {"parts": parts, "role": "model"}, "index": index} | ({"finishReason": "STOP"} if last else {})
        for index in range(config.get("candidateCount") or 1)
    ]
    output = len(words_of(wanted))
    prompt = prompt_tokens(asked)
    return {
        "candidates": candidates,
        "usageMetadata": {
            "promptTokenCount": prompt,
            "candidatesTokenCount": output,
            "thoughtsTokenCount": THOUGHTS,
            "totalTokenCount": prompt + output + THOUGHTS,
        },
        "modelVersion": asked.path.rsplit("/", 1)[1].partition(":")[0],
        "responseId": f"fake{number:06d}",
    }


def thoughts_of(asked: Asked) -> list[Json]:
    """Return what is thought, if it is to be shown."""
    config = (asked.fields.get("generationConfig") or {}).get("thinkingConfig") or {}
    return [{"text": THOUGHT, "thought": True}] if config.get("includeThoughts") else []


def calls_of(asked: Asked) -> list[Json]:
    """Return a call of each function, unless their results are here; the first is signed, as of parallel ones it is."""
    last = (asked.fields.get("contents") or [{}])[-1]
    calling = (asked.fields.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if calling.get("mode") == "NONE" or any("functionResponse" in part for part in last.get("parts") or ()):
        return []
    tools = asked.fields.get("tools") or []
    declared = [function["name"] for tool in tools for function in tool.get("functionDeclarations", ())]
    calls: list[Json] = [{"functionCall": {"name": name, "args": {"city": "Utrecht"}}} for name in declared]
    if calls:
        calls[0]["thoughtSignature"] = SIGNATURE
    return calls


UNSIGNED = "Function call is missing a thought_signature in functionCall parts."


def lacks_signature(asked: Asked) -> bool:
    """Tell whether a model from Gemini 3 on gets a turn back whose first call is not signed."""
    if "/gemini-3" not in asked.path:
        return False
    turns = [content.get("parts") or () for content in asked.fields.get("contents") or ()]
    firsts = (next((part for part in parts if "functionCall" in part), None) for parts in turns)
    return any(first is not None and not first.get("thoughtSignature") for first in firsts)


def embedding(request: Json) -> Json:
    """Return a ContentEmbedding."""
    return {"values": list(VECTOR[: request.get("outputDimensionality") or len(VECTOR)])}


def embedding_usage(asked: Asked) -> Json:
    """Return a token for each word."""
    return {"promptTokenCount": len(str(asked.fields).split())}


def prompt_tokens(asked: Asked) -> int:
    """Return a token for each word."""
    fields = asked.fields.get("generateContentRequest") or asked.fields
    return len(str(fields.get("contents") or "").split())


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
