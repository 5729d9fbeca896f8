"""What the tests of the log stand on: a log in memory, and structlog given back as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from relay_trio.telemetry.log import configure
from relay_trio.telemetry.log_writer import MemoryLog
from relay_trio.telemetry.redaction import Redactor


class ReadableLog(MemoryLog):
    @property
    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def redactor() -> Redactor:
    return Redactor()


@pytest.fixture
def log_lines(redactor: Redactor) -> Iterator[ReadableLog]:
    before = structlog.get_config()
    sink = ReadableLog()
    configure(sink, redactor, level="debug")
    yield sink
    structlog.configure(**before)
