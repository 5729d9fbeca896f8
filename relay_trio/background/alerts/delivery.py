"""Gets messages to where they go: a short queue and a task for each way, so that none waits for the other, nor a look for both.

A delivery is a scope like a request's: named `alert`, counted among the nurseries, with the quick limit as its deadline. What
is not delivered by then is a log line and a count; the cause that it told of stays, and is told again by its reminder.
"""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Protocol

import attrs
import trio

from relay_trio.background.alerts.mail import Mailer, MailServer
from relay_trio.background.alerts.messages import Message, mail_of, request_of
from relay_trio.background.alerts.webhook import NotDelivered, post
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.scopes.phase import Limit, PhaseClock
from relay_trio.scopes.request_scope import RequestScope
from relay_trio.settings.model import Alerts, Settings
from relay_trio.upstream.target import Route
from relay_trio.upstream.transport import Sender

MAX_WAITING: Final = 8
"""Messages in a queue: at four a minute and two minutes for each, what has to wait longer is no news any more."""
_TRIES: Final = 3
_BETWEEN_TRIES_S: Final = 5.0
_NO_ANSWER: Final = "there was no answer within {limit:g} s (limit RELAY_QUICK_TIMEOUT)"

Send = Callable[[Alerts, Message, PhaseClock], Awaitable[None]]
"""Sends a message its way. Raises NotDelivered."""


class Speaker(Protocol):
    """Where it is said what became of a message."""

    def info(self, event: str, **fields: object) -> object:
        """Say what happened."""

    def error(self, event: str, **fields: object) -> object:
        """Say what an operator must look at."""


class Meter(Protocol):
    """Where messages are counted."""

    def count_alert(self, way: str, result: str) -> None:
        """Count a message that was `sent`, or has `failed`, by its way: `webhook` or `mail`."""


@attrs.frozen(eq=False)
class Ways:
    """Both ways of sending a message."""

    sender: Sender
    tls: ssl.SSLContext = attrs.field(repr=False)
    connect: Limit
    mailer: Mailer = attrs.field(factory=Mailer)

    async def by_webhook(self, alerts: Alerts, message: Message, clock: PhaseClock) -> None:
        """Post it."""
        route = Route(self.connect, self.connect, self.tls)
        await post(self.sender, request_of(alerts, message), route, clock, alerts.webhook_format)

    async def by_mail(self, alerts: Alerts, message: Message, clock: PhaseClock) -> None:
        """Mail it. The whole of it is one phase: the thread's socket is in nobody's count, as one being connected."""
        clock.enter("connect")
        await self.mailer.send(MailServer.of(alerts, self.tls), mail_of(alerts, message))

    def configured(self, alerts: Alerts) -> dict[str, Send]:
        """Return the ways that are configured, by their names."""
        ways: dict[str, Send] = {}
        if alerts.webhook is not None:
            ways["webhook"] = self.by_webhook
        if alerts.smtp is not None:
            ways["mail"] = self.by_mail
        return ways


WAYS: Final = ("webhook", "mail")


class Delivery:
    """The queues, and the tasks that empty them. One for each process; `settings` may change while it runs."""

    def __init__(
        self, ways: Ways, settings: Callable[[], Settings], registry: NurseryRegistry, speaker: Speaker, meter: Meter
    ) -> None:
        self._ways = ways
        self._settings = settings
        self._registry = registry
        self._speaker = speaker
        self._meter = meter
        self._numbers = itertools.count(1)
        self._queues = {way: trio.open_memory_channel[Message](MAX_WAITING) for way in WAYS}

    def hand_over(self, message: Message) -> None:
        """Let a message go every way that is configured. Never waits: where a queue is full, that is a failure."""
        for way in self._ways.configured(self._settings().alerts):
            try:
                self._queues[way][0].send_nowait(message)
            except trio.WouldBlock:
                self._failed(way, message, "too many wait before it", tries=0)

    def tasks(self) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        """Yield the service tasks by their names. Each runs until it is cancelled."""
        yield "alerts by webhook", lambda: self._run("webhook")
        yield "alerts by mail", lambda: self._run("mail")

    async def _run(self, way: str) -> None:
        async for message in self._queues[way][1]:
            send = self._ways.configured(self._settings().alerts).get(way)  # a reload may have taken it away
            if send is not None:
                await self._deliver(way, send, message)

    async def _deliver(self, way: str, send: Send, message: Message) -> None:
        limit = Limit(self._settings().limits.quick, "RELAY_QUICK_TIMEOUT")
        sent, why, tries = False, _NO_ANSWER.format(limit=limit.seconds), 0
        async with RequestScope(self._registry, f"alert_{next(self._numbers)}", limit, name="alert") as scope:
            for tries in range(1, _TRIES + 1):
                try:
                    await send(self._settings().alerts, message, scope.clock)
                except NotDelivered as error:
                    why = str(error)
                    if not error.passing or tries == _TRIES:
                        break
                    await trio.sleep(_BETWEEN_TRIES_S * tries)
                except Exception as error:  # noqa: BLE001 - whatever a webhook makes us stumble over, the relay goes on
                    why = f"a fault of the relay's own: {type(error).__name__}"
                    break
                else:
                    sent = True
                    break
        if sent:
            self._speaker.info("alert_sent", way=way, news=_told(message), tries=tries)
            self._meter.count_alert(way, "sent")
        else:
            self._failed(way, message, why, tries)

    def _failed(self, way: str, message: Message, why: str, tries: int) -> None:
        self._speaker.error("alert_not_sent", way=way, why=why, news=_told(message), tries=tries)
        self._meter.count_alert(way, "failed")


def _told(message: Message) -> list[str]:
    return [f"{one.what}: {one.cause.text}" for one in message.news[:_MOST_LOGGED]]


_MOST_LOGGED: Final = 20
"""With hundreds of channels down one line of the log shall stay one that can be read."""
