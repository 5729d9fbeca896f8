"""The health of one worker as a value, and of several as one: what `/api/monitor/health` says.

A worker's own health is a plain dictionary, because its siblings ask for it over a socket; `merged` is a pure function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio

from relay_trio.channels.catalog import CatalogHolder
from relay_trio.channels.health import Health
from relay_trio.channels.senders import Senders
from relay_trio.edge.siblings import Siblings
from relay_trio.relay.admission import Admission
from relay_trio.relay.services import Drain
from relay_trio.scopes.census import Baseline, Known, count_tasks, take_census, unaccounted
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.scopes.watchdog import Watchdog
from relay_trio.sockets import Hub
from relay_trio.telemetry.log_writer import LogSink
from relay_trio.telemetry.process import SocketCounter, descriptors, memory

Json = dict[str, Any]

_LOOKS = 5
_BETWEEN_LOOKS_S = 0.01
_LEVELS = ("ok", "warning", "error", "draining")
_REFUSING = "going down: live requests go on, new ones are refused"
_LEFT = "another process serves in this one's place: this one ends with its last connection"


@attrs.frozen(eq=False)
class Vitals:
    """Where the numbers of one worker come from."""

    pid: int
    version: str
    started: float
    registry: NurseryRegistry
    admission: Admission
    watchdog: Watchdog
    hub: Hub
    catalog: CatalogHolder
    channel_health: Health
    drain: Drain
    log: LogSink
    siblings: Siblings
    senders: Senders
    baseline: Callable[[], Baseline | None]
    """Returns what a process at rest holds, or None in the first moments."""
    sockets: SocketCounter = attrs.field(factory=SocketCounter)

    def known(self) -> Known:
        """Return what the relay itself knows to be open."""
        sockets = self.hub.statistics().attached + self.siblings.connections + self.senders.sockets
        sockets += self.drain.sockets
        return Known.now(self.registry, sockets=sockets, services=self.siblings.visitors)

    async def unaccounted(self) -> dict[str, int]:
        """Return what is there and in nobody's count, by kind.

        For a few steps a connection is in trio's hands and in no count: between accept and its task's first step, and
        from its last. So what seems astray is looked at again, and only what is there each time is told.
        """
        baseline = self.baseline()
        if baseline is None:
            return {}
        found = self._look(baseline)
        for _ in range(_LOOKS - 1):
            if not any(found.values()):
                break
            await trio.sleep(_BETWEEN_LOOKS_S)
            again = self._look(baseline)
            found = {kind: min(count, again[kind], key=abs) for kind, count in found.items()}
        return found

    def _look(self, baseline: Baseline) -> dict[str, int]:
        known = self.known()
        sockets = None if baseline.sockets is None else self.sockets.count(baseline.sockets + known.sockets)
        return unaccounted(take_census(sockets), baseline, known)

    async def snapshot(self) -> Json:
        """Return this worker's health."""
        balance = self.registry.balance
        slots = self.admission.statistics()
        oldest = self.registry.oldest()
        peak = self.registry.peak()
        files = descriptors()
        astray = await self.unaccounted()
        status, reasons = self._judge(astray)
        return {
            "status": status,
            "reasons": reasons,
            "nurseries": len(self.registry),
            "goroutines": len(self.registry),
            "peak": {"1h": peak.hour, "24h": peak.day},
            "tasks": count_tasks(),
            "requests": {
                "live": slots.live,
                "queued": slots.queued,
                "oldest_s": round(oldest.age, 3) if oldest is not None else 0.0,
                "overdue": len(self.registry.overdue()),
            },
            "balance": {
                kind: {
                    "opened": count.opened,
                    "closed": count.closed,
                    "live": count.live,
                    "unaccounted": astray.get(_CENSUS_OF.get(kind, kind), 0),
                }
                for kind, count in balance.counts().items()
            },
            "fds": {"open": files.open, "limit": files.limit},
            "memory": attrs.asdict(memory()),
            "loop_lag_ms": round(self.watchdog.lag.worst * 1000, 3),
            "log": {"dropped": self.log.statistics().dropped},
            "channels": self._channels(),
            "thresholds": self._thresholds(),
            "uptime_s": round(trio.current_time() - self.started, 3),
            "version": self.version,
            "pid": self.pid,
        }

    async def watched(self) -> Json:
        """Return this worker's health with what alarms need besides: it names channels, so it is not for everybody."""
        health = self.channel_health
        keys = [(channel.name, key.number) for channel in self.catalog.current.channels for key in channel.keys]
        failing = {name for name, _ in keys} - {name for name, number in keys if not health.is_failing((name, number))}
        return {
            **await self.snapshot(),
            "alerts": {
                "loop_stalls": self.watchdog.lag.stalls,
                "channels_down": sorted(failing),
                "keys_refused": [key for key in keys if health.is_refused(key)],
            },
        }

    def _judge(self, astray: dict[str, int]) -> tuple[str, list[str]]:
        finding = self.watchdog.judge()
        status, reasons = finding.level, list(finding.reasons)
        for kind, count in astray.items():
            if count:
                reasons.append(f"{count} {kind} that no count knows of")
                status = "error"
        if self.drain.ending:
            status = "draining"
            reasons.append(_REFUSING if self.drain.draining else _LEFT)
        return status, reasons

    def _thresholds(self) -> Json:
        """Return what the numbers are judged by: of live nurseries in each worker, and of a request's age."""
        settings = self.catalog.current.settings
        watchdog = settings.watchdog
        return {"warn": watchdog.warn, "error": watchdog.error, "total_s": settings.limits.total}

    def _channels(self) -> Json:
        now = trio.current_time()
        channels = self.catalog.current.channels
        up = [
            any(not self.channel_health.is_down((channel.name, key.number), now) for key in channel.keys)
            for channel in channels
        ]
        return {"up": sum(up), "down": len(up) - sum(up)}


_CENSUS_OF = {"client_connections": "sockets"}
"""Which kind of the balance shows a kind of the census: a socket that nobody knows is shown with the connections."""

_SUMMED = ("nurseries", "goroutines", "tasks")


def merged(own: Json, others: Iterable[Json]) -> Json:
    """Return the health of all workers as one: sums, the oldest request, the worst status, the longest lag."""
    workers = [own, *others]
    if len(workers) == 1:
        return {**own, "workers": [_worker(own)]}
    whole = dict(own)
    whole["status"] = max((worker["status"] for worker in workers), key=_LEVELS.index)
    whole["reasons"] = [f"worker {worker['pid']}: {reason}" for worker in workers for reason in worker["reasons"]]
    for name in _SUMMED:
        whole[name] = sum(worker[name] for worker in workers)
    whole["peak"] = {span: sum(worker["peak"][span] for worker in workers) for span in own["peak"]}
    whole["requests"] = {
        "live": _total(workers, "requests", "live"),
        "queued": _total(workers, "requests", "queued"),
        "oldest_s": max(worker["requests"]["oldest_s"] for worker in workers),
        "overdue": _total(workers, "requests", "overdue"),
    }
    whole["balance"] = {
        kind: {name: sum(worker["balance"][kind][name] for worker in workers) for name in counts}
        for kind, counts in own["balance"].items()
    }
    whole["fds"] = {"open": _total(workers, "fds", "open"), "limit": own["fds"]["limit"]}
    whole["memory"] = {name: _total(workers, "memory", name) for name in own["memory"]}
    whole["loop_lag_ms"] = max(worker["loop_lag_ms"] for worker in workers)
    whole["log"] = {"dropped": _total(workers, "log", "dropped")}
    whole["channels"] = {
        "up": max(worker["channels"]["up"] for worker in workers),
        "down": min(worker["channels"]["down"] for worker in workers),
    }
    whole["uptime_s"] = max(worker["uptime_s"] for worker in workers)
    whole["workers"] = [_worker(worker) for worker in workers]
    del whole["pid"]
    return whole


def _total(workers: list[Json], group: str, name: str) -> float | None:
    values = [worker[group][name] for worker in workers]
    known: list[float] = [value for value in values if value is not None]
    return round(sum(known), 1) if known else None


def _worker(worker: Json) -> Json:
    return {
        "pid": worker["pid"],
        "status": worker["status"],
        "nurseries": worker["nurseries"],
        "uptime_s": worker["uptime_s"],
        "rss_mb": worker["memory"]["rss_mb"],
    }
