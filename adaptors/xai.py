"""xAI: an OpenAI-like API with errors, counts and refusals of its own.

A request of an OpenAI client goes up as it came, also with what a reasoning model will refuse: that is between the two of
them. What is translated leaves that out and says so. Tokens are brought to the common rule where usage is read
(`wires/openai_usage`): the bytes of an answer never change. A deferred completion (https://docs.x.ai/docs/guides/deferred-chat-completions)
is an object like others: its request_id leads back to the account that made it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs
import msgspec

from adaptors.failure import BodyState, Failure, FailureKind
from adaptors.openai import CHAT, RESPONSES, OpenAICompatible
from adaptors.translation.conversation import ChatRequest, Reasoning
from adaptors.values import Headers
from adaptors.wires.openai_errors import read_failure

_EFFORTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        r"grok-3-mini": frozenset({"low", "high"}),
        r"grok-4\.3": frozenset({"none", "low", "medium", "high"}),
        r"grok-4\.5": frozenset({"low", "medium", "high"}),
    }
)
"""The models that take `reasoning_effort`, and the words that each knows (https://docs.x.ai/docs/guides/reasoning). The
others answer 400 to it, grok-4 too."""

_NEAREST: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"minimal": ("low",), "medium": ("high",), "xhigh": ("high",), "max": ("high",)}
)

_DOES_NOT_REASON = re.compile(r"non-reasoning|grok-2|grok-3(?!-mini)|image|vision|embedding")

# "presencePenalty, frequencyPenalty and stop parameters are not supported by reasoning models" (the same page)
_REFUSED: Final[Mapping[str, object]] = MappingProxyType(
    {"presence_penalty": None, "frequency_penalty": None, "stop": ()}
)

# A 429 or 403 that no waiting cures: "Your team ... has either used all available credits or reached its monthly spending
# limit", "Your newly created team doesn't have any credits yet" (github.com/continuedev/continue/issues/10373).
_NO_CREDIT = re.compile(r"\bspending limit\b|\b(?:used all|any|no|of) (?:available )?credits\b", re.IGNORECASE)
_PAYABLE: Final = frozenset({FailureKind.RATE_LIMITED, FailureKind.FORBIDDEN})


@attrs.frozen
class XAI(OpenAICompatible):
    """xAI's API. https://docs.x.ai/developers/quickstart names the key; its SDK takes a host and reads no variable for it."""

    name: str = "xai"
    default_base_url: str = "https://api.x.ai/v1"
    key_variable: str = "XAI_API_KEY"
    base_url_variable: str = "XAI_BASE_URL"
    dialects: tuple[str, ...] = (CHAT, RESPONSES)
    model_families: tuple[str, ...] = ("grok-",)
    limit_field: str = "max_completion_tokens"
    effort_models: str = "|".join(_EFFORTS)

    def expressible(self, request: ChatRequest, model: str) -> ChatRequest:
        """Return the request less what the model refuses, which is named in its `dropped`."""
        return _with_known_effort(request if _DOES_NOT_REASON.search(model) else _without_refused(request), model)

    def failure(self, status: int, headers: Headers, body: bytes, state: BodyState) -> Failure:
        """Say what an error answer means: `{"code", "error": "..."}`, or OpenAI's shape. Never raises."""
        failure = read_failure(status, headers, body, state)
        if failure.kind in _PAYABLE and _NO_CREDIT.search(failure.message):
            return attrs.evolve(failure, kind=FailureKind.QUOTA_EXHAUSTED)
        return failure


def _without_refused(request: ChatRequest) -> ChatRequest:
    refused = [name for name, nothing in _REFUSED.items() if getattr(request, name) != nothing]
    if not refused:
        return request
    changes = {name: _REFUSED[name] for name in refused}
    return msgspec.structs.replace(request, **changes, dropped=(*request.dropped, *refused))


def _with_known_effort(request: ChatRequest, model: str) -> ChatRequest:
    """Return the request with a word for its effort that the model knows, or none."""
    said = "" if request.reasoning is None else request.reasoning.effort
    known = next((words for pattern, words in _EFFORTS.items() if re.search(pattern, model)), None)
    if not said or known is None or said in known:
        return request  # a model that takes none at all is the writer's business
    word = next((nearest for nearest in _NEAREST.get(said, ()) if nearest in known), "")
    if word:
        return msgspec.structs.replace(request, reasoning=Reasoning(word))
    return msgspec.structs.replace(request, reasoning=None, dropped=(*request.dropped, "reasoning_effort"))
