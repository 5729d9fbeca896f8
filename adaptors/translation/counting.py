"""Counting the tokens of a request, asked for and told as Anthropic, Gemini and OpenAI do.

https://docs.claude.com/en/api/messages-count-tokens, https://ai.google.dev/api/tokens and
https://platform.openai.com/docs/api-reference/responses/input-tokens. Each counts by its own model, so that the request goes
to the model's provider as the answer's own request would; what says only how to answer stays at home.
"""

from __future__ import annotations

from typing import Final

import attrs
import msgspec

from adaptors.bodies import BadBody
from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, decoded, encoded
from adaptors.translation.conversation import CANNOT, ChatRequest
from adaptors.translation.gemini_content import GenerateOptions, humped
from adaptors.translation.gemini_request import read_generate_request, write_generate_request
from adaptors.translation.messages_request import read_messages_request, write_messages_request
from adaptors.translation.reading import document_of, optional
from adaptors.translation.responses_request import read_responses_request, write_responses_request
from adaptors.values import Call
from adaptors.wires.openai_errors import broken_answer


def cannot_count() -> BadBody:
    """Return the refusal of a provider that has no path for it."""
    return BadBody(
        "This model's provider cannot count tokens; Anthropic, Gemini, and OpenAI's Responses API can.",
        param="model",
        code=CANNOT,
    )


# What a client asks for


def read_messages_count(call: Call) -> ChatRequest:
    """Return the request that a client of Anthropic's wants counted: a message without `max_tokens`."""
    return _asked(read_messages_request(encoded({"max_tokens": 1, **document_of(call.body)})))


def read_generate_count(call: Call) -> ChatRequest:
    """Return the request that a client of Gemini's wants counted: its contents alone, or all of it."""
    document = humped(document_of(call.body))
    whole = optional(document, "generateContentRequest", dict)
    contents = {"contents": document.get("contents")}
    return _asked(read_generate_request(attrs.evolve(call, body=encoded(contents if whole is None else whole))))


def read_responses_count(call: Call) -> ChatRequest:
    """Return the request that a client of OpenAI's wants counted."""
    return _asked(read_responses_request(call.body))


def _asked(request: ChatRequest) -> ChatRequest:
    return msgspec.structs.replace(request, max_tokens=None, stream=False, openai={}, user=None)


# What the provider is asked for

_COUNTED_BY_ANTHROPIC: Final = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"}
)
_COUNTED_BY_OPENAI: Final = frozenset(
    {"model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text"}
)


def messages_body(request: ChatRequest, model: str) -> tuple[Json, tuple[str, ...]]:
    """Return the body for `/messages/count_tokens`."""
    body, dropped = write_messages_request(request, model)
    return {name: value for name, value in body.items() if name in _COUNTED_BY_ANTHROPIC}, dropped


def generate_body(request: ChatRequest, model: str) -> tuple[Json, tuple[str, ...]]:
    """Return the body for `:countTokens`: the system and the tools count only within a whole request."""
    body, dropped = write_generate_request(request, model, GenerateOptions())
    body.pop("generationConfig", None)
    return {"generateContentRequest": {"model": f"models/{model}", **body}}, dropped


def responses_body(request: ChatRequest, model: str) -> tuple[Json, tuple[str, ...]]:
    """Return the body for `/responses/input_tokens`."""
    body, dropped = write_responses_request(request, model, origin="", reasons=False, shared_fields=frozenset())
    return {name: value for name, value in body.items() if name in _COUNTED_BY_OPENAI}, dropped


# What the provider answers, and what the client gets


def read_count(body: bytes) -> int:
    """Return the count that any of the three answers. Raises AnswerFailed: there is none."""
    document = decoded(body)
    count = document.get("input_tokens", document.get("totalTokens", 0 if document == {} else None))
    if type(count) is not int:
        raise AnswerFailed(broken_answer("The provider answered 200 with JSON in which no count of tokens stands."))
    return count


def written_count(count: int, call: Call) -> Json:
    """Return the answer to the client's call."""
    if call.endpoint.name == "models.count_tokens":
        return {"totalTokens": count}
    kind = {"object": "response.input_tokens"} if call.endpoint.name == "responses.input_tokens" else {}
    return {**kind, "input_tokens": count}
