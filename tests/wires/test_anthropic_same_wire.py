"""A client of the Anthropic API reaches the Anthropic API, with the official SDK as the client, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import attrs
import pytest
from wire_stand import PROVIDER_KEY, WireStand, open_wire_stand

from relay_trio.testing.answers import WORDS
from relay_trio.testing.answers_anthropic import CACHED, SIGNATURE, THOUGHT, overloaded_event
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.fake_client import connect
from relay_trio.testing.relay import CLIENT_KEY
from relay_trio.testing.script import Behaviour

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

ASK: Any = {"model": "claude-x", "max_tokens": 2000, "messages": [{"role": "user", "content": "one two three"}]}
TOOLS: Any = [
    {"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}}},
    {"name": "time", "input_schema": {"type": "object", "properties": {}}},
]


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[WireStand]:
    async with open_wire_stand(tmp_path, "anthropic") as stand:
        yield stand


async def test_a_whole_message(stand: WireStand) -> None:
    """The typed answer comes out; usage is in the log line by one rule; key, version and id go where they belong."""
    message = await stand.with_anthropic(lambda sdk: sdk.messages.create(**ASK))
    assert message.content[0].type == "text"
    assert message.content[0].text == "".join(WORDS)
    assert message.stop_reason == "end_turn"
    request = stand.upstreams["anthropic"].requests[-1]
    assert request.path == "/v1/messages"
    assert request.get("x-api-key") == PROVIDER_KEY
    assert request.get("authorization") is None
    assert request.get("anthropic-version") == anthropic.Anthropic(api_key="x").default_headers["anthropic-version"]
    (line,) = stand.relay.finished()
    assert (line["dialect"], line["channel"], line["status"]) == ("anthropic", "anthropic", 200)
    assert line["input_tokens"] == message.usage.input_tokens + CACHED
    assert line["upstream_request_id"].startswith("req_011fake")
    assert message._request_id == line["request_id"]


async def test_a_stream(stand: WireStand) -> None:
    """With thinking and its signature, event by event."""

    def work(sdk: anthropic.Anthropic) -> Any:
        with sdk.messages.stream(**ASK, thinking={"type": "enabled", "budget_tokens": 1024}) as stream:
            return stream.get_final_message()

    message = await stand.with_anthropic(work)
    thinking, text = message.content
    assert (thinking.thinking, thinking.signature) == (THOUGHT, SIGNATURE)
    assert text.text == "".join(WORDS)
    (line,) = stand.relay.finished()
    assert (line["stream"], line["outcome"], line["output_tokens"]) == (True, "completed", len(WORDS))


async def test_a_stream_is_the_providers_byte_for_byte(stand: WireStand) -> None:
    """Not one byte is added or lost."""
    body = {**ASK, "stream": True, "tools": TOOLS}
    upstream = stand.upstreams["anthropic"]
    streams = []
    for address in (upstream.url, stand.relay.url):
        upstream.provider = type(upstream.provider)()
        async with connect(address) as client:
            await client.post_json("/v1/messages", body, CLIENT_KEY)
            streams.append((await client.read_response()).body.data)
    assert streams[0] == streams[1]


async def test_tools_in_parallel(stand: WireStand) -> None:
    """Calls come out typed, each with its input."""

    def work(sdk: anthropic.Anthropic) -> Any:
        with sdk.messages.stream(**ASK, tools=TOOLS) as stream:
            return stream.get_final_message()

    message = await stand.with_anthropic(work)
    assert [(call.name, call.input) for call in message.content] == [
        ("weather", {"city": "Utrecht"}),
        ("time", {"city": "Utrecht"}),
    ]
    assert message.stop_reason == "tool_use"


async def test_other_paths(stand: WireStand) -> None:
    """Counted tokens, batches under their own ids, the list of models."""
    counted = await stand.with_anthropic(
        lambda sdk: sdk.messages.count_tokens(model="claude-x", messages=ASK["messages"])
    )
    assert counted.input_tokens > CACHED
    made = await stand.with_anthropic(lambda sdk: sdk.messages.batches.create(requests=[]))
    found = await stand.with_anthropic(lambda sdk: sdk.messages.batches.retrieve(made.id))
    assert found.id == made.id
    models = await stand.with_anthropic(lambda sdk: list(sdk.models.list()))
    assert [model.id for model in models] == ["claude-fake-small", "claude-fake-large"]


def cut_at(event: str, *more: bytes) -> Behaviour:
    """Return the behaviour of ending a stream cleanly after its first event of this name, and these."""

    async def cut(conversation: Conversation) -> None:
        answer = conversation.answer
        at = next(at for at, piece in enumerate(answer.pieces) if piece.startswith(f"event: {event}\n".encode()))
        conversation.replace_answer(attrs.evolve(answer, pieces=(*answer.pieces[: at + 1], *more)))
        await conversation.send_answer()

    return cut


ERRORS = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (403, anthropic.PermissionDeniedError, "permission_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (529, anthropic.OverloadedError, "overloaded_error"),
]


@pytest.mark.parametrize(("status", "kind", "word"), ERRORS)
async def test_errors_are_typed(stand: WireStand, status: int, kind: type[anthropic.APIStatusError], word: str) -> None:
    """Status, type and message are the provider's; the request id is ours."""
    stand.upstreams["anthropic"].script.always = f"answer;status={status}"
    with pytest.raises(kind) as raised:
        await stand.with_anthropic(lambda sdk: sdk.messages.create(**ASK))
    body: Any = raised.value.body
    assert body["error"] == {"type": word, "message": f"The fake upstream answers {status}."}
    assert raised.value.status_code == status
    assert raised.value.request_id == stand.relay.finished()[-1]["request_id"]


async def test_our_key_refused_is_no_fault_of_the_client(stand: WireStand) -> None:
    """An upstream 401 becomes 502 in the client's dialect."""
    stand.upstreams["anthropic"].script.always = "answer;status=401"
    with pytest.raises(anthropic.InternalServerError) as raised:
        await stand.with_anthropic(lambda sdk: sdk.messages.create(**ASK))
    body: Any = raised.value.body
    assert (body["type"], body["error"]["type"], body["error"]["code"]) == (
        "error",
        "api_error",
        "channel_unauthorized",
    )


async def test_a_wrong_client_key_is_told_in_the_clients_dialect(stand: WireStand) -> None:
    """401 authentication_error."""
    with pytest.raises(anthropic.AuthenticationError) as raised:
        await stand.with_anthropic(lambda sdk: sdk.with_options(api_key="sk-wrong").messages.create(**ASK))
    body: Any = raised.value.body
    assert body["error"]["type"] == "authentication_error"


async def test_an_error_in_the_middle_of_a_stream_is_raised(stand: WireStand) -> None:
    """After the words that came before it."""
    stand.upstreams["anthropic"].script.always = cut_at("content_block_delta", overloaded_event())
    words: list[str] = []

    def work(sdk: anthropic.Anthropic) -> None:
        with sdk.messages.stream(**ASK) as stream:
            words.extend(stream.text_stream)

    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        await stand.with_anthropic(work)
    assert words == [WORDS[0]]
    (line,) = stand.relay.finished()
    assert line["outcome"] == "upstream_error"


async def test_a_stream_cut_short_is_told_as_an_error(stand: WireStand) -> None:
    """A clean end without message_stop is no end."""
    stand.upstreams["anthropic"].script.always = cut_at("message_delta")

    def work(sdk: anthropic.Anthropic) -> None:
        with sdk.messages.stream(**ASK) as stream:
            stream.until_done()

    with pytest.raises(anthropic.APIStatusError, match="before the answer was complete"):
        await stand.with_anthropic(work)
