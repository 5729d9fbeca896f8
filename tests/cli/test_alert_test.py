"""Promises of `alert-test`: one message every way, what became of each, and no secret on the screen."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from alert_stand import open_webhook

from relay_trio.cli.alert_test import Outcome, send_everywhere
from relay_trio.cli.language import choose
from relay_trio.cli.main import main
from relay_trio.settings.model import Alerts, Limits, Settings
from relay_trio.settings.secret import Secret
from relay_trio.testing.fake_upstream import refused_address

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A directory to run in, with nothing configured; and English again for whoever comes after."""
    for name in os.environ:
        if name.startswith("RELAY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    choose("en", {})


@pytest.mark.anyio
async def test_a_message_comes_and_says_that_it_is_a_test() -> None:
    """Under the relay's name, in the webhook's format."""
    async with open_webhook() as webhook:
        alerts = Alerts(webhook=Secret(webhook.url), format="slack", name="hk-1")
        outcomes = await send_everywhere(Settings(alerts=alerts))
    assert outcomes == [Outcome("webhook", "slack, 127.0.0.1", None)]
    assert webhook.posts == [
        {"text": "[relay-trio hk-1]\nTEST: a test, sent by hand: alarms of this relay arrive here"}
    ]


@pytest.mark.anyio
async def test_a_webhook_that_hangs_is_left() -> None:
    """Under the quick limit, and tried once: somebody is waiting."""
    async with open_webhook(hangs=True) as webhook:
        before = trio.current_time()
        settings = Settings(alerts=Alerts(webhook=Secret(webhook.url)), limits=Limits(quick=30.0))
        (outcome,) = await send_everywhere(settings)
        assert trio.current_time() - before == pytest.approx(30, abs=1)
    assert outcome.why == "no answer within 30 s (limit RELAY_QUICK_TIMEOUT)"


def test_nobody_to_tell(capsys: Capture) -> None:
    """That is told, with the settings that would change it, and status 2."""
    assert main(["alert-test"]) == 2
    assert "set RELAY_ALERTS_WEBHOOK" in capsys.readouterr().err


def test_each_way_is_told_and_the_status_is_1(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Where it leads, as far as that is no secret, and why it did not arrive."""
    host, port = refused_address()
    monkeypatch.setenv("RELAY_ALERTS_WEBHOOK", f"http://{host}:{port}/T-secret-0123456789")
    monkeypatch.setenv("RELAY_ALERTS_SMTP", f"smtp://{host}:{port}")
    monkeypatch.setenv("RELAY_ALERTS_MAIL_FROM", "relay@example.org")
    monkeypatch.setenv("RELAY_ALERTS_MAIL_TO", "ops@example.org")
    assert main(["alert-test"]) == 1
    shown = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [way for way, _ in shown] == ["webhook", "mail"]
    assert shown[0][1].startswith(f"json, {host} ")
    assert shown[1][1].startswith(f"{host}, ops@example.org ")
    assert all("not sent: its server could not be reached" in told for _, told in shown)
    assert main(["alert-test", "--json"]) == 1
    assert [entry["way"] for entry in json.loads(capsys.readouterr().out)] == ["webhook", "mail"]
    assert main(["alert-test", "--lang", "zh"]) == 1
    assert "未发送" in capsys.readouterr().out
