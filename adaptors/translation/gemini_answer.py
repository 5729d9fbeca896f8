"""Answers of the Gemini API, read: whole, and event by event.

Each event of a stream is a whole answer with the next piece of text, so that one reader serves both
(https://ai.google.dev/api/generate-content#generatecontentresponse). A call comes whole, and STOP is its reason too. No
event is the last: the end is proven by a reason for every candidate, or by a blocked prompt, and a clean end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, decoded, encoded
from adaptors.sse import ServerEvent
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
from adaptors.translation.gemini_content import ORIGIN
from adaptors.values import Usage
from adaptors.wires.gemini_errors import as_gemini
from adaptors.wires.gemini_generate import read_gemini_usage
from adaptors.wires.openai_errors import broken_answer
from adaptors.wires.openai_json import read_document
from adaptors.wires.openai_stream import decoded_event, incomplete, passed_over

# https://ai.google.dev/api/generate-content#FinishReason; what is not here was kept back for a reason that nobody tells
_READ_REASON: Final[dict[str, Reason]] = {
    "STOP": "stop",
    "FINISH_REASON_UNSPECIFIED": "stop",
    "NO_IMAGE": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
}
_BROKEN: Final = {
    "MALFORMED_FUNCTION_CALL": "The provider's model wrote a tool call that cannot be read",
    "UNEXPECTED_TOOL_CALL": "The provider's model called a tool that it was not given",
    "TOO_MANY_TOOL_CALLS": "The provider's model called its own tools too often",
    "MISSING_THOUGHT_SIGNATURE": "The provider misses the signature of a thought in the conversation",
    "MALFORMED_RESPONSE": "The provider's model wrote an answer that cannot be read",
}
"""Reasons after which what has come is no answer: asking again helps."""
_MAX_CANDIDATES: Final = 64
"""How many candidates are kept account of; the API allows 8."""
_MAX_CALLS: Final = 1024
"""More calls than any model writes in one turn (512 functions can be declared)."""


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _objects(value: Json) -> list[dict[str, Json]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _index(value: Json) -> int:
    return value if type(value) is int else 0


# A stream


class _State:
    """What is known of one candidate so far."""

    __slots__ = ("calls", "finished", "is_ascii")

    def __init__(self) -> None:
        self.calls = False
        self.finished = False
        self.is_ascii = True
        """Then places counted in bytes are places counted in characters."""


class GenerateReader:
    """Reads a provider's stream."""

    __slots__ = ("_asked", "_blocked", "_calls", "_current", "_ident", "_started", "_states")

    def __init__(self, candidates: int = 1) -> None:
        """Make a reader of an answer that must have so many candidates."""
        self._asked = candidates
        self._started = False
        self._blocked = False
        self._ident = ""
        self._current = 0
        self._calls = 0
        self._states: dict[int, _State] = {}

    def read(self, event: ServerEvent) -> list[Event]:
        """Return what this event says. Raises AnswerFailed: an error, or garbage."""
        try:
            if event.data is None:
                passed_over(event)
                return []
            return self.document(decoded_event(event, event.data))
        except AnswerFailed as failed:
            raise AnswerFailed(as_gemini(failed.failure, event.data or event.raw)) from failed

    def end(self) -> list[Event]:
        """Return the end, if every candidate has a reason. Raises AnswerFailed: one has none, or none has come."""
        finished = sum(state.finished for state in self._states.values())
        if finished < max(self._asked, len(self._states)) and not self._blocked:
            raise incomplete()
        return [Ended()]

    def document(self, document: dict[str, Json]) -> list[Event]:
        """Return what an answer, or a piece of one, says; first the tokens, which some formats begin with."""
        usage = read_gemini_usage(document.get("usageMetadata"))
        events: list[Event] = [] if usage is None else [Counted(usage)]
        if not self._started:
            self._started = True
            self._ident = _text(document.get("responseId"))
            events.append(Started(self._ident, _text(document.get("modelVersion"))))
        for candidate in _objects(document.get("candidates")):
            self._candidate(candidate, events)
        if _object(document.get("promptFeedback")).get("blockReason") and not self._states:
            self._blocked = True
            events.append(Finished("filtered"))
        return events

    def _candidate(self, candidate: dict[str, Json], events: list[Event]) -> None:
        state = self._switched(_index(candidate.get("index")), events)
        for part in _objects(_object(candidate.get("content")).get("parts")):
            self._part(state, part, events)
        if logprobs := candidate.get("logprobsResult"):
            events.append(LogprobsDelta(tuple(_tokens(_object(logprobs)))))
        if candidate.get("groundingMetadata") or candidate.get("citationMetadata"):
            events += [Cited(citation) for citation in _citations(candidate, known=state.is_ascii)]
        if (reason := candidate.get("finishReason")) and not state.finished:
            state.finished = True
            events.append(Finished(_reason(_text(reason), called=state.calls)))

    def _switched(self, index: int, events: list[Event]) -> _State:
        """Return the state of this candidate, and say so if it is another than before."""
        if index != self._current:
            self._current = index
            events.append(CandidateSwitched(index))
        state = self._states.get(index)
        if state is None:
            if len(self._states) >= _MAX_CANDIDATES:
                raise AnswerFailed(broken_answer(f"The provider's answer has more than {_MAX_CANDIDATES} candidates."))
            state = self._states[index] = _State()
        return state

    def _part(self, state: _State, part: dict[str, Json], events: list[Event]) -> None:
        """Tell a part. The signature of a call comes before it, as a thought does; that of words after them."""
        text, signature = _text(part.get("text")), _text(part.get("thoughtSignature"))
        call = part.get("functionCall")
        if isinstance(call, dict):
            if signature:
                events.append(ThinkingSigned(signature, origin=ORIGIN))
            state.calls = True
            self._call(call, events)
            return
        if part.get("thought") is True:
            if text:
                events.append(ThinkingDelta(text))
        elif shown := text or _picture(part.get("inlineData")):
            state.is_ascii = state.is_ascii and shown.isascii()
            events.append(TextDelta(shown))
        if signature:
            events.append(ThinkingSigned(signature, origin=ORIGIN))

    def _call(self, call: dict[str, Json], events: list[Event]) -> None:
        """Tell a call. One without an id gets one that no other answer gives."""
        if self._calls >= _MAX_CALLS:
            raise AnswerFailed(broken_answer(f"The provider's answer holds more than {_MAX_CALLS} tool calls."))
        at = self._calls
        self._calls += 1
        ident = _text(call.get("id")) or "_".join(filter(None, ("call", self._ident, str(at))))
        arguments = encoded(_object(call.get("args"))).decode()
        events += [ToolStarted(at, ident, _text(call.get("name"))), ToolDelta(at, arguments), ToolEnded(at)]


def _reason(said: str, *, called: bool) -> Reason:
    """Return why a candidate ended. Raises AnswerFailed: it broke down."""
    if said in _BROKEN:
        raise AnswerFailed(broken_answer(f"{_BROKEN[said]} ({said})."))
    reason = _READ_REASON.get(said, "filtered")
    return "tool" if called and reason == "stop" else reason


def _picture(data: Json) -> str:
    """Return a picture that the model drew as the text that shows it: no other format's stream has a place for one."""
    blob = _object(data)
    if not _text(blob.get("data")):
        return ""
    return f"![image](data:{_text(blob.get('mimeType'))};base64,{_text(blob.get('data'))})"


def _tokens(result: dict[str, Json]) -> Iterator[TokenLogprob]:
    """Yield the tokens of a `logprobsResult`."""
    tops = _objects(result.get("topCandidates"))
    for at, chosen in enumerate(_objects(result.get("chosenCandidates"))):
        top = _objects(tops[at].get("candidates")) if at < len(tops) else ()
        yield TokenLogprob(*_token(chosen), tuple(map(_token, top)))


def _token(token: dict[str, Json]) -> tuple[str, float]:
    likely = token.get("logProbability")
    return _text(token.get("token")), float(likely) if isinstance(likely, int | float) else 0.0


def _citations(candidate: dict[str, Json], *, known: bool) -> Iterator[Citation]:
    """Yield where the words come from. Places are told in bytes: they are passed on where those are characters."""
    grounding = _object(candidate.get("groundingMetadata"))
    sources = [_source(chunk) for chunk in _objects(grounding.get("groundingChunks"))]
    supported: set[int] = set()
    for support in _objects(grounding.get("groundingSupports")):
        segment = _object(support.get("segment"))
        start, end = _index(segment.get("startIndex")), _index(segment.get("endIndex"))
        indices = support.get("groundingChunkIndices")
        for at in indices if isinstance(indices, list) else ():
            if type(at) is int and 0 <= at < len(sources):
                supported.add(at)
                yield _placed(sources[at], start, end, known=known)
    yield from (source for at, source in enumerate(sources) if at not in supported)
    recited = _object(candidate.get("citationMetadata"))
    for cited in _objects(recited.get("citationSources") or recited.get("citations")):
        source = Citation(_text(cited.get("uri")), _text(cited.get("title")))
        yield _placed(source, _index(cited.get("startIndex")), _index(cited.get("endIndex")), known=known)


def _source(chunk: dict[str, Json]) -> Citation:
    kinds = (chunk.get(kind) for kind in ("web", "retrievedContext", "maps"))
    source: dict[str, Json] = next((kind for kind in kinds if isinstance(kind, dict)), {})
    return Citation(_text(source.get("uri")), _text(source.get("title")), _text(source.get("text")))


def _placed(source: Citation, start: int, end: int, *, known: bool) -> Citation:
    return Citation(source.url, source.title, source.quote, start, end) if known else source


# A whole answer


def read_generate_reply(body: bytes) -> Reply:
    """Return what a whole answer says. Raises AnswerFailed: it is none, or an error inside a 200."""
    try:
        read_document(body)
    except AnswerFailed as failed:
        raise AnswerFailed(as_gemini(failed.failure, body)) from failed
    document = _object(decoded(body))
    if not ("candidates" in document or "promptFeedback" in document):
        raise AnswerFailed(broken_answer("The provider answered 200 with JSON that is no generated content."))
    return _folded(GenerateReader().document(document))


class _Folding:
    """A candidate in the making."""

    __slots__ = ("citations", "parts", "reason", "thought", "tokens")

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.thought = ""
        self.citations: list[Citation] = []
        self.tokens: list[TokenLogprob] = []
        self.reason: Reason = "stop"

    def add(self, event: Event) -> None:
        """Add what an event says."""
        match event:
            case TextDelta(text):
                self._close_thought()
                if self.parts and isinstance(words := self.parts[-1], Text):
                    self.parts[-1] = Text(words.text + text)
                else:
                    self.parts.append(Text(text))
            case ThinkingDelta(text):
                self.thought += text
            case ThinkingSigned(signature, hidden, origin):
                self.parts.append(Thinking(self.thought, signature, hidden, origin))
                self.thought = ""
            case ToolStarted(_, ident, name):
                self._close_thought()
                self.parts.append(ToolCall(ident, name, ""))
            case ToolDelta(_, fragment) if isinstance(call := self.parts[-1], ToolCall):
                self.parts[-1] = ToolCall(call.id, call.name, fragment)
            case Cited(citation):
                self.citations.append(citation)
            case LogprobsDelta(tokens):
                self.tokens += tokens
            case Finished(reason):
                self.reason = reason
            case _:
                pass

    def _close_thought(self) -> None:
        if self.thought:
            self.parts.append(Thinking(self.thought))
            self.thought = ""

    def candidate(self) -> Candidate:
        """Return the candidate; where the words come from stands with the last of them."""
        self._close_thought()
        last = next((at for at in reversed(range(len(self.parts))) if isinstance(self.parts[at], Text)), None)
        if self.citations and last is not None and isinstance(words := self.parts[last], Text):
            self.parts[last] = Text(words.text, tuple(self.citations))
        return Candidate(tuple(self.parts), self.reason, logprobs=tuple(self.tokens))


def _folded(events: Iterable[Event]) -> Reply:
    """Return the answer that the events of one document tell."""
    ident = model = ""
    usage: Usage | None = None
    current = 0
    candidates: dict[int, _Folding] = {}
    for event in events:
        if isinstance(event, Started):
            ident, model = event.id, event.model
        elif isinstance(event, Counted):
            usage = event.usage
        elif isinstance(event, CandidateSwitched):
            current = event.index
        else:
            candidates.setdefault(current, _Folding()).add(event)
    if not candidates:
        raise AnswerFailed(broken_answer("The provider's answer has no candidate, and no reason why."))
    return Reply(ident, model, tuple(candidates[index].candidate() for index in sorted(candidates)), usage)
