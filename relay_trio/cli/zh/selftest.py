"""What `selftest` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "stream": "流式",
    "no stream": "非流式",
    "429, stream": "429，流式",
    "429, no stream": "429，非流式",
    "answer": "完整回答",
    "error {status}": "错误 {status}",
    "error event": "流内错误事件",
    "untrue": "不真实",
    "no answer at all": "完全没有应答",
    "near: {names}": "相近的有：{names}",
    "--only: there is no fault {name}": "--only：没有名为 {name} 的故障",
    "the clocks of [relay]: {clocks}": "[relay] 的时限：{clocks}",
    "the clocks of {channels} (transport {transport}): {clocks}": "{channels} 的时限（transport {transport}）：{clocks}",
    "fault": "故障",
    "left": "遗留",
    "nothing": "无",
    "{said}, {seconds} s": "{said}，{seconds} 秒",
    "left at the end: {what}": "结束时遗留：{what}",
    "{broken} of {faults} faults break a promise ({requests} requests, {seconds} s)": (
        "{faults} 种故障中有 {broken} 种违反了承诺（{requests} 个请求，{seconds} 秒）"
    ),
    "this is a fault of relay_trio: please report it with the lines above and your [relay.limits]": (
        "这是 relay_trio 的缺陷：请连同以上各行和您的 [relay.limits] 一起报告"
    ),
    "{faults} faults, {requests} requests: every client was told the truth in time, nothing was left ({seconds} s)": (
        "{faults} 种故障、{requests} 个请求：每个客户端都按时得到了真实的结果，没有任何遗留（{seconds} 秒）"
    ),
}
