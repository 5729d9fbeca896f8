"""What is said when a relay does not answer, or not as a relay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "no relay answers at {url} (said by {source})": "{url} 没有中继应答（地址来自 {source}）",
    "{url} answers {status} to {method} {path}": "{url} 对 {method} {path} 的应答是 {status}",
    "give the key with --key or in the variable": "请用 --key 或上述环境变量给出密钥",
    "what answers at {url} is no relay_trio, or a proxy hides its own paths": (
        "{url} 处应答的不是 relay_trio，或者中间的代理挡住了它自己的路径"
    ),
    "the relay at {url} is of another version: its health lacks {names}": "{url} 处的中继是另一个版本：其健康信息缺少 {names}",
    "nothing within {seconds:g} s": "{seconds:g} 秒内没有任何回应",
    "the name server does not answer: try the address in numbers": "域名服务器不应答：请直接用 IP 地址试试",
    "nothing says no either: a firewall between here and there, or a host that is down": (
        "也没有被拒绝：可能被防火墙挡住，或者主机没有开机"
    ),
    "what listens there does not speak TLS: try http://": "那里监听的程序不使用 TLS：请改用 http://",
    "it accepts connections and does not answer: its event loop is blocked, or it is no relay": (
        "它接受连接却不应答：事件循环被阻塞，或者那不是中继"
    ),
    "the name is not known here: is it spelt right, and is the name server reached?": (
        "无法解析这个名字：拼写是否正确？能否连上域名服务器？"
    ),
    "no answer": "没有应答",
    "nothing listens there: start it with `relay-trio serve`, or say where it is with --url": (
        "那里没有程序在监听：请用 `relay-trio serve` 启动，或用 --url 指明地址"
    ),
    "is the address right, and is there a way to it from here?": "地址是否正确？从这里能否到达？",
    "{path} holds no certificates in PEM ({why})": "{path} 中没有 PEM 格式的证书（{why}）",
    "an authority that this machine does not know is named with --ca FILE": "本机不认识的证书颁发机构，请用 --ca FILE 指明",
    "the certificate is refused: {why}": "证书未通过验证：{why}",
    "what listens there does not speak TLS": "那里监听的程序不使用 TLS",
    "try http://": "请改用 http://",
    "the handshake broke off: {why}": "TLS 握手中断：{why}",
    "is this the relay's port?": "这是中继的端口吗？",
    "a head without end": "应答头没有尽头",
    "an answer without end": "应答没有尽头",
    "the answer broke off after {count} bytes": "应答在 {count} 字节后中断",
    "try again": "请再试一次",
    "what listens there speaks TLS": "那里监听的程序使用 TLS",
    "try https://": "请改用 https://",
    "the answer is no HTTP": "应答不是 HTTP",
    "the connection ended without an answer": "连接没有应答就结束了",
    "if the relay speaks TLS, say https://; else its log knows more": "如果中继使用 TLS，请用 https://；否则请看它的日志",
}
