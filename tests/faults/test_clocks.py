"""Every clock of a request, one by one: when it fires, what the client and the log are told, and that nothing is left.

All on the virtual clock, through the whole relay, over real loopback sockets: fifteen minutes take milliseconds. What a
clock says of itself (phase, limit, setting) is held here word for word, because operators search for these words.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from stand import (
    CHAT,
    PROVIDER_KEY,
    STREAM,
    UNARY,
    Stand,
    channel_table,
    error_of,
    open_pair,
    open_stand,
    open_with,
    read_failed_stream,
    send_what_is_taken,
    upload,
)

from adaptors import registry
from relay_trio.assembly import Process, build_app, secrets_of
from relay_trio.edge import seam
from relay_trio.edge.listening import open_listeners
from relay_trio.edge.server import Server
from relay_trio.relay.services import Drain
from relay_trio.telemetry.log import configure, get_logger
from relay_trio.telemetry.log_writer import MemoryLog
from relay_trio.telemetry.redaction import Redactor
from relay_trio.testing.certificates import client_context
from relay_trio.testing.conversation import Conversation, Fault, Misbehaviour, Nature, Stage
from relay_trio.testing.fake_client import FakeClient, Response, connect
from relay_trio.testing.fake_upstream import open_deaf_address, open_fake_upstream
from relay_trio.testing.oracle import Snapshot
from relay_trio.testing.relay import CLIENT_KEY, RelayUnderTest, settings_for
from relay_trio.testing.script import Act
from relay_trio.testing.shapes import never_reads, post, with_fields

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


LOOK_S = 0.6
"""Half a second between two looks of the service tasks, and a little: how late a clock of theirs may fire."""

NO_KEEPALIVE = "keepalive_interval = 0"
"""So that the head does not leave early, and a clock still has a status to say."""

BIG_BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * (16 * 1024 * 1024)}]}).encode()
"""More than the sockets' buffers on the way to a provider that does not read."""


@attrs.frozen
class Fires:
    """What a clock does when it fires, and says: to the client, and in the log."""

    phase: str
    limit_s: float
    setting: str
    code: str
    status: int = 504
    at_s: float | None = None
    """Seconds from the request's head; None: at the limit itself."""

    def check_answer(self, response: Response) -> None:
        """The client got an error answer that names phase, limit and setting."""
        assert response.status == self.status
        self.check_error(error_of(response))
        no_retry = response.head.get("x-should-retry")
        assert no_retry == ("false" if self.status == 504 else None), "an SDK would wait for the clock three times"
        if self.status == 503:
            assert response.head.get("retry-after") is not None

    def check_error(self, error: dict[str, Any]) -> None:
        """The error names phase, limit and setting."""
        assert error["code"] == self.code
        assert (error["phase"], error["limit_s"], error["setting"]) == (self.phase, self.limit_s, self.setting)
        assert f"{self.limit_s:g} s" in error["message"]
        assert self.setting in error["message"]
        assert error["request_id"]

    def check_line(self, line: dict[str, Any]) -> None:
        """The log line says the same."""
        assert (line["phase"], line["ended_with"], line["setting"]) == (self.phase, self.code, self.setting)
        assert line["outcome"] == ("deadline_exceeded" if self.status == 504 else "rejected")
        at_s = self.limit_s if self.at_s is None else self.at_s
        assert line["ms_total"] == pytest.approx(at_s * 1000, abs=3)
        assert line["left_open"] == 0


def total(phase: str, limit_s: float, code: str, status: int = 504) -> Fires:
    """Return what the total clock does in a phase."""
    return Fires(phase, limit_s, "RELAY_TIMEOUT", code, status)


async def ask_and_check(stand: Stand, request: bytes, fires: Fires, line_number: int = 1) -> None:
    """Ask, and hold the answer, the log line and the rest to what the clock promises."""
    fires.check_answer(await stand.ask(request))
    fires.check_line(await stand.line(line_number))
    await stand.rest()


async def stream_and_check(stand: Stand, request: bytes, fires: Fires, *, content: bool = True) -> None:
    """The same for a stream whose head has left: the error is its last event, and no success marker follows."""
    async with connect(stand.address) as client:
        await client.send(request)
        assert (await client.read_head()).status == 200
        before, error = await read_failed_stream(client)
    fires.check_error(error)
    assert any('"content":"The"' in data for data in before) is content
    line = await stand.line()
    assert line["status"] == 200
    fires.check_line(line)
    await stand.rest()


# ---- The total


@pytest.mark.parametrize(
    ("behaviour", "request_bytes", "fires"),
    [
        ("silent-before-head", UNARY, total("headers", 900, "upstream_headers_timeout")),
        ("silent-mid-head", UNARY, total("headers", 900, "upstream_headers_timeout")),
        ("endless-interim", UNARY, total("headers", 900, "upstream_headers_timeout")),
        ("silent-after-head", STREAM, total("first_event", 900, "upstream_first_event_timeout")),
        ("silent-mid-body", UNARY, total("answer", 900, "upstream_answer_timeout")),
        ("endless-drip", UNARY, total("answer", 900, "upstream_answer_timeout")),
    ],
)
async def test_the_total_ends_a_request_in_every_phase_of_its_answer(
    tmp_path: Path, behaviour: str, request_bytes: bytes, fires: Fires
) -> None:
    """RELAY_TIMEOUT is 900 s by default, whatever the provider does, and the error names the phase it was in."""
    async with open_stand(tmp_path, behaviour, relay=NO_KEEPALIVE) as stand:
        await ask_and_check(stand, request_bytes, fires)
        await stand.upstream.wait_no_connections()


@pytest.mark.parametrize("behaviour", ["silent-mid-body", "endless-drip", "endless-comments;after=2", "endless-body"])
async def test_the_total_ends_a_stream_with_an_error_event(tmp_path: Path, behaviour: str) -> None:
    """Also one that never falls silent: a drip, comments or events without end restart no total."""
    async with open_stand(tmp_path, behaviour) as stand:
        phase = "first_event" if "comments" in behaviour else "stream"
        fires = total(phase, 900, f"upstream_{phase}_timeout")
        await stream_and_check(stand, STREAM, fires, content=phase == "stream")
        await stand.upstream.wait_no_connections()


async def test_the_total_ends_the_wait_for_a_connection(tmp_path: Path) -> None:
    """Where the connect clock was made longer than the total."""
    async with open_deaf_address() as (host, port):
        toml = deaf_channel(host, port, "[relay.limits]\ntotal = 5\nconnect = 10")
        async with open_with(tmp_path, toml) as relay, open_fake_upstream() as upstream:
            fires = total("connect", 5, "upstream_connect_timeout")
            await ask_and_check(Stand(relay, upstream), UNARY, fires)


async def test_the_total_ends_the_sending_of_a_request(tmp_path: Path) -> None:
    """Where a provider takes no more of it."""
    limits = "total = 30\nsend = 60"
    async with open_stand(tmp_path, "never-reads-body", limits=limits) as stand:
        fires = total("send", 30, "upstream_send_timeout")
        await ask_and_check(stand, post(CHAT, BIG_BODY, key=CLIENT_KEY), fires)


async def test_the_total_ends_the_wait_for_a_slot(tmp_path: Path) -> None:
    """The client's own deadline may be shorter than the queue's clock: then it is the one that is named."""
    async with open_stand(tmp_path, "silent-before-head", relay="max_concurrency = 1") as stand, holder(stand):
        request = with_fields(UNARY, b"x-relay-timeout: 7\r\n")
        response = await stand.ask(request)
        fires = Fires("queue", 7, "X-Relay-Timeout", "queue_timeout", 503)
        fires.check_answer(response)


async def test_the_total_ends_the_wait_for_a_body(tmp_path: Path) -> None:
    """A body that drips is the client's own fault: 408."""
    async with open_stand(tmp_path, limits="total = 20\nbody = 60") as stand:
        fires = total("body", 20, "request_body_timeout", 408)
        fires.check_answer(await half_a_body(stand))
        fires.check_line(await stand.line())
        await stand.rest()


async def test_the_total_ends_the_reading_of_an_error_body(tmp_path: Path) -> None:
    """Its own bound is five seconds; a deadline that comes sooner holds all the same."""
    async with open_stand(tmp_path, "silent-mid-body;status=429", limits="total = 3") as stand:
        await ask_and_check(stand, UNARY, total("error_body", 3, "upstream_error_body_timeout"))


async def test_an_error_body_has_five_seconds(tmp_path: Path) -> None:
    """Then the status says enough: a 429 stays a 429, and the connection is closed (guarantee G4)."""
    async with open_stand(tmp_path, "silent-mid-body;status=429") as stand:
        assert (await stand.ask(UNARY)).status == 429
        line = await stand.line()
        assert line["ms_total"] == pytest.approx(5000, abs=1)
        await stand.upstream.wait_no_connections()
        await stand.rest()


async def test_a_channel_may_shorten_the_total(tmp_path: Path) -> None:
    """The error names the phase, the channel's limit, and that it is the channel's."""
    async with open_stand(tmp_path, "silent-before-head", channel="limits = { total = 40 }") as stand:
        fires = Fires("headers", 40, "RELAY_TIMEOUT of the channel", "upstream_headers_timeout")
        await ask_and_check(stand, UNARY, fires)


async def test_a_channel_cannot_lengthen_the_total(tmp_path: Path) -> None:
    """The client and the operator were promised it."""
    async with open_stand(tmp_path, "silent-before-head", limits="total = 30") as stand:
        request = with_fields(UNARY, b"x-relay-timeout: 31\r\n")
        await ask_and_check(stand, request, total("headers", 30, "upstream_headers_timeout"))


# ---- What clients ask for


async def test_a_client_may_shorten_its_total(tmp_path: Path) -> None:
    """`X-Relay-Timeout: seconds`; the error names it, since that is what the reader has to change."""
    async with open_stand(tmp_path, "silent-before-head") as stand:
        fires = Fires("headers", 12.5, "X-Relay-Timeout", "upstream_headers_timeout")
        await ask_and_check(stand, with_fields(UNARY, b"x-relay-timeout: 12.5\r\n"), fires)


async def test_a_clients_total_does_not_cross_to_the_provider(tmp_path: Path) -> None:
    """It is ours."""
    async with open_stand(tmp_path) as stand:
        assert (await stand.ask(with_fields(UNARY, b"x-relay-timeout: 100\r\n"))).status == 200
        assert stand.upstream.requests[-1].get("x-relay-timeout") is None


@pytest.mark.parametrize("nonsense", ["0", "-5", "soon", "NOT_GIVEN", "None", "nan", "inf", "1e999", "", "5s", "5, 6"])
async def test_nonsense_asks_for_nothing(tmp_path: Path, nonsense: str) -> None:
    """Anything but a positive number is ignored, never a 400; so it is in the SDKs' own announcements."""
    names = ("x-relay-timeout", "x-stainless-read-timeout", "x-stainless-timeout", "x-server-timeout")
    fields = "".join(f"{name}: {nonsense}\r\n" for name in names).encode()
    async with open_stand(tmp_path, "late-body", channel="limits = {headers = 20}") as stand:
        async with connect(stand.address) as client:
            await client.send(with_fields(STREAM, fields))
            await client.read_head()
            first_at = trio.current_time()
            assert (await client.read_events()).data[-1] == "[DONE]"
        line = await stand.line()
        assert line["ms_total"] == pytest.approx(600_000, abs=1)
        assert first_at == pytest.approx(10, abs=LOOK_S), "the keep-alive came when it always does"


@pytest.mark.parametrize("name", ["x-stainless-read-timeout", "x-stainless-timeout", "X-Server-Timeout"])
async def test_the_longest_silence_that_a_client_bears_caps_the_keepalive_only(tmp_path: Path, name: str) -> None:
    """Half of it, for the first one and for the interval. A stream that is longer than it is fine."""
    async with open_stand(tmp_path, "late-body") as stand:
        request = with_fields(STREAM, f"{name}: 8\r\n".encode())
        moments, data = await keepalive_moments(stand, request)
        assert moments[:3] == pytest.approx([4, 8, 12], abs=3 * LOOK_S)
        assert len(moments) == pytest.approx(600 / 4, rel=0.2)
        assert data[-1] == "[DONE]"


# ---- The body


async def test_a_body_that_stalls_is_ended_after_its_clock(tmp_path: Path) -> None:
    """60 s, 408, and the provider never heard of it."""
    async with open_stand(tmp_path) as stand:
        fires = Fires("body", 60, "RELAY_BODY_TIMEOUT", "request_body_timeout", 408)
        fires.check_answer(await half_a_body(stand))
        fires.check_line(await stand.line())
        assert stand.upstream.request_count == 0
        await stand.rest()


async def test_each_128_kib_earn_a_body_another_second(tmp_path: Path) -> None:
    """A slow line is no attack: 1 MiB of a body that then stalls has 60 + 8 s."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        request = post(CHAT, b" " * (2 * 1024 * 1024), key=CLIENT_KEY)
        head_size = request.index(b"\r\n\r\n") + 4
        await client.send(request[: head_size + 1024 * 1024])
        response = await client.read_response()
        fires = Fires("body", 60, "RELAY_BODY_TIMEOUT", "request_body_timeout", 408, at_s=67.5)
        fires.check_answer(response)
        fires.check_line(await stand.line())


async def test_a_body_that_earns_its_time_is_read_for_longer_than_the_clock(tmp_path: Path) -> None:
    """128 KiB a second for three minutes: nothing to complain about."""
    async with open_stand(tmp_path, relay="") as stand, connect(stand.address) as client:
        size = 180 * 128 * 1024
        body = b'{"model": "m", "messages": [], "x": "' + b"x" * size + b'"}'
        await client.send_slowly(post(CHAT, body, key=CLIENT_KEY), 1.0, step=128 * 1024)
        assert (await client.read_response()).status == 200
        assert (await stand.line())["ms_total"] > 170_000


async def test_a_body_a_byte_a_second_is_ended_too(tmp_path: Path) -> None:
    """A byte earns next to nothing: the clock runs on between bytes."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        head, mark, body = UNARY.partition(b"\r\n\r\n")
        await client.send(head + mark)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_slowly, body[:80], 1.0)
            response = await client.read_response()
            nursery.cancel_scope.cancel()
        fires = Fires("body", 60, "RELAY_BODY_TIMEOUT", "request_body_timeout", 408, at_s=60)
        fires.check_answer(response)
        fires.check_line(await stand.line())


async def test_the_bodys_clock_stands_still_while_we_make_the_client_wait(tmp_path: Path) -> None:
    """A body that waits for room in memory is not the client's slowness: it is counted by the queue's clock."""
    relay = 'max_buffered_bytes = "1MiB"\nmax_body_bytes = "1MiB"'
    limits = "body = 10\nqueue = 300\ntotal = 200"
    async with open_stand(tmp_path, relay=relay, limits=limits) as stand:
        stand.upstream.script.enqueue("silent-before-head")
        big = post(CHAT, b'{"model": "m", "messages": []}'.ljust(700 * 1024), key=CLIENT_KEY)
        async with connect(stand.address) as first, connect(stand.address) as second:
            await first.send(with_fields(big, b"x-relay-timeout: 100\r\n"))
            await stand.upstream.wait_requests(1)
            await second.send(big)
            assert (await second.read_response()).status == 200
            assert (await first.read_response()).status == 504
        line = stand.relay.finished()[-1]
        assert line["ms_queue"] == pytest.approx(100_000, abs=5000)


async def test_an_upload_that_stalls_is_ended_by_the_bodys_clock(tmp_path: Path) -> None:
    """Also where the body streams through to the provider: 408 and its connection is closed, it has half a file."""
    async with open_stand(tmp_path) as stand:
        async with connect(stand.address) as client:
            await client.send(upload(300_000)[:-1000])
            response = await client.read_response()
        fires = Fires("body", 60, "RELAY_BODY_TIMEOUT", "request_body_timeout", 408)
        assert response.status == 408
        fires.check_error(error_of(response))
        line = await stand.line()
        assert line["ms_total"] == pytest.approx(62_280, abs=600)
        await stand.upstream.wait_no_connections()
        await stand.rest()


# ---- Sending


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "upload"])
async def test_a_provider_that_takes_no_more_is_left(tmp_path: Path, *, streamed: bool) -> None:
    """RELAY_SEND_TIMEOUT, 60 s without progress."""
    async with open_stand(tmp_path, "never-reads-body") as stand:
        request = upload(len(BIG_BODY)) if streamed else post(CHAT, BIG_BODY, key=CLIENT_KEY)
        async with connect(stand.address) as client, trio.open_nursery() as nursery:
            nursery.start_soon(send_what_is_taken, client, request)
            response = await client.read_response()
            nursery.cancel_scope.cancel()
        fires = Fires("send", 60, "RELAY_SEND_TIMEOUT", "upstream_send_timeout")
        fires.check_answer(response)
        fires.check_line(await stand.line())
        await stand.rest()


async def test_progress_restarts_the_send_clock(tmp_path: Path) -> None:
    """A provider that takes a piece every 50 s is slow, not stalled; the total bounds it."""
    async with open_stand(tmp_path) as stand:
        stand.upstream.script.queue.append(slow_reader(pause_s=50, times=3))
        async with connect(stand.address) as client:
            await client.send(post(CHAT, BIG_BODY, key=CLIENT_KEY))
            response = await client.read_response()
        assert response.status == 200
        assert (await stand.line())["ms_total"] >= 150_000


def slow_reader(pause_s: float, times: int) -> Act:
    """Return a provider that takes a few KiB of the body, pauses, and so on; then the rest, and answers."""

    async def run(c: Conversation) -> None:
        for _ in range(times):
            await trio.sleep(pause_s)
            for _ in range(64):
                await c.link.read_some(65536)
        length = int(c.request.get("content-length") or "0")
        while c.link.bytes_received - head_size(c) < length:
            await c.link.read_some(65536)
        await c.send_in_place(200, ((b"content-type", b"application/json"),), WHOLE_ANSWER)
        c.reuse = False

    return Act(Fault("slow-reader"), Misbehaviour("slow-reader", Stage.HEAD, Nature.WHOLE, run))


def head_size(c: Conversation) -> int:
    """Return how many bytes the request's head had."""
    line = f"{c.request.method} {c.request.target} {c.request.version}\r\n"
    return len(line) + sum(len(name) + len(value) + 4 for name, value in c.request.headers) + 2


WHOLE_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    }
).encode()


# ---- The queue


async def test_who_waits_for_a_slot_too_long_is_told_to_come_again(tmp_path: Path) -> None:
    """RELAY_QUEUE_TIMEOUT, 30 s: 503 with Retry-After, and the one who holds the slot goes on."""
    async with open_stand(tmp_path, "silent-before-head", relay="max_concurrency = 1") as stand:
        async with holder(stand):
            fires = Fires("queue", 30, "RELAY_QUEUE_TIMEOUT", "queue_timeout", 503)
            response = await stand.ask(UNARY)
            fires.check_answer(response)
            assert response.head.get("retry-after") == "30"
            fires.check_line(await stand.line())
            assert len(stand.relay.running.services.registry) == 1
        await stand.line(2)
        await stand.rest()


# ---- Connecting


async def test_an_address_that_does_not_answer_fails_fast(tmp_path: Path) -> None:
    """RELAY_CONNECT_TIMEOUT, 10 s."""
    async with (
        open_deaf_address() as (host, port),
        open_with(tmp_path, deaf_channel(host, port)) as relay,
        open_fake_upstream() as upstream,
    ):
        fires = Fires("connect", 10, "RELAY_CONNECT_TIMEOUT", "upstream_connect_timeout")
        await ask_and_check(Stand(relay, upstream), UNARY, fires)


async def test_a_tls_handshake_that_hangs_is_part_of_connecting(tmp_path: Path) -> None:
    """The same clock over the handshake; a channel may lengthen it."""
    async with open_stand(tmp_path, "tls-hangs", tls=True, channel="limits = { connect = 25 }") as stand:
        async with connect(stand.address, tls=client_context()) as client:
            await client.send(UNARY)
            response = await client.read_response()
        fires = Fires("connect", 25, "RELAY_CONNECT_TIMEOUT of the channel", "upstream_connect_timeout")
        fires.check_answer(response)
        fires.check_line(await stand.line())
        await stand.rest()


# ---- Headers


async def test_headers_have_a_clock_of_their_own_if_it_is_set(tmp_path: Path) -> None:
    """RELAY_HEADER_TIMEOUT; without it the total is the limit, as the first test here shows."""
    async with open_stand(tmp_path, "silent-before-head", limits="headers = 90") as stand:
        fires = Fires("headers", 90, "RELAY_HEADER_TIMEOUT", "upstream_headers_timeout")
        await ask_and_check(stand, UNARY, fires)
        assert (await stand.line())["ms_headers"] == pytest.approx(90_000, abs=1)


@pytest.mark.parametrize(("own", "limit_s"), [("limits = { headers = 200 }", 200), ("limits = { headers = 20 }", 20)])
async def test_a_channel_may_set_its_headers_clock_either_way(tmp_path: Path, own: str, limit_s: float) -> None:
    """Longer or shorter than the relay's: one provider thinks before it sends a head, another never does."""
    async with open_stand(tmp_path, "silent-before-head", limits="headers = 90", channel=own) as stand:
        fires = Fires("headers", limit_s, "RELAY_HEADER_TIMEOUT of the channel", "upstream_headers_timeout")
        await ask_and_check(stand, UNARY, fires)


async def test_a_late_head_is_a_good_head(tmp_path: Path) -> None:
    """Ten silent minutes before the head are no error without a clock that says so."""
    async with open_stand(tmp_path, "late-head") as stand:
        assert (await stand.ask(UNARY)).status == 200


# ---- The first event


async def test_a_channel_that_sends_no_content_can_be_left(tmp_path: Path) -> None:
    """RELAY_FIRST_EVENT_TIMEOUT counts from the headers, and no opening event stops it."""
    async with open_stand(tmp_path, "silent-mid-body;after=1", limits="first_event = 8") as stand:
        fires = Fires("first_event", 8, "RELAY_FIRST_EVENT_TIMEOUT", "upstream_first_event_timeout")
        await ask_and_check(stand, STREAM, fires)


async def test_another_channel_answers_in_place_of_one_without_content(tmp_path: Path) -> None:
    """The opening events of the first are the client's no more; it sees one answer only."""
    async with open_pair(tmp_path, "silent-mid-body;after=1", limits="first_event = 8") as stand:
        async with connect(stand.address) as client:
            await client.send(STREAM)
            await client.read_head()
            events = await client.read_events()
        assert sum('"role":"assistant"' in data for data in events.data) == 1
        assert events.data[-1] == "[DONE]"
        line = await stand.line()
        assert (line["attempts"], line["channel"], line["outcome"]) == (2, "second", "completed")
        await stand.rest()
        assert stand.first is not None
        await stand.first.wait_no_connections()


async def test_without_the_clock_a_first_event_may_take_its_time(tmp_path: Path) -> None:
    """Headers at once, ten silent minutes, then the answer: that is how some models think."""
    async with open_stand(tmp_path, "late-body") as stand, connect(stand.address) as client:
        await client.send(STREAM)
        await client.read_head()
        assert (await client.read_events()).data[-1] == "[DONE]"


# ---- Idle


async def test_a_stream_that_falls_silent_is_ended_if_the_clock_is_set(tmp_path: Path) -> None:
    """RELAY_IDLE_TIMEOUT counts from the last byte after the first content."""
    async with open_stand(tmp_path, "silent-mid-body", limits="idle = 45") as stand:
        fires = Fires("idle", 45, "RELAY_IDLE_TIMEOUT", "upstream_idle_timeout")
        await stream_and_check(stand, STREAM, fires)


async def test_any_byte_restarts_the_idle_clock(tmp_path: Path) -> None:
    """Comments every 40 s are no content, but life."""
    async with open_stand(tmp_path, commented(pause_s=40, times=10), limits="idle = 45") as stand:
        async with connect(stand.address) as client:
            await client.send(STREAM)
            await client.read_head()
            assert (await client.read_events()).data[-1] == "[DONE]"
        assert (await stand.line())["ms_total"] == pytest.approx(400_000, abs=1)


async def test_the_idle_clock_is_off_by_default(tmp_path: Path) -> None:
    """Ten silent minutes in the middle of a stream are no error by themselves."""
    async with open_stand(tmp_path, commented(pause_s=700, times=1)) as stand, connect(stand.address) as client:
        await client.send(STREAM)
        await client.read_head()
        assert (await client.read_events()).data[-1] == "[DONE]"


async def test_the_idle_clock_stands_still_while_the_client_is_slow(tmp_path: Path) -> None:
    """What waits for the client is not the provider's silence."""
    limits = "idle = 5\nclient_write = 60"
    async with open_stand(tmp_path, "answer;words=2000;word_bytes=4000", limits=limits) as stand:
        async with never_reads(stand.address, STREAM) as client:
            await trio.sleep(50)
            await client.read_head()
            events = await client.read_events()
        assert events.data[-1] == "[DONE]"
        assert (await stand.line())["outcome"] == "completed"


def commented(pause_s: float, times: int) -> Callable[[Conversation], Any]:
    """Return a provider that says something, then only comments for a while, and then the rest."""

    async def commented_run(c: Conversation) -> None:
        await c.send_head()
        await c.send_pieces(*c.first_pieces)
        for _ in range(times):
            await c.link.pause(pause_s)
            await c.send_piece(b": still here\n\n")
        await c.send_pieces(*c.answer.pieces[len(c.first_pieces) :])
        await c.send_end()

    return commented_run


# ---- The client takes no more


@pytest.mark.parametrize("behaviour", ["endless-body;interval=0", "answer;words=4000;word_bytes=4000"])
async def test_a_client_that_stops_reading_for_ever_is_ended(tmp_path: Path, behaviour: str) -> None:
    """RELAY_CLIENT_WRITE_TIMEOUT without progress, plus the clean-up's five seconds at most (guarantee G1)."""
    async with open_stand(tmp_path, behaviour) as stand, never_reads(stand.address, STREAM):
        line = await stand.line()
        assert (line["phase"], line["ended_with"]) == ("client_write", "client_write_timeout")
        assert (line["setting"], line["outcome"]) == ("RELAY_CLIENT_WRITE_TIMEOUT", "deadline_exceeded")
        assert line["ms_total"] <= (60 + 5) * 1000
        await stand.rest()
        assert trio.current_time() <= 60 + 5 + 2


async def test_a_channel_may_shorten_the_clients_clock(tmp_path: Path) -> None:
    """From its own attempt on."""
    own = "limits = { client_write = 7 }"
    async with (
        open_stand(tmp_path, "endless-body;interval=0", channel=own) as stand,
        never_reads(stand.address, STREAM),
    ):
        line = await stand.line()
        assert line["setting"] == "RELAY_CLIENT_WRITE_TIMEOUT of the channel"
        assert line["ms_total"] <= (7 + 5) * 1000


async def test_the_total_ends_a_client_that_stopped_reading(tmp_path: Path) -> None:
    """Deadline plus five seconds, and the client's connection is gone too: it is aborted, not waited for."""
    limits = "total = 100\nclient_write = 600"
    async with (
        open_stand(tmp_path, "endless-body;interval=0", limits=limits) as stand,
        never_reads(stand.address, STREAM),
    ):
        await trio.sleep(100 + 5)
        assert stand.relay.live() == {}
        line = await stand.line()
        assert (line["outcome"], line["setting"]) == ("deadline_exceeded", "RELAY_TIMEOUT")
        assert line["ms_total"] <= 105_000


async def test_a_client_that_reads_slowly_is_no_stall(tmp_path: Path) -> None:
    """A piece every 50 s restarts the clock; the provider is slowed down to it (guarantee G7)."""
    async with open_stand(tmp_path, "answer;words=3000;word_bytes=4000", limits="total = 5000") as stand:
        async with never_reads(stand.address, STREAM) as client:
            await client.read_head()
            for _ in range(5):
                await trio.sleep(50)
                for _ in range(64):
                    await client.read_piece()
            assert len(stand.relay.running.services.registry) == 1
            assert (await client.read_body()).data.endswith(b"data: [DONE]\n\n")
        assert (await stand.line())["outcome"] == "completed"


# ---- Quick calls, the pool, the client's connection


async def test_a_provider_that_lists_no_models_costs_the_quick_limit(tmp_path: Path) -> None:
    """RELAY_QUICK_TIMEOUT, 120 s; the list leaves without it, and nothing stays open."""
    async with open_pair(tmp_path, "silent-before-head") as stand:
        response = await stand.ask(post("/v1/models", b"", key=CLIENT_KEY).replace(b"POST", b"GET"))
        assert [model["id"] for model in response.json()["data"]] == ["fake-small", "fake-large"]
        assert (await stand.line())["ms_total"] == pytest.approx(120_000, abs=1)
        (warning,) = stand.relay.lines("models_not_listed")
        assert "RELAY_QUICK_TIMEOUT" in warning["why"]
        await stand.rest()
        assert stand.first is not None
        await stand.first.wait_no_connections()


async def test_an_idle_connection_to_a_provider_is_kept_for_its_clock(tmp_path: Path) -> None:
    """RELAY_POOL_IDLE_TIMEOUT, 90 s: reused before, closed after."""
    async with open_stand(tmp_path) as stand:
        await stand.ask(UNARY)
        await trio.sleep(85)
        await stand.ask(UNARY)
        assert stand.upstream.connections.opened == 1
        rested_from = trio.current_time()
        await stand.upstream.wait_no_connections()
        assert trio.current_time() - rested_from == pytest.approx(90, abs=1.5)
        await stand.rest()


async def test_a_head_that_does_not_come_is_refused(tmp_path: Path) -> None:
    """RELAY_CLIENT_HEAD_TIMEOUT, 20 s from its first byte: 408 and the end of the connection, with a log line."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        await trio.sleep(15)
        begun = trio.current_time()
        await client.send(UNARY[:100])
        response = await client.read_response()
        assert response.status == 408
        assert "20 s (limit RELAY_CLIENT_HEAD_TIMEOUT)" in error_of(response)["message"]
        await client.wait_closed()
        assert trio.current_time() - begun == pytest.approx(20, abs=LOOK_S)
        (line,) = stand.relay.finished()
        assert (line["status"], line["outcome"], line["phase"]) == (408, "rejected", "head")
        await stand.rest()


async def test_a_head_that_does_not_come_is_refused_on_an_idle_connection_too(tmp_path: Path) -> None:
    """In its 20 s, though the connection might have been idle for longer than that from there on."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        await client.send(UNARY)
        assert (await client.read_response()).status == 200
        await trio.sleep(40)
        begun = trio.current_time()
        await client.send(UNARY[:100])
        assert (await client.read_response()).status == 408
        assert trio.current_time() - begun == pytest.approx(20, abs=LOOK_S)
        await client.wait_closed()
        await stand.rest()


async def test_a_head_a_byte_a_second_is_refused_too(tmp_path: Path) -> None:
    """Progress earns a head nothing."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client, trio.open_nursery() as nursery:
        nursery.start_soon(send_slowly, client, UNARY)
        assert (await client.read_response()).status == 408
        assert trio.current_time() == pytest.approx(20, abs=LOOK_S)
        nursery.cancel_scope.cancel()


async def test_a_channel_may_shorten_the_quick_limit_and_the_pools(tmp_path: Path) -> None:
    """For its own listing, and for the connections that it used last."""
    own = "limits = { quick = 6, pool_idle = 9 }"
    async with open_stand(tmp_path, channel=own) as stand:
        stand.upstream.script.enqueue("silent-before-head")
        await stand.ask(post("/v1/models", b"", key=CLIENT_KEY).replace(b"POST", b"GET"))
        assert trio.current_time() == pytest.approx(6, abs=0.1)
        (warning,) = stand.relay.lines("models_not_listed")
        assert "6 s (limit RELAY_QUICK_TIMEOUT of the channel)" in warning["why"]
        await stand.ask(UNARY)
        await stand.upstream.wait_no_connections()
        assert trio.current_time() == pytest.approx(6 + 9, abs=1.5)


@pytest.mark.parametrize("before", [b"", UNARY], ids=["new", "used"])
async def test_a_connection_without_a_request_is_closed_without_a_word(tmp_path: Path, before: bytes) -> None:
    """RELAY_CLIENT_IDLE_TIMEOUT, 75 s between two requests; a connection that never said a byte has the head's 20 s."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        if before:
            await client.send(before)
            assert (await client.read_response()).status == 200
        assert await client.link.receive() == b""
        assert trio.current_time() == pytest.approx(75 if before else 20, abs=LOOK_S)
        assert len(stand.relay.finished()) == (1 if before else 0)


async def test_the_heads_clock_starts_anew_for_each_request(tmp_path: Path) -> None:
    """70 idle seconds take nothing from the next head's 20."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        await client.send(UNARY)
        await client.read_response()
        await trio.sleep(70)
        await client.send(UNARY[:50])
        await trio.sleep(18)
        await client.send(UNARY[50:])
        assert (await client.read_response()).status == 200
        await stand.line(2)


# ---- The drain


@attrs.define
class Served:
    """A server of ours in this trio run, and the exit status with which it ended."""

    stand: Stand
    server: Server
    log: MemoryLog
    status: int | None = None
    ended_at: float = 0.0


@asynccontextmanager
async def open_server(directory: Path, behaviour: str, limits: str) -> AsyncIterator[Served]:
    """Run a whole server with its drain, which must have ended when the block does."""
    async with open_fake_upstream(behaviour) as upstream:
        settings = settings_for(directory, f"[relay.limits]\n{limits}\n{channel_table('main', upstream)}")
        seam.install()
        log, redactor, drain = MemoryLog(), Redactor(secrets_of(settings)), Drain()
        configure(log, redactor, level="debug")
        process = Process(
            settings=settings,
            adaptors=registry.load(),
            load=lambda: settings,
            path=None,
            sink=log,
            redactor=redactor,
            drain=drain,
        )
        app = build_app(process)
        server = Server(app, settings, drain, get_logger(), end_at_once=lambda: None)
        listeners = open_listeners(settings.listen)
        host, port = listeners[0].getsockname()
        served = Served(Stand(RelayUnderTest(host, port, app, process, log), upstream), server, log)

        async def serve(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            served.status = await server.serve(listeners, task_status.started)
            served.ended_at = trio.current_time()

        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            yield served


async def test_a_drain_waits_for_what_lives_and_takes_nothing_new(tmp_path: Path) -> None:
    """Status 0: the last one ended in time, and the server with it, at once."""
    async with open_server(tmp_path, "late-head;interval=100", "total = 900") as served:
        stand = served.stand
        async with connect(stand.address) as client:
            await client.send(UNARY)
            await stand.upstream.wait_requests(1)
            served.server.begin_drain("a test")
            response = await stand.ask(UNARY)
            assert (response.status, error_of(response)["code"]) == (503, "relay_draining")
            assert (response.head.get("connection"), response.head.get("retry-after")) == ("close", "1")
            assert (await client.read_response()).status == 200
    assert served.status == 0
    assert served.ended_at == pytest.approx(100, abs=1)
    (ended,) = stand.relay.lines("drain_ended")
    assert (ended["live"], ended["finished"], ended["cut"]) == (1, 1, 0)


async def test_a_drain_cuts_what_takes_longer_than_its_clock(tmp_path: Path) -> None:
    """RELAY_DRAIN_TIMEOUT: each client is told in its dialect, and the status is 1."""
    async with open_server(tmp_path, "silent-mid-body", "drain = 40") as served:
        stand = served.stand
        async with connect(stand.address) as client:
            await client.send(STREAM)
            await client.read_head()
            served.server.begin_drain("a test")
            _, error = await read_failed_stream(client)
            assert error["code"] == "relay_drained"
            assert trio.current_time() == pytest.approx(40, abs=1)
    assert served.status == 1
    assert served.ended_at == pytest.approx(40, abs=3)
    (line,) = stand.relay.finished()
    assert (line["outcome"], line["left_open"]) == ("drained", 0)


async def test_without_a_setting_a_drain_lasts_as_long_as_the_longest_request(tmp_path: Path) -> None:
    """The total and a minute: so nothing is cut that was promised its time."""
    async with (
        open_server(tmp_path, "silent-before-head", "total = 300") as served,
        connect(served.stand.address) as client,
    ):
        await client.send(UNARY)
        await served.stand.upstream.wait_requests(1)
        served.server.begin_drain("a test")
        assert (await client.read_response()).status == 504
    assert served.status == 0
    assert served.ended_at == pytest.approx(300, abs=3)
    assert served.stand.relay.lines("drain_started")[0]["limit_s"] == 360


async def test_a_drain_ends_with_clients_that_stall(tmp_path: Path) -> None:
    """One that reads nothing, one that sent half a head, one that is idle: none of them holds the server."""
    async with open_server(tmp_path, "endless-body;interval=0", "drain = 30\nclient_write = 600") as served:
        address = served.stand.address
        async with never_reads(address, STREAM), connect(address) as half, connect(address):
            await half.send(UNARY[:40])
            await trio.sleep(5)
            served.server.begin_drain("a test")
            await trio.sleep(30 + 5 + 4)
            assert served.status == 1
            assert served.ended_at <= 5 + 30 + 5 + 4


# ---- Keep-alive: not a limit, but a clock


async def test_a_silent_stream_is_kept_awake(tmp_path: Path) -> None:
    """First after 10 s, then every 15 s of silence, as comments that no SDK shows; then the answer as it came."""
    async with open_stand(tmp_path, "late-body") as stand:
        moments, data = await keepalive_moments(stand, STREAM)
        assert moments[:4] == pytest.approx([10, 25, 40, 55], abs=4 * LOOK_S)
        assert len(moments) == pytest.approx(600 / 15, abs=3)
        assert data[-1] == "[DONE]"
        line = await stand.line()
        assert line["keepalives"] == len(moments)


async def test_a_stream_with_content_is_kept_awake_too(tmp_path: Path) -> None:
    """Between two events, whole ones on both sides."""
    async with open_stand(tmp_path, commented(pause_s=60, times=1)) as stand:
        moments, data = await keepalive_moments(stand, STREAM)
        assert moments[:3] == pytest.approx([10, 25, 40], abs=3 * LOOK_S)
        assert data[-1] == "[DONE]"


async def test_no_keepalive_without_a_stream(tmp_path: Path) -> None:
    """A unary answer has its status to lose: nothing leaves before it is here."""
    async with open_stand(tmp_path, "late-head;status=429") as stand, connect(stand.address) as client:
        await client.send(UNARY)
        assert (await client.read_response()).status == 429
        assert trio.current_time() == pytest.approx(600, abs=1)


async def test_an_interval_of_0_switches_early_heads_off_too(tmp_path: Path) -> None:
    """Then a late 429 is still a 429 for a stream."""
    async with open_stand(tmp_path, "late-head;status=429", relay=NO_KEEPALIVE) as stand:
        response = await stand.ask(STREAM)
        assert response.status == 429
        assert (await stand.line()).get("keepalives") is None


async def test_after_an_early_head_a_failure_travels_in_band(tmp_path: Path) -> None:
    """The head left with a keep-alive, fallback went on behind it, and the last failure is the error event."""
    late = "late-head;interval=30;status="
    async with open_pair(tmp_path, late + "503", late + "429") as stand:
        async with connect(stand.address) as client:
            await client.send(STREAM)
            assert (await client.read_head()).status == 200
            before, error = await read_failed_stream(client)
        assert before == []
        assert error["code"] == "rate_limit_exceeded"
        line = await stand.line()
        assert (line["attempts"], line["status"], line["outcome"]) == (2, 200, "upstream_error")
        await stand.rest()


async def test_after_an_early_head_another_channel_may_still_answer(tmp_path: Path) -> None:
    """A keep-alive is no content."""
    async with open_pair(tmp_path, "late-head;status=503;interval=30") as stand:
        async with connect(stand.address) as client:
            await client.send(STREAM)
            await client.read_head()
            events = await client.read_events()
        assert events.comments == ["keep-alive", "keep-alive"]
        assert events.data[-1] == "[DONE]"
        assert (await stand.line())["attempts"] == 2
        await stand.rest()


async def test_held_opening_events_that_have_left_end_the_fallback(tmp_path: Path) -> None:
    """After 10 s they leave as the sign of life; from then on no other answer may begin."""
    async with open_pair(tmp_path, "silent-mid-body;after=1", limits="first_event = 20") as stand:
        async with connect(stand.address) as client:
            await client.send(STREAM)
            assert (await client.read_head()).status == 200
            assert trio.current_time() == pytest.approx(10, abs=LOOK_S)
            before, error = await read_failed_stream(client)
        assert [json.loads(data)["choices"][0]["delta"]["role"] for data in before] == ["assistant"]
        assert error["code"] == "upstream_first_event_timeout"
        assert stand.upstream.request_count == 0
        assert (await stand.line())["attempts"] == 1
        await stand.rest()


async def keepalive_moments(stand: Stand, request: bytes) -> tuple[list[float], list[str]]:
    """Return when each keep-alive came, in seconds from the request, and the data of all events."""
    moments: list[float] = []
    data: list[str] = []
    async with connect(stand.address) as client:
        start = trio.current_time()
        await client.send(request)
        await client.read_head()
        while (event := await client.read_event()) is not None:
            if "keep-alive" in event.comments:
                assert event.raw == b": keep-alive\n\n"
                moments.append(trio.current_time() - start)
            elif event.data:
                data.append(event.data)
    return moments, data


# ---- What the tests share


class holder:  # noqa: N801 - reads as a sentence where it is used
    """A client that holds one slot for the length of the block."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand

    async def __aenter__(self) -> None:
        self._connection = connect(self._stand.address)
        client = await self._connection.__aenter__()
        await client.send(UNARY)
        await self._stand.upstream.wait_requests(1)

    async def __aexit__(self, *error: object) -> None:
        await self._connection.__aexit__(None, None, None)


async def half_a_body(stand: Stand) -> Response:
    """Send all of a request but its last ten bytes, and return what is said to it."""
    async with connect(stand.address) as client:
        await client.send(UNARY[:-10])
        return await client.read_response()


async def send_slowly(client: FakeClient, data: bytes) -> None:
    """Send a byte a second for as long as they are taken."""
    await client.send_slowly(data, 1.0)


def deaf_channel(host: str, port: int, limits: str = "") -> str:
    """Return a configuration whose provider is an address that never answers."""
    return f"""
        {limits}
        [[channels]]
        name = "main"
        adaptor = "openai"
        base_url = "http://{host}:{port}/v1"
        api_keys = ["{PROVIDER_KEY}"]
    """
