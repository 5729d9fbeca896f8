"""Promises of `relay-trio monitor`: what it draws, what keys do, and that it prints lines where nobody can press any."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio
from rich.console import Console
from serving import ADMIN_KEY, KEY, SERVE, environment, served
from stand import STREAM, open_stand

from relay_trio.cli.figures import BLOCKS, PLAIN_BLOCKS, blocks_for, span, sparkline
from relay_trio.cli.language import choose
from relay_trio.cli.monitor import glance
from relay_trio.cli.monitor_keys import decoded
from relay_trio.cli.monitor_screen import screen
from relay_trio.cli.monitor_state import MAX_PAST, Glance, Past, State, errors_in
from relay_trio.cli.relay_client import RelayClient
from relay_trio.cli.relay_place import place_at
from relay_trio.settings.secret import Secret
from relay_trio.testing.fake_client import connect

pytestmark = pytest.mark.anyio

Json = dict[str, Any]

HEALTH = msgspec.json.decode(
    b"""{"status": "ok", "reasons": [], "nurseries": 3, "peak": {"1h": 40, "24h": 90},
    "requests": {"live": 2, "queued": 0, "oldest_s": 312.4, "overdue": 0},
    "balance": {"slots": {"opened": 20, "closed": 18, "live": 2, "unaccounted": 0}},
    "fds": {"open": 60, "limit": 20000}, "memory": {"alloc_mb": 38.9, "sys_mb": 48.4, "rss_mb": 51.4, "num_gc": 1},
    "loop_lag_ms": 0.7, "log": {"dropped": 0}, "channels": {"up": 3, "down": 0},
    "thresholds": {"warn": 2000, "error": 5000, "total_s": 900.0}, "uptime_s": 11520.0, "version": "0.1.0",
    "workers": [{"pid": 7, "status": "ok", "nurseries": 3}]}"""
)


def request(number: int, **changes: Any) -> Json:
    return {
        "id": f"req_{number}",
        "name": "request",
        "method": "POST",
        "path": "/v1/chat/completions",
        "age_s": 10.0 * number,
        "left_s": 900 - 10.0 * number,
        "attempt": 1,
        "channel": "main",
        "phase": "headers",
        "key": "alice",
        "bytes_out": 5 * (10 - number),
    } | changes


LIVE = [request(1), request(3, phase="stream"), request(2), request(9, name="monitoring")]


def state_of(requests: list[Json] | None = None, **changes: Any) -> State:
    state = State("http://relay")
    state.take(Glance(0.0, {**HEALTH, **changes}, errors=0, requests=LIVE if requests is None else requests))
    return state


def drawn(state: State, width: int = 120, height: int = 30) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, legacy_windows=False)
    console.print(screen(state, console))
    text: str = console.file.getvalue()  # type: ignore[attr-defined] # it is the StringIO from above
    return text


def ids(state: State) -> list[str]:
    return [one["id"] for one in state.requests()]


# What is known


def test_rates_are_differences() -> None:
    """Requests and errors a second, from counters; a relay that started anew began at nothing."""
    past = Past()
    for at, opened, errors in ((0.0, 20, 0), (5.0, 30, 1), (10.0, 4, 0)):
        balance = {"slots": {"opened": opened, "closed": 0, "live": 0, "unaccounted": 0}}
        past.add(Glance(at, {**HEALTH, "balance": balance}, errors=errors))
    assert list(past.requests_per_s) == [2.0, 0.8]
    assert list(past.errors_per_s) == [0.2, 0.0]
    assert list(past.nurseries) == [3, 3, 3]


def test_the_past_is_bounded() -> None:
    """A view that is left open for a week holds what the widest terminal could draw."""
    past = Past()
    for at in range(2 * MAX_PAST):
        past.add(Glance(float(at), HEALTH, errors=0))
    assert len(past.nurseries) == len(past.errors_per_s) == MAX_PAST


def test_errors_are_what_failed() -> None:
    """Not what was completed, what its client left, what an operator cancelled, what a client did wrong."""
    page = "".join(
        f'relay_requests_total{{channel="a",dialect="b",model="}}",outcome="{outcome}"}} {count}\n'
        for outcome, count in (
            ("completed", 100),
            ("client_disconnected", 10),
            ("cancelled_by_operator", 10),
            ("rejected", 10),
            ("upstream_error", 3),
            ("deadline_exceeded", 2),
            ("internal_error", 1),
        )
    )
    assert errors_in("# HELP relay_requests_total Finished requests.\n" + page) == 6


# Keys


def test_the_orders() -> None:
    """Oldest first, least time left, most bytes, by phase, and round; who only looks is not shown."""
    state = state_of()
    seen = []
    for _ in range(5):
        seen.append(ids(state))
        assert state.press("s") == "none"
    assert seen == [
        ["req_3", "req_2", "req_1"],
        ["req_3", "req_2", "req_1"],
        ["req_1", "req_2", "req_3"],
        ["req_2", "req_1", "req_3"],
        ["req_3", "req_2", "req_1"],
    ]


def test_a_request_is_selected_by_what_it_is() -> None:
    """It stays selected wherever the order puts it, and no longer than it lives."""
    state = state_of()
    for key, selected in (("down", "req_3"), ("down", "req_2"), ("down", "req_1"), ("down", "req_1"), ("up", "req_2")):
        state.press(key)
        assert state.selected == selected
    state.press("s")
    assert state.selected == "req_2"
    state.take(Glance(1.0, HEALTH, errors=0, requests=[request(1)]))
    assert state.selected is None


def test_cancelling_asks_first() -> None:
    """Only y cancels; anything else does not; without a selection there is nothing to ask."""
    state = state_of()
    assert state.press("x") == "none"
    assert (state.asks_for, state.note) == (None, "select a request first, with the arrow keys")
    state.press("down")
    for key in ("n", "enter", "x", "down"):
        state.press("x")
        assert state.asks_for == "req_3"
        assert state.press(key) == "none"
        assert state.asks_for is None
    state.press("x")
    assert "Cancel req_3 (POST /v1/chat/completions)? Its client gets an error. y / n" in drawn(state)
    assert state.press("y") == "cancel"


def test_stacks_are_fetched_when_they_are_shown() -> None:
    """The key asks for a look, which brings them; without a selection it takes the first request."""
    state = state_of()
    assert state.press("t") == "look"
    assert (state.shows_stacks, state.selected) == (True, "req_3")


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("q", ["q"]),
        ("\x1b[A\x1b[B", ["up", "down"]),
        ("\x1bOA", ["up"]),
        ("\rjy", ["enter", "j", "y"]),
        ("\x1b[5~y", []),
        ("\x1b", []),
        ("\x00\x7f", []),
    ],
)
def test_keys_as_a_terminal_sends_them(sent: str, keys: list[str]) -> None:
    """An unknown sequence is no keys: the letters in it must not say yes to anything."""
    assert decoded(sent) == keys


# What is drawn


def test_all_is_on_the_screen() -> None:
    """How it stands, the past, the requests with phase and time left, the keys."""
    text = drawn(state_of())
    for told in ("OK", "http://relay", "up 3 h 12 min", "3 (peak 40)", "51.4 MB", "3 live requests, oldest first",
                 "14 min 30 s", "stream", "alice", "req_3", "x cancel", "q leave"):  # fmt: skip
        assert told in text
    assert "req_9" not in text


def test_it_fits_into_a_small_terminal() -> None:
    """However many requests there are, the last line is the keys', and the selected request is among those shown."""
    state = state_of([request(number) for number in range(200)])
    for _ in range(150):
        state.press("down")
    lines = drawn(state, width=60, height=16).splitlines()
    assert len(lines) <= 16
    assert max(map(len, lines)) <= 60
    assert "arrows select" in lines[-1]
    state.press("t")
    assert len(drawn(state, width=60, height=16).splitlines()) <= 16


def test_stacks_show_what_it_waits_for() -> None:
    """The innermost frames, of every task; trio's own waiting is left out."""
    frames = [f"/x/relay_trio/relay/a.py:{number} f{number}: await g()" for number in range(50)]
    waiting = "/x/site-packages/trio/_core/_traps.py:71 _real_async_yield: yield"
    state = state_of([request(1, stacks={"main": [*frames, waiting], "helper": frames[:3]})])
    state.press("t")
    text = drawn(state)
    assert " relay_trio/relay/a.py:49 f49" in text
    assert "helper" in text
    assert "_traps" not in text


def test_what_a_client_sent_does_not_colour_the_screen() -> None:
    """Neither rich's markup nor a terminal's codes."""
    text = drawn(state_of([request(1, path="/[red]x[/red]\x1b[31m")]))
    assert "/[red]x[/red]?[31m" in text
    assert "\x1b" not in text


def test_a_lost_connection_is_told_with_its_time() -> None:
    """Since when, which is the first time; what was seen last stays; and it goes away with the next answer."""
    state = state_of()
    state.lose("12:00:05", "connect: Connection refused")
    state.lose("12:00:10", "connect: Connection refused")
    text = drawn(state)
    assert "ERROR" in text
    assert "no answer since 12:00:05: connect: Connection refused" in text
    assert "req_3" in text
    state.take(Glance(20.0, HEALTH, errors=0, requests=[]))
    assert "no answer" not in drawn(state)


def test_before_the_first_answer_there_is_a_screen() -> None:
    """A relay that does not answer from the beginning."""
    state = State("http://relay")
    assert "http://relay" in drawn(state)
    state.lose("12:00:05", "DNS: x")
    assert "no answer since 12:00:05: DNS: x" in drawn(state)


def test_what_needs_a_key_says_which() -> None:
    """Requests and errors are the operator's; the rest is shown."""
    state = State("http://relay")
    state.take(Glance(0.0, HEALTH, closed="the live requests need the operator's key"))
    text = drawn(state)
    assert "the live requests need the operator's key" in text
    assert "needs RELAY_METRICS_KEY" in text


def test_in_chinese() -> None:
    """The whole screen."""
    choose("zh", {})
    text = drawn(state_of())
    assert "进行中的请求 3 个" in text
    assert "最久的在前" in text
    assert "方向键 选择" in text


@pytest.mark.parametrize(
    ("values", "line"),
    [([], ""), ([0, 0], "▁▁"), ([0, 1, 2, 4, 8], "▁▂▃▅█"), ([5.0], "█"), (range(100), "█████")],
)
def test_a_line_of_blocks(values: list[float], line: str) -> None:
    """From zero to the highest that is shown; the last ones, where there are too many."""
    shown = sparkline(list(values), 5)
    assert shown.endswith(line)
    assert len(shown) <= 5
    assert sparkline(list(values), 0) == ""


def test_a_terminal_without_blocks() -> None:
    """Gets signs that it has."""
    assert blocks_for("utf-8") == BLOCKS
    assert blocks_for("latin-1") == blocks_for("no such") == PLAIN_BLOCKS
    assert PLAIN_BLOCKS.isascii()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (0.4, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (312.4, "5 min 12 s"),
        (11_520, "3 h 12 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations(seconds: float, told: str) -> None:
    """Two units at most."""
    assert span(seconds) == told


# A running relay


@pytest.mark.real_clock
async def test_a_glance_at_a_relay(tmp_path: Path) -> None:
    """With the operator's key the live requests too, with stacks if they are wanted; without it, what it would take."""
    async with open_stand(tmp_path, "silent-mid-body", environ={"RELAY_ADMIN_KEY": "adm"}) as stand:
        place = place_at(stand.relay.url, "--url")
        async with connect(stand.address) as client:
            await client.send(STREAM)
            await client.read_head()
            seen = await glance(RelayClient(attrs.evolve(place, admin_key=Secret("adm"))), stacks=True)
            state = State(place.url)
            state.take(seen)
            (live,) = state.requests()
            assert live["stacks"]
            assert seen.errors == 0
            for key in (None, Secret("wrong")):
                closed = await glance(RelayClient(attrs.evolve(place, admin_key=key)))
                assert closed.requests is None
                assert "RELAY_ADMIN_KEY" in str(closed.closed)


def monitor(url: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "relay_trio", "monitor", "--url", url, "--interval", "0.2", *words]


@pytest.mark.real_clock
@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
async def test_on_a_pipe_it_prints_lines(tmp_path: Path) -> None:
    """One for each look; a relay that goes away is told of and asked again; Ctrl-C ends it with status 0."""
    async with served(tmp_path, SERVE, {"RELAY_API_KEYS": KEY, "RELAY_ADMIN_KEY": ADMIN_KEY}) as relay:
        host, port = await relay.address()
        process = await trio.lowlevel.open_process(
            monitor(f"http://{host}:{port}", "--key", ADMIN_KEY),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment({}),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        text = ""
        async with process.stdout, process.stderr:
            while text.count("nurseries 1") < 2:
                text += (await process.stdout.receive_some()).decode()
            assert "ok  nurseries 1  requests " in text
            relay.process.kill()
            while text.count("no answer since") < 2:
                text += (await process.stdout.receive_some()).decode()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
            assert await process.stderr.receive_some() == b""
    assert "\x1b" not in text


@pytest.mark.real_clock
async def test_for_machines_it_prints_json(tmp_path: Path) -> None:
    """An object a line, in no language; and a reader that has enough ends it without a word."""
    async with served(tmp_path, SERVE, {"RELAY_API_KEYS": KEY}) as relay:
        host, port = await relay.address()
        process = await trio.lowlevel.open_process(
            monitor(f"http://{host}:{port}", "--json", "--lang", "zh"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment({}),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        async with process.stderr:
            text = b""
            while text.count(b"\n") < 2:
                text += await process.stdout.receive_some()
            await process.stdout.aclose()
            await process.wait()
            assert await process.stderr.receive_some() == b""
        first, second = (json.loads(line) for line in text.splitlines()[:2])
    assert (first["status"], first["requests_per_s"], second["requests_per_s"]) == ("ok", None, 0.0)
    assert second["health"]["nurseries"] == 1


def test_on_a_dumb_terminal_and_without_rich_it_prints_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The live view needs a terminal that can, and an extra that is named."""
    from relay_trio.cli import monitor as module  # noqa: PLC0415 - its private door

    monkeypatch.setattr(sys, "stdin", _terminal())
    monkeypatch.setattr(sys, "stdout", _terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert module._wants_screen()
    monkeypatch.setenv("TERM", "dumb")
    assert not module._wants_screen()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    assert not module._wants_screen()
    assert "pip install 'relay-trio[cli]'" in told.getvalue()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _terminal() -> io.StringIO:
    return _Terminal()
