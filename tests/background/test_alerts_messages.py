"""Promises of the words: each webhook's JSON as its own documents have it, short enough for all, and never a secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from relay_trio.background.alerts.causes import KINDS, Cause
from relay_trio.background.alerts.due import News, What
from relay_trio.background.alerts.messages import MAX_TEXT_BYTES, Message, mail_of, refusal, request_of, span
from relay_trio.settings.model import Alerts
from relay_trio.settings.secret import Secret

AT = 1_700_000_000.25
DOWN = News(What.ALARM, Cause("channel_down", "a<b", "channel a<b & c: every key fails"))
OVER = News(What.ALL_CLEAR, Cause("overdue", text="2 requests"), 125.0)
MESSAGE = Message("hk-1", (DOWN, OVER), AT)


def posted(url: str, form: str | None = None, secret: str | None = None) -> tuple[str, Any]:
    """Return the address and the body of a request to this webhook."""
    signing = None if secret is None else Secret(secret)
    request = request_of(Alerts(webhook=Secret(url), format=form, webhook_secret=signing), MESSAGE)
    assert request.method == b"POST"
    assert dict(request.headers)[b"content-type"].startswith(b"application/json")
    assert request.body is not None
    return request.url, msgspec.json.decode(request.body)


TEXT = MESSAGE.text


def test_the_text_is_for_a_person() -> None:
    """Who speaks, what is wrong, what to do; and of what is over how long it was."""
    assert TEXT.splitlines() == [
        "[relay-trio hk-1]",
        "ALARM: channel a<b & c: every key fails",
        "  to do: the provider's status page, or `relay-trio doctor`; other channels take over meanwhile",
        "ALL CLEAR after 2 min: 2 requests",
    ]
    assert MESSAGE.subject == "[relay-trio hk-1] ALARM: channel a<b & c: every key fails (and 1 more)"


@pytest.mark.parametrize(
    ("url", "body"),
    [
        pytest.param(
            "https://hooks.slack.com/services/T0/B0/x",
            {"text": TEXT.replace("&", "&amp;").replace("<", "&lt;")},
            id="docs.slack.dev, incoming webhooks; formatting: three letters are escaped",
        ),
        pytest.param(
            "https://open.feishu.cn/open-apis/bot/v2/hook/x",
            {"msg_type": "text", "content": {"text": TEXT}},
            id="open.feishu.cn, custom bot",
        ),
        pytest.param(
            "https://oapi.dingtalk.com/robot/send?access_token=x",
            {"msgtype": "text", "text": {"content": TEXT}},
            id="open.dingtalk.com, custom robot",
        ),
        pytest.param(
            "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=x",
            {"msgtype": "text", "text": {"content": TEXT}},
            id="developer.work.weixin.qq.com, path 91770",
        ),
        pytest.param(
            "https://alerts.example.org/x",
            {
                "relay": "hk-1",
                "at": "2023-11-14T22:13:20+00:00",
                "text": TEXT,
                "alerts": [
                    {"what": "alarm", "kind": "channel_down", "subject": "a<b", "text": DOWN.cause.text, "lasted_s": 0},
                    {"what": "all_clear", "kind": "overdue", "subject": None, "text": "2 requests", "lasted_s": 125},
                ],
            },
            id="our own",
        ),
    ],
)
def test_each_host_gets_what_it_understands(url: str, body: Any) -> None:
    """The format follows from the host."""
    assert posted(url) == (url, body)


def test_the_format_may_be_said() -> None:
    """A host of one's own in front of Slack's API, as Mattermost and Rocket.Chat have it."""
    assert set(posted("https://chat.example.org/hooks/x", "slack")[1]) == {"text"}


def test_feishu_is_signed_in_the_body() -> None:
    """Key: seconds, a line end, the secret; nothing is signed by it (open.feishu.cn, custom bot, signature)."""
    _, body = posted("https://open.feishu.cn/open-apis/bot/v2/hook/x", secret="s3cret-of-feishu")
    key = b"1700000000\ns3cret-of-feishu"
    assert body["timestamp"] == "1700000000"
    assert body["sign"] == base64.b64encode(hmac.new(key, b"", hashlib.sha256).digest()).decode()


def test_dingtalk_is_signed_in_the_address() -> None:
    """Key: the secret; signed: milliseconds, a line end, the secret (open.dingtalk.com, custom robot, signature)."""
    url, body = posted("https://oapi.dingtalk.com/robot/send?access_token=x", secret="SEC-of-dingtalk")
    query = parse_qs(urlsplit(url).query)
    digest = hmac.new(b"SEC-of-dingtalk", b"1700000000250\nSEC-of-dingtalk", hashlib.sha256).digest()
    assert query == {"access_token": ["x"], "timestamp": ["1700000000250"], "sign": [base64.b64encode(digest).decode()]}
    assert "sign" not in body


def test_a_long_message_is_cut_at_a_line() -> None:
    """Two hundred channels down at once: what fits, and how many more; all that a webhook takes (WeCom: 2,048 bytes)."""
    news = tuple(News(What.ALARM, Cause("channel_down", f"渠道{n}", f"渠道{n}: 每个密钥都失败")) for n in range(200))
    text = Message("hk-1", news, AT).text
    assert len(text.encode()) <= MAX_TEXT_BYTES
    lines = text.splitlines()
    shown = sum(line.startswith("ALARM") for line in lines)
    assert lines[-1] == f"... and {200 - shown} more: see /api/monitor/health and the log"
    assert shown > 5


@pytest.mark.parametrize(
    ("form", "status", "body", "why"),
    [
        ("json", 204, b"", None),
        ("slack", 200, b"ok", None),
        ("slack", 403, b"invalid_token", "it answered 403"),
        ("json", 302, b"", "it redirects (302), which is not followed"),
        ("feishu", 200, b'{"code":0,"data":{},"msg":"success"}', None),
        ("feishu", 200, b'{"Extra":null,"StatusCode":0,"StatusMessage":"success"}', None),
        ("feishu", 200, b'{"code":19021,"msg":"sign match fail or timestamp is not within one hour"}', "it answered code 19021"),
        ("dingtalk", 200, b'{"errcode":0,"errmsg":"ok"}', None),
        ("dingtalk", 200, b'{"errcode":310000,"errmsg":"keywords not in content"}', "it answered errcode 310000"),
        ("wecom", 200, b'{"errcode":93000,"errmsg":"invalid webhook url"}', "it answered errcode 93000"),
        ("wecom", 200, b"<html>", "its answer is none of wecom's"),
        ("wecom", 200, b'{"errcode":"0"}', "its answer is none of wecom's"),
        ("wecom", 200, b"[]", "its answer is none of wecom's"),
    ],
)  # fmt: skip
def test_an_answer_that_refuses_is_noticed(form: str, status: int, body: bytes, why: str | None) -> None:
    """Three of them say 200 to everything; what is said of it are our own words and a number."""
    assert refusal(form, status, body) == why


def test_mail_is_a_mail() -> None:
    """A subject that says it, a date, and a mark that keeps answering machines quiet (RFC 3834)."""
    alerts = Alerts(smtp="smtp://m", mail_from="relay@example.org", mail_to=("a@example.org", "b@example.org"))
    mail = mail_of(alerts, MESSAGE)
    assert mail["Subject"] == MESSAGE.subject
    assert mail["To"] == "a@example.org, b@example.org"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert mail.get_content().strip() == TEXT


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (7260, "2 h 1 min")]
)
def test_durations_are_said_shortly(seconds: float, said: str) -> None:
    """As a person says them."""
    assert span(seconds) == said


def test_every_kind_stands_in_the_operators_table() -> None:
    """Whoever is told of a cause finds under its name what it means."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.partition("\n## Being told\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(KINDS)
