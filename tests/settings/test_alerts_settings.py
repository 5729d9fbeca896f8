"""Promises of `[alerts]`: said in the file or in variables, wrong ones told with their place, secrets never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay_trio.assembly import secrets_of
from relay_trio.settings.load import ConfigurationErrors
from relay_trio.settings.model import Alerts
from relay_trio.settings.shown import setting_rows
from relay_trio.testing.relay import settings_for

WHOLE = """
[alerts]
webhook = "env:HOOK"
webhook_secret = "file:signing"
smtp = "smtps://mail.example.org"
smtp_user = "relay"
smtp_password = "pass word"
mail_from = "relay@example.org"
mail_to = ["ops@example.org", "boss@example.org"]
remind = "2h"
name = "hk-1"
"""
HOOK = "https://oapi.dingtalk.com/robot/send?access_token=0123456789abcdef"


def test_all_of_it_in_the_file(tmp_path: Path) -> None:
    """The table stands beside `[relay]`, and each value knows its line."""
    (tmp_path / "signing").write_text("SEC0123456789\n")
    settings = settings_for(tmp_path, WHOLE, {"HOOK": HOOK})
    alerts = settings.alerts
    assert alerts.webhook is not None
    assert alerts.webhook.reveal() == HOOK
    assert alerts.webhook_format == "dingtalk"
    assert (alerts.smtp, alerts.remind, alerts.name) == ("smtps://mail.example.org", 7200.0, "hk-1")
    assert alerts.mail_to == ("ops@example.org", "boss@example.org")
    assert settings.sources["alerts.webhook"].endswith(":3")
    assert settings.sources["alerts.format"] == "default"


def test_a_variable_beats_the_file(tmp_path: Path) -> None:
    """As everywhere."""
    settings = settings_for(tmp_path, '[alerts]\nname = "a"', {"RELAY_ALERTS_NAME": "b"})
    assert (settings.alerts.name, settings.sources["alerts.name"]) == ("b", "RELAY_ALERTS_NAME")


def test_its_secrets_are_secrets(tmp_path: Path) -> None:
    """They are taken out of the log, and tables of settings say only that they are set."""
    (tmp_path / "signing").write_text("SEC0123456789\n")
    settings = settings_for(tmp_path, WHOLE, {"HOOK": HOOK})
    assert {HOOK, "SEC0123456789", "pass word"} <= set(secrets_of(settings))
    shown = {name: value for name, value, _ in setting_rows(settings)}
    assert {shown[f"alerts.{name}"] for name in ("webhook", "webhook_secret", "smtp_password")} == {"set"}
    assert "0123456789" not in repr(settings)


@pytest.mark.parametrize(
    ("host", "form"),
    [
        ("hooks.slack.com", "slack"),
        ("open.feishu.cn", "feishu"),
        ("open.larksuite.com", "feishu"),
        ("oapi.dingtalk.com", "dingtalk"),
        ("qyapi.weixin.qq.com", "wecom"),
        ("alerts.example.org", "json"),
    ],
)
def test_the_format_follows_from_the_host(host: str, form: str, tmp_path: Path) -> None:
    """Unless it is said."""
    variables = {"RELAY_ALERTS_WEBHOOK": f"https://{host}/x?key=1"}
    assert settings_for(tmp_path, "", variables).alerts.webhook_format == form
    said: Alerts = settings_for(tmp_path, "", {**variables, "RELAY_ALERTS_FORMAT": "slack"}).alerts
    assert said.webhook_format == "slack"


WRONG: list[Any] = [
    ({"WEBHOOK": "hooks.slack.com/x"}, "RELAY_ALERTS_WEBHOOK: no webhook's URL"),
    ({"FORMAT": "teams"}, "RELAY_ALERTS_FORMAT=teams is none of the words; allowed json, slack"),
    ({"SMTP": "mail.corp.example:587"}, 'is no mail server\'s URL; want e.g. "smtp://mail.example.org:587"'),
    (
        {"SMTP": "smtp://relay:pw-0123@mail.example.org"},
        "RELAY_ALERTS_SMTP holds a user; say it in smtp_user and smtp_password",
    ),
    (
        {"SMTP": "smtp://mail.example.org"},
        "RELAY_ALERTS_SMTP: needs RELAY_ALERTS_MAIL_FROM and RELAY_ALERTS_MAIL_TO too",
    ),
    ({"MAIL_TO": "ops@example.org"}, "RELAY_ALERTS_MAIL_TO: stands alone; mail needs RELAY_ALERTS_SMTP too"),
    ({"MAIL_TO": "ops"}, "is no mail address"),
    ({"SMTP_USER": "relay"}, "RELAY_ALERTS_SMTP_USER: stands alone"),
    ({"SMTP_PASSWORD": "pässword"}, "RELAY_ALERTS_SMTP_PASSWORD holds letters outside ASCII"),
    (
        {"WEBHOOK": "https://hooks.slack.com/x", "WEBHOOK_SECRET": "SEC0123456789"},
        "RELAY_ALERTS_WEBHOOK_SECRET: signs nothing: only webhooks of DingTalk and Feishu are signed",
    ),
    ({"WEBHOOK_SECRET": "SEC0123456789"}, "RELAY_ALERTS_WEBHOOK_SECRET: signs nothing"),
    ({"REMIND": "5s"}, "RELAY_ALERTS_REMIND=5s is out of range; allowed 60..86400, default 3600"),
    ({"WEBHOK": "x"}, "RELAY_ALERTS_WEBHOK: no such setting; did you mean RELAY_ALERTS_WEBHOOK?"),
]


@pytest.mark.parametrize(("said", "told"), WRONG, ids=[" ".join(said) for said, _ in WRONG])
def test_what_is_wrong_is_told(said: dict[str, str], told: str, tmp_path: Path) -> None:
    """In a sentence, with what would do; a secret is not in it."""
    with pytest.raises(ConfigurationErrors) as caught:
        settings_for(tmp_path, "", {f"RELAY_ALERTS_{name}": value for name, value in said.items()})
    assert any(told in problem for problem in caught.value.problems), caught.value.problems
    assert not any(
        said[name] in str(caught.value)
        for name in said
        if name in {"WEBHOOK", "WEBHOOK_SECRET", "SMTP", "SMTP_PASSWORD"}
    )


def test_a_misspelt_entry_is_told_with_its_line(tmp_path: Path) -> None:
    """And a contradiction in the file with its place there."""
    with pytest.raises(ConfigurationErrors) as caught:
        settings_for(tmp_path, '[alerts]\nwebhok = "x"\nsmtp = "smtp://m"\n')
    misspelt, lonely = caught.value.problems
    assert misspelt.endswith(":2 alerts.webhok: no such setting; did you mean webhook?")
    assert ":3 alerts.smtp: needs" in lonely
