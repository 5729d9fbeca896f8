"""What is said of providers that were asked for their models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "no answer within {seconds} s (limit RELAY_QUICK_TIMEOUT)": "{seconds} 秒内没有应答（时限 RELAY_QUICK_TIMEOUT）",
    "{url} {told}, and {other} lists no models either": "{url} {told}，{other} 也不列出模型",
    'channels[{number}].base_url: "{url}" lists no models ({told}), "{other}" does: use that': (
        "channels[{number}].base_url：“{url}”不列出模型（{told}），“{other}”列出：请用后者"
    ),
    "cannot be reached ({why})": "无法连上（{why}）",
    "its cloud lends no token ({why})": "云平台没有发放令牌（{why}）",
    "answers, but refuses the key ({status})": "有应答，但拒绝这个密钥（{status}）",
    "answers {status} to GET models": "对 GET models 应答 {status}",
    "answers, but with no list of models": "有应答，但不是模型列表",
    "answers, {count} models": "有应答，{count} 个模型",
}
