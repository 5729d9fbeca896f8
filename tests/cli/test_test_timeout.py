"""Promises of `test-timeout`: what is claimed was seen, a clock that does not fire is an error, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from serving import ADMIN_KEY, KEY, served
from stand import open_stand

from relay_trio.cli.doctor_findings import Level
from relay_trio.cli.main import main
from relay_trio.cli.relay_client import RelayClient
from relay_trio.cli.relay_place import place_at
from relay_trio.cli.test_timeout import _clocks, _models_of
from relay_trio.cli.test_timeout_probes import Models, Prober, Row, attempt
from relay_trio.settings.secret import Secret
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.relay import CLIENT_KEY, RelayUnderTest, open_relay_under_test, settings_for

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.anyio

OPERATOR = "sk-an-operator-0123456789"


async def prober_of(
    relay: RelayUnderTest, models: Models | None = None, *, admin: bool = True, within_s: float = 15.0
) -> Prober:
    place = attrs.evolve(place_at(relay.url, "URL"), admin_key=Secret(OPERATOR) if admin else None)
    client = RelayClient(place)
    key = Secret(CLIENT_KEY)
    clocks, _ = await _clocks(client)
    return Prober(client, key, models or await _models_of(client, key), clocks, within_s)


@asynccontextmanager
async def demo(directory: Path, environ: Mapping[str, str] | None = None) -> AsyncIterator[RelayUnderTest]:
    """Run a relay that has no provider."""
    variables = {"RELAY_ADMIN_KEY": OPERATOR, **(environ or {})}
    async with open_relay_under_test(settings_for(directory, environ=variables)) as relay:
        yield relay


async def rows_of(prober: Prober) -> dict[str, Row]:
    """Try every clock, one after the other. The books are looked at elsewhere: here our sockets are in the process too."""
    probes = [prober.short, prober.disconnect, prober.headers, prober.total, prober.connect]
    return {probe.__name__: await attempt(probe.__name__, probe) for probe in probes}


@pytest.mark.usefixtures("nothing_left_open")
async def test_on_a_demo_every_clock_is_tried(tmp_path: Path) -> None:
    """The connect clock itself, the others by a shorter deadline, which is said; the client's leaving."""
    async with demo(tmp_path) as relay:
        rows = await rows_of(await prober_of(relay))
        assert len(relay.finished()) == 1 + 5  # which models there are, and five clocks
        assert {line["left_open"] for line in relay.finished()} == {0}
    assert {name: row.level for name, row in rows.items()} == dict.fromkeys(rows, Level.OK)
    assert {name for name, row in rows.items() if row.by_own_deadline} == {"headers", "total"}
    assert rows["short"].seen.startswith("200, whole, after 2.8")
    assert rows["connect"].expected == "ends after 10 s (RELAY_CONNECT_TIMEOUT)"
    assert rows["connect"].seen == "504 after 10.0 s: phase connect, limit 10 s (RELAY_CONNECT_TIMEOUT)"
    assert "RELAY_HEADER_TIMEOUT itself, 900 s, is longer than --within" in rows["headers"].expected
    assert rows["headers"].seen == "504 after 3.0 s: phase headers, limit 3 s (X-Relay-Timeout)"
    assert rows["total"].seen == "200 and an error event after 3.0 s: phase stream, limit 3 s (X-Relay-Timeout)"
    assert rows["disconnect"].seen.startswith("gone 0.")


@pytest.mark.usefixtures("nothing_left_open")
async def test_clocks_that_can_be_waited_for_are(tmp_path: Path) -> None:
    """Then it is the relay's own setting that fires, and is named."""
    environ = {"RELAY_TIMEOUT": "12", "RELAY_HEADER_TIMEOUT": "5", "RELAY_CONNECT_TIMEOUT": "2"}
    async with demo(tmp_path, environ) as relay:
        rows = await rows_of(await prober_of(relay))
    assert {name: row.level for name, row in rows.items()} == dict.fromkeys(rows, Level.OK)
    assert {row.by_own_deadline for row in rows.values()} == {False}
    assert rows["headers"].seen == "504 after 5.0 s: phase headers, limit 5 s (RELAY_HEADER_TIMEOUT)"
    assert rows["connect"].seen == "504 after 2.0 s: phase connect, limit 2 s (RELAY_CONNECT_TIMEOUT)"
    assert rows["total"].seen.endswith("after 12.0 s: phase stream, limit 12 s (RELAY_TIMEOUT)")


@pytest.mark.usefixtures("nothing_left_open")
async def test_without_an_operators_key_less_is_claimed(tmp_path: Path) -> None:
    """The clocks are not told, and of an abandoned request only the count of live ones is seen; both are said."""
    async with demo(tmp_path) as relay:
        rows = await rows_of(await prober_of(relay, admin=False))
    assert {name: row.level for name, row in rows.items()} == dict.fromkeys(rows, Level.OK)
    assert "only RELAY_ADMIN_KEY shows" in rows["disconnect"].seen
    assert rows["headers"].expected == "ends after 3 s at the latest (the request's own deadline)"
    assert rows["connect"].seen == "504 after 10.0 s: phase connect, limit 10 s (RELAY_CONNECT_TIMEOUT)"


# What does not work is seen


async def test_a_deadline_that_does_not_fire_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that ignores the request's deadline: nothing is claimed of any clock that did not end its request."""
    monkeypatch.setattr("relay_trio.relay.headers.positive_number", lambda _: None)
    async with demo(tmp_path) as relay:
        prober = await prober_of(relay)
        headers, total = [await attempt(name, getattr(prober, name)) for name in ("headers", "total")]
    assert (headers.level, total.level) == (Level.ERROR, Level.ERROR)
    assert headers.seen == "HTTP: nothing within 18 s"
    assert total.seen.startswith("200, broken off, after 18.")


async def test_a_request_that_outlives_its_client_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that does not notice the leaving."""
    monkeypatch.setattr("relay_trio.scopes.request_scope.RequestScope.cancel", lambda *_: None)
    async with demo(tmp_path) as relay:
        prober = await prober_of(relay, within_s=30.0)
        row = await attempt("disconnect", prober.disconnect)
    assert row.level is Level.ERROR
    assert row.seen == "still live 16 s later"


async def test_a_relay_that_goes_away_is_an_error(tmp_path: Path) -> None:
    """In the middle of it: how far the question came is told."""
    async with demo(tmp_path) as relay:
        prober = await prober_of(relay)
    row = await attempt("headers", prober.headers)
    assert row.level is Level.ERROR
    assert row.seen.startswith("connect: 127.0.0.1:")


@pytest.mark.parametrize("astray", [{}, {"tasks": 2}])
async def test_books_that_are_not_even_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astray: dict[str, int]
) -> None:
    """What the relay finds unaccounted after all of it is told."""

    async def found(_: object) -> dict[str, int]:
        await trio.lowlevel.checkpoint()
        return astray

    monkeypatch.setattr("relay_trio.edge.handlers.health.Vitals.unaccounted", found)
    async with demo(tmp_path) as relay:
        prober = await prober_of(relay)
        row = await attempt("left", prober.left)
    assert row.level is (Level.ERROR if astray else Level.OK)
    assert row.seen == ("unaccounted {'tasks': 2}, overdue 0" if astray else "nothing")


# A real model


async def talks(conversation: Conversation) -> None:
    """Answers a small question at once; a long one after ten seconds, or with a word a second."""
    if b"Say hi." not in conversation.request.kept and not conversation.answer.streamed:
        await conversation.link.pause(10)
    pace = 0.0 if b"Say hi." in conversation.request.kept else 1.0
    await conversation.send_answer(interval_s=pace)


@pytest.mark.usefixtures("nothing_left_open")
async def test_a_named_model_is_cut_short(tmp_path: Path) -> None:
    """The relay's own deadline for its long answers; what only a demo can show is said not to have been tried."""
    async with open_stand(tmp_path, talks, environ={"RELAY_ADMIN_KEY": OPERATOR}) as stand:
        rows = await rows_of(await prober_of(stand.relay, Models.named("gpt-4o-mini")))
        assert len(stand.relay.finished()) == 4  # connecting is not tried
        await stand.rest()
    levels = {name: row.level for name, row in rows.items()}
    assert levels == {**dict.fromkeys(rows, Level.OK), "connect": Level.NOTE}
    assert rows["connect"].seen.startswith("not tried: only the demo")
    assert rows["headers"].seen == "504 after 3.0 s: phase headers, limit 3 s (X-Relay-Timeout)"


async def test_a_model_that_answers_too_soon_shows_nothing(tmp_path: Path) -> None:
    """An answer that was whole before its deadline is no proof of the deadline, and is not called one."""
    async with open_stand(tmp_path, environ={"RELAY_ADMIN_KEY": OPERATOR}) as stand:
        rows = await rows_of(await prober_of(stand.relay, Models.named("gpt-4o-mini")))
    assert {name for name, row in rows.items() if row.level is Level.NOTE} >= {"headers", "total", "connect"}
    assert rows["total"].seen.startswith("not tried: the answer was whole before that")


# The command


@pytest.mark.real_clock
async def test_the_command_against_a_relay_in_another_process(
    tmp_path: Path, capsys: Capture, monkeypatch: Any
) -> None:
    """Status 0, the clocks with their sources, each row in its order; no key is printed; JSON for machines."""
    variables = {"RELAY_API_KEYS": KEY, "RELAY_ADMIN_KEY": ADMIN_KEY, "RELAY_CONNECT_TIMEOUT": "1"}
    monkeypatch.delenv("RELAY_ADMIN_KEY", raising=False)
    monkeypatch.setenv("CLIENTS_KEY", KEY)
    async with served(tmp_path, variables=variables) as relay:
        host, port = await relay.address()
        words = ["test-timeout", f"http://{host}:{port}", "env:CLIENTS_KEY", "--admin-key", ADMIN_KEY]
        assert await trio.to_thread.run_sync(main, words) == 0
        printed = capsys.readouterr().out
        assert await trio.to_thread.run_sync(main, [*words, "--within", "1", "--json"]) == 2
    assert [line.split()[:2] for line in printed.splitlines() if line.startswith("  ok ")] == [
        ["ok", name] for name in ("short", "disconnect", "headers", "total", "connect", "left")
    ]
    assert "  connect       1 s    RELAY_CONNECT_TIMEOUT       RELAY_CONNECT_TIMEOUT" in printed.splitlines()
    assert printed.splitlines()[-1].startswith("of headers, total only a shorter deadline was seen")
    assert KEY not in printed
    assert ADMIN_KEY not in printed
    told = json.loads(capsys.readouterr().out)
    # the demo speaks for almost three seconds: within one it is cut short, and nothing else is tried
    assert [(row["clock"], row["level"]) for row in told["tried"]] == [("short", "error")]
    assert told["clocks"]["connect"] == {
        "seconds": 1.0,
        "setting": "RELAY_CONNECT_TIMEOUT",
        "source": "RELAY_CONNECT_TIMEOUT",
    }


@pytest.mark.real_clock
async def test_a_relay_with_providers_wants_a_model_named(tmp_path: Path, capsys: Capture) -> None:
    """Nothing is spent unasked: the models are listed, and nothing else is asked for."""
    async with open_stand(tmp_path) as stand:
        assert await trio.to_thread.run_sync(main, ["test-timeout", stand.relay.url, CLIENT_KEY]) == 2
        assert {request.method for request in stand.upstream.requests} == {"GET"}
    assert "name a model with --model" in capsys.readouterr().err


@pytest.mark.real_clock
async def test_a_key_that_is_refused_is_status_2(tmp_path: Path, capsys: Capture) -> None:
    """With the relay's own words, and which key is wanted."""
    async with open_stand(tmp_path) as stand:
        assert await trio.to_thread.run_sync(main, ["test-timeout", stand.relay.url, "sk-nobodys"]) == 2
    printed = capsys.readouterr()
    assert "401" in printed.err
    assert "KEY is a client's key" in printed.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["127.0.0.1:1", "sk-x"], "no relay answers at http://127.0.0.1:1 (said by URL)"),
        (["ftp://x", "sk-x"], "URL: ftp://x is no address"),
        (["127.0.0.1:1", "env:NOBODY_HAS_SET_THIS"], "KEY: the variable NOBODY_HAS_SET_THIS is not set"),
        (["127.0.0.1:1", "sk-x", "--within", "soon"], "--within: 'soon' is no number of seconds"),
        (["127.0.0.1:1"], "the following arguments are required: KEY"),
    ],
)
def test_words_that_make_no_sense_are_status_2(words: list[str], told: str, capsys: Capture) -> None:
    """Each in one line, never a traceback."""
    assert main(["test-timeout", *words]) == 2
    assert told in capsys.readouterr().err
