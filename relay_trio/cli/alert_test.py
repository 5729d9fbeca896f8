"""`relay-trio alert-test`: send a test message every way that alarms would go, and say what became of each."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Final
from urllib.parse import urlsplit

import attrs
import trio

from relay_trio.background.alerts.alerting import is_wanted, name_of
from relay_trio.background.alerts.causes import Cause
from relay_trio.background.alerts.delivery import Send, Ways
from relay_trio.background.alerts.due import News, What
from relay_trio.background.alerts.messages import Message
from relay_trio.background.alerts.webhook import NotDelivered
from relay_trio.cli.configuration import configured
from relay_trio.cli.language import later, say
from relay_trio.cli.reach import no_answer_within
from relay_trio.cli.terminal import CommandFailed, paint, show_table
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.phase import Limit, PhaseClock
from relay_trio.settings.model import Alerts, Settings
from relay_trio.upstream.httpx_transport import HttpxSender
from relay_trio.upstream.target import Route, tls_context

_TEXT: Final = "a test, sent by hand: alarms of this relay arrive here"
_WAYS: Final = {"webhook": later("webhook"), "mail": later("mail")}


@attrs.frozen
class Outcome:
    """What became of the message on one way. `why` is None if it was delivered."""

    way: str
    where: str
    why: str | None


def run(arguments: argparse.Namespace) -> int:
    """Send, and tell. 0: it went every way; 1: it did not; 2: nobody is configured, or the configuration is wrong."""
    settings = configured(arguments.config).settings
    if not is_wanted(settings.alerts):
        raise CommandFailed(
            say(
                "nobody is told of anything: set RELAY_ALERTS_WEBHOOK, or RELAY_ALERTS_SMTP with "
                "RELAY_ALERTS_MAIL_FROM and RELAY_ALERTS_MAIL_TO"
            ),
            status=2,
        )
    outcomes = trio.run(send_everywhere, settings)
    if arguments.json:
        print(json.dumps([attrs.asdict(outcome) for outcome in outcomes], indent=1))
    else:
        print("\n".join(show_table([_row(outcome) for outcome in outcomes], indent="")))
    return 1 if any(outcome.why for outcome in outcomes) else 0


async def send_everywhere(settings: Settings) -> list[Outcome]:
    """Send the test message each way, one after the other, once: who waits for it sees at once what is wrong."""
    alerts = settings.alerts
    connect = Limit(settings.limits.connect, "RELAY_CONNECT_TIMEOUT")
    tls = tls_context(settings.ca_bundle)
    sender = HttpxSender(Balance(), Route(connect, connect, tls), None)
    message = Message(name_of(alerts), (News(What.TEST, Cause("test", text=_TEXT)),), time.time())
    ways = Ways(sender, tls, connect).configured(alerts)
    return [Outcome(way, _where(way, alerts), await _why_not(send, message, settings)) for way, send in ways.items()]


async def _why_not(send: Send, message: Message, settings: Settings) -> str | None:
    limit_s = settings.limits.quick
    with trio.move_on_after(limit_s):
        try:
            await send(settings.alerts, message, PhaseClock())
        except NotDelivered as error:
            return str(error)
        return None
    return no_answer_within(limit_s)


def _where(way: str, alerts: Alerts) -> str:
    """Return where a way leads: of a webhook no more than its host, because the rest of it is a secret."""
    if way == "webhook" and alerts.webhook is not None:
        return f"{alerts.webhook_format}, {urlsplit(alerts.webhook.reveal()).hostname}"
    return f"{urlsplit(alerts.smtp or '').hostname}, {' '.join(alerts.mail_to)}"


def _row(outcome: Outcome) -> tuple[str, str, str]:
    well = outcome.why is None
    told = say("sent") if well else say("not sent: {why}", why=outcome.why)
    return say(_WAYS[outcome.way]), outcome.where, paint(told, "green" if well else "red", sys.stdout)
