"""A failed attempt is followed by another one where that helps, and the client hears of the last one only."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from fault_scene import open_scene

from relay_trio.channels.health import SET_ASIDE_S
from relay_trio.testing.answers import WORDS, encode
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.fake_client import connect
from relay_trio.testing.fake_upstream import refused_address
from relay_trio.testing.http_text import BodyEnd
from relay_trio.testing.link import EndedBy
from relay_trio.testing.relay import CLIENT_KEY
from relay_trio.testing.scene import PROMPT, UPSTREAM_KEY, Got, Scene
from relay_trio.testing.shapes import post

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

FIRST_KEY, SECOND_KEY = "sk-upstream-first-0123456789", "sk-upstream-second-0123456789"
TWO_KEYS = f'api_keys = ["{FIRST_KEY}", "{SECOND_KEY}"]'


def assert_whole(got: Got) -> None:
    assert (got.status, got.end) == (200, BodyEnd.COMPLETE)
    assert got.text == "".join(WORDS)


def attempts(scene: Scene) -> list[dict[str, Any]]:
    return scene.relay.lines("attempt_failed")


def asked(scene: Scene) -> list[int]:
    """Return how many requests each provider got."""
    return [upstream.request_count for upstream in scene.upstreams]


def keys_asked(scene: Scene) -> list[str]:
    """Return the keys with which the only provider was asked, in order."""
    return [(request.get("authorization") or "").removeprefix("Bearer ") for request in scene.upstream.requests]


# Another channel helps

CURABLE = [
    "close-on-accept",
    "reset-on-accept",
    "close-after-request",
    "reset-mid-head",
    "close-after-head",
    "garbage",
    "giant-header",
    "empty-200",
    "html-200",
    "gzip-corrupt",
    "unknown-encoding",
    "truncated-chunked;after=0",
    "truncated-chunked;after=1",
    "error-event;after=1",
    "no-terminal-event;after=1",
    "error-event-first",
    "answer;status=401",
    "answer;status=408",
    "answer;status=429",
    "answer;status=500",
    "answer;status=502",
    "answer;status=503",
    "answer;status=504",
    "overloaded-529",
    "insufficient-quota",
    "truncated-length;status=429",
    "silent-after-head;status=503",
]


@pytest.mark.parametrize(
    ("behaviour", "stream"),
    [
        *((behaviour, True) for behaviour in CURABLE),
        *((behaviour, False) for behaviour in CURABLE if ";after=" not in behaviour),
    ],
)
async def test_the_next_channel_answers(tmp_path: Path, behaviour: str, *, stream: bool) -> None:
    """The client gets the second channel's answer and nothing of the first one's, not even its opening events."""
    async with open_scene(tmp_path, behaviour, "answer") as scene:
        got = await scene.ask(stream=stream)

        assert_whole(got)
        if stream:
            assert sum('"role":"assistant"' in data for data in got.events) == 1
        (line,) = scene.relay.finished()
        assert (line["channel"], line["attempts"], line["outcome"]) == ("channel-2", 2, "completed")
        (failed,) = attempts(scene)
        assert (failed["channel"], failed["next"]) == ("channel-1", "channel channel-2")


@pytest.mark.parametrize(
    ("behaviour", "limits", "after_s"),
    [
        ("silent-before-head", "headers = 5", 5),
        ("silent-mid-head", "headers = 5", 5),
        ("silent-after-head", "first_event = 5", 5),
        ("silent-mid-body;after=1", "first_event = 5", 5),
        ("endless-comments", "first_event = 5", 5),
        ("silent-before-head", "total = 6", 6),
        ("silent-after-head", "total = 6", 6),
        ("silent-mid-body;after=1", "total = 6", 6),
    ],
)
async def test_a_silent_channel_is_left_for_the_next(
    tmp_path: Path, behaviour: str, limits: str, after_s: float
) -> None:
    """A channel's own clock ends the attempt, not the request: the next channel answers at once."""
    async with open_scene(tmp_path, behaviour, "answer", channels=[f"limits = {{ {limits} }}"]) as scene:
        got = await scene.ask(stream=True)

        assert_whole(got)
        assert got.after_s == pytest.approx(after_s, abs=0.01)
        assert asked(scene) == [1, 1]


async def test_an_address_where_nobody_listens_is_left_for_the_next(tmp_path: Path) -> None:
    """A connection that is refused costs no time."""
    host, port = refused_address()
    async with open_scene(tmp_path, "answer", "answer", channels=[f'base_url = "http://{host}:{port}/v1"']) as scene:
        assert_whole(await scene.ask(stream=True))
        (failed,) = attempts(scene)
        assert failed["phase"] == "connect"


async def test_the_last_failure_is_told(tmp_path: Path) -> None:
    """When every attempt has failed the client hears of the last one, with its status and words."""
    async with open_scene(tmp_path, "answer;status=500", "garbage", "answer;status=429") as scene:
        got = await scene.ask(stream=True)

        assert (got.status, got.error["code"]) == (429, "rate_limit_exceeded")
        assert [line["next"] for line in attempts(scene)] == [
            "channel channel-2",
            "channel channel-3",
            "none: the attempts are used up",
        ]


async def test_attempts_are_bounded(tmp_path: Path) -> None:
    """Three tries (RELAY_MAX_ATTEMPTS), though a fourth channel would have answered."""
    async with open_scene(tmp_path, "garbage", "garbage", "garbage", "answer") as scene:
        got = await scene.ask()

        assert (got.status, got.error["code"]) == (502, "upstream_answer_broken")
        assert asked(scene) == [1, 1, 1, 0]


async def test_more_attempts_can_be_allowed(tmp_path: Path) -> None:
    """RELAY_MAX_ATTEMPTS says how many."""
    async with open_scene(
        tmp_path, "garbage", "garbage", "garbage", "answer", environ={"RELAY_MAX_ATTEMPTS": "4"}
    ) as scene:
        assert_whole(await scene.ask())


# Another channel would not help, or must not


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 413, 415, 422])
async def test_what_the_client_did_wrong_is_not_tried_again(tmp_path: Path, status: int) -> None:
    """Any other 4xx is the client's answer at once."""
    async with open_scene(tmp_path, f"answer;status={status}", "answer") as scene:
        got = await scene.ask()

        assert got.status == status
        assert asked(scene) == [1, 0]
        assert attempts(scene)[0]["next"] == "none: another attempt would fail alike"


@pytest.mark.parametrize(
    "behaviour", ["truncated-chunked;after=2", "reset-mid-body;after=5", "error-event;after=3", "bad-json;after=2"]
)
async def test_nothing_follows_content(tmp_path: Path, behaviour: str) -> None:
    """Once a word has reached the client there is no other attempt: the stream ends with an error event."""
    async with open_scene(tmp_path, behaviour, "answer") as scene:
        got = await scene.ask(stream=True)

        assert got.status == 200
        assert got.end is BodyEnd.TRUNCATED
        assert "[DONE]" not in got.events
        assert got.error["message"]
        assert asked(scene) == [1, 0]
        assert attempts(scene)[0]["next"] == "none: content has reached the client"


async def test_nothing_follows_when_the_time_left_is_too_short(tmp_path: Path) -> None:
    """A further attempt needs RELAY_RETRY_MIN_LEFT seconds of the total; the first one starts in any case."""
    async with open_scene(tmp_path, "silent-before-head", "answer", channels=["limits = { headers = 51 }"]) as scene:
        got = await scene.ask()

        assert (got.status, got.error["setting"]) == (504, "RELAY_HEADER_TIMEOUT of the channel")
        assert got.after_s == pytest.approx(51)
        assert asked(scene) == [1, 0]
        assert attempts(scene)[0]["next"] == "none: too little time is left"


async def test_a_short_total_of_the_client_still_gets_its_first_attempt(tmp_path: Path) -> None:
    """A client that gives two seconds is served when the first channel answers, and gets no second attempt."""
    async with open_scene(tmp_path, "answer", "answer") as scene:
        assert_whole(await scene.ask(headers={"x-relay-timeout": "2"}))
        scene.upstreams[0].script.always = "garbage"
        got = await scene.ask(headers={"x-relay-timeout": "2"})

        assert got.status == 502
        assert attempts(scene)[0]["next"] == "none: too little time is left"


async def test_an_upload_is_not_tried_again(tmp_path: Path) -> None:
    """A body that streamed through cannot be sent a second time."""
    async with open_scene(tmp_path, "answer;status=503", "answer") as scene:
        got = await scene.post("/v1/files", b"\x00" * 1000, {"content-type": "multipart/form-data; boundary=x"})

        assert got.status == 503
        assert asked(scene) == [1, 0]
        assert attempts(scene)[0]["next"] == "none: the body cannot be sent again"


async def test_one_channel_with_one_key_is_asked_once(tmp_path: Path) -> None:
    """The relay does not ask twice where nothing would be different."""
    async with open_scene(tmp_path, "answer;status=503") as scene:
        assert (await scene.ask()).status == 503
        assert asked(scene) == [1]
        assert attempts(scene)[0]["next"] == "none: no other key or channel is left"


# Keys


async def test_a_key_that_is_refused_is_set_aside(tmp_path: Path) -> None:
    """The other key answers, is asked first for five minutes, and then the refused one gets its chance again."""
    async with open_scene(tmp_path, "answer", channel=TWO_KEYS) as scene:
        scene.upstream.script.always = partial(answer_key, good={SECOND_KEY})
        for _ in range(12):  # where a channel has several keys it begins anywhere
            assert_whole(await scene.ask())
        first_round = keys_asked(scene)
        await trio.sleep(SET_ASIDE_S + 1)
        for _ in range(12):
            assert_whole(await scene.ask())
        second_round = keys_asked(scene)[len(first_round) :]

        assert first_round.count(FIRST_KEY) == 1
        assert second_round.count(FIRST_KEY) == 1
        assert [line["key_number"] for line in scene.relay.lines("key_set_aside")] == [1, 1]


async def answer_key(c: Conversation, good: set[str]) -> None:
    """Answer well to some keys, 401 to all others."""
    if (c.request.get("authorization") or "").removeprefix("Bearer ") in good:
        await c.send_answer()
        return
    error = {"message": "Incorrect API key provided.", "type": "invalid_request_error", "code": "invalid_api_key"}
    await c.send_in_place(401, ((b"content-type", b"application/json"),), encode({"error": error}))


async def test_a_refused_key_is_no_fault_of_the_client(tmp_path: Path) -> None:
    """When no key is accepted the client gets 502, not 401: its own key was right."""
    async with open_scene(tmp_path, "answer;status=401", channel=TWO_KEYS) as scene:
        got = await scene.ask()

        assert (got.status, got.error["code"]) == (502, "channel_unauthorized")
        assert sorted(keys_asked(scene)) == sorted([FIRST_KEY, SECOND_KEY])
        assert scene.relay.finished()[0]["attempts"] == 2


async def test_a_key_that_reached_its_limit_gives_way_to_another_of_its_channel(tmp_path: Path) -> None:
    """A 429 is the key's: the channel's other key is asked before another channel."""
    async with open_scene(tmp_path, "answer;status=429", "answer", channels=[TWO_KEYS]) as scene:
        assert_whole(await scene.ask())
        assert asked(scene) == [2, 1]


async def test_a_broken_channel_gives_way_to_another_channel_first(tmp_path: Path) -> None:
    """A 503 is the channel's: another channel is asked before its other key."""
    async with open_scene(tmp_path, "answer;status=503", "answer", channels=[TWO_KEYS]) as scene:
        assert_whole(await scene.ask())
        assert asked(scene) == [1, 1]


# Retry-After


@pytest.mark.parametrize("behaviour", ["retry-after-seconds;retry_after=20", "retry-after-ms;retry_after=20"])
async def test_who_asked_to_wait_is_tried_last_until_then(tmp_path: Path, behaviour: str) -> None:
    """A channel that said Retry-After: 20 is not the first to be asked for 20 s, whatever its priority."""
    async with open_scene(tmp_path, behaviour, "answer") as scene:
        for _ in range(3):
            assert_whole(await scene.ask())
        within = asked(scene)
        await trio.sleep(20)
        assert_whole(await scene.ask())

        assert within == [1, 3]
        assert asked(scene) == [2, 4]


@pytest.mark.parametrize(
    ("behaviour", "advice"),
    [
        ("retry-after-seconds;retry_after=20", {"retry-after": "20"}),
        ("retry-after-ms;retry_after=1.5", {"retry-after-ms": "1500", "retry-after": "2"}),
        ("retry-after-garbage", {"retry-after": "soon"}),
        ("answer;status=503", {"retry-after": "7", "x-ratelimit-remaining-requests": "4999"}),
    ],
)
async def test_a_providers_advice_reaches_the_client(tmp_path: Path, behaviour: str, advice: dict[str, str]) -> None:
    """As it came: the SDKs know what to make of it, and how long to bear it."""
    async with open_scene(tmp_path, behaviour) as scene:
        got = await scene.ask()

        assert {name: got.get(name) for name in advice} == advice


async def test_who_asked_to_wait_is_still_tried_when_all_did(tmp_path: Path) -> None:
    """The relay does not wait itself and does not refuse either: the provider is asked again."""
    async with open_scene(tmp_path, "retry-after-seconds") as scene:
        got = [await scene.ask() for _ in range(2)]

        assert [(each.status, each.get("retry-after")) for each in got] == [(429, "20")] * 2
        assert asked(scene) == [2]


# Connections that died in the pool


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("behaviour", ["close-on-reuse", "reset-on-reuse"])
async def test_a_request_whose_connection_had_died_is_sent_once_more(
    tmp_path: Path, behaviour: str, *, tls: bool
) -> None:
    """It is the same attempt, on a new connection; nobody hears of it."""
    async with open_scene(tmp_path, "answer", tls=tls) as scene:
        scene.upstream.script.enqueue(behaviour)
        assert_whole(await scene.ask())
        assert_whole(await scene.ask())

        assert [line["attempts"] for line in scene.relay.finished()] == [1, 1]
        assert [request.connection for request in scene.upstream.requests] == [1, 1, 2]
        assert not attempts(scene)


async def test_it_is_sent_once_more_and_not_oftener(tmp_path: Path) -> None:
    """The second time goes over a new connection, also where other old ones are idle: they may have died as well."""
    async with open_scene(tmp_path, "answer") as scene:
        scene.upstream.script.enqueue(*["close-on-reuse"] * 3)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(scene.ask)
        assert scene.pool.statistics().idle == 3
        assert_whole(await scene.ask())

        assert asked(scene) == [3 + 1 + 1]


async def test_it_is_not_sent_again_once_the_answer_has_begun(tmp_path: Path) -> None:
    """A byte of an answer says that the provider has taken the request: then it is not repeated."""
    async with open_scene(tmp_path, "answer") as scene:
        assert_whole(await scene.ask())
        scene.upstream.script.enqueue("close-mid-head")
        got = await scene.ask()

        assert (got.status, got.error["phase"]) == (502, "headers")
        assert [request.connection for request in scene.upstream.requests] == [1, 1]


async def test_a_new_connection_that_dies_is_not_tried_again(tmp_path: Path) -> None:
    """Only a reused connection may have died of old age."""
    async with open_scene(tmp_path, "close-after-request") as scene:
        assert (await scene.ask()).status == 502
        assert asked(scene) == [1]


async def test_a_connection_that_was_closed_while_idle_is_not_used(tmp_path: Path) -> None:
    """The pool hears of a peer that leaves at once: no request is risked on such a connection."""
    async with open_scene(tmp_path, "close-unannounced") as scene:
        for _ in range(3):
            assert_whole(await scene.ask())
            assert scene.pool.statistics().idle == 0

        assert [request.connection for request in scene.upstream.requests] == [1, 2, 3]


async def test_bytes_that_nobody_asked_for_spoil_a_connection(tmp_path: Path) -> None:
    """A pooled connection on which something came unasked is closed, and what came is nobody's answer."""
    async with open_scene(tmp_path, "stray-bytes") as scene:
        for _ in range(3):
            assert_whole(await scene.ask())

        assert [request.connection for request in scene.upstream.requests] == [1, 2, 3]


@pytest.mark.parametrize("behaviour", ["answer", "chunked", "interim", "trailers", "silent-before-end;status=404"])
async def test_a_connection_serves_again_only_after_a_proven_end(tmp_path: Path, behaviour: str) -> None:
    """Read to its end it is kept; given up before, it is closed by us."""
    async with open_scene(tmp_path, behaviour) as scene:
        for _ in range(2):
            await scene.ask()
        await scene.wait_all_closed()

        again = not behaviour.startswith("silent")
        assert scene.upstream.connections.opened == (1 if again else 2)
        assert {record.ended_by for record in scene.upstream.connections.ended} <= {
            EndedBy.PEER_CLOSED,
            EndedBy.PEER_RESET,
        }


# What others may read


async def echo(c: Conversation) -> None:
    """Answer with an error that repeats the request and the key, as careless providers do."""
    key = c.request.get("authorization") or ""
    error = {"message": f"Bad {c.request.body.decode()} with {key}", "type": "server_error", "code": f"Bad: {PROMPT}"}
    await c.send_in_place(500, ((b"content-type", b"application/json"),), encode({"error": error}))


async def test_an_error_that_repeats_the_request_is_not_logged(tmp_path: Path) -> None:
    """The provider's words reach the client, without our key; the log tells kind and status only."""
    async with open_scene(tmp_path, "answer") as scene:
        scene.upstream.script.always = echo
        got = await scene.ask()
        log = json.dumps(scene.relay.lines())

        assert PROMPT in got.error["message"]
        assert UPSTREAM_KEY not in got.data.decode()
        assert PROMPT not in log
        assert UPSTREAM_KEY not in log


async def test_nothing_of_the_client_but_its_question_goes_up(tmp_path: Path) -> None:
    """Key, cookies and addresses stay here; the provider gets the channel's key."""
    secret = {"cookie": "session=cookie-jar", "x-forwarded-for": "203.0.113.77", "origin": "https://origin.example"}
    async with open_scene(tmp_path, "answer") as scene:
        assert_whole(await scene.ask(headers=secret))
        (request,) = scene.upstream.requests
        sent = repr(request.headers)

        assert request.get("authorization") == f"Bearer {UPSTREAM_KEY}"
        assert not [value for value in ("cookie-jar", "203.0.113.77", "origin.example", CLIENT_KEY) if value in sent]


async def test_a_redirect_is_called_by_its_name(tmp_path: Path) -> None:
    """A provider that redirects is not followed, and the client is told what came."""
    async with open_scene(tmp_path, "redirect") as scene:
        told = [(await scene.ask(stream=stream)).error["message"] for stream in (True, False)]

        assert all("302" in message for message in told), told


async def test_an_early_answer_to_an_upload_is_passed_on(tmp_path: Path) -> None:
    """The provider refuses before it has seen the body: the client hears why, and both connections end."""
    async with open_scene(tmp_path, "early-answer;status=413") as scene:
        request = post("/v1/files", b"x" * 2_000_000, key=scene.relay.key)
        async with connect(scene.relay.url) as client:
            await client.send(request[:100_000])
            response = await client.read_response()

            assert response.status == 413
            assert await client.wait_closed() is EndedBy.PEER_CLOSED
            assert trio.current_time() < 3
        await scene.wait_all_closed()
        assert scene.pool.statistics().idle == 0
