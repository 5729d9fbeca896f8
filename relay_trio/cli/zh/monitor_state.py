"""The orders of the live requests, and what a key could not do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "oldest first": "最久的在前",
    "least time left first": "剩余时间最少的在前",
    "most bytes first": "字节最多的在前",
    "by phase": "按阶段",
    "select a request first, with the arrow keys": "请先用方向键选择一个请求",
}
