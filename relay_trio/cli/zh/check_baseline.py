"""What is said of a baseline's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "--record: {path} cannot be written ({why})": "--record：无法写入 {path}（{why}）",
    "--compare: {path} cannot be read ({why})": "--compare：无法读取 {path}（{why}）",
    "--compare: {path} is no baseline; `--record FILE` makes one": "--compare：{path} 不是基线文件；用 `--record FILE` 生成",
}
