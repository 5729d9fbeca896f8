"""What chat and messages hold beside words, from one to the other, with the official SDKs over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import attrs
import openai
import pytest
from wire_stand import WireStand, open_wire_stand

from relay_trio.testing.answers import Answer, Asked, Json, Provider, Wanted, data_event, json_answer, stream_answer
from relay_trio.testing.answers_anthropic import CACHED, message_events

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

CHAT: Any = {"model": "claude-x", "messages": [{"role": "user", "content": "When was Claude Shannon born?"}]}
MESSAGES: Any = {"model": "gpt-x", "max_tokens": 2000, "messages": CHAT["messages"]}
EPHEMERAL: Any = {"type": "ephemeral"}
ADDRESS = "https://en.wikipedia.org/wiki/Claude_Shannon"


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[WireStand]:
    async with open_wire_stand(tmp_path, "openai", "anthropic") as stand:
        yield stand


@attrs.define(eq=False)
class Saying(Provider):
    """A provider that says this, whole or as a stream."""

    whole: Json = attrs.field(factory=dict)
    events: tuple[bytes, ...] = ()

    def answer(self, asked: Asked, wanted: Wanted) -> Answer:  # noqa: ARG002 - the contract has it
        return stream_answer(self.events) if asked.fields.get("stream") else json_answer(self.whole)


# ---- Where words come from

# https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool
CITATION = {
    "type": "web_search_result_location",
    "url": ADDRESS,
    "title": "Claude Shannon - Wikipedia",
    "encrypted_index": "Eo8BCioIAhgBIiQyYjQ0OWJmZi1lNm..",
    "cited_text": "Claude Elwood Shannon (April 30, 1916 - February 24, 2001) was an American mathematician...",
}
MESSAGE: Json = {
    "id": "msg_a930390d3a",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [
        {"type": "server_tool_use", "id": "srvtoolu_01", "name": "web_search", "input": {"query": "shannon"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_01", "content": []},
        {"type": "text", "text": "Born on ", "citations": None},
        {"type": "text", "text": "April 30, 1916", "citations": [CITATION]},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 6039, "output_tokens": 931},
}


def claude_events() -> tuple[bytes, ...]:
    """Return the same as the API streams it, the citation before its words."""
    texts = [block for block in MESSAGE["content"] if block["type"] == "text"]
    events = list(message_events({**MESSAGE, "content": texts[:1]}, ("Born on ",)))
    cited = [
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "", "citations": []}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta", "citation": CITATION}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "April 30, 1916"}},
        {"type": "content_block_stop", "index": 1},
    ]
    named = [b"event: %s\n%s" % (str(event["type"]).encode(), data_event(event)) for event in cited]
    return (*events[:-2], *named, *events[-2:])


async def test_a_chat_client_learns_where_a_claudes_words_come_from(stand: WireStand) -> None:
    """As typed annotations, with the place in the message; streamed too."""
    stand.upstreams["anthropic"].provider = Saying(whole=MESSAGE, events=claude_events())
    answer = await stand.with_openai(lambda sdk: sdk.chat.completions.create(**CHAT))
    message = answer.choices[0].message
    assert message.content == "Born on April 30, 1916"
    assert message.annotations is not None
    cited = message.annotations[0].url_citation
    assert (cited.url, cited.title, message.content[cited.start_index : cited.end_index]) == (
        *(ADDRESS, "Claude Shannon - Wikipedia"),
        "April 30, 1916",
    )
    chunks = await stand.with_openai(lambda sdk: list(sdk.chat.completions.create(**CHAT, stream=True)))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas) == message.content
    (streamed,) = [delta.model_extra["annotations"] for delta in deltas if (delta.model_extra or {}).get("annotations")]
    assert streamed == [message.annotations[0].model_dump()]


# https://platform.openai.com/docs/guides/tools-web-search?api-mode=chat
ANNOTATION: Json = {
    "type": "url_citation",
    "url_citation": {"start_index": 8, "end_index": 22, "title": "Claude Shannon", "url": ADDRESS},
}


def completion(**message: Any) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop", "logprobs": None}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-x", "choices": [choice]}


def chunks_of(*deltas: Json) -> tuple[bytes, ...]:
    choices: list[Json] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x"}
    return (*(data_event({**head, "choices": [choice]}) for choice in choices), b"data: [DONE]\n\n")


async def test_a_messages_client_learns_where_a_gpts_words_come_from(stand: WireStand) -> None:
    """As typed citations of the block; the SDK puts a stream together to the same message."""
    words = "Born on April 30, 1916"
    stand.upstreams["openai"].provider = Saying(
        whole=completion(content=words, annotations=[ANNOTATION]),
        events=chunks_of({"role": "assistant", "content": words}, {"annotations": [ANNOTATION]}),
    )

    def stream(sdk: anthropic.Anthropic) -> Any:
        with sdk.messages.stream(**MESSAGES) as answer:
            return answer.get_final_message()

    for work in (lambda sdk: sdk.messages.create(**MESSAGES), stream):
        message = await stand.with_anthropic(work)
        (block,) = message.content
        (citation,) = block.citations
        assert block.text == words
        assert isinstance(citation, anthropic.types.CitationsWebSearchResultLocation)
        assert (citation.url, citation.title) == (ADDRESS, "Claude Shannon")


# ---- Declining


async def test_why_a_model_declines_is_told(stand: WireStand) -> None:
    """A Claude's explanation is a chat client's refusal; a GPT's refusal is a messages client's words and reason."""
    declined = {**MESSAGE, "content": [], "stop_reason": "refusal"}
    declined["stop_details"] = {"type": "refusal", "category": "cyber", "explanation": "It could harm."}
    stand.upstreams["anthropic"].provider = Saying(whole=declined)
    (choice,) = (await stand.with_openai(lambda sdk: sdk.chat.completions.create(**CHAT))).choices
    assert (choice.message.refusal, choice.finish_reason) == ("It could harm.", "content_filter")
    stand.upstreams["openai"].provider = Saying(whole=completion(content=None, refusal="I cannot."))
    message = await stand.with_anthropic(lambda sdk: sdk.messages.create(**MESSAGES))
    assert (message.content[0].text, message.stop_reason) == ("I cannot.", "refusal")


# ---- What may be kept


async def test_a_chat_client_marks_what_may_be_kept(stand: WireStand) -> None:
    """As OpenRouter's and LiteLLM's clients do; what came from the cache is counted."""
    system = {"role": "system", "content": [{"type": "text", "text": "a long book", "cache_control": EPHEMERAL}]}
    turns: Any = [system, *CHAT["messages"]]
    answer = await stand.with_openai(lambda sdk: sdk.chat.completions.create(model="claude-x", messages=turns))
    assert stand.sent("anthropic")["system"] == system["content"]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == CACHED


async def test_a_mark_that_openai_would_refuse_is_left_out(stand: WireStand) -> None:
    """And named, with the tier translated."""
    system: Any = [{"type": "text", "text": "a long book", "cache_control": EPHEMERAL}]
    raw = await stand.with_anthropic(
        lambda sdk: sdk.messages.with_raw_response.create(**MESSAGES, system=system, service_tier="standard_only")
    )
    assert raw.headers["x-relay-dropped"] == "cache_control"
    sent: Any = stand.sent("openai")
    assert sent["messages"][0] == {"role": "system", "content": "a long book"}
    assert sent["service_tier"] == "default"


# ---- What cannot be had

SOUND: Any = [{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"logprobs": True, "top_logprobs": 2}, "logprobs"),
    ({"n": 2}, "n"),
    ({"messages": [{"role": "user", "content": SOUND}]}, "input_audio"),
    ({"top_logprobs": 2}, "top_logprobs"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED)
async def test_what_a_claude_cannot_give_is_refused(stand: WireStand, fields: dict[str, Any], param: str) -> None:
    """A typed 400 that names the field; nothing goes up."""
    with pytest.raises(openai.BadRequestError) as raised:
        await stand.with_openai(lambda sdk: sdk.chat.completions.create(**(CHAT | fields)))
    assert raised.value.param == param
    assert stand.upstreams["anthropic"].request_count == 0


async def test_what_makes_no_wrong_answer_is_left_out(stand: WireStand) -> None:
    """And named."""
    fields: Any = {
        "seed": 7,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "verbosity": "low",
        "metadata": {"a": "b"},
    }
    raw = await stand.with_openai(lambda sdk: sdk.chat.completions.with_raw_response.create(**CHAT, **fields))
    named = set(raw.headers["x-relay-dropped"].split(", "))
    assert named == set(fields)


async def test_a_conversation_that_searched_goes_on_at_another_provider(stand: WireStand) -> None:
    """The SDK sends the Claude's turn back as it came; a GPT goes on from its words."""
    stand.upstreams["anthropic"].provider = Saying(whole=MESSAGE)
    ask: Any = {**MESSAGES, "model": "claude-x"}
    message = await stand.with_anthropic(lambda sdk: sdk.messages.create(**ask))
    turns: Any = [
        *MESSAGES["messages"],
        {"role": "assistant", "content": [block.to_dict() for block in message.content]},
        {"role": "user", "content": "Sure?"},
    ]
    raw = await stand.with_anthropic(
        lambda sdk: sdk.messages.with_raw_response.create(model="gpt-x", max_tokens=9, messages=turns)
    )
    assert raw.headers["x-relay-dropped"] == "server_tool_use, citations"
    sent: Any = stand.sent("openai")["messages"]
    assert sent[1] == {"role": "assistant", "content": "Born on April 30, 1916"}
