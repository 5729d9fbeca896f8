"""Promises of mail: it goes over TLS or not at all, says in our words why it did not, and a sick server keeps no thread.

smtplib on the real clock against a server of a page, on a real socket.
"""

from __future__ import annotations

import base64
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from alert_stand import open_webhook

from relay_trio.background.alerts.causes import Cause
from relay_trio.background.alerts.delivery import MAX_WAITING, Delivery, Ways
from relay_trio.background.alerts.due import News, What
from relay_trio.background.alerts.mail import Mailer, MailServer
from relay_trio.background.alerts.messages import Message, mail_of
from relay_trio.background.alerts.webhook import NotDelivered
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.scopes.phase import Limit
from relay_trio.settings.model import Alerts, Limits, Settings
from relay_trio.settings.secret import Secret
from relay_trio.testing.certificates import ca_file, server_context
from relay_trio.upstream.httpx_transport import HttpxSender
from relay_trio.upstream.target import Route, tls_context

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

TLS = tls_context(ca_file())
MESSAGE = Message("hk-1", (News(What.ALARM, Cause("overdue", text="2 requests")),), 1_700_000_000.0)
ADDRESSES = {"mail_from": "relay@example.org", "mail_to": ("ops@example.org",)}
STEPS = ("EHLO", "MAIL", "RCPT", "DATA", "QUIT", "AUTH", "STARTTLS")


@attrs.define(eq=False)
class MailHost:
    """What it was told. `answers` replaces the answer to a command; None there: it never answers."""

    tls: ssl.SSLContext | None = None
    implicit: bool = False
    answers: dict[str, str | None] = attrs.field(factory=dict)
    port: int = 0
    said: list[str] = attrs.field(factory=list)
    mails: list[str] = attrs.field(factory=list)
    secure: list[bool] = attrs.field(factory=list)
    """Whether each command came over TLS."""

    async def serve(self, stream: trio.SocketStream) -> None:
        try:
            await self._talk(self._wrapped(stream) if self.implicit else stream)
        except (trio.BrokenResourceError, ssl.SSLError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    def _wrapped(self, stream: trio.SocketStream) -> trio.SSLStream[trio.SocketStream]:
        assert self.tls is not None
        return trio.SSLStream(stream, self.tls, server_side=True, https_compatible=True)

    async def _talk(self, stream: Any) -> None:
        await stream.send_all(b"220 mail.example ESMTP\r\n")
        received = b""
        while True:
            while b"\r\n" not in received:
                block = await stream.receive_some(4096)
                if not block:
                    return
                received += block
            line, _, received = received.partition(b"\r\n")
            command = line.decode().split(" ")[0].split(":")[0].upper()
            self.said.append(line.decode())
            self.secure.append(isinstance(stream, trio.SSLStream))
            answer = self.answers.get(command, self._usual(command, isinstance(stream, trio.SSLStream)))
            if answer is None:
                await trio.sleep_forever()
            await stream.send_all(f"{answer}\r\n".encode())
            if command == "STARTTLS" and answer.startswith("220"):
                stream = self._wrapped(stream)
            elif command == "DATA" and answer.startswith("354"):
                while b"\r\n.\r\n" not in received:
                    received += await stream.receive_some(65536)
                mail, _, received = received.partition(b"\r\n.\r\n")
                self.mails.append(mail.decode())
                await stream.send_all(b"250 taken\r\n")

    def _usual(self, command: str, secure: bool) -> str:  # noqa: FBT001 - a table of answers
        offers = [
            "mail.example",
            *(["STARTTLS"] if self.tls and not secure else []),
            *(["AUTH PLAIN"] if secure else []),
        ]
        lines = [f"250-{offer}" for offer in offers[:-1]] + [f"250 {offers[-1]}"]
        usual = {"EHLO": "\r\n".join(lines), "DATA": "354 go on", "STARTTLS": "220 go on", "AUTH": "235 welcome"}
        return usual.get(command, "250 ok")


@asynccontextmanager
async def open_mail_host(host: str = "127.0.0.1", **behaviour: Any) -> AsyncIterator[MailHost]:
    mail_host = MailHost(**behaviour)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, mail_host.serve, 0, host=host))
        mail_host.port = listeners[0].socket.getsockname()[1]
        yield mail_host
        nursery.cancel_scope.cancel(reason="the test is over")


def told(host: MailHost, *, scheme: str = "smtp", name: str = "127.0.0.1", password: str | None = None) -> Alerts:
    """Return the settings for this server."""
    user = None if password is None else "relay"
    secret = None if password is None else Secret(password)
    return Alerts(smtp=f"{scheme}://{name}:{host.port}", smtp_user=user, smtp_password=secret, **ADDRESSES)  # type: ignore[arg-type] # a table of both


async def send(alerts: Alerts) -> None:
    with trio.fail_after(30):
        await Mailer().send(MailServer.of(alerts, TLS), mail_of(alerts, MESSAGE))


async def why_not(alerts: Alerts) -> tuple[str, bool]:
    """Return why it was not sent, and whether another try may go better."""
    with pytest.raises(NotDelivered) as caught:
        await send(alerts)
    return str(caught.value), caught.value.passing


@pytest.mark.parametrize(("scheme", "implicit"), [("smtp", False), ("smtps", True)])
async def test_mail_goes_over_tls_and_logs_in_there(scheme: str, implicit: bool) -> None:  # noqa: FBT001 - a table
    """With STARTTLS, or TLS from the first byte; nothing but the greeting is in clear, the password least of all."""
    async with open_mail_host(tls=server_context(), implicit=implicit) as host:
        await send(told(host, scheme=scheme, password="p a s s"))
    (mail,) = host.mails
    assert "Subject: [relay-trio hk-1] ALARM: 2 requests" in mail
    clear = [line.split(" ")[0] for line, secure in zip(host.said, host.secure, strict=True) if not secure]
    assert clear == ([] if implicit else ["ehlo", "STARTTLS"])
    login = next(line for line in host.said if line.startswith("AUTH"))
    assert base64.b64decode(login.split(" ")[2]).decode() == "\0relay\0p a s s"


async def test_a_server_on_this_machine_may_speak_in_clear() -> None:
    """As a local Postfix does."""
    async with open_mail_host() as host:
        await send(told(host))
    assert len(host.mails) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs another loopback address")
async def test_another_server_must_not() -> None:
    """Without STARTTLS no mail is sent, and no password."""
    async with open_mail_host(host="127.0.0.2") as host:
        why = await why_not(told(host, name="127.0.0.2", password="secret"))
    assert why == ("its server offers no STARTTLS, or no log-in", False)
    assert not host.mails
    assert {line.split(" ")[0] for line in host.said} <= {"ehlo", "helo"}


async def test_a_certificate_that_is_not_trusted_ends_it() -> None:
    """Whoever sits in between gets neither mail nor password."""
    async with open_mail_host(tls=server_context()) as host:
        alerts = told(host, password="secret")
        with pytest.raises(NotDelivered, match="certificate was not accepted"):
            await Mailer().send(MailServer.of(alerts, ssl.create_default_context()), mail_of(alerts, MESSAGE))
    assert not host.mails


@pytest.mark.parametrize(
    ("command", "answer", "why"),
    [
        ("AUTH", "535 who are you", ("its server answered 535", False)),
        ("MAIL", "550 not from you", ("its server answered 550", False)),
        ("RCPT", "550 no such user", ("its server takes no mail for these receivers", False)),
        ("DATA", "451 later", ("its server answered 451", True)),
    ],
)
async def test_a_refusal_is_said_in_our_words(command: str, answer: str, why: tuple[str, bool]) -> None:
    """The number is the server's, the words are ours."""
    async with open_mail_host(tls=server_context(), answers={command: answer}) as host:
        assert await why_not(told(host, password="secret")) == why


async def test_nobody_there() -> None:
    """A refused connection is told, and tried again by who sends."""
    assert await why_not(told(MailHost(port=1))) == ("its server could not be reached, or broke off", True)


async def test_a_server_that_hangs_keeps_no_thread() -> None:
    """Cancelled, the sender goes on at once, and its thread ends: what it waited for was taken from it."""
    async with open_mail_host(answers={"MAIL": None}) as host:
        alerts = told(host)
        mailer = Mailer()
        with trio.move_on_after(0.5) as limit:
            await mailer.send(MailServer.of(alerts, TLS), mail_of(alerts, MESSAGE))
        assert limit.cancelled_caught
        with trio.fail_after(5):
            while mailer._places.borrowed_tokens:  # noqa: ASYNC110 - a thread's end wakes nobody
                await trio.sleep(0.01)
    assert host.said[-1].startswith("mail FROM")


# Both ways, as the relay has them


class Notes:
    """What was said and counted."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []
        self.counts: list[tuple[str, str]] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    error = info

    def count_alert(self, way: str, result: str) -> None:
        self.counts.append((way, result))

    async def wait(self, number: int) -> None:
        with trio.fail_after(30):
            while len(self.counts) < number:  # noqa: ASYNC110 - a list wakes nobody
                await trio.sleep(0.01)


@asynccontextmanager
async def delivering(alerts: Alerts, quick: float = 10.0) -> AsyncIterator[tuple[Delivery, Notes, NurseryRegistry]]:
    """Run the ways that these settings have."""
    settings, notes, balance = Settings(alerts=alerts, limits=Limits(quick=quick)), Notes(), Balance()
    registry = NurseryRegistry(balance)
    connect = Limit(5, "RELAY_CONNECT_TIMEOUT")
    sender = HttpxSender(balance, Route(connect, connect, TLS), None)
    delivery = Delivery(Ways(sender, TLS, connect), lambda: settings, registry, notes, notes)
    async with trio.open_nursery() as nursery:
        for name, run in delivery.tasks():
            nursery.start_soon(run, name=name)
        yield delivery, notes, registry
        nursery.cancel_scope.cancel(reason="the test is over")
    assert not any(count.live for count in balance.counts().values())


async def test_both_ways_get_each_message() -> None:
    """Mail and webhook: each has its own queue, and a hanging one does not hold the other."""
    async with open_mail_host(answers={"EHLO": None}) as host, open_webhook() as webhook:
        alerts = attrs.evolve(told(host), webhook=Secret(webhook.url))
        async with delivering(alerts, quick=1.0) as (delivery, notes, registry):
            delivery.hand_over(MESSAGE)
            await webhook.wait_posts(1)
            await notes.wait(2)
            assert sorted(notes.counts) == [("mail", "failed"), ("webhook", "sent")]
            failed = next(fields for event, fields in notes.lines if event == "alert_not_sent")
            assert failed["why"] == "there was no answer within 1 s (limit RELAY_QUICK_TIMEOUT)"
            assert not len(registry)


async def test_a_full_queue_is_a_failure_at_once() -> None:
    """Nothing waits for room: who looks is never held up, and memory is bounded."""
    async with open_webhook(hangs=True) as webhook, delivering(Alerts(webhook=Secret(webhook.url)), quick=30) as up:
        delivery, notes, _ = up
        delivery.hand_over(MESSAGE)
        await webhook.wait_posts(1)
        for _ in range(MAX_WAITING + 3):
            delivery.hand_over(MESSAGE)
        assert notes.counts == [("webhook", "failed")] * 3
        assert {fields["why"] for _, fields in notes.lines} == {"too many wait before it"}
