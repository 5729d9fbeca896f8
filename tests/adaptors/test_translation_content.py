"""What messages and answers hold comes out in the other format: by the providers' own examples, whole and streamed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from anthropic_streams import BASIC
from anthropic_streams import call as messages_call
from openai_streams import LIMIT, passed_and_failure, read, split_everywhere, sse
from openai_streams import call as chat_call
from openai_streams import chunk as chat_chunk

from adaptors.anthropic import Anthropic
from adaptors.bodies import BadBody
from adaptors.compatible import COMPATIBLE
from adaptors.jsonbytes import encoded
from adaptors.sse import SSEParser
from adaptors.translation.answer import TranslatedAnswer
from adaptors.translation.chat_answer import ChatReader
from adaptors.translation.chat_request import SHARED_FIELDS, Options, read_chat_request, write_chat_request
from adaptors.translation.claude_models import Claude, Off, Sampling, Thinking, claude
from adaptors.translation.conversation import (
    CandidateSwitched,
    Cited,
    Ended,
    Finished,
    LogprobsDelta,
    Reasoning,
    RefusalDelta,
    Started,
    TextDelta,
    ToolStarted,
)
from adaptors.translation.frame import Frame
from adaptors.translation.messages_answer import MessagesReader
from adaptors.translation.messages_request import read_messages_request
from adaptors.values import ProviderAccount

Doc = dict[str, Any]

ROWS = {row.name: row for row in COMPATIBLE}
ACCOUNT = ProviderAccount("https://api.example", "k")
EPHEMERAL = {"type": "ephemeral"}


def through(provider: str, client: str) -> TranslatedAnswer:
    return TranslatedAnswer(provider, client, Frame(LIMIT, created=7))


def to_chat() -> TranslatedAnswer:
    return through("anthropic_messages", "openai_chat")


def to_messages() -> TranslatedAnswer:
    return through("openai_chat", "anthropic_messages")


def whole(answer: TranslatedAnswer, body: Doc) -> Doc:
    document: Doc = json.loads(answer.whole(json.dumps(body).encode()))
    return document


def events_of(stream: bytes) -> list[Doc]:
    return [json.loads(event.data) for event in SSEParser(LIMIT).feed(stream) if event.data not in {None, b"[DONE]"}]


def anthropic_stream(*events: Doc) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def sent_to_anthropic(model: str = "claude-sonnet-4-5", **fields: Any) -> tuple[Doc, tuple[str, ...]]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    request = Anthropic().request(chat_call(body=json.dumps(body).encode()), ACCOUNT, model)
    return json.loads(request.body or b""), request.dropped


def sent_by_anthropics(row: str = "openai", model: str = "gpt-5", **fields: Any) -> tuple[Doc, tuple[str, ...]]:
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}
    request = ROWS[row].request(messages_call(body=json.dumps(body).encode()), ACCOUNT, model)
    return json.loads(request.body or b""), request.dropped


def user(*content: Doc) -> list[Doc]:
    return [{"role": "user", "content": list(content)}]


# ---- Where words come from

# https://platform.claude.com/docs/en/build-with-claude/citations, "Response structure"
GRASS = {
    "type": "char_location",
    "cited_text": "The grass is green.",
    "document_index": 0,
    "document_title": "Example Document",
    "start_char_index": 0,
    "end_char_index": 20,
}
# https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool, "Response"
SHANNON = {
    "type": "web_search_result_location",
    "url": "https://en.wikipedia.org/wiki/Claude_Shannon",
    "title": "Claude Shannon - Wikipedia",
    "encrypted_index": "Eo8BCioIAhgBIiQyYjQ0OWJmZi1lNm..",
    "cited_text": "Claude Elwood Shannon (April 30, 1916 - February 24, 2001) was an American mathematician...",
}
SEARCHED: list[Doc] = [
    {"type": "text", "text": "I'll search for when Claude Shannon was born."},
    {
        "type": "server_tool_use",
        "id": "srvtoolu_01WYG3ziw53XMcoyKL4XcZmE",
        "name": "web_search",
        "input": {"query": "claude shannon birth date"},
    },
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_01WYG3ziw53XMcoyKL4XcZmE",
        "content": [
            {
                "type": "web_search_result",
                "url": "https://en.wikipedia.org/wiki/Claude_Shannon",
                "title": "Claude Shannon - Wikipedia",
                "encrypted_content": "EqgfCioIARgBIiQ3YTAwMjY1Mi1mZjM5LTQ1NGUtODgxNC1kNjNjNTk1ZWI3Y...",
                "page_age": "April 30, 2025",
            }
        ],
    },
    {"text": "Based on the search results, ", "type": "text"},
    {
        "text": "Claude Shannon was born on April 30, 1916, in Petoskey, Michigan",
        "type": "text",
        "citations": [SHANNON],
    },
]
MESSAGE: Doc = {
    "id": "msg_a930390d3a",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-8",
    "content": SEARCHED,
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 6039, "output_tokens": 931, "server_tool_use": {"web_search_requests": 1}},
}
SAID = (
    "I'll search for when Claude Shannon was born.Based on the search results, "
    "Claude Shannon was born on April 30, 1916, in Petoskey, Michigan"
)
ANNOTATION = {
    "type": "url_citation",
    "url_citation": {
        "start_index": SAID.index("Claude Shannon was born on"),
        "end_index": len(SAID),
        "title": "Claude Shannon - Wikipedia",
        "url": "https://en.wikipedia.org/wiki/Claude_Shannon",
        "content": SHANNON["cited_text"],
    },
}


def streamed_message(message: Doc) -> bytes:
    """Return the message as the API streams it ("Streaming response" of the same pages)."""
    events: list[Doc] = [{"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}]
    for index, block in enumerate(message["content"]):
        opening = {**block, "text": ""} if block["type"] == "text" else block
        opening.pop("citations", None)
        deltas = [{"type": "citations_delta", "citation": cited} for cited in block.get("citations", [])]
        if block["type"] == "text":
            deltas.append({"type": "text_delta", "text": block["text"]})
        events.append({"type": "content_block_start", "index": index, "content_block": opening})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ended = {name: message.get(name) for name in ("stop_reason", "stop_sequence", "stop_details")}
    events.append({"type": "message_delta", "delta": ended, "usage": {"output_tokens": 9}})
    return anthropic_stream(*events, {"type": "message_stop"})


def test_a_claudes_sources_are_a_chat_clients_annotations() -> None:
    """With the place of the cited words in the whole message; what Anthropic's own tools did is passed over."""
    message = whole(to_chat(), MESSAGE)["choices"][0]["message"]
    assert message["content"] == SAID
    assert message["annotations"] == [ANNOTATION]
    assert "tool_calls" not in message


def test_a_claudes_sources_are_streamed() -> None:
    """The same, however the stream is cut."""
    stream = streamed_message(MESSAGE)
    passed = read(to_chat(), [stream])
    deltas = [choice["delta"] for chunk in events_of(passed) for choice in chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == SAID
    assert [item for delta in deltas for item in delta.get("annotations", ())] == [ANNOTATION]
    for pieces in split_everywhere(stream):
        assert read(to_chat(), pieces) == passed


def test_a_document_without_an_address_is_no_annotation() -> None:
    """Chat has but citations of addresses: the words come, without them."""
    cited = {**MESSAGE, "content": [{"type": "text", "text": "the grass is green", "citations": [GRASS]}]}
    message = whole(to_chat(), cited)["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "the grass is green", "refusal": None}


LOCATIONS: list[Doc] = [
    GRASS,
    {"type": "page_location", "cited_text": "q", "document_index": 0, "document_title": None, "start_page_number": 1,
     "end_page_number": 2},
    {"type": "content_block_location", "cited_text": "q", "document_index": 0, "document_title": "t",
     "start_block_index": 0, "end_block_index": 1},
    SHANNON,
    {"type": "search_result_location", "cited_text": "q", "search_result_index": 0, "source": "https://x.example/a",
     "title": "t", "start_block_index": 0, "end_block_index": 1},
]  # fmt: skip


@pytest.mark.parametrize("cited", LOCATIONS, ids=lambda cited: cited["type"])
def test_each_kind_of_citation_is_read(cited: Doc) -> None:
    """Title, quote and, where there is one, the address (anthropic-python, types/text_citation.py)."""
    stream = streamed_message({**MESSAGE, "content": [{"type": "text", "text": "four", "citations": [cited]}]})
    events, reader = SSEParser(LIMIT).feed(stream), MessagesReader()
    (citation,) = [told.citation for event in events for told in reader.read(event) if isinstance(told, Cited)]
    assert citation.url == (cited.get("url") or cited.get("source") or "")
    assert citation.title == (cited.get("title") or cited.get("document_title") or "")
    assert (citation.quote, citation.start, citation.end) == (cited["cited_text"], 0, 4)


# https://platform.openai.com/docs/guides/tools-web-search?api-mode=chat, "Output and citations"
ANNOTATED = {
    "role": "assistant",
    "content": "the model response is here...",
    "refusal": None,
    "annotations": [
        {
            "type": "url_citation",
            "url_citation": {"end_index": 985, "start_index": 764, "title": "Page title...", "url": "https://..."},
        }
    ],
}
CITED = {
    "type": "web_search_result_location",
    "url": "https://...",
    "title": "Page title...",
    "cited_text": "",
    "encrypted_index": "",
}


def completion(message: Doc, **choice: Any) -> Doc:
    made = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None, **choice}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [made]}


def test_annotations_are_a_messages_clients_citations() -> None:
    """Whole and streamed, on the block of the words that they belong to."""
    (block,) = whole(to_messages(), completion(ANNOTATED))["content"]
    assert block == {"type": "text", "text": "the model response is here...", "citations": [CITED]}
    stream = sse(
        chat_chunk({"role": "assistant", "content": "Hi"}),
        chat_chunk({"annotations": ANNOTATED["annotations"]}),
        chat_chunk({}, "stop"),
        "[DONE]",
    )
    deltas = [event["delta"] for event in events_of(read(to_messages(), [stream])) if "delta" in event]
    assert [delta for delta in deltas if "type" in delta] == [
        {"type": "text_delta", "text": "Hi"},
        {"type": "citations_delta", "citation": CITED},
    ]


def test_addresses_beside_the_choices_are_told_once() -> None:
    """Perplexity repeats them in each chunk (https://docs.perplexity.ai), xAI has them in the last one."""
    sources = {"citations": ["https://a.example", "https://b.example", 7]}
    chunks = [chat_chunk({"content": "a"}) | sources, chat_chunk({"content": "b"}, "stop") | sources]
    events = events_of(read(to_messages(), [sse(*chunks)]))
    told = [event["delta"]["citation"]["url"] for event in events if "citation" in event.get("delta", {})]
    assert told == sources["citations"][:2]
    chunks_told = events_of(read(through("openai_chat", "openai_chat"), [sse(*chunks)]))
    assert sum(len(choice["delta"].get("annotations", ())) for chunk in chunks_told for choice in chunk["choices"]) == 2
    (block,) = whole(to_messages(), completion({"content": "ab"}) | sources)["content"]
    assert [citation["url"] for citation in block["citations"]] == sources["citations"][:2]


# ---- Declining

# https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons, "refusal"
DECLINED = {
    **MESSAGE,
    "content": [],
    "stop_reason": "refusal",
    "stop_details": {"type": "refusal", "category": "cyber", "explanation": "This could enable harm."},
}


def test_why_a_claude_declines_is_the_refusal() -> None:
    """Whole and streamed."""
    (choice,) = whole(to_chat(), DECLINED)["choices"]
    assert (choice["message"]["refusal"], choice["finish_reason"]) == ("This could enable harm.", "content_filter")
    chunks = events_of(read(to_chat(), [streamed_message(DECLINED)]))
    assert "".join(chunk["choices"][0]["delta"].get("refusal") or "" for chunk in chunks) == "This could enable harm."
    assert chunks[-1]["choices"][0]["finish_reason"] == "content_filter"


REASONS = [
    ("end_turn", "stop"),
    ("stop_sequence", "stop"),
    ("max_tokens", "length"),
    ("model_context_window_exceeded", "length"),
    ("tool_use", "tool_calls"),
    ("pause_turn", "length"),
    ("refusal", "content_filter"),
]


@pytest.mark.parametrize(("there", "here"), REASONS)
def test_each_reason_of_ending_has_its_word(there: str, here: str) -> None:
    """An answer that is not over is not said to be (anthropic-python, types/stop_reason.py)."""
    message = {**MESSAGE, "content": [{"type": "text", "text": "a"}], "stop_reason": there}
    assert whole(to_chat(), message)["choices"][0]["finish_reason"] == here
    assert events_of(read(to_chat(), [streamed_message(message)]))[-1]["choices"][0]["finish_reason"] == here


# ---- Several answers, and how likely they are

# https://platform.openai.com/docs/api-reference/chat/object, "Logprobs"
TOKEN = {
    "token": "Hello",
    "logprob": -0.31725305,
    "bytes": [72, 101, 108, 108, 111],
    "top_logprobs": [
        {"token": "Hello", "logprob": -0.31725305, "bytes": [72, 101, 108, 108, 111]},
        {"token": "Hi", "logprob": -1.3190403, "bytes": [72, 105]},
    ],
}
PIECE = {"token": "bytes:\\xe2\\x80", "logprob": -1.0, "bytes": None, "top_logprobs": []}


def test_every_choice_comes_through() -> None:
    """In their order, each with its own words, reason and likelihoods."""
    second = {**completion({"content": "b"}, index=1, finish_reason="length")["choices"][0]}
    second["logprobs"] = {"content": [TOKEN, PIECE], "refusal": None}
    body = completion({"content": "a"}, index=0)
    body["choices"].insert(0, second)
    choices = whole(through("openai_chat", "openai_chat"), body)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert [choice["message"]["content"] for choice in choices] == ["a", "b"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "length"]
    assert [choice["logprobs"] for choice in choices] == [None, second["logprobs"]]


def choice_chunk(index: int, delta: Doc, reason: str | None = None, logprobs: Doc | None = None) -> Doc:
    chunk = chat_chunk(delta, reason)
    chunk["choices"][0] |= {"index": index, "logprobs": logprobs}
    return chunk


def begun(index: int, name: str) -> Doc:
    function = {"name": name, "arguments": ""}
    return {"tool_calls": [{"index": index, "id": f"call_{name}", "type": "function", "function": function}]}


def fragment(index: int, arguments: str) -> Doc:
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


TWO = [
    choice_chunk(0, {"role": "assistant", "content": ""}),
    choice_chunk(1, {"role": "assistant", "content": ""}),
    choice_chunk(0, {"content": "Hello"}, logprobs={"content": [TOKEN], "refusal": None}),
    choice_chunk(1, {"refusal": "No"}, logprobs={"content": None, "refusal": [PIECE]}),
    choice_chunk(0, begun(0, "a")),
    choice_chunk(1, begun(0, "b")),
    choice_chunk(0, fragment(0, '{"of":0}')),
    choice_chunk(1, fragment(0, '{"of":1}')),
    choice_chunk(0, begun(1, "c")),
    choice_chunk(0, {}, "tool_calls"),
    choice_chunk(1, {}, "stop"),
]


def test_a_stream_of_two_choices_is_two_candidates() -> None:
    """What follows is of the candidate that was switched to; calls of one index in two choices are two calls."""
    reader = ChatReader()
    told = [event for sent in SSEParser(LIMIT).feed(sse(*TWO, "[DONE]")) for event in reader.read(sent)]
    kinds = [type(event) for event in told]
    assert [event.index for event in told if isinstance(event, CandidateSwitched)] == [1, 0, 1, 0, 1, 0, 1, 0, 1]
    assert [event.index for event in told if isinstance(event, ToolStarted)] == [0, 1, 2]
    assert [event.reason for event in told if isinstance(event, Finished)] == ["tool", "refused"]
    assert (kinds[0], kinds[-1]) == (Started, Ended)
    likely = [token for event in told if isinstance(event, LogprobsDelta) for token in event.tokens]
    assert [token.token for token in likely] == ["Hello", "bytes:\\xe2\\x80"]
    assert likely[0].top == (("Hello", -0.31725305), ("Hi", -1.3190403))
    assert kinds.index(TextDelta) < kinds.index(LogprobsDelta) < kinds.index(RefusalDelta)


def choices_of(stream: bytes) -> dict[int, Doc]:
    """Return what a client puts together of each choice."""
    put: dict[int, Doc] = {}
    for chunk in events_of(stream):
        for choice in chunk["choices"]:
            one = put.setdefault(
                choice["index"], {"content": "", "refusal": "", "calls": [], "tokens": [], "finish": None}
            )
            delta = choice["delta"]
            one["content"] += delta.get("content") or ""
            one["refusal"] += delta.get("refusal") or ""
            for call in delta.get("tool_calls", ()):
                if "id" in call:
                    assert call["index"] == len(one["calls"])
                    one["calls"].append([call["id"], call["function"]["name"], ""])
                one["calls"][call["index"]][2] += call["function"]["arguments"]
            one["tokens"] += (choice["logprobs"] or {}).get("content") or []
            one["finish"] = choice["finish_reason"] or one["finish"]
    return put


def test_a_stream_of_two_choices_is_written_as_one() -> None:
    """Each chunk names its choice, and each choice counts its own calls, however the stream is cut."""
    stream = sse(*TWO, "[DONE]")
    passed = read(through("openai_chat", "openai_chat"), [stream])
    first, second = {"content": "Hello", "refusal": ""}, {"content": "", "refusal": "No"}
    assert choices_of(passed) == {
        0: first
        | {"calls": [["call_a", "a", '{"of":0}'], ["call_c", "c", ""]], "tokens": [TOKEN], "finish": "tool_calls"},
        1: second | {"calls": [["call_b", "b", '{"of":1}']], "tokens": [PIECE], "finish": "content_filter"},
    }
    for pieces in split_everywhere(stream):
        assert read(through("openai_chat", "openai_chat"), pieces) == passed


def test_a_client_that_knows_one_answer_gets_the_first() -> None:
    """Another, which nobody asked for, is passed over, its calls too."""
    passed = read(to_messages(), [sse(*TWO, "[DONE]")])
    assert b"No" not in passed
    assert b"call_b" not in passed
    assert events_of(passed)[-2]["delta"]["stop_reason"] == "tool_use"


def test_every_choice_must_end() -> None:
    """One that has begun and has no reason of ending says that the stream is cut off."""
    passed, failed = passed_and_failure(through("openai_chat", "openai_chat"), [sse(*TWO[:-1])])
    assert failed is not None
    assert b"[DONE]" not in passed


@pytest.mark.parametrize("index", [128, -1, "x", 10**30])
def test_choices_are_counted(index: object) -> None:
    """No provider gives more than 128, so none is kept count of."""
    chunk = chat_chunk({"content": "a"})
    chunk["choices"][0]["index"] = index
    _, failed = passed_and_failure(through("openai_chat", "openai_chat"), [sse(chunk)])
    assert failed is not None
    assert "choice of the number" in failed.failure.message


# ---- Tokens

# 2,048 written to the cache, 1,800 read from it (https://platform.claude.com/docs/en/build-with-claude/prompt-caching)
ANTHROPIC_COUNTS = {
    "input_tokens": 50,
    "cache_creation_input_tokens": 2048,
    "cache_read_input_tokens": 1800,
    "output_tokens": 503,
    "output_tokens_details": {"thinking_tokens": 100},
}
OPENAI_COUNTS = {
    "prompt_tokens": 3898,
    "completion_tokens": 503,
    "total_tokens": 4401,
    "prompt_tokens_details": {"cached_tokens": 1800, "cache_write_tokens": 2048},
    "completion_tokens_details": {"reasoning_tokens": 100},
}


def test_tokens_are_counted_by_each_sides_own_rule() -> None:
    """What each would bill is the same: Anthropic counts the cache beside the input, OpenAI within it."""
    assert whole(to_chat(), {**MESSAGE, "usage": ANTHROPIC_COUNTS})["usage"] == OPENAI_COUNTS
    counted = {**completion({"content": "a"}), "usage": OPENAI_COUNTS}
    assert whole(to_messages(), counted)["usage"] == ANTHROPIC_COUNTS


# ---- What is asked for


def test_a_chat_request_says_to_openai_likes_what_it_said() -> None:
    """Through the values and back, from a client of another format or not."""
    said: Doc = {
        "seed": 7, "presence_penalty": 0.5, "frequency_penalty": -0.5, "n": 2, "logprobs": True, "top_logprobs": 3,
        "metadata": {"a": "b"}, "service_tier": "flex", "prompt_cache_key": "k", "verbosity": "low", "store": True,
        "safety_identifier": "s",
    }  # fmt: skip
    body = json.dumps({"model": "m", "messages": [], **said}).encode()
    options = Options(limit_field="l", takes_effort=True, replays_reasoning=False, shared_fields=SHARED_FIELDS)
    written, dropped = write_chat_request(read_chat_request(body), "m", options)
    assert (json.loads(encoded(written)), dropped) == ({"model": "m", "messages": [], **said}, ())
    options = Options(limit_field="l", takes_effort=True, replays_reasoning=False)
    _, dropped = write_chat_request(read_chat_request(body), "m", options)
    assert dropped == ("metadata", "service_tier", "prompt_cache_key", "verbosity")


def test_what_messages_and_tools_say_besides_is_named() -> None:
    """A speaker's name, an answer's sound, examples of a tool's use: the answer is right without them."""
    turns = [
        {"role": "user", "name": "ann", "content": "hi"},
        {"role": "assistant", "content": "ho", "audio": {"id": "audio_1"}},
        {"role": "tool", "name": "f", "tool_call_id": "c", "content": "r"},
    ]
    assert sent_to_anthropic(messages=turns)[1] == ("messages.name", "messages.audio")
    assert sent_to_anthropic(messages=turns[2:])[1] == ()
    tool = {"name": "f", "input_schema": {}, "type": "custom", "input_examples": [{}], "defer_loading": True}
    assert sent_by_anthropics(tools=[tool, tool])[1] == ("tools.input_examples", "tools.defer_loading")


def test_a_call_in_the_old_form_is_refused() -> None:
    """Without it the conversation would be another."""
    turn = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    with pytest.raises(BadBody) as refused:
        sent_to_anthropic(messages=[turn])
    assert refused.value.param == "messages[0].function_call"


def test_what_only_openai_has_is_left_out_at_anthropic() -> None:
    """And named, but for what makes no difference there."""
    sent, dropped = sent_to_anthropic(
        metadata={"a": "b"}, verbosity="low", store=True, safety_identifier="s", prediction={"type": "content"}
    )
    assert dropped == ("prediction", "metadata", "verbosity")
    assert sent["metadata"] == {"user_id": "s"}


TIERS = [("auto", "auto", "auto"), ("standard_only", "default", "default")]


@pytest.mark.parametrize(("anthropics", "openais", "said"), TIERS)
def test_a_service_tier_is_translated(anthropics: str, openais: str, said: str) -> None:
    """Both say whether what is paid better may be used; OpenAI's further ones are named."""
    assert sent_by_anthropics(service_tier=anthropics)[0]["service_tier"] == openais
    sent, dropped = sent_to_anthropic(service_tier=said)
    assert (sent["service_tier"], dropped) == (anthropics, ())
    assert sent_to_anthropic(service_tier="flex")[1] == ("service_tier",)
    assert sent_by_anthropics("groq", service_tier="auto")[1] == ("service_tier",)


# https://platform.openai.com/docs/guides/audio, "Audio input to model"
SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}


def test_sound_is_heard_or_refused() -> None:
    """A Claude hears nothing; what came as sound leaves as sound."""
    with pytest.raises(BadBody) as refused:
        sent_to_anthropic(messages=user(SOUND))
    assert refused.value.param == "input_audio"
    assert "`input_audio`" in refused.value.message
    body = json.dumps({"model": "m", "messages": user(SOUND)}).encode()
    options = Options(limit_field="l", takes_effort=True, replays_reasoning=False)
    written, _ = write_chat_request(read_chat_request(body), "m", options)
    assert json.loads(encoded(written))["messages"] == user(SOUND)


def test_a_file_of_text_is_read_as_text() -> None:
    """OpenAI's files are PDF, Anthropic's are PDF or plain text; others are refused by their kind."""
    data = base64.b64encode("Grüße".encode()).decode()
    plain = {"type": "file", "file": {"filename": "a.txt", "file_data": f"data:text/plain;base64,{data}"}}
    (block,) = sent_to_anthropic(messages=user(plain))[0]["messages"][0]["content"]
    source = {"type": "text", "media_type": "text/plain", "data": "Grüße"}
    assert block == {"type": "document", "source": source, "title": "a.txt"}
    zipped = {"type": "file", "file": {"file_data": "data:application/zip;base64,AAAA"}}
    with pytest.raises(BadBody, match="application/zip"):
        sent_to_anthropic(messages=user(zipped))
    broken = {"type": "file", "file": {"file_data": "data:text/plain;base64,AAA"}}
    with pytest.raises(BadBody, match="UTF-8 in base64"):
        sent_to_anthropic(messages=user(broken))


# ---- What may be kept

# https://platform.claude.com/docs/en/build-with-claude/prompt-caching, "How to implement prompt caching" and "Caching tool
# definitions"
CACHED: Doc = {
    "tools": [{"name": "get_time", "description": "Get the current time", "cache_control": EPHEMERAL,
               "input_schema": {"type": "object", "properties": {}}}],
    "system": [
        {"type": "text", "text": "You are an AI assistant tasked with analyzing literary works."},
        {"type": "text", "text": "<the entire contents of Pride and Prejudice>", "cache_control": EPHEMERAL},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Analyze the major themes."}]},
        {"role": "assistant", "content": [
            {"type": "text", "text": "Hm."},
            {"type": "tool_use", "id": "toolu_1", "name": "get_time", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "noon"}],
             "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"type": "text", "text": "And?", "cache_control": EPHEMERAL},
        ]},
    ],
}  # fmt: skip


def test_marks_of_what_may_be_kept_reach_who_takes_them() -> None:
    """OpenRouter does, as its documents write them (https://openrouter.ai/docs/features/prompt-caching)."""
    sent, dropped = sent_by_anthropics("openrouter", **CACHED)
    assert dropped == ()
    assert sent["tools"][0]["cache_control"] == EPHEMERAL
    system, _, assistant, tool, last = sent["messages"]
    assert system["content"] == CACHED["system"]
    assert assistant["content"] == "Hm."
    assert tool["content"] == [{"type": "text", "text": "noon", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    assert last["content"] == [{"type": "text", "text": "And?", "cache_control": EPHEMERAL}]
    back, dropped = sent_to_anthropic(tools=sent["tools"], messages=sent["messages"])
    assert dropped == ()
    assert {name: back[name] for name in CACHED} == CACHED


def test_marks_are_left_out_for_who_would_refuse_them() -> None:
    """Named once; the words are as they would be without."""
    sent, dropped = sent_by_anthropics(**CACHED)
    assert dropped == ("cache_control",)
    assert "cache_control" not in json.dumps(sent)
    assert sent["messages"][0]["content"] == "\n\n".join(block["text"] for block in CACHED["system"])


# https://docs.litellm.ai/docs/completion/prompt_caching: on a message, on a function, on the whole request
MARKED: list[tuple[Doc, tuple[str, ...]]] = [
    ({"messages": [{"role": "system", "content": "s", "cache_control": EPHEMERAL}, *user({"type": "text", "text": "u"})]},
     ("system", "0")),
    ({"messages": [{"role": "user", "content": "u", "cache_control": EPHEMERAL}]}, ("messages", "0", "content", "0")),
    ({"tools": [{"type": "function", "function": {"name": "f", "cache_control": EPHEMERAL}}]}, ("tools", "0")),
    ({"cache_control": EPHEMERAL}, ("messages", "0", "content", "0")),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "place"), MARKED)
def test_marks_are_read_wherever_clients_write_them(fields: Doc, place: tuple[str, ...]) -> None:
    """And none is written where there was none."""
    sent, dropped = sent_to_anthropic(**fields)
    found: Any = sent
    for step in place:
        found = found[int(step) if step.isdigit() else step]
    assert (found["cache_control"], dropped) == (EPHEMERAL, ())
    assert json.dumps(sent).count("cache_control") == 1


def test_a_part_keeps_its_own_mark() -> None:
    """One on the message is for parts that have none."""
    hour = {"type": "ephemeral", "ttl": "1h"}
    text = {"type": "text", "text": "u", "cache_control": hour}
    sent, _ = sent_to_anthropic(messages=[{"role": "user", "content": [text], "cache_control": EPHEMERAL}])
    assert sent["messages"][0]["content"] == [text]


def test_a_mark_on_a_whole_message_request_is_on_its_last_block() -> None:
    """As Anthropic itself applies it (anthropic-python, types/message_create_params.py)."""
    sent, _ = sent_by_anthropics("openrouter", cache_control=EPHEMERAL)
    assert sent["messages"][0]["content"] == [{"type": "text", "text": "hi", "cache_control": EPHEMERAL}]


# ---- Documents and searches of Anthropic's


def test_documents_keep_what_they_say_and_are_called() -> None:
    """A title and a context stand before the words; that they were to be cited is named."""
    content = [{"type": "text", "text": "First chunk"}, {"type": "text", "text": "Second chunk"}]
    blocks = [
        {"type": "document", "title": "My Document", "context": "Trustworthy.", "citations": {"enabled": True},
         "source": {"type": "text", "media_type": "text/plain", "data": "The grass is green."}},
        {"type": "document", "title": "Chunks", "source": {"type": "content", "content": content}},
        {"type": "document", "source": {"type": "content", "content": "Bare"}},
    ]  # fmt: skip
    sent, dropped = sent_by_anthropics(messages=user(*blocks))
    assert [part["text"] for part in sent["messages"][0]["content"]] == [
        "My Document\nTrustworthy.\n\nThe grass is green.", "Chunks", "First chunk", "Second chunk", "Bare",
    ]  # fmt: skip
    assert dropped == ("citations",)


# https://platform.claude.com/docs/en/build-with-claude/search-results
SEARCH_RESULT = {
    "type": "search_result",
    "source": "https://docs.company.com/product-guide",
    "title": "Product Configuration Guide",
    "content": [{"type": "text", "text": "To configure the product, navigate to Settings."}],
    "citations": {"enabled": True},
}
FOUND = (
    "Product Configuration Guide\nhttps://docs.company.com/product-guide\n\n"
    "To configure the product, navigate to Settings."
)


def test_a_clients_own_search_results_are_words() -> None:
    """Under their title and address, in a turn and in the result of a tool."""
    sent, dropped = sent_by_anthropics(messages=user(SEARCH_RESULT))
    assert (sent["messages"][0]["content"], dropped) == (FOUND, ("citations",))
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [SEARCH_RESULT]}
    assert sent_by_anthropics(messages=user(result))[0]["messages"][0]["content"] == FOUND


def test_a_conversation_that_searched_goes_on_elsewhere() -> None:
    """The model's words stay, what Anthropic's own tools did does not, and it is named."""
    turns = [
        *user({"type": "text", "text": "When?"}),
        {"role": "assistant", "content": SEARCHED},
        *user({"type": "text", "text": "Sure?"}),
    ]
    sent, dropped = sent_by_anthropics(messages=turns)
    assert sent["messages"][1] == {"role": "assistant", "content": SAID}
    assert dropped == ("server_tool_use", "citations")


def test_sources_in_a_turn_that_comes_back_are_named() -> None:
    """Anthropic takes only those that it told itself."""
    turns = [{"role": "user", "content": "q"}, ANNOTATED, {"role": "user", "content": "and?"}]
    sent, dropped = sent_to_anthropic(messages=turns)
    assert sent["messages"][1]["content"] == [{"type": "text", "text": ANNOTATED["content"]}]
    assert dropped == ("citations",)


def test_a_result_that_is_an_error_is_named() -> None:
    """Chat has no field for it; the words tell."""
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ConnectionError", "is_error": True}
    sent, dropped = sent_by_anthropics(messages=user(result))
    assert (sent["messages"][0]["content"], dropped) == ("ConnectionError", ("is_error",))


def test_a_mark_on_a_call_is_named() -> None:
    """There is no place for it."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}, "cache_control": EPHEMERAL}
    assert sent_by_anthropics(messages=[{"role": "assistant", "content": [call]}])[1] == ("cache_control",)


# ---- What each Claude takes

KNOWN: dict[str, Claude] = {
    "claude-3-haiku-20240307": Claude(4096, Thinking.NEVER, sampling=Sampling.ALL),
    "claude-3-5-sonnet-20241022": Claude(8192, Thinking.NEVER, sampling=Sampling.ALL),
    "anthropic.claude-3-7-sonnet-20250219-v1:0": Claude(32_000, Thinking.BUDGET, sampling=Sampling.ALL),
    "claude-opus-4-20250514": Claude(32_000, Thinking.BUDGET, sampling=Sampling.ALL),
    "claude-4-opus-20250514": Claude(32_000, Thinking.BUDGET, sampling=Sampling.ALL),
    "claude-sonnet-4-0": Claude(32_000, Thinking.BUDGET, sampling=Sampling.ALL),
    "claude-opus-4-1@20250805": Claude(32_000, Thinking.BUDGET, sampling=Sampling.ONE),
    "claude-haiku-4-5-20251001": Claude(64_000, Thinking.BUDGET, sampling=Sampling.ONE),
    "anthropic/claude-opus-4.5": Claude(64_000, Thinking.BUDGET, sampling=Sampling.ONE),
    "claude-sonnet-4-6": Claude(efforts=("low", "medium", "high", "max"), sampling=Sampling.ONE),
    "claude-opus-4-8": Claude(),
    "claude-opus-5": Claude(off=Off.DISABLED),
    "claude-sonnet-5-20260601": Claude(off=Off.DISABLED),
    "claude-haiku-5-5": Claude(off=Off.DISABLED),
    "claude-sonnet-5-5": Claude(off=Off.BETWEEN_TOOLS, can_be_forced=False),
    "claude-opus-5-5": Claude(off=Off.IMPOSSIBLE, can_be_forced=False),
    "claude-fable-5": Claude(off=Off.IMPOSSIBLE),
    "claude-fable-5-20260401": Claude(off=Off.IMPOSSIBLE),
    "claude-mythos-5-2": Claude(off=Off.IMPOSSIBLE, can_be_forced=False),
    "claude-mythos-preview": Claude(64_000, off=Off.IMPOSSIBLE, efforts=("low", "medium", "high", "max")),
    "claude-opus-4-10": Claude(32_000, sampling=Sampling.ALL),
    "claude-opus-6": Claude(32_000, sampling=Sampling.ALL),
    "our-own-alias": Claude(32_000, sampling=Sampling.ALL),
}


@pytest.mark.parametrize("model", KNOWN)
def test_each_model_is_known_by_its_name(model: str) -> None:
    """As each platform writes it; one that is not known is one to come."""
    assert claude(model) == KNOWN[model]
    assert sent_to_anthropic(model)[0]["max_tokens"] == KNOWN[model].limit


EFFORTS: list[tuple[str, str, Doc, tuple[str, ...]]] = [
    ("claude-3-5-sonnet-20241022", "high", {}, ("reasoning_effort",)),
    ("claude-haiku-4-5", "xhigh", {"thinking": {"type": "enabled", "budget_tokens": 32_768}}, ()),
    ("claude-opus-4-6", "xhigh", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, ()),
    ("claude-opus-4-6", "none", {}, ()),
    ("claude-opus-5", "minimal", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, ()),
    ("claude-opus-5", "none", {"thinking": {"type": "disabled"}}, ()),
    ("claude-opus-5", "auto", {"thinking": {"type": "adaptive"}}, ("reasoning_effort",)),
    ("claude-sonnet-5-5", "none", {"thinking": {"type": "between_tools"}}, ()),
    ("claude-opus-5-5", "none", {"output_config": {"effort": "low"}}, ("reasoning_effort",)),
]


@pytest.mark.parametrize(("model", "effort", "said", "dropped"), EFFORTS)
def test_each_model_is_told_to_think_in_its_own_way(
    model: str, effort: str, said: Doc, dropped: tuple[str, ...]
) -> None:
    """Or not to; what it cannot do is named."""
    sent, lost = sent_to_anthropic(model, reasoning_effort=effort)
    assert {name: sent[name] for name in ("thinking", "output_config") if name in sent} == said
    assert lost == dropped


# https://platform.claude.com/docs/en/api/openai-sdk, https://openrouter.ai/docs/use-cases/reasoning-tokens
BUDGETS: list[tuple[Doc, Doc | None]] = [
    ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"type": "enabled", "budget_tokens": 2000}),
    ({"thinking": {"type": "enabled"}}, {"type": "enabled", "budget_tokens": 8192}),
    ({"thinking": {"type": "disabled"}}, None),
    ({"reasoning": {"effort": "low"}}, {"type": "enabled", "budget_tokens": 2048}),
    ({"reasoning": {"max_tokens": 2000, "exclude": True}},
     {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}),
    ({"reasoning": {"enabled": True, "exclude": False}},
     {"type": "enabled", "budget_tokens": 8192, "display": "summarized"}),
    ({"reasoning": {"enabled": False}}, None),
    ({"reasoning": {"effort": "high"}, "reasoning_effort": "low"}, {"type": "enabled", "budget_tokens": 2048}),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "thinking"), BUDGETS)
def test_a_chat_client_may_ask_for_thought_as_other_providers_have_it(asked: Doc, thinking: Doc | None) -> None:
    """OpenAI's own word counts most."""
    sent, dropped = sent_to_anthropic(**asked)
    assert (sent.get("thinking"), dropped) == (thinking, ())


def test_thought_that_is_asked_for_in_an_unknown_way_is_named() -> None:
    """Some servers have switches of the same names."""
    assert sent_to_anthropic(thinking=True, reasoning="on")[1] == ("thinking", "reasoning")


SHOWN = [("summarized", True), ("omitted", False), (None, None)]


@pytest.mark.parametrize(("display", "shown"), SHOWN)
def test_whether_thought_is_to_be_seen_is_read(display: str | None, shown: bool | None) -> None:  # noqa: FBT001 - a column of the table
    """For formats that can say it."""
    thinking = {"type": "enabled", "budget_tokens": 2000, "display": display}
    body = {"model": "m", "max_tokens": 9, "messages": [], "thinking": thinking}
    assert read_messages_request(json.dumps(body).encode()).reasoning == Reasoning("", 2000, shown)


SAMPLINGS: list[tuple[str, Doc, Doc, tuple[str, ...]]] = [
    ("claude-sonnet-4-0", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, ()),
    ("claude-sonnet-4-5", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ("top_p",)),
    ("claude-sonnet-4-5", {"temperature": 1, "top_p": 0.9}, {"top_p": 0.9}, ()),
    ("claude-sonnet-4-5", {"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}, ()),
    ("claude-sonnet-4-5", {"top_p": 0.9, "top_k": 5}, {"top_p": 0.9, "top_k": 5}, ()),
    ("claude-opus-4-8", {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {}, ("temperature", "top_p", "top_k")),
    ("claude-opus-4-8", {"temperature": 1, "top_p": 1}, {}, ()),
    ("claude-sonnet-4-6", {"temperature": 1, "reasoning_effort": "low"}, {}, ()),
]


@pytest.mark.parametrize(("model", "asked", "said", "dropped"), SAMPLINGS)
def test_a_model_is_sampled_as_far_as_it_lets_itself_be(
    model: str, asked: Doc, said: Doc, dropped: tuple[str, ...]
) -> None:
    """What it does anyway need not be said; what it refuses is left out and named."""
    sent, lost = sent_to_anthropic(model, **asked)
    assert {name: sent[name] for name in ("temperature", "top_p", "top_k") if name in sent} == said
    assert lost == dropped


FORCED: Doc = {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}


def test_a_model_that_cannot_be_forced_is_not_asked() -> None:
    """The answer might be words where the client wants a call."""
    with pytest.raises(BadBody) as refused:
        sent_to_anthropic("claude-opus-5-5", **FORCED)
    assert refused.value.param == "tool_choice"
    sent, dropped = sent_to_anthropic("claude-opus-5", **FORCED, reasoning_effort="high")
    assert (sent["thinking"], sent["tool_choice"], dropped) == (
        {"type": "disabled"},
        {"type": "any"},
        ("reasoning_effort",),
    )


def test_a_budget_leaves_room_for_the_answer() -> None:
    """A fourth of the limit at least, where the client did not name the budget itself."""
    sent, _ = sent_to_anthropic(reasoning_effort="high", max_tokens=4000)
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 3000}


def test_a_lost_thought_matters_only_where_a_budget_is_given() -> None:
    """Adaptive thinking does not insist on it (https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking)."""
    called = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}]}
    turns = [{"role": "user", "content": "x"}, called, {"role": "tool", "tool_call_id": "c", "content": "y"}]
    tools = [{"type": "function", "function": {"name": "f"}}]
    for model, thinks in [("claude-sonnet-4-5", False), ("claude-opus-4-8", True)]:
        sent, _ = sent_to_anthropic(model, reasoning_effort="low", messages=turns, tools=tools)
        assert ("thinking" in sent) is thinks


def test_a_block_that_ends_without_citations_says_nothing() -> None:
    """The reader waits for the end of a block only with what belongs to all of it."""
    reader = to_chat()
    for event in SSEParser(LIMIT).feed(BASIC):
        passed = b"".join(reader.chunks(event.raw))
        if event.name == b"content_block_stop":
            assert passed == b""
