"""Promises of the alarms in a running relay: they come, remind, clear and stop; and a sick webhook is nobody's trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from alert_stand import Webhook, open_webhook
from stand import PROVIDER_KEY, UNARY, Stand, open_stand

from relay_trio.background.alerts.alerting import LOOK_EVERY_S
from relay_trio.background.alerts.causes import KINDS
from relay_trio.edge.handlers.health import Vitals
from relay_trio.edge.meter import MetricsMeter
from relay_trio.testing.conversation import Conversation

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

REFUSAL = (
    b'{"error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"}}'
)
ANSWER = b'{"id":"c","object":"chat.completion","created":0,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
JSON = ((b"content-type", b"application/json"),)
CALM_S = KINDS["key_refused"].calm_s


@pytest.fixture(autouse=True)
def _both_sides_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The webhook's side of a connection lives in this process too: a census finds it, and nobody's count knows it."""

    async def nothing(_: Vitals) -> dict[str, int]:
        return {}

    monkeypatch.setattr(Vitals, "unaccounted", nothing)


UNACCOUNTED = Vitals.unaccounted


class Provider:
    """Refuses the key, or answers."""

    refuses = True

    async def __call__(self, conversation: Conversation) -> None:
        status, body = (401, REFUSAL) if self.refuses else (200, ANSWER)
        await conversation.send_in_place(status, JSON, body)


@asynccontextmanager
async def alarmed(directory: Path, webhook: Webhook, **said: str) -> AsyncIterator[tuple[Stand, Provider]]:
    """A relay that tells this webhook, in front of a provider that refuses its key."""
    provider = Provider()
    environ: Mapping[str, str] = {"RELAY_ALERTS_WEBHOOK": webhook.url, "RELAY_ALERTS_NAME": "hk-1"}
    environ = {**environ, **{f"RELAY_ALERTS_{name.upper()}": value for name, value in said.items()}}
    async with open_stand(directory, provider, environ=environ, limits="quick = 60") as stand:
        yield stand, provider


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("  to do: ")]


DOWN = "channel main: every key of it was refused, or failed three times in a row"
REFUSED = "channel main: the provider refused key number 1"


async def test_alarm_reminder_all_clear_silence(tmp_path: Path) -> None:
    """One message when the provider refuses the key, one twenty minutes later, one when it is well again; then none."""
    async with open_webhook() as webhook, alarmed(tmp_path, webhook, remind="20m") as (stand, provider):
        assert (await stand.ask(UNARY)).status == 502
        await webhook.wait_posts(1)
        await trio.sleep(1150)
        assert [lines_of(text) for text in webhook.texts] == [
            ["[relay-trio hk-1]", f"ALARM: {DOWN}", f"ALARM: {REFUSED}"]
        ]
        await webhook.wait_posts(2)
        assert lines_of(webhook.texts[1])[1:] == [f"STILL for 20 min: {DOWN}", f"STILL for 20 min: {REFUSED}"]
        provider.refuses = False
        assert (await stand.ask(UNARY)).status == 200
        await webhook.wait_posts(3)
        assert lines_of(webhook.texts[2])[1:] == [
            f"ALL CLEAR after 20 min: {DOWN}",
            f"ALL CLEAR after 20 min: {REFUSED}",
        ]
        await trio.sleep(2400)
        assert len(webhook.posts) == 3
        await stand.rest()
        sent = stand.relay.lines("alert_sent")
        assert [line["way"] for line in sent] == ["webhook"] * 3


async def test_a_healthy_relay_tells_nobody_anything(tmp_path: Path) -> None:
    """Not in half an hour, with requests, and with its own looks at itself every quarter of a minute."""
    async with open_webhook() as webhook, alarmed(tmp_path, webhook) as (stand, provider):
        provider.refuses = False
        assert (await stand.ask(UNARY)).status == 200
        await trio.sleep(1800)
        assert webhook.accepted == 0
        await stand.rest()


async def test_no_key_and_no_address_is_told(tmp_path: Path) -> None:
    """Not in the message, not in the log, also not when it cannot be sent."""
    async with open_webhook(status=403, body=b"who are you, T-secret-token-0123?") as webhook:
        async with alarmed(tmp_path, webhook, webhook_secret="S-signing-secret-4567", format="feishu") as (stand, _):
            await stand.ask(UNARY)
            await webhook.wait_posts(1)
            await trio.sleep(60)
            log = b"\n".join(stand.relay.log.lines).decode()
            (line,) = stand.relay.lines("alert_not_sent")
            await stand.rest()
        assert (line["why"], line["tries"]) == ("it answered 403", 1)
        assert "sign" in webhook.posts[0]
        for secret in ("T-secret-token-0123", "S-signing-secret-4567", PROVIDER_KEY):
            assert secret not in log
            assert secret not in str(webhook.posts)


SICK: list[Any] = [
    pytest.param({"hangs": True}, "there was no answer within 60 s (limit RELAY_QUICK_TIMEOUT)", 1, id="hangs"),
    pytest.param({"status": 500}, "it answered 500", 3, id="500"),
    pytest.param({"status": 404}, "it answered 404", 1, id="404"),
    pytest.param(
        {"status": 307, "headers": "location: http://127.0.0.1:1/elsewhere\r\n"},
        "it redirects (307), which is not followed",
        1,
        id="redirects",
    ),
    pytest.param({"body": b"x" * 1_000_000}, None, 1, id="answers with a megabyte"),
]


@pytest.mark.parametrize(("behaviour", "why", "tries"), SICK)
async def test_a_sick_webhook_is_nobodys_trouble(
    behaviour: dict[str, Any], why: str | None, tries: int, tmp_path: Path
) -> None:
    """Requests are answered meanwhile, tries are bounded, nothing stays open, and a failure is a line and a count."""
    async with open_webhook(**behaviour) as webhook, alarmed(tmp_path, webhook) as (stand, provider):
        await stand.ask(UNARY)
        await webhook.wait_posts(1)
        provider.refuses = False
        before = trio.current_time()
        assert (await stand.ask(UNARY)).status == 200
        assert trio.current_time() - before < 1
        await trio.sleep(100)
        assert webhook.accepted <= tries
        assert len(webhook.posts) == tries
        await stand.rest()
        told = stand.relay.lines("alert_not_sent")
        assert [(line["why"], line["tries"]) for line in told] == ([(why, tries)] if why else [])
        assert not stand.relay.lines("watchdog")[-1].get("reasons")


async def test_a_webhook_that_is_not_there_is_tried_three_times(tmp_path: Path) -> None:
    """And then it is a line of the log. The next news are tried again."""
    async with open_webhook() as webhook:
        gone = Webhook(port=1)
        async with alarmed(tmp_path, gone) as (stand, provider):
            await stand.ask(UNARY)
            await trio.sleep(2 * LOOK_EVERY_S + 20)
            (line,) = stand.relay.lines("alert_not_sent")
            assert (line["why"], line["tries"]) == ("its server could not be reached", 3)
            provider.refuses = False
            await stand.ask(UNARY)
            await trio.sleep(CALM_S + 100)
            assert len(stand.relay.lines("alert_not_sent")) == 2
            await stand.rest()
        assert not webhook.posts


async def test_a_delivery_is_seen_and_owned(tmp_path: Path) -> None:
    """While it waits it is one live nursery called `alert`; what the census finds beside is the webhook's side alone."""
    async with open_webhook(hangs=True) as webhook, alarmed(tmp_path, webhook) as (stand, _):
        await stand.ask(UNARY)
        await webhook.wait_posts(1)
        vitals = stand.relay.running.own.vitals
        assert [scope.name for scope in vitals.registry] == ["alert"]
        assert await UNACCOUNTED(vitals) == {"tasks": 1, "nurseries": 0, "sockets": 1}
        await trio.sleep(100)
        assert not len(vitals.registry)
        await stand.rest()


async def test_an_ending_relay_tells_nobody(tmp_path: Path) -> None:
    """Its end is somebody's wish: what is left of it is in the log."""
    async with open_webhook() as webhook, alarmed(tmp_path, webhook) as (stand, _):
        await stand.ask(UNARY)
        stand.relay.process.drain.draining = True
        await trio.sleep(600)
        assert webhook.accepted == 0


async def test_who_configured_nobody_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a webhook and without mail there is no look and no message."""

    async def looked(_: Vitals) -> dict[str, Any]:
        raise AssertionError("nobody wants to know")

    monkeypatch.setattr(Vitals, "watched", looked)
    async with open_stand(tmp_path, Provider()) as stand:
        await stand.ask(UNARY)
        await trio.sleep(600)
        assert not [line for line in stand.relay.lines() if line["event"].startswith("alert")]
        await stand.rest()


async def test_a_fault_in_a_look_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches must not end what is watched: it is a line of the log, and the next look is taken."""

    async def broken(_: object) -> dict[str, Any]:
        raise KeyError("balance")

    async with open_webhook() as webhook, alarmed(tmp_path, webhook) as (stand, _):
        with monkeypatch.context() as patch:
            patch.setattr(type(stand.relay.running.own.vitals), "watched", broken)
            await trio.sleep(2 * LOOK_EVERY_S + 1)
        assert len(stand.relay.lines("alerts_failed")) == 2
        await stand.ask(UNARY)
        await webhook.wait_posts(1)


async def test_alarms_are_counted(tmp_path: Path) -> None:
    """By the way they went, and whether they arrived."""
    async with open_webhook() as webhook, alarmed(tmp_path, webhook) as (stand, provider):
        await stand.ask(UNARY)
        await webhook.wait_posts(1)
        webhook.status = 400
        provider.refuses = False
        await stand.ask(UNARY)
        await webhook.wait_posts(2)
        await trio.sleep(1)
        meter = stand.relay.running.services.meter
        assert isinstance(meter, MetricsMeter)
        page = meter.metrics.render().decode()  # not by its path: a thread renders it there, and the clock would jump
        counted = [line for line in page.splitlines() if line.startswith("relay_alerts_total")]
        assert sorted(counted) == [
            'relay_alerts_total{result="failed",way="webhook"} 1.0',
            'relay_alerts_total{result="sent",way="webhook"} 1.0',
        ]
