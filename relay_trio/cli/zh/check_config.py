"""What `relay-trio check-config` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "settings": "设置",
    "  all have their defaults (--all shows them)": "  全部为默认值（用 --all 查看）",
    "keys": "密钥",
    "no certificate chain with its key in PEM ({why})": "没有 PEM 格式的证书链及其私钥（{why}）",
    "  none: no provider is configured, so the built-in demo would answer (set OPENAI_API_KEY, or [[channels]])": (
        "  无：没有配置服务商，将由内置演示应答（请设置 OPENAI_API_KEY 或 [[channels]]）"
    ),
    "  none: `serve` would make one for its run and print it (set RELAY_API_KEYS, or [[keys]])": (
        "  无：`serve` 会为本次运行生成一个并打印（请设置 RELAY_API_KEYS 或 [[keys]]）"
    ),
    "wrong": "有误",
    "providers": "服务商",
}
