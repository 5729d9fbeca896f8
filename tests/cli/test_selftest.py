"""Promises of `selftest`: the user's own clocks are tried, what is broken is told, and nothing leaves the machine."""

from __future__ import annotations

import gc
import json
import os
import secrets
import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from adaptors import registry
from relay_trio.cli.main import main
from relay_trio.relay import attempt
from relay_trio.settings.load import load
from relay_trio.settings.model import Settings
from relay_trio.testing.trial import Outcome, distinct_clocks, hold, names

Capture = pytest.CaptureFixture[str]

ADAPTORS = registry.load()

TOML = """
[relay.limits]
total = 100
client_head = 9
[[channels]]
name = "patient"
adaptor = "anthropic"
api_keys = ["sk-of-the-provider-patient"]
[[channels]]
name = "hasty"
adaptor = "openai"
api_keys = ["sk-of-the-provider-hasty"]
proxy = "http://127.0.0.1:1"
limits = { headers = 5 }
[[channels]]
name = "patient-too"
adaptor = "openai"
api_keys = ["sk-of-the-provider-too"]
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to run in, with nothing configured but a file."""
    providers = {name for row in ADAPTORS.values() for name in (row.key_variable, row.base_url_variable)}
    for name in os.environ:
        if name.startswith("RELAY_") or name in providers:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relay.toml").write_text(TOML)
    return tmp_path


def rows(printed: str, fault: str) -> list[str]:
    return [" ".join(line.split()) for line in printed.splitlines() if f" {fault} " in line]


@pytest.mark.usefixtures("place")
def test_each_set_of_clocks_is_tried_once(capsys: Capture) -> None:
    """Channels with the same clocks share a table; the clocks in it are theirs; no provider is asked, no proxy used."""
    assert main(["selftest", "--only", "silent-before-head", "--only", "client-stops-in-its-head"]) == 0
    printed = capsys.readouterr().out
    assert "the clocks of patient, patient-too (transport native): total 100, connect 10, headers 100" in printed
    assert "the clocks of hasty (transport native): total 100, connect 10, headers 5" in printed
    assert rows(printed, "silent-before-head") == [
        "ok silent-before-head error event, 100 s error 504, 100 s error event, 100 s error 504, 100 s nothing",
        "ok silent-before-head error 504, 5 s error 504, 5 s error 504, 5 s error 504, 5 s nothing",
    ]
    assert rows(printed, "client-stops-in-its-head") == ["ok client-stops-in-its-head error 408, 9 s nothing"] * 2
    assert "4 faults, 10 requests: every client was told the truth in time, nothing was left" in printed
    assert "sk-of" not in printed


@pytest.mark.usefixtures("place")
def test_nobody_is_alarmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels fail on purpose: that is no news for whoever is told when the real ones do."""
    with socket.create_server(("127.0.0.1", 0)) as webhook:
        webhook.setblocking(False)
        monkeypatch.setenv("RELAY_ALERTS_WEBHOOK", f"http://127.0.0.1:{webhook.getsockname()[1]}/alarms")
        assert main(["selftest", "--only", "silent-before-head"]) == 0
        with pytest.raises(BlockingIOError):
            webhook.accept()


@pytest.mark.usefixtures("place")
def test_a_broken_promise_is_status_2(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error body that is waited for too long is told, with the seconds that it took and the seconds that are right."""
    monkeypatch.setattr(attempt, "ERROR_BODY_S", 50.0)
    assert main(["selftest", "--only", "silent-mid-body"]) == 2
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in rows(printed, "silent-mid-body")] == ["broken"] * 2
    assert "whole error: after 50.0 s, not within (4.99, 5.01)" in printed
    assert "2 of 2 faults break a promise" in printed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("place")
def test_what_is_left_is_told(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that nobody closes, which was the ancestor's death, is found and named."""

    async def forgets(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr("relay_trio.upstream.transport.UpstreamResponse.aclose", forgets)
    assert main(["selftest", "--only", "truncated-length", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["kept"] is False
    assert any("upstream_connections" in text for text in found["clocks"][0]["faults"][0]["left"])
    gc.collect()  # what was forgotten on purpose is this test's, and no later one's


@pytest.mark.usefixtures("place")
def test_machines_read_json_in_any_language(capsys: Capture) -> None:
    """Everything that the table tells, with words that no language changes."""
    assert main(["selftest", "--only", "answer", "--json", "--lang", "zh"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [clocks["channels"] for clocks in found["clocks"]] == [["patient", "patient-too"], ["hasty"]]
    (fault,) = found["clocks"][1]["faults"]
    assert fault["met"]["stream"] == {"said": "answer", "status": 200, "after_s": 0.0}
    assert (fault["kept"], fault["wrong"], fault["left"]) == (True, [], [])


@pytest.mark.usefixtures("place")
def test_a_fault_that_does_not_exist_is_status_2(capsys: Capture) -> None:
    """The near names are told."""
    assert main(["selftest", "--only", "silent-mid-bod"]) == 2
    assert "near: silent-mid-body" in capsys.readouterr().err


def test_a_total_of_a_day_is_tried_as_an_hour(place: Path, capsys: Capture) -> None:
    """Each virtual second costs a little; the title says which total was tried."""
    (place / "relay.toml").write_text("[relay.limits]\ntotal = 86400\n")
    assert main(["selftest", "--only", "answer"]) == 0
    assert "the clocks of [relay]: total 3600" in capsys.readouterr().out


def configured(**variables: str) -> Settings:
    return load(variables, None, secrets.token_hex, providers=tuple(ADAPTORS.values()), directory=Path("/nowhere"))


@pytest.mark.parametrize(
    "variables",
    [
        {"RELAY_TIMEOUT": "3", "RELAY_KEEPALIVE_INTERVAL": "0", "RELAY_MAX_EVENT_BYTES": "64KiB"},
        {
            "RELAY_TIMEOUT": "100",
            "RELAY_HEADER_TIMEOUT": "5",
            "RELAY_IDLE_TIMEOUT": "3",
            "RELAY_FIRST_EVENT_TIMEOUT": "20",
            "RELAY_KEEPALIVE_AFTER": "2",
            "RELAY_MAX_CONCURRENCY": "1",
            "RELAY_MAX_QUEUE": "0",
        },
    ],
    ids=["a total of seconds", "every clock set"],
)
def test_the_whole_table_is_true_under_other_clocks(variables: dict[str, str]) -> None:
    """What may be said follows from the clocks that are set, for every fault there is; nothing is left of any."""
    outcomes: list[Outcome] = []
    settings = configured(**variables)
    ((channel, shared_by),) = distinct_clocks(settings)
    left = trio.run(hold, settings, channel, outcomes.append, clock=trio.testing.MockClock(autojump_threshold=0))
    assert shared_by == []
    assert [outcome for outcome in outcomes if not outcome.kept] == []
    assert left == []
    assert {outcome.fault for outcome in outcomes} == set(names())
