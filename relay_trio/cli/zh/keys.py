"""What `relay-trio keys` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "The key of {name}, shown this once:": "{name} 的密钥，仅显示这一次：",
    "For relay.toml, which holds its digest:": "写入 relay.toml 的内容，其中只有它的摘要：",
    "{text!r} {why} (allowed: {allowed})": "{text!r} {why}（允许：{allowed}）",
    "{text!r} is no date; want e.g. 2027-01-01": "{text!r} 不是日期；例如 2027-01-01",
    "{text} has passed": "{text} 已经过去",
}
