"""The watchdog: counts live nurseries, finds overdue scopes and a loop that was blocked, and says so in the log.

Two service tasks: a heartbeat that measures how late the loop runs it, and a look every `RELAY_WATCHDOG_INTERVAL`. On a
healthy day neither writes a line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from relay_trio.scopes.census import await_stack
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.scopes.request_scope import RequestScope
from relay_trio.settings.model import Watchdog as WatchdogSettings

HEARTBEAT_S = 0.25
STALL_S = 0.5
"""A loop that is this late has made every stream of the process wait."""
_MINUTE_S = 60.0
_MAX_OVERDUE_SHOWN = 5


class Speaker(Protocol):
    """Where findings go."""

    def debug(self, event: str, **fields: object) -> object:
        """Say what only a developer wants to know."""

    def warning(self, event: str, **fields: object) -> object:
        """Say what an operator should look at."""

    def error(self, event: str, **fields: object) -> object:
        """Say what an operator must look at."""


class Meter(Protocol):
    """Where findings are counted."""

    def count_watchdog_finding(self, finding: str) -> None:
        """Count a look that found a warning or an error."""

    def observe_loop_stall(self, seconds: float) -> None:
        """Count a time in which the event loop did not turn."""


@attrs.define
class LoopLag:
    """How late the event loop ran its heartbeat, in seconds: the last time, and the worst since the last look."""

    last: float = 0.0
    worst: float = 0.0
    stalls: int = 0


@attrs.frozen
class Finding:
    """What one look found. `level` is ok, warning or error."""

    level: str
    reasons: tuple[str, ...]


class Watchdog:
    """Watches the nurseries and the loop of one process."""

    def __init__(
        self,
        registry: NurseryRegistry,
        speaker: Speaker,
        settings: Callable[[], WatchdogSettings],
        live_connections: Callable[[], int],
        memory_mb: Callable[[], float | None],
        *,
        meter: Meter | None = None,
    ) -> None:
        self._registry = registry
        self._speaker = speaker
        self._settings = settings
        self._live_connections = live_connections
        self._memory_mb = memory_mb
        self._meter = meter
        self._last_live = 0
        self._last_connections = 0
        self.lag = LoopLag()
        self.findings = {"warning": 0, "error": 0}

    async def run(self) -> None:
        """Look every interval until cancelled. A service task."""
        minute = trio.current_time()
        while True:
            await trio.sleep(self._settings().interval)
            while trio.current_time() - minute >= _MINUTE_S:
                minute += _MINUTE_S
                self._registry.turn_minute()
            self.look()

    async def beat(self) -> None:
        """Measure how late the loop is, until cancelled. A service task."""
        while True:
            due = trio.current_time() + HEARTBEAT_S
            await trio.sleep_until(due)
            late = trio.current_time() - due
            self.lag.last = late
            self.lag.worst = max(self.lag.worst, late)
            if late >= STALL_S:
                self.lag.stalls += 1
                if self._meter is not None:
                    self._meter.observe_loop_stall(late)
                self._speaker.warning("loop_blocked", blocked_s=round(late, 3), nurseries=len(self._registry))

    def judge(self) -> Finding:
        """Return how things stand, without a word to the log. Pure but for the clock."""
        settings = self._settings()
        live = len(self._registry)
        overdue = len(self._registry.overdue())
        reasons: list[str] = []
        level = "ok"
        if live >= settings.warn:
            level = "warning"
            reasons.append(f"{live} live nurseries (warning from {settings.warn})")
        if overdue:
            level = "error"
            reasons.append(f"{overdue} request scopes are past their deadline and its clean-up")
        if live >= settings.error:
            level = "error"
            reasons[0] = f"{live} live nurseries (error from {settings.error})"
        return Finding(level, tuple(reasons))

    def look(self) -> Finding:
        """Look once and say what was found."""
        finding = self.judge()
        speak = {"ok": self._speaker.debug, "warning": self._speaker.warning, "error": self._speaker.error}
        if finding.level != "ok":
            self.findings[finding.level] += 1
            if self._meter is not None:
                self._meter.count_watchdog_finding(finding.level)
        speak[finding.level]("watchdog", reasons=list(finding.reasons) or None, **self._facts())
        self._last_live = len(self._registry)
        self._last_connections = self._live_connections()
        self.lag.worst = self.lag.last
        return finding

    def _facts(self) -> dict[str, object]:
        registry = self._registry
        oldest = registry.oldest()
        live, connections = len(registry), self._live_connections()
        return {
            "nurseries": live,
            "since_last_look": live - self._last_live,
            "explained_by_load": live - self._last_live <= max(0, connections - self._last_connections),
            "client_connections": connections,
            "tasks": registry.balance.tasks.live + connections,
            "rss_mb": self._memory_mb(),
            "loop_lag_ms": round(self.lag.worst * 1000, 3),
            "oldest": None if oldest is None else _described(oldest),
            "overdue": [_overdue(scope) for scope in registry.overdue()[:_MAX_OVERDUE_SHOWN]] or None,
        }


def _described(scope: RequestScope) -> dict[str, object]:
    return {
        "request_id": scope.id,
        "phase": scope.clock.current,
        "age_s": round(scope.age, 3),
        "left_s": round(scope.time_left, 3),
    }


def _overdue(scope: RequestScope) -> dict[str, object]:
    tasks = [task for task in (scope.task, *scope.helpers) if task is not None]
    return {**_described(scope), "stacks": {task.name: await_stack(task) for task in tasks}}
