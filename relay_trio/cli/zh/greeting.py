"""What is said to a person on the first day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "DEMO: no provider is configured. The model `demo` only streams a fixed text; see README.md.": (
        "演示：没有配置服务商。模型 `demo` 只会流式输出一段固定文字；见 README.md。"
    ),
    "Client key, for this run only: {key}": "客户端密钥，仅用于本次运行：{key}",
    "Try:": "试试：",
}
