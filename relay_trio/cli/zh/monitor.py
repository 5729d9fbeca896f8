"""What `relay-trio monitor` says in lines and notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "for the live view: pip install 'relay-trio[cli]'; until then, a line for each look": (
        "要使用实时界面：pip install 'relay-trio[cli]'；在此之前每次采样输出一行"
    ),
    "the live requests need the operator's key: --key, or RELAY_ADMIN_KEY": (
        "查看进行中的请求需要管理密钥：--key 或 RELAY_ADMIN_KEY"
    ),
    "the live requests are not shown: {why}": "无法显示进行中的请求：{why}",
    "no answer since {time}: {why}": "自 {time} 起没有应答：{why}",
    "{status}  nurseries {nurseries}  requests {rate}  errors {errors}  memory {memory}  oldest {oldest}": (
        "{status}  nursery {nurseries}  请求 {rate}  错误 {errors}  内存 {memory}  最久 {oldest}"
    ),
    "{id} was cancelled": "{id} 已取消",
    "{id} was not cancelled: {why}": "{id} 未能取消：{why}",
}
