"""What `relay-trio --help` and the commands' options say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "An LLM API relay in which one request is one nursery.": "大模型 API 中继：每个请求就是一个 nursery。",
    "examples:": "示例：",
    "show where an unexpected failure happened": "出现意外错误时显示出错位置",
    "en or zh; default: RELAY_LANG, else your locale's": "en 或 zh；默认取 RELAY_LANG，否则取系统区域设置",
    "default: RELAY_CONFIG, or relay.toml where you are, if it is there": "默认：RELAY_CONFIG，或当前目录下的 relay.toml（如果存在）",
    "addresses with commas between; beats all other settings": "监听地址，用逗号分隔；优先于其他所有设置",
    "do not ask the providers whether they answer": "不询问各服务商是否应答",
    "show also the settings that have their defaults": "同时显示取默认值的设置",
    "make a key and print it, once": "生成一个密钥并打印，仅此一次",
    "names the key in logs and metrics": "密钥在日志和指标中的名称",
    "decides which channels serve it; default: default": "决定由哪些渠道服务；默认：default",
    'with commas between, such as "gpt-*,o*"; default: all': '用逗号分隔，例如 "gpt-*,o*"；默认：全部',
    "requests at the same time; default: no limit of its own": "同时进行的请求数；默认：不单独限制",
    "2027-01-01 or 2027-01-01T12:00:00+02:00; default: never": "2027-01-01 或 2027-01-01T12:00:00+02:00；默认：永不过期",
    "the relay's address; default: RELAY_URL, else the configuration": "中继的地址；默认取 RELAY_URL，否则取配置",
    "default: RELAY_ADMIN_KEY and RELAY_METRICS_KEY": "默认取 RELAY_ADMIN_KEY 和 RELAY_METRICS_KEY",
    "certificates (PEM) to trust besides the system's": "除系统证书外还信任的证书（PEM）",
    "look so many times": "采样次数",
    "between two looks; default: 30": "两次采样之间的间隔；默认：30",
    "keep what was seen as a baseline": "把所见保存为基线",
    "set a baseline beside what is seen": "与基线对照",
    "for machines": "供程序读取",
    "say nothing if all is well": "一切正常时不输出",
    "for health checks: 0 if it answers, however it fares": "用于健康检查：有应答即为 0，不论状况如何",
    "{text} is not within {low}..{high}": "{text} 不在 {low}..{high} 之内",
    "look at a running relay: how it fares, whether it leaks": "查看运行中的中继：状况如何，是否泄漏",
    "start the relay": "启动中继",
    "say what is wrong with the configuration, without starting": "检查配置有什么问题，不启动服务",
    "only this channel; may be given more than once": "只看这个渠道；可多次给出",
    "ask each channel for one tiny completion, too": "另外向每个渠道请求一次极小的补全",
    "what --spend asks for; default: a cheap one": "--spend 所请求的模型；默认：便宜的一个",
    "look at the way to every provider, and at this machine; say what to do": "检查通往每个服务商的路径和本机，并说明该怎么做",
    "only this fault; may be given more than once": "只试这一种故障；可多次给出",
    "print JSON, for programs": "输出 JSON，供程序读取",
    "hold your configuration to the table of faults, on a clock that jumps": "用会跳跃的时钟，在您的配置下逐一试验故障表",
    "make keys for clients": "为客户端生成密钥",
}
