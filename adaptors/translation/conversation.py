"""What a conversation with a model is, whatever format it is written in: a request, an answer, the events of a stream.

The law: each format is read into these values and written from them, so that n formats need n readers and n writers.
What a reader cannot say with them it names in `dropped`, or refuses; a writer does the same with what its format lacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from adaptors.bodies import BadBody
from adaptors.jsonbytes import Json
from adaptors.values import Usage


class Value(msgspec.Struct, frozen=True):
    """A value: made for every event of a stream, hence of the quickest kind."""


# What a turn is made of.


class Citation(Value, frozen=True):
    """Where words come from. `start` and `end` are where in its text the cited words stand, both 0 where unknown."""

    url: str = ""
    title: str = ""
    quote: str = ""
    """What the source says."""
    start: int = 0
    end: int = 0


class Text(Value, frozen=True):
    """Words. `cache` is Anthropic's mark that what stands before here may be kept, as it was written."""

    text: str
    citations: tuple[Citation, ...] = ()
    cache: Json = None


class Refusal(Value, frozen=True):
    """Words with which the model declines."""

    text: str


class Image(Value, frozen=True):
    """A picture: its bytes in base64 with their media type, or its address."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    cache: Json = None


class Document(Value, frozen=True):
    """A file for the model to read, or to hear: its bytes in base64 with their media type, or its address."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    title: str = ""
    cache: Json = None


class Thinking(Value, frozen=True):
    """What the model thought. The signature, or the whole thought where it is hidden, is for its own provider alone."""

    text: str = ""
    signature: str = ""
    hidden: str = ""
    origin: str = ""
    """Whose signature it is: the name of a wire."""


class ToolCall(Value, frozen=True):
    """The model wants a tool used. The arguments are JSON as it wrote it, which may be broken."""

    id: str
    name: str
    arguments: str


class ToolResult(Value, frozen=True):
    """What a tool gave."""

    id: str
    parts: tuple[Text | Image | Document, ...]
    is_error: bool = False
    cache: Json = None


Part: TypeAlias = Text | Refusal | Image | Document | Thinking | ToolCall | ToolResult
Role: TypeAlias = Literal["system", "user", "assistant"]


class Message(Value, frozen=True):
    """One turn. Results of tools are the user's."""

    role: Role
    parts: tuple[Part, ...]


# What is asked for.


class Tool(Value, frozen=True):
    """A function that the model may want called; its schema is JSON Schema."""

    name: str
    description: str = ""
    schema: Json = None
    strict: bool | None = None
    cache: Json = None


class ToolChoice(Value, frozen=True):
    """Whether tools are to be used: `one` names it."""

    mode: Literal["auto", "none", "any", "one"]
    name: str = ""


class OutputFormat(Value, frozen=True):
    """The answer is to be JSON: any, or by a schema."""

    schema: Json = None
    name: str = ""
    strict: bool | None = None


class Reasoning(Value, frozen=True):
    """How much to think: in words, or in tokens. `none` is not at all, two empty fields are as the model likes."""

    effort: str = ""
    budget: int = 0
    shown: bool | None = None
    """Whether the client wants to see what was thought."""


class ChatRequest(Value, frozen=True):
    """A whole request. None is: nothing was said."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    candidates: int = 1
    """How many answers are wanted."""
    logprobs: int | None = None
    """The log probabilities of the tokens are wanted, with as many of the likeliest others."""
    output: OutputFormat | None = None
    reasoning: Reasoning | None = None
    user: str | None = None
    stream: bool = False
    openai: Mapping[str, Json] = {}
    """What OpenAI's two formats say alike and no other can: `service_tier`, `metadata` and the like, by their names."""
    dropped: tuple[str, ...] = ()
    """What the reader could not say."""


# What is answered.

Reason: TypeAlias = Literal["stop", "stop_sequence", "length", "tool", "filtered", "refused", "paused"]


class TokenLogprob(Value, frozen=True):
    """How likely a token was; `top` are the likeliest at its place. Natural logarithms."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Candidate(Value, frozen=True):
    """One of the answers to a request."""

    parts: tuple[Part, ...]
    reason: Reason
    stop_sequence: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class Reply(Value, frozen=True):
    """A whole answer: as many candidates as were wanted, nearly always one."""

    id: str
    model: str
    candidates: tuple[Candidate, ...]
    usage: Usage | None = None

    @property
    def first(self) -> Candidate:
        """The first candidate, which formats that have but one write."""
        return self.candidates[0]


class Started(Value, frozen=True):
    """The answer begins; nothing is said yet."""

    id: str
    model: str


class CandidateSwitched(Value, frozen=True):
    """What follows is of this candidate. A stream begins with candidate 0, and most never leave it."""

    index: int


class TextDelta(Value, frozen=True):
    """More words."""

    text: str


class RefusalDelta(Value, frozen=True):
    """More words with which the model declines."""

    text: str


class Cited(Value, frozen=True):
    """The words so far come from there."""

    citation: Citation


class LogprobsDelta(Value, frozen=True):
    """How likely the tokens of the words just told were."""

    tokens: tuple[TokenLogprob, ...]


class ThinkingDelta(Value, frozen=True):
    """More of a thought."""

    text: str


class ThinkingSigned(Value, frozen=True):
    """The thought is over, and this is its signature; or it was hidden all along."""

    signature: str = ""
    hidden: str = ""
    origin: str = ""


class ToolStarted(Value, frozen=True):
    """The model begins to write a tool call. `index` tells calls apart that are written at the same time."""

    index: int
    id: str
    name: str


class ToolDelta(Value, frozen=True):
    """More of a tool call's arguments."""

    index: int
    fragment: str


class ToolEnded(Value, frozen=True):
    """The tool call is whole. Not every format says so."""

    index: int


class Counted(Value, frozen=True):
    """The tokens so far; the last one counts."""

    usage: Usage


class Finished(Value, frozen=True):
    """The model has stopped, for this reason; of several candidates, the one that is being told."""

    reason: Reason
    stop_sequence: str | None = None


class Ended(Value, frozen=True):
    """The stream has proven that it is complete."""


Event: TypeAlias = (
    Started
    | CandidateSwitched
    | TextDelta
    | RefusalDelta
    | Cited
    | LogprobsDelta
    | ThinkingDelta
    | ThinkingSigned
    | ToolStarted
    | ToolDelta
    | ToolEnded
    | Counted
    | Finished
    | Ended
)


# What cannot be said.

CANNOT: Final = "unsupported_parameter"


def refused(param: str, why: str) -> BadBody:
    """Return the refusal of a request whose answer would be wrong without this field. `why` is a whole sentence."""
    return BadBody(why, param=param, code=CANNOT)
