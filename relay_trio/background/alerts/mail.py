"""Sends one mail by the standard library's smtplib, in a thread that is cut off when its time is over.

A thread cannot be cancelled, but what it waits for can be taken from it: its socket is shut down, and every call on it
ends. One thread at a time; the limit of each step holds also where there is no socket yet.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from contextlib import suppress
from email.message import EmailMessage
from typing import Final
from urllib.parse import urlsplit

import attrs
import trio

from relay_trio.background.alerts.webhook import NotDelivered
from relay_trio.settings.model import Alerts

_STEP_S: Final = 20.0
"""The longest that one step may take, connecting included: RFC 5321 (4.5.3.2) has minutes, for servers that are busier."""
_PORTS: Final = {"smtp": 587, "smtps": 465}
_ONE_AT_A_TIME: Final = 1
_PASSING: Final = range(400, 500)
"""4yz: not now (RFC 5321, 4.2.1)."""
_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@attrs.frozen
class MailServer:
    """Where mail goes and how. Without `secure` TLS begins with STARTTLS, but on this machine only if it is offered."""

    host: str
    port: int
    secure: bool
    user: str | None
    password: str | None = attrs.field(repr=False)
    tls: ssl.SSLContext = attrs.field(repr=False)

    @classmethod
    def of(cls, alerts: Alerts, tls: ssl.SSLContext) -> MailServer:
        """Return the configured one, which there must be."""
        assert alerts.smtp is not None, "who has no mail server is not asked"
        parts = urlsplit(alerts.smtp)
        password = None if alerts.smtp_password is None else alerts.smtp_password.reveal()
        port = parts.port or _PORTS[parts.scheme]
        return cls(parts.hostname or "", port, parts.scheme == "smtps", alerts.smtp_user, password, tls)


class Mailer:
    """Sends mail. One for each process."""

    def __init__(self) -> None:
        self._places = trio.CapacityLimiter(_ONE_AT_A_TIME)

    async def send(self, server: MailServer, mail: EmailMessage) -> None:
        """Send one mail. Raises NotDelivered. Cancelled, it waits for nothing, and its thread ends by itself."""
        client = _client_of(server)
        try:
            await trio.to_thread.run_sync(_send, client, server, mail, abandon_on_cancel=True, limiter=self._places)
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(f"its server answered {error.smtp_code}", passing=error.smtp_code in _PASSING) from error
        except smtplib.SMTPRecipientsRefused as error:
            raise NotDelivered("its server takes no mail for these receivers", passing=False) from error
        except smtplib.SMTPNotSupportedError as error:
            raise NotDelivered("its server offers no STARTTLS, or no log-in", passing=False) from error
        except ssl.SSLCertVerificationError as error:
            raise NotDelivered("its server's certificate was not accepted", passing=False) from error
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise NotDelivered("its server could not be reached, or broke off", passing=True) from error
        finally:
            _cut_off(client)


def _client_of(server: MailServer) -> smtplib.SMTP:
    """Return a client that is not connected yet."""
    name = _own_name()
    if server.secure:
        return smtplib.SMTP_SSL(local_hostname=name, timeout=_STEP_S, context=server.tls)
    return smtplib.SMTP(local_hostname=name, timeout=_STEP_S)


def _own_name() -> str:
    """Return what we call ourselves: never looked up, which may take long (smtplib would)."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() else "[127.0.0.1]"  # an address literal (RFC 5321, 4.1.3)


def _send(client: smtplib.SMTP, server: MailServer, mail: EmailMessage) -> None:
    """Send, and close the connection. In a thread."""
    client._host = server.host  # type: ignore[attr-defined]  # noqa: SLF001 - the certificate's name; only a constructor that connects sets it
    try:
        client.connect(server.host, server.port)
        client.ehlo_or_helo_if_needed()
        if not server.secure and (client.has_extn("starttls") or server.host not in _THIS_MACHINE):
            client.starttls(context=server.tls)
        if server.user is not None and server.password is not None:
            client.login(server.user, server.password)
        client.send_message(mail)
        with suppress(smtplib.SMTPException, OSError):  # the mail is taken: how they part is no matter
            client.quit()
    finally:
        client.close()


def _cut_off(client: smtplib.SMTP) -> None:
    """End whatever the thread still waits for."""
    sock = client.sock
    if isinstance(sock, socket.socket):
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
