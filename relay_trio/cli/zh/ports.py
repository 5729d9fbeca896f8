"""What is said of a port that somebody has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "{address} is in use": "{address} 已被占用",
    "{address} is in use by pid {pid}": "{address} 已被进程 {pid} 占用",
}
