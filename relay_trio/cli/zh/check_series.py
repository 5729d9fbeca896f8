"""The verdicts over a series of looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "too few looks for a trend (eight since the last start are needed)": "采样太少，看不出趋势（自上次启动起至少需要八次）",
    "stable: nothing grows": "稳定：没有增长",
    "no leak: what grows follows the load": "没有泄漏：增长与负载一致",
    "memory grows, as it does in the first ten minutes after a start: look again later": (
        "内存在增长，启动后十分钟内属于正常现象：请稍后再看"
    ),
    "requests last longer, or load has just begun: in flight they grow, at the same rate of arrival. It is a leak only "
    "if it goes on for longer than RELAY_TIMEOUT: look again with a longer series": (
        "请求持续得更久，或负载刚刚开始：到达速率不变，而进行中的请求在增加。只有持续超过 RELAY_TIMEOUT 才是泄漏：请用更长的采样再看一次"
    ),
    "a leak: nurseries grow, and the load does not": "泄漏：nursery 在增长，而负载没有",
    "a leak: memory grows, and the load does not": "泄漏：内存在增长，而负载没有",
}
