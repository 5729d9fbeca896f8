"""Looks at all workers four times a minute, decides what is news, and hands it over. A service task of one worker alone.

A look is one message at most, whatever it finds, so four a minute is the most there can be. While the process is going
down nobody is told: its end is somebody's wish, and what is left of it is in the log.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from relay_trio.background.alerts.causes import History, Observation, causes_of, remember
from relay_trio.background.alerts.delivery import Delivery, Speaker
from relay_trio.background.alerts.due import News, Remembered, due
from relay_trio.background.alerts.messages import Message
from relay_trio.settings.model import Alerts

LOOK_EVERY_S: Final = 15.0


@attrs.define(eq=False)
class Alerting:
    """What is remembered between two looks: of causes, of what was told. Forgotten on restart, kept over a reload."""

    alerts: Callable[[], Alerts]
    look: Callable[[], Awaitable[Observation]]
    ending: Callable[[], bool]
    utc_now: Callable[[], float]
    delivery: Delivery
    speaker: Speaker
    _history: History = attrs.field(factory=History)
    _remembered: Remembered = attrs.field(factory=dict)

    async def run(self) -> None:
        """Look, until cancelled. A service task."""
        while True:
            await trio.sleep(LOOK_EVERY_S)
            if not is_wanted(self.alerts()):
                self._history, self._remembered = (
                    History(),
                    {},
                )  # what was long ago is no news when somebody listens again
            elif not self.ending():
                await self._look()

    async def _look(self) -> None:
        try:
            self.take(await self.look())
        except Exception as error:  # noqa: BLE001 - whoever watches must not end what is watched
            self.speaker.error("alerts_failed", exc_info=error)

    def take(self, seen: Observation) -> tuple[News, ...]:
        """Decide what of a look is news, and hand it over."""
        alerts = self.alerts()
        self._history = remember(self._history, seen)
        causes = causes_of(seen, self._history)
        self._remembered, news = due(causes, self._remembered, seen.at_s, alerts.remind)
        if news:
            self.delivery.hand_over(Message(name_of(alerts), news, self.utc_now()))
        return news


def is_wanted(alerts: Alerts) -> bool:
    """Say whether there is anybody to tell."""
    return alerts.webhook is not None or alerts.smtp is not None


def name_of(alerts: Alerts) -> str:
    """Return what the relay is called in alarms."""
    return alerts.name or socket.gethostname()
