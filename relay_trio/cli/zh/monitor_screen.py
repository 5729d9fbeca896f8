"""The live view of `relay-trio monitor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "up {uptime}": "已运行 {uptime}",
    "{now} (peak {peak})": "{now}（峰值 {peak}）",
    "errors": "错误",
    "needs RELAY_METRICS_KEY": "需要 RELAY_METRICS_KEY",
    "{count} live requests, {order}": "进行中的请求 {count} 个，{order}",
    "age": "时长",
    "time left": "剩余",
    "phase": "阶段",
    "try": "尝试",
    "channel": "渠道",
    "key": "密钥",
    "out": "输出",
    "overdue": "超期",
    "Cancel {id} ({path})? Its client gets an error. y / n": "取消 {id}（{path}）？其客户端会收到错误。y / n",
    "arrows select  t stacks  x cancel  s sort  r look  q leave": (
        "方向键 选择  t 调用栈  x 取消  s 排序  r 刷新  q 退出"
    ),
}
