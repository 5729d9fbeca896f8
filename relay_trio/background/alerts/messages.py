"""The same news in the words of each webhook, and as mail. Pure: the time is passed in, and secrets only to sign with.

The shapes are the providers' own:
Slack      https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks (errors have an HTTP status)
Feishu     https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot ("text", signature in the body)
DingTalk   https://open.dingtalk.com/document/orgapp/custom-robot-access ("text", signature in the address)
WeCom      https://developer.work.weixin.qq.com/document/path/91770 ("text", at most 2,048 bytes)
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import quote_plus

import attrs
import msgspec

from adaptors.values import UpstreamRequest
from relay_trio.background.alerts.causes import KINDS
from relay_trio.background.alerts.due import News, What
from relay_trio.settings.model import Alerts

Json = dict[str, Any]

MAX_TEXT_BYTES: Final = 2000
"""WeCom takes 2,048 bytes, the others more; who is woken at night reads no more either."""
_MAX_SUBJECT: Final = 120
_HOUR_S: Final = 3600
_MINUTE_S: Final = 60
_OK: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)

_WORDS: Final[Mapping[What, str]] = {
    What.ALARM: "ALARM",
    What.REMINDER: "STILL",
    What.ALL_CLEAR: "ALL CLEAR",
    What.TEST: "TEST",
}


@attrs.frozen
class Message:
    """What one look has to tell. `at` is seconds since the epoch."""

    relay: str
    news: tuple[News, ...]
    at: float

    @property
    def subject(self) -> str:
        """One line: who speaks, and what is the matter."""
        first, others = self.news[0], len(self.news) - 1
        more = f" (and {others} more)" if others else ""
        return f"{self._head} {_WORDS[first.what]}: {first.cause.text}"[: _MAX_SUBJECT - len(more)] + more

    @property
    def text(self) -> str:
        """All of it in lines, as many as fit; DingTalk's and Feishu's keyword filters find `relay-trio` in it."""
        lines, left = [self._head], MAX_TEXT_BYTES - len(self._head.encode()) - len(_more(len(self.news)).encode()) - 2
        for number, one in enumerate(self.news):
            block = _block(one)
            left -= len(block.encode()) + 1
            if left < 0:
                return "\n".join([*lines, _more(len(self.news) - number)])
            lines.append(block)
        return "\n".join(lines)

    @property
    def _head(self) -> str:
        return f"[relay-trio {self.relay}]"


def _more(number: int) -> str:
    return f"... and {number} more: see /api/monitor/health and the log"


def _block(news: News) -> str:
    """Return the lines for one cause: what it is, and unless it is over what to do."""
    word, cause = _WORDS[news.what], news.cause
    if news.what is What.ALL_CLEAR:
        return f"{word} after {span(news.lasted_s)}: {cause.text}"
    lasting = f" for {span(news.lasted_s)}" if news.what is What.REMINDER else ""
    advice = KINDS[cause.kind].advice if cause.kind in KINDS else ""
    return f"{word}{lasting}: {cause.text}" + (f"\n  to do: {advice}" if advice else "")


def span(seconds: float) -> str:
    """Return a duration as a person says it."""
    if seconds >= _HOUR_S:
        return f"{int(seconds // _HOUR_S)} h {int(seconds % _HOUR_S // _MINUTE_S)} min"
    return f"{int(seconds // _MINUTE_S)} min" if seconds >= _MINUTE_S else f"{int(seconds)} s"


# Webhooks


def request_of(alerts: Alerts, message: Message) -> UpstreamRequest:
    """Return what is to be posted to the webhook, which must be configured."""
    assert alerts.webhook is not None, "who has no webhook is not asked"
    secret = None if alerts.webhook_secret is None else alerts.webhook_secret.reveal()
    url, form = alerts.webhook.reveal(), alerts.webhook_format
    body = _BODIES[form](message)
    if secret is not None and form == "feishu":
        body = {"timestamp": str(int(message.at)), "sign": feishu_signature(int(message.at), secret), **body}
    if secret is not None and form == "dingtalk":
        milliseconds = int(message.at * 1000)
        url += "&" if "?" in url else "?"
        url += f"timestamp={milliseconds}&sign={quote_plus(dingtalk_signature(milliseconds, secret))}"
    return UpstreamRequest(
        method=b"POST",
        url=url.partition("#")[0],
        headers=((b"content-type", b"application/json; charset=utf-8"), (b"user-agent", b"relay-trio")),
        body=msgspec.json.encode(body),
    )


def _as_json(message: Message) -> Json:
    return {
        "relay": message.relay,
        "at": dt.datetime.fromtimestamp(message.at, dt.UTC).isoformat(timespec="seconds"),
        "text": message.text,
        "alerts": [_as_entry(one) for one in message.news],
    }


def _as_entry(news: News) -> Json:
    cause = news.cause
    return {
        "what": news.what,
        "kind": cause.kind,
        "subject": cause.subject or None,
        "text": cause.text,
        "lasted_s": round(news.lasted_s),
    }


def _for_slack(message: Message) -> Json:
    text = message.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")  # else they begin links
    return {"text": text}


def _for_feishu(message: Message) -> Json:
    return {"msg_type": "text", "content": {"text": message.text}}


def _for_dingtalk_and_wecom(message: Message) -> Json:
    return {"msgtype": "text", "text": {"content": message.text}}


_BODIES: Final[Mapping[str, Callable[[Message], Json]]] = {
    "json": _as_json,
    "slack": _for_slack,
    "feishu": _for_feishu,
    "dingtalk": _for_dingtalk_and_wecom,
    "wecom": _for_dingtalk_and_wecom,
}


def feishu_signature(seconds: int, secret: str) -> str:
    """Sign as Feishu wants it: time and secret are the key, and nothing is what is signed."""
    return _base64(hmac.digest(f"{seconds}\n{secret}".encode(), b"", hashlib.sha256))


def dingtalk_signature(milliseconds: int, secret: str) -> str:
    """Sign as DingTalk wants it: the secret is the key, time and secret are what is signed."""
    return _base64(hmac.digest(secret.encode(), f"{milliseconds}\n{secret}".encode(), hashlib.sha256))


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


_CODES: Final[Mapping[str, Sequence[str]]] = {
    "feishu": ("code", "StatusCode"),
    "dingtalk": ("errcode",),
    "wecom": ("errcode",),
}
"""Where the answer says whether it went well: these say 200 to everything. Feishu has had two names for it."""


def refusal(form: str, status: int, body: bytes) -> str | None:
    """Return why a webhook's answer is none to be content with, in our own words; None if it is."""
    if status in _REDIRECTS:
        return f"it redirects ({status}), which is not followed"
    if status not in _OK:
        return f"it answered {status}"
    names = _CODES.get(form)
    if names is None:
        return None
    try:
        said = msgspec.json.decode(body, type=Json)
    except msgspec.DecodeError:
        return f"its answer is none of {form}'s"
    code = next((said[name] for name in names if name in said), None)
    if type(code) is not int:
        return f"its answer is none of {form}'s"
    return f"it answered {names[0]} {code}" if code else None


# Mail


def mail_of(alerts: Alerts, message: Message) -> EmailMessage:
    """Return the mail, whose sender and receivers must be configured."""
    mail = EmailMessage()
    mail["Subject"] = message.subject
    mail["From"] = alerts.mail_from
    mail["To"] = ", ".join(alerts.mail_to)
    mail["Date"] = format_datetime(dt.datetime.fromtimestamp(message.at, dt.UTC))
    mail["Auto-Submitted"] = "auto-generated"  # no answering machine answers it (RFC 3834, 5)
    mail.set_content(message.text + "\n")
    return mail
