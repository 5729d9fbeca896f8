"""Promises with several workers: one alarm and not one of each, about what any of them sees; and one that is silent is told."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from alert_stand import open_webhook, worker

from adaptors import registry
from relay_trio.assembly import Process, open_relay, secrets_of
from relay_trio.background.alerts.alerting import LOOK_EVERY_S
from relay_trio.edge.siblings import Siblings
from relay_trio.settings.model import Settings
from relay_trio.telemetry.log import configure
from relay_trio.telemetry.log_writer import MemoryLog
from relay_trio.telemetry.redaction import Redactor
from relay_trio.testing.relay import settings_for

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="unix sockets"),
]

OTHER_PID = 3


def process(settings: Settings, runtime: Path, slot: int) -> Process:
    """Return what a supervisor's worker in this seat has."""
    log, redactor = MemoryLog(), Redactor(secrets_of(settings))
    configure(log, redactor, level="debug")
    return Process(
        settings=settings,
        adaptors=registry.load(),
        load=lambda: settings,
        path=None,
        sink=log,
        redactor=redactor,
        runtime=runtime,
        slot=slot,
    )


class Other:
    """Another worker: says what it is told to say, or nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.says: dict[str, Any] | None = worker(OTHER_PID)
        self.asked = 0
        self.silent_at = 0
        """The number of the one question that it does not answer."""
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: OTHER_PID)
            self.siblings = Siblings(directory)

    async def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        assert question == {"ask": "watched"}
        self.asked += 1
        if self.says is None or self.asked == self.silent_at:
            await trio.sleep_forever()
        assert self.says is not None
        return self.says

    async def wait_asked(self, times: int) -> None:
        """Return when it was asked so often."""
        with trio.fail_after(4_000):
            while self.asked < times:  # noqa: ASYNC110 - a counter wakes nobody
                await trio.sleep(1)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it inside the block. Before the relay: its bind is a thread's, for which the virtual clock does not wait."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.siblings.serve, self.answer)
            yield
            nursery.cancel_scope.cancel(reason="the test is over")


async def test_the_first_worker_speaks_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the other one has seen is told, once."""
    other = Other(monkeypatch, tmp_path)
    other.says = worker(OTHER_PID, refused=[["main", 2]])
    async with open_webhook() as webhook:
        settings = settings_for(tmp_path, "", {"RELAY_ALERTS_WEBHOOK": webhook.url, "RELAY_ALERTS_NAME": "hk-1"})
        async with other.running(), open_relay(process(settings, tmp_path, slot=0)):
            await webhook.wait_posts(1)
            await trio.sleep(4 * LOOK_EVERY_S)
    (alarm,) = webhook.posts
    assert [entry["kind"] for entry in alarm["alerts"]] == ["key_refused"]
    assert alarm["alerts"][0]["subject"] == "main/2"


async def test_a_worker_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the second look in a row, by its pid; a single slow answer is none."""
    other = Other(monkeypatch, tmp_path)
    async with open_webhook() as webhook:
        settings = settings_for(tmp_path, "", {"RELAY_ALERTS_WEBHOOK": webhook.url})
        async with other.running(), open_relay(process(settings, tmp_path, slot=0)):
            # From here on the relay's own start is over: threads work for it, and the clock runs ahead of them.
            await other.wait_asked(1)
            other.silent_at = other.asked + 1
            await other.wait_asked(other.silent_at + 3)
            assert webhook.posts == []
            other.says = None
            await webhook.wait_posts(1)
    assert [entry["subject"] for entry in webhook.posts[0]["alerts"]] == [str(OTHER_PID)]


async def test_no_other_worker_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second seat there is neither a look nor a message, whatever is wrong."""
    other = Other(monkeypatch, tmp_path)
    other.says = worker(OTHER_PID, refused=[["main", 2]])
    async with open_webhook() as webhook:
        settings = settings_for(tmp_path, "", {"RELAY_ALERTS_WEBHOOK": webhook.url})
        async with other.running(), open_relay(process(settings, tmp_path, slot=1)):
            await trio.sleep(600)
    assert webhook.posts == []
