"""What `test-timeout` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "--within: {text} is no number of seconds from 1 to 86400": "--within：{text} 不是 1 到 86400 之间的秒数",
    "KEY is a client's key, as RELAY_API_KEYS or [[keys]] have it": "KEY 是客户端密钥，即 RELAY_API_KEYS 或 [[keys]] 中的密钥",
    "this relay is no demo: name a model with --model, whose long answers are asked for and cut short": (
        "这个中继不是演示：请用 --model 指定一个模型，将请求它的长回答并中途截断"
    ),
    "it lists: {names}": "它列出：{names}",
    "which clocks it has, the relay tells only with its RELAY_ADMIN_KEY (--admin-key)": (
        "中继只在给出 RELAY_ADMIN_KEY（--admin-key）时才说明它有哪些时限"
    ),
    "the relay does not tell its clocks: {why}": "中继没有说明它的时限：{why}",
    "channel {name} has clocks of its own: {clocks}": "渠道 {name} 有自己的时限：{clocks}",
    "these wait for a restart: {names}": "以下设置要重启后才生效：{names}",
    "the clocks of {url}": "{url} 的时限",
    "off": "关闭",
    "  {model} is asked five times, four of them for a long answer that is cut short": (
        "  将向 {model} 请求五次，其中四次请求长回答并中途截断"
    ),
    "tried": "试验",
    "expected: {what}": "预期：{what}",
    "seen:     {what}": "实际：{what}",
    "not as expected: {names}": "与预期不符：{names}",
    "every clock that was tried did what it should": "试过的每个时限都按预期触发",
    "of {names} only a shorter deadline was seen; to wait for the clocks themselves: --within": (
        "{names} 只看到了较短的期限；若要等待时限本身：--within"
    ),
    "200 and an error event": "200 加流内错误事件",
    "{how} after {seconds:.1f} s: phase {phase}, limit {limit:g} s ({setting})": (
        "{seconds:.1f} 秒后 {how}：阶段 {phase}，时限 {limit:g} 秒（{setting}）"
    ),
    "whole": "完整",
    "broken off": "中断",
    "{status}, {how}, after {seconds:.1f} s": "{status}，{how}，用时 {seconds:.1f} 秒",
    "an answer, whole": "完整的回答",
    "only the demo has a provider that is never connected to; see `selftest`": (
        "只有演示才有永远连不上的服务商；请参见 `selftest`"
    ),
    "not tried: {why}": "未尝试：{why}",
    "the answer was whole before that; a model that answers longer, or a smaller --within": (
        "回答在此之前已经完整；请用回答更长的模型，或更小的 --within"
    ),
    "the request is gone within {seconds:g} s of its client": "客户端离开后 {seconds:g} 秒内请求消失",
    "{status} instead of a stream": "得到 {status} 而不是流",
    "it was over before its client left; a model that answers longer": "客户端离开之前就已结束；请用回答更长的模型",
    "still live {seconds:g} s later": "{seconds:g} 秒后仍然存活",
    "gone {seconds:.2f} s after its client": "客户端离开 {seconds:.2f} 秒后消失",
    "{told}, as the count of live requests has it (which one, only RELAY_ADMIN_KEY shows)": (
        "{told}（依据存活请求的计数；具体是哪一个，只有 RELAY_ADMIN_KEY 才能看到）"
    ),
    "ends at its clock": "按它的时限结束",
    "{setting} is off": "{setting} 已关闭",
    "ends after {seconds:g} s ({setting})": "{seconds:g} 秒后结束（{setting}）",
    "ends after {seconds:g} s at the latest (the request's own deadline)": "最迟 {seconds:g} 秒后结束（请求自带的期限）",
    "ends after {seconds:g} s (the request's own deadline; {setting} itself, {limit:g} s, is longer than --within)": (
        "{seconds:g} 秒后结束（请求自带的期限；{setting} 本身为 {limit:g} 秒，比 --within 长）"
    ),
    "an answer": "应答",
}
