"""What is said of a relay's address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "{source}: {text} is no address; want e.g. http://127.0.0.1:3000": "{source}：{text} 不是地址；例如 http://127.0.0.1:3000",
    "the configuration": "配置",
    "the configuration cannot be used, so its variables alone say where the relay is: {problem}": (
        "配置无法使用，只能由环境变量决定中继的位置：{problem}"
    ),
}
