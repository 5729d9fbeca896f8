"""Answers of the Gemini API, written: whole, as events, and as the elements of one JSON array.

Each event is a whole answer with the next piece (https://ai.google.dev/api/generate-content#generatecontentresponse). A call
must come whole, so that its pieces wait for its end; the reason comes last, with all the tokens.

What another provider signed stands sealed in the place of the signature, on the part behind the thought: clients send it
back with that part.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, encoded
from adaptors.translation.carrier import fits, sealed
from adaptors.translation.conversation import (
    Candidate,
    CandidateSwitched,
    Citation,
    Cited,
    Counted,
    Ended,
    Event,
    Finished,
    LogprobsDelta,
    Part,
    Reason,
    Refusal,
    RefusalDelta,
    Reply,
    Started,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ThinkingSigned,
    TokenLogprob,
    ToolCall,
    ToolDelta,
    ToolEnded,
    ToolStarted,
)
from adaptors.translation.frame import Frame
from adaptors.translation.messages_request import parsed_arguments
from adaptors.values import Usage
from adaptors.wires.openai_errors import broken_answer

_WRITTEN_REASON: Final[dict[Reason, str]] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "tool": "STOP",
    "length": "MAX_TOKENS",
    "filtered": "SAFETY",
    "refused": "SAFETY",
    "paused": "OTHER",
}
_CALL_BYTES: Final = 512
"""What an open call costs by itself, so that a provider cannot open calls without end."""
_NO_WORDS: Final = b'{"text":""}'


def written_usage(usage: Usage) -> Json:
    """Return the counts as this API has them: what was thought is no part of what was answered."""
    counts = {
        "promptTokenCount": usage.input_tokens,
        "cachedContentTokenCount": usage.cached_tokens,
        "candidatesTokenCount": max(0, usage.output_tokens - usage.reasoning_tokens),
        "thoughtsTokenCount": usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    return {name: count for name, count in counts.items() if count or name not in _ONLY_IF_ANY}


_ONLY_IF_ANY: Final = frozenset({"cachedContentTokenCount", "thoughtsTokenCount"})


def _signature(thoughts: list[Thinking]) -> str:
    """Return the thoughts as the signature of the part behind them, and forget them; nothing, if nobody signed any."""
    signed = [thought for thought in thoughts if thought.signature or thought.hidden]
    thoughts.clear()
    return sealed(signed) if signed and fits(signed) else ""


def _call(ident: str, name: str, arguments: str, signature: str) -> bytes:
    part: dict[str, Json] = {"functionCall": {"id": ident, "name": name, "args": parsed_arguments(arguments)}}
    return encoded(part | ({"thoughtSignature": signature} if signature else {}))


def _words(text: str, signature: str) -> bytes:
    words = b'{"text":' + encoded(text)
    return words + b',"thoughtSignature":"' + signature.encode() + b'"}' if signature else words + b"}"


# A stream


class _Call:
    """A call in the making."""

    __slots__ = ("ended", "fragments", "ident", "name", "signature")

    def __init__(self, ident: str, name: str, signature: str) -> None:
        self.ident = ident
        self.name = name
        self.signature = signature
        self.fragments: list[str] = []
        self.ended = False

    def part(self) -> bytes:
        """Return the call."""
        return _call(self.ident, self.name, "".join(self.fragments), self.signature)


class _State:
    """What is known of one candidate: its open calls in their order, its thoughts, and what its last event will say."""

    __slots__ = ("calls", "citations", "is_ascii", "reason", "thought", "thoughts")

    def __init__(self) -> None:
        self.calls: dict[int, _Call] = {}
        self.thought: list[str] = []
        self.thoughts: list[Thinking] = []
        self.citations: list[Citation] = []
        self.reason: Reason = "stop"
        self.is_ascii = True
        """Then places counted in characters are places counted in bytes, as this API does."""


class GenerateWriter:
    """Writes a client's stream."""

    __slots__ = ("_array", "_current", "_frame", "_held", "_ident", "_index", "_model", "_states", "_tail", "sequence")

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._array = frame.array
        self._ident = ""
        self._model = frame.model or ""
        self._tail = b"}"
        self._index = 0
        self._current = _State()
        self._states = {0: self._current}
        self._held = 0
        self.sequence = 0
        """How many events have been written."""

    def write(self, event: Event) -> bytes:  # noqa: C901 - a table of cases
        """Return the bytes that say it, or nothing while they must wait. Raises AnswerFailed: too much waits."""
        state = self._current
        match event:
            case TextDelta(text) | RefusalDelta(text):
                state.is_ascii = state.is_ascii and text.isascii()
                return self._part(_words(text, _signature(state.thoughts) if state.thoughts else ""))
            case ThinkingDelta(text):
                state.thought.append(text)
                return self._part(b'{"text":' + encoded(text) + b',"thought":true}')
            case ThinkingSigned(signature, hidden, origin):
                state.thoughts.append(Thinking("".join(state.thought), signature, hidden, origin))
                state.thought.clear()
                return b""
            case ToolStarted() | ToolDelta() | ToolEnded():
                return self._tool(event)
            case Started(ident, model):
                self._ident, self._model = ident, self._frame.model or model
                self._tail = self._written_tail(None)
                return b""
            case Counted(usage):
                self._tail = self._written_tail(usage)
                return b""
            case Cited(citation):
                self._hold(_CALL_BYTES + len(citation.quote))
                state.citations.append(citation if state.is_ascii else _placed(citation, 0, 0))
                return b""
            case LogprobsDelta(tokens):
                return self._event(self._candidate(self._index, _NO_WORDS, {"logprobsResult": _likely(tokens)}))
            case CandidateSwitched(index):
                self._index = index
                self._current = self._states.setdefault(index, _State())
                return b""
            case Finished(reason):
                state.reason = reason
                for call in state.calls.values():
                    call.ended = True
                return self._flow()
            case Ended():
                return self._end()

    def _tool(self, event: ToolStarted | ToolDelta | ToolEnded) -> bytes:
        match event:
            case ToolStarted(index, ident, name):
                self._hold(_CALL_BYTES + len(ident) + len(name))
                self._current.calls[index] = _Call(ident, name, _signature(self._current.thoughts))
                return b""
            case ToolDelta(index, fragment):
                self._hold(len(fragment))
                self._open_call(index).fragments.append(fragment)
                return b""
            case ToolEnded(index):
                self._open_call(index).ended = True
                return self._flow()

    def _written_tail(self, usage: Usage | None) -> bytes:
        """Return what ends each event: the tokens so far, the model, the id."""
        counted = {} if usage is None else {"usageMetadata": written_usage(usage)}
        return b"," + encoded({**counted, "modelVersion": self._model, "responseId": self._ident})[1:]

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > self._frame.max_bytes:
            raise AnswerFailed(broken_answer("The provider's tool calls are too large to be put together."))

    def _open_call(self, index: int) -> _Call:
        call = self._current.calls.get(index)
        if call is None:
            raise AnswerFailed(broken_answer("The provider added to a tool call that was complete."))
        return call

    def _flow(self) -> bytes:
        """Return the calls that are whole, as far as none before them is open."""
        calls = self._current.calls
        written: list[bytes] = []
        for index in list(calls):
            if not calls[index].ended:
                break
            written.append(self._part(calls.pop(index).part()))
        return b"".join(written)

    def _part(self, part: bytes) -> bytes:
        return self._event(
            b'{"content":{"parts":[' + part + b'],"role":"model"},"index":' + str(self._index).encode() + b"}"
        )

    @staticmethod
    def _candidate(index: int, part: bytes, more: dict[str, Json]) -> bytes:
        rest = encoded({**more, "index": index})[1:]
        return b'{"content":{"parts":[' + part + b'],"role":"model"},' + rest

    def _event(self, candidates: bytes) -> bytes:
        document = b'{"candidates":[' + candidates + b"]" + self._tail
        self.sequence += 1
        if self._array:
            return (b",\r\n" if self.sequence > 1 else b"[") + document
        return b"data: " + document + b"\r\n\r\n"

    def _end(self) -> bytes:
        """Return the event that has every candidate's reason, and what nothing followed that it could go with."""
        last = [
            self._candidate(
                index,
                _words("", _signature(state.thoughts)),
                {"finishReason": _WRITTEN_REASON[state.reason], **_grounding(state.citations)},
            )
            for index, state in sorted(self._states.items())
        ]
        return self._event(b",".join(last)) + (b"]" if self._array else b"")


# What stands beside the words


def _likely(tokens: Iterable[TokenLogprob]) -> Json:
    """Return a `logprobsResult`."""
    known = tuple(tokens)
    chosen = [{"token": token.token, "logProbability": token.logprob} for token in known]
    tops = [
        {"candidates": [{"token": text, "logProbability": likely} for text, likely in token.top]} for token in known
    ]
    return {"chosenCandidates": chosen} | ({"topCandidates": tops} if any(token.top for token in known) else {})


def _grounding(citations: list[Citation]) -> dict[str, Json]:
    """Return a `groundingMetadata`, if anything is cited."""
    if not citations:
        return {}
    supports = [
        {"segment": {"startIndex": cited.start, "endIndex": cited.end}, "groundingChunkIndices": [at]}
        for at, cited in enumerate(citations)
        if cited.end
    ]
    chunks = [_chunk(cited) for cited in citations]
    return {"groundingMetadata": {"groundingChunks": chunks} | ({"groundingSupports": supports} if supports else {})}


def _in_bytes(cited: Citation, text: str) -> Citation:
    start, end = (len(text[:place].encode("utf-8", "replace")) for place in (cited.start, cited.end))
    return _placed(cited, start, end)


def _placed(cited: Citation, start: int, end: int) -> Citation:
    return Citation(cited.url, cited.title, cited.quote, start, end)


def _chunk(cited: Citation) -> Json:
    if cited.url and not cited.quote:
        return {"web": {"uri": cited.url, "title": cited.title}}
    said = {"uri": cited.url, "title": cited.title, "text": cited.quote}
    return {"retrievedContext": {name: value for name, value in said.items() if value}}


# A whole answer


def write_generate_reply(reply: Reply, frame: Frame) -> bytes:
    """Return the body for the client."""
    document: dict[str, Json] = {"candidates": [_written(at, one) for at, one in enumerate(reply.candidates)]}
    if reply.usage is not None:
        document["usageMetadata"] = written_usage(reply.usage)
    return encoded({**document, "modelVersion": frame.model or reply.model, "responseId": reply.id})


def _written(index: int, candidate: Candidate) -> Json:
    cited = [
        _in_bytes(cited, part.text) for part in candidate.parts if isinstance(part, Text) for cited in part.citations
    ]
    written: dict[str, Json] = {
        "content": {"parts": _parts(candidate.parts), "role": "model"},
        "finishReason": _WRITTEN_REASON[candidate.reason],
        "index": index,
        **_grounding(cited),
    }
    return written | ({"logprobsResult": _likely(candidate.logprobs)} if candidate.logprobs else {})


def _parts(parts: tuple[Part, ...]) -> list[Json]:
    written: list[Json] = []
    thoughts: list[Thinking] = []
    for part in parts:
        match part:
            case Thinking(text):
                thoughts.append(part)
                written += [{"text": text, "thought": True}] if text else []
            case Text(text) | Refusal(text):
                written.append({"text": text} | _signed(thoughts))
            case ToolCall(ident, name, arguments):
                call = {"id": ident, "name": name, "args": parsed_arguments(arguments)}
                written.append({"functionCall": call} | _signed(thoughts))
            case _:
                pass
    signed = _signed(thoughts)
    return written + ([{"text": ""} | signed] if signed or not written else [])


def _signed(thoughts: list[Thinking]) -> dict[str, Json]:
    signature = _signature(thoughts)
    return {"thoughtSignature": signature} if signature else {}
