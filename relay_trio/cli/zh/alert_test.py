"""What `relay-trio alert-test` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "webhook": "Webhook",
    "mail": "邮件",
    "sent": "已发送",
    "not sent: {why}": "未发送：{why}",
    "nobody is told of anything: set RELAY_ALERTS_WEBHOOK, or RELAY_ALERTS_SMTP with "
    "RELAY_ALERTS_MAIL_FROM and RELAY_ALERTS_MAIL_TO": (
        "没有配置任何告警接收方：请设置 RELAY_ALERTS_WEBHOOK，或 RELAY_ALERTS_SMTP 连同 RELAY_ALERTS_MAIL_FROM 和 RELAY_ALERTS_MAIL_TO"
    ),
}
