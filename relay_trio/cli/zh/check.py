"""What `relay-trio check` says while it looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "alive": "运行中",
    "{url} answers {status} to /livez": "{url} 对 /livez 的应答是 {status}",
    "no answer ({stage}: {why})": "没有应答（{stage}：{why}）",
}
