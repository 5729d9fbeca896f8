"""What one look at a relay's health comes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "{live} (each worker: warning from {warn}, error from {error}); peak {hour} in 1 h, {day} in 24 h": (
        "{live}（每个工作进程：{warn} 起警告，{error} 起错误）；峰值 1 小时 {hour}，24 小时 {day}"
    ),
    "see what they wait for: `relay-trio monitor`; is it a leak? `relay-trio check --samples 20 --every 30`": (
        "看它们在等什么：`relay-trio monitor`；是不是泄漏：`relay-trio check --samples 20 --every 30`"
    ),
    "{live} live, {queued} queued, {overdue} overdue; oldest {oldest} (at most {total})": (
        "进行中 {live}，排队 {queued}，超期 {overdue}；最久 {oldest}（上限 {total}）"
    ),
    "a request outlived its deadline, which is a fault of the relay: keep its stacks "
    "(GET /debug/nurseries?stacks=1), report them, restart": (
        "有请求超过了期限，这是中继的缺陷：请保存其调用栈（GET /debug/nurseries?stacks=1）并报告，然后重启"
    ),
    "something is open that no request owns: look again in a minute; if it stays, keep GET /debug/nurseries?stacks=1, "
    "report it, restart": (
        "有资源打开着却不属于任何请求：一分钟后再看；如果还在，请保存 GET /debug/nurseries?stacks=1 的结果并报告，然后重启"
    ),
    "uneven, opened = closed + live: {kinds}": "不平衡，打开 = 关闭 + 存活：{kinds}",
    "unaccounted: {kinds}": "无人认领：{kinds}",
    "even: opened = closed + live for every kind, nothing unaccounted": "平衡：每一类都是 打开 = 关闭 + 存活，没有无人认领的",
    "{rss} resident, {alloc} private": "常驻 {rss}，私有 {alloc}",
    "not told by this platform": "此平台不提供",
    "{count} of {limit}": "{count} / {limit}",
    "raise the limit (`ulimit -n`, LimitNOFILE), or start more workers": (
        "提高上限（`ulimit -n`、LimitNOFILE），或增加工作进程"
    ),
    "{count}: {each}; up {uptime}": "{count} 个：{each}；已运行 {uptime}",
    "ask the providers: `relay-trio doctor`; the log's `key_set_aside` and `attempt_failed` say why": (
        "询问各服务商：`relay-trio doctor`；原因见日志中的 `key_set_aside` 和 `attempt_failed`"
    ),
    "{up} up, {down} down": "可用 {up}，不可用 {down}",
    "late by {lag:g} ms at worst": "最多迟 {lag:g} 毫秒",
    "the core is overloaded: RELAY_WORKERS=auto": "单核已过载：请设 RELAY_WORKERS=auto",
    "whoever reads stdout is too slow: give it more room (RELAY_LOG_BUFFER_BYTES) or a faster reader": (
        "读取 stdout 的程序太慢：加大缓冲（RELAY_LOG_BUFFER_BYTES）或换更快的读取方"
    ),
    "{count} lines dropped": "丢弃 {count} 行",
    "nurseries": "nursery",
    "requests": "请求",
    "balance": "收支",
    "memory": "内存",
    "descriptors": "描述符",
    "workers": "工作进程",
    "channels": "渠道",
    "loop": "事件循环",
    "log": "日志",
    "ok": "正常",
    "warning": "警告",
    "error": "错误",
}
