"""Promises of `relay-trio check`: how it stands in one look, the exit status, what to do next, and how far it came."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio
from serving import KEY, ROOT, SERVE, environment, served
from stand import STREAM, open_stand

from relay_trio.cli.check import look
from relay_trio.cli.check_findings import LEVELS, overall, report
from relay_trio.cli.check_report import Checked, conclude, print_all
from relay_trio.cli.language import choose
from relay_trio.cli.main import main
from relay_trio.cli.relay_client import NotReached, RelayClient
from relay_trio.cli.relay_place import place_at
from relay_trio.scopes.trend import look_of
from relay_trio.testing.fake_client import connect

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
Capture = pytest.CaptureFixture[str]

WELL = msgspec.json.decode(
    b"""{"status": "ok", "reasons": [], "nurseries": 13, "peak": {"1h": 40, "24h": 90},
    "requests": {"live": 12, "queued": 0, "oldest_s": 312.4, "overdue": 0},
    "balance": {"slots": {"opened": 20, "closed": 8, "live": 12, "unaccounted": 0},
                "nurseries": {"opened": 30, "closed": 17, "live": 13, "unaccounted": 0}},
    "fds": {"open": 60, "limit": 20000}, "memory": {"alloc_mb": 38.9, "sys_mb": 48.4, "rss_mb": 51.4, "num_gc": 1},
    "loop_lag_ms": 0.7, "log": {"dropped": 0}, "channels": {"up": 3, "down": 0},
    "thresholds": {"warn": 2000, "error": 5000, "total_s": 900.0}, "uptime_s": 11520.0, "version": "0.1.0",
    "workers": [{"pid": 7, "status": "ok", "nurseries": 6}, {"pid": 8, "status": "ok", "nurseries": 7}]}"""
)


def changed(**groups: Any) -> Json:
    """Return the health with these values in place of its own; of a group, those that are named."""
    return {
        name: {**value, **groups[name]}
        if isinstance(value, dict) and isinstance(groups.get(name), dict)
        else groups.get(name, value)
        for name, value in WELL.items()
    }


def told(health: Json, capsys: Capture) -> str:
    print_all(conclude("http://relay", Checked(health, [look_of(health, 0)]), None, series=False))
    return capsys.readouterr().out


# One look


def test_all_is_well(capsys: Capture) -> None:
    """Everything that one wants to know in ten lines, each with its sign, and no advice."""
    text = told(WELL, capsys)
    assert text.splitlines() == [
        "OK  http://relay  relay_trio 0.1.0",
        "  +  nurseries    13 (each worker: warning from 2,000, error from 5,000); peak 40 in 1 h, 90 in 24 h",
        "  +  requests     12 live, 0 queued, 0 overdue; oldest 5 min 12 s (at most 15 min)",
        "  +  balance      even: opened = closed + live for every kind, nothing unaccounted",
        "  +  memory       51.4 MB resident, 38.9 MB private",
        "  +  descriptors  60 of 40,000",
        "  +  workers      2: 7 ok 6, 8 ok 7; up 3 h 12 min",
        "  +  channels     3 up, 0 down",
        "  +  loop         late by 0.7 ms at worst",
        "  +  log          0 lines dropped",
    ]


@pytest.mark.parametrize(
    ("health", "level", "subject"),
    [
        (changed(workers=[{"pid": 7, "status": "ok", "nurseries": 1999}]), "ok", None),
        (changed(workers=[{"pid": 7, "status": "warning", "nurseries": 2000}]), "warning", "nurseries"),
        (changed(workers=[{"pid": 7, "status": "error", "nurseries": 5000}]), "error", "nurseries"),
        (
            changed(thresholds={"warn": 5, "error": 7}, workers=[{"pid": 7, "status": "ok", "nurseries": 6}]),
            "warning",
            "nurseries",
        ),
        (changed(requests={"overdue": 1}), "error", "requests"),
        (changed(balance={"slots": {"opened": 20, "closed": 8, "live": 11, "unaccounted": 0}}), "error", "balance"),
        (changed(balance={"slots": {"opened": 20, "closed": 8, "live": 12, "unaccounted": 2}}), "error", "balance"),
        (changed(fds={"open": 33_000}), "warning", "descriptors"),
        (changed(fds={"open": None, "limit": None}), "ok", None),
        (changed(memory={"alloc_mb": None, "rss_mb": None}), "ok", None),
        (changed(channels={"up": 2, "down": 1}), "warning", "channels"),
        (changed(channels={"up": 0, "down": 1}), "error", "channels"),
        (changed(loop_lag_ms=500.0), "warning", "loop"),
        (changed(log={"dropped": 3}), "warning", "log"),
        (changed(status="draining"), "warning", None),
        (changed(status="error"), "error", None),
        (changed(status="of another version"), "error", None),
    ],
)
def test_what_is_not_well(health: Json, level: str, subject: str | None, capsys: Capture) -> None:
    """Each subject has its level, by the relay's own thresholds where it has some, and what is not well says what to do."""
    lines = report(health)
    assert overall(health, lines) == level
    assert {line.subject: line.level for line in lines if line.level != "ok"} == ({subject: level} if subject else {})
    if subject:
        assert f"{subject}, what to do: " in told(health, capsys)


def test_what_the_relay_says_of_itself_is_told(capsys: Capture) -> None:
    """Its reasons, word for word."""
    health = changed(status="error", reasons=["worker 7: 2 sockets that no count knows of"])
    assert "the relay says: worker 7: 2 sockets that no count knows of\n" in told(health, capsys)


def test_in_chinese_the_columns_stand_too(capsys: Capture) -> None:
    """Chinese letters are two columns wide."""
    choose("zh", {})
    lines = told(WELL, capsys).splitlines()
    assert lines[0].startswith("正常")
    assert any(line.startswith("  +  请求      进行中 12") for line in lines)
    assert any(line.startswith("  +  事件循环  最多迟") for line in lines)


# A running relay


async def test_one_look_at_a_relay(tmp_path: Path, capsys: Capture) -> None:
    """A live stream is seen with its age, and the relay is green."""
    async with open_stand(tmp_path, "silent-mid-body") as stand, connect(stand.address) as client:
        await client.send(STREAM)
        await client.read_head()
        await trio.sleep(312)
        checked = await look(RelayClient(place_at(stand.relay.url, "--url")), 1, 30, lambda *_: None)
        print_all(conclude("http://relay", checked, None, series=False))
    text = capsys.readouterr().out
    assert "1 live, 0 queued, 0 overdue; oldest 5 min 12 s (at most 15 min)" in text


async def test_a_series_at_equal_intervals(tmp_path: Path, capsys: Capture) -> None:
    """Twenty looks thirty seconds apart take nine and a half minutes, and end in a verdict."""
    async with open_stand(tmp_path) as stand:
        seen: list[float] = []
        started = trio.current_time()
        client = RelayClient(place_at(stand.relay.url, "--url"))
        checked = await look(client, 20, 30, lambda *_: seen.append(trio.current_time() - started))
        print_all(conclude("http://relay", checked, None, series=True))
    assert [round(at) for at in seen] == [30 * number for number in range(20)]
    assert capsys.readouterr().out.splitlines()[-1] == "OK  stable: nothing grows"


async def test_a_look_without_an_answer_is_counted(tmp_path: Path) -> None:
    """A relay that is away in between: the series goes on, and says so; away at the end is not reached."""
    async with open_stand(tmp_path) as stand:
        place = place_at(stand.relay.url, "--url")
        client = RelayClient(attrs.evolve(place))
        failures: list[NotReached | None] = []

        def leave_and_come_back(number: int, _: Checked, failed: NotReached | None) -> None:
            failures.append(failed)
            object.__setattr__(client, "place", attrs.evolve(place, port=1 if number == 0 else place.port))

        checked = await look(client, 3, 1, leave_and_come_back)
        assert [failure.stage if failure else None for failure in failures] == [None, "connect", None]
        assert (checked.unanswered, len(checked.looks)) == (1, 2)
        with pytest.raises(NotReached):
            await look(client, 2, 1, lambda *_: object.__setattr__(client, "place", attrs.evolve(place, port=1)))


def test_looks_without_an_answer_are_a_warning(capsys: Capture) -> None:
    """However well the last one found it."""
    result = conclude("http://relay", Checked(WELL, [look_of(WELL, 0)], unanswered=2), None, series=True)
    print_all(result)
    assert result.level == "warning"
    assert "looks without an answer: 2\n" in capsys.readouterr().out


# The program


def check(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay_trio", "check", *words],
        capture_output=True,
        text=True,
        env=environment(variables),
        cwd=ROOT / "tests",
        timeout=60,
        check=False,
    )


@pytest.mark.real_clock
async def test_as_an_operator_runs_it(tmp_path: Path) -> None:
    """One look, a series with a baseline, JSON, quiet, alive: each with its status, nothing on stderr, no colours."""
    async with served(tmp_path, SERVE, {"RELAY_API_KEYS": KEY, "RELAY_WATCHDOG_WARN": "1"}) as relay:
        host, port = await relay.address()
        url, baseline = f"http://{host}:{port}", str(tmp_path / "b.json")

        async def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
            return await trio.to_thread.run_sync(lambda: check(*words, **variables))

        one = await run("--url", url)
        assert (one.returncode, one.stderr) == (1, ""), "a look is a nursery, and one is the warning here"
        assert one.stdout.startswith(f"WARNING  {url}  relay_trio ")
        assert "\x1b" not in one.stdout
        assert (await run("--quiet", RELAY_URL=url)).stdout.startswith("WARNING")

        answer = await run("--json", "--lang", "zh", "--url", url)
        found = json.loads(answer.stdout)
        assert (answer.returncode, found["status"], found["findings"][0]["subject"]) == (1, "warning", "nurseries")
        assert found["findings"][0]["text"].isascii(), "what machines read is not translated"

        series = await run("--url", url, "--samples", "8", "--every", "0.1", "--record", baseline)
        assert "8/8  after " in series.stdout
        assert "stable: nothing grows" in series.stdout
        compared = await run("--url", url, "--compare", baseline, "--json")
        assert json.loads(compared.stdout)["comparison"]["above"] == []

        alive = await run("--alive", "--url", url)
        assert (alive.returncode, alive.stdout, alive.stderr) == (0, "alive\n", "")


def test_no_relay_is_status_2_and_says_what_was_tried() -> None:
    """On stderr in lines, with --json on stdout as JSON; in the language that was asked for; never a traceback."""
    words = ("--url", "http://127.0.0.1:1")
    people = check(*words)
    assert (people.returncode, people.stdout) == (2, "")
    assert "connect  127.0.0.1:1 " in people.stderr
    assert "没有中继应答" in check(*words, RELAY_LANG="zh", PYTHONIOENCODING="utf-8").stderr
    machines = check(*words, "--json")
    found = json.loads(machines.stdout)
    assert (machines.returncode, machines.stderr) == (2, "")
    assert (found["status"], found["stage"]) == ("unreachable", "connect")
    assert [step["stage"] for step in found["tried"]] == ["DNS", "connect"]
    assert check(*words, "--alive").returncode == 1, "Docker keeps 2 for itself"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--samples", "0"], "0 is not within 1..100000"),
        (["--samples", "many"], "many is not within"),
        (["--every", "nan"], "nan is not within"),
        (["--json", "--quiet"], "not allowed with"),
        (["--url", "ftp://x"], "--url: ftp://x is no address"),
    ],
)
def test_words_that_make_no_sense(words: list[str], told: str, capsys: Capture) -> None:
    """Are told with what would, status 2."""
    assert main(["check", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_configuration_that_broke_is_told_and_hides_no_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The note says which line is wrong; the relay is looked for where the variables say."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RELAY_")]:
        monkeypatch.delenv(name)
    (tmp_path / "relay.toml").write_text("[relay\n")
    monkeypatch.setenv("RELAY_PORT", "1")
    assert main(["check"]) == 2
    errors = capsys.readouterr().err
    assert "relay.toml:1" in errors
    assert "127.0.0.1:1" in errors


def test_the_exit_status_is_the_level() -> None:
    """0 fine, 1 warning, 2 error."""
    assert LEVELS == ("ok", "warning", "error")
