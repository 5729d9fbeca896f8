"""How `relay-trio check` tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "after {span}: nurseries {nurseries}, in flight {in_flight}, requests {rate}, memory {memory}": (
        "{span} 后：nursery {nurseries}，进行中 {in_flight}，请求 {rate}，内存 {memory}"
    ),
    "draining": "正在排空",
    "the relay says: {reason}": "中继自述：{reason}",
    "{subject}, what to do: {advice}": "{subject}，怎么办：{advice}",
    "in flight": "进行中",
    "growing": "增长",
    "falling": "下降",
    "steady": "平稳",
    "unknown": "未知",
    "looks: {count}, in {span}": "{span} 内采样 {count} 次",
    "the relay, or a worker, has started anew in between: only what came after counts": (
        "期间中继或某个工作进程重新启动过：只计算此后的采样"
    ),
    "looks without an answer: {count}": "{count} 次采样没有应答",
    "lowest": "最低",
    "median": "中位",
    "highest": "最高",
    "slope per hour": "每小时斜率",
    "trend": "趋势",
    "against the baseline of {recorded}": "与 {recorded} 的基线相比",
    "lowest then": "当时最低",
    "now": "现在",
    "median then": "当时中位",
    "highest then": "当时最高",
    "{quantity}: the floor has risen, and the load has not": "{quantity}：最低值升高了，而负载没有",
}
