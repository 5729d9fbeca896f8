"""The page of numbers for Prometheus: every series is known in advance, by the configuration.

A label takes only values that the configuration or this code names; whatever else comes is counted as `other`. So no
client can make the page grow, however many model names it invents.

Counting is on the path of every request, so requests add to plain numbers, and these are handed over to the objects that
count whenever a page is wanted, and once a second in case the worker is killed: fifteen locked additions a request less.

With several workers each counts into files of its own in one directory, named by the worker's slot and not by its
process: the worker that takes a dead one's place goes on counting where that one was killed, so that no counter ever
goes back and the number of files stays that of the slots.
"""

from __future__ import annotations

import bisect
import fnmatch
import functools
import operator
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import attrs
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from relay_trio.errors import Ended

OTHER = "other"
NONE = "none"

SIDES = ("from_client", "to_upstream", "from_upstream", "to_client")
TOKEN_KINDS = ("input", "output", "cached", "reasoning")

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 900)
"""Buckets from a cached answer to the default deadline; an LLM's first token lies in the middle of them."""

MAX_NAMES = 1_000
"""Names of channels, and of models, that get a series of their own in the life of a process. Reloads add names and
Prometheus must not see a series vanish, so somewhere the list has to end."""

MAX_REMEMBERED_MODELS = 4_096
"""Client-given model names whose label is remembered; then the memory is emptied and filled anew."""


@attrs.frozen
class FinishedRequest:
    """What one request adds to the numbers. Durations in seconds; what did not happen is left out."""

    dialect: str
    outcome: Ended
    channel: str | None = None
    model: str | None = None
    seconds: Mapping[str, float] = attrs.field(factory=dict)
    """By phase: queue, body, connect, headers; first_event, from the request's beginning; total, the whole request."""
    body_bytes: tuple[int, int, int, int] = (0, 0, 0, 0)
    """In the order of `SIDES`."""
    tokens: tuple[int, int, int, int] | None = None
    """In the order of `TOKEN_KINDS`; input includes cached, output includes reasoning."""


@attrs.frozen
class Sample:
    """What is not counted here but elsewhere, and only looked at from time to time."""

    live_nurseries: int = 0
    tasks: int = 0
    live_requests: int = 0
    queued_requests: int = 0
    idle_upstream_connections: int = 0
    busy_upstream_connections: int = 0
    open_descriptors: int = 0
    resident_bytes: int = 0
    log_lines_dropped: int = 0
    opened: Mapping[str, int] = attrs.field(factory=dict)
    """Totals by kind of resource; the kinds are those of the balance, named in code."""
    closed: Mapping[str, int] = attrs.field(factory=dict)
    unaccounted: Mapping[str, int] = attrs.field(factory=dict)


class Labels:
    """Which dialects, channels and models have series of their own. A reload adds names; none is ever taken away."""

    def __init__(
        self, *, dialects: Iterable[str] = (), channels: Iterable[str] = (), models: Iterable[str] = ()
    ) -> None:
        self._dialects = frozenset(dialects)
        self._channels: set[str] = set()
        self._models: set[str] = set()
        self._patterns: tuple[str, ...] = ()
        self._remembered: dict[str, str] = {}
        self._together: dict[tuple[str, str | None, str | None], tuple[str, str, str]] = {}
        self.add(channels=channels, models=models)

    def add(self, *, channels: Iterable[str], models: Iterable[str]) -> None:
        """Let these names, and model patterns such as `gpt-*`, have series of their own, up to `MAX_NAMES` of each."""
        _add_up_to(MAX_NAMES, self._channels, channels)
        _add_up_to(MAX_NAMES, self._models, models)
        self._patterns = tuple(sorted((name for name in self._models if "*" in name), key=len, reverse=True))
        self._remembered.clear()
        self._together.clear()

    def together(self, dialect: str, channel: str | None, model: str | None) -> tuple[str, str, str]:
        """The three labels of a request, by one look."""
        asked = (dialect, channel, model)
        labels = self._together.get(asked)
        if labels is None:
            if len(self._together) >= MAX_REMEMBERED_MODELS:
                self._together.clear()
            labels = self._together[asked] = (self.dialect(dialect), self.channel(channel), self.model(model))
        return labels

    def dialect(self, name: str) -> str:
        """The label of a dialect."""
        return name if name in self._dialects else OTHER

    def channel(self, name: str | None) -> str:
        """The label of a channel."""
        if name is None:
            return NONE
        return name if name in self._channels else OTHER

    def model(self, name: str | None) -> str:
        """The label of a model: its configured name, else the longest configured pattern that it matches."""
        if name is None:
            return NONE
        label = self._remembered.get(name)
        if label is None:
            if len(self._remembered) >= MAX_REMEMBERED_MODELS:
                self._remembered.clear()
            label = self._remembered[name] = self._find_model(name)
        return label

    def _find_model(self, name: str) -> str:
        if name in self._models:
            return name
        return next((pattern for pattern in self._patterns if fnmatch.fnmatchcase(name, pattern)), OTHER)


def _add_up_to(limit: int, known: set[str], names: Iterable[str]) -> None:
    for name in names:
        if len(known) < limit:
            known.add(name)


class _Histogram(Histogram):
    """A histogram that takes many observations at once. prometheus_client has no public way to; a test holds this one."""

    def take(self, observed: _Observed) -> None:
        """Add what was observed."""
        for bucket, count in observed.buckets.items():
            self._buckets[bucket].inc(count)
        self._sum.inc(observed.total)


class _Observed:
    """Observations by bucket, and their sum."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.total = 0.0

    def add(self, amount: float) -> None:
        bucket = bisect.bisect_left(SECONDS, amount)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.total += amount


class _Tally:
    """What requests of one kind have added since it was handed over last."""

    __slots__ = ("body_bytes", "requests", "seconds", "tokens")

    def __init__(self) -> None:
        self.requests = 0
        self.seconds: dict[str, _Observed] = {}
        self.body_bytes = [0] * len(SIDES)
        self.tokens = [0] * len(TOKEN_KINDS)

    def add(self, request: FinishedRequest) -> None:
        self.requests += 1
        for phase, seconds in request.seconds.items():
            observed = self.seconds.get(phase)
            if observed is None:
                observed = self.seconds[phase] = _Observed()
            observed.add(seconds)
        self.body_bytes = list(map(operator.add, self.body_bytes, request.body_bytes))
        if request.tokens is not None:
            self.tokens = list(map(operator.add, self.tokens, request.tokens))


class Metrics:
    """The numbers of this process, or of this worker's slot.

    `directory` and `slot` are given when several workers count together; the directory must be theirs alone and empty
    when the first of them starts.
    """

    def __init__(self, labels: Labels, *, version: str, directory: Path | None = None, slot: int = 0) -> None:
        self.labels = labels
        self._directory = directory
        _choose_where_to_count(directory, slot)
        self._registry = CollectorRegistry()
        self._tallies: dict[tuple[str, str, str, str], _Tally] = {}  # bounded by the labels
        self._counted: dict[tuple[Counter, str, str], int] = {}  # bounded by the labels
        self._totals: dict[tuple[object, ...], int] = {}  # bounded by the kinds of resources
        self._make_request_metrics()
        self._make_process_metrics()
        self._gauge("relay_build_info", "The version that runs.", "version", "python", mode="max").labels(
            version, platform.python_version()
        ).set(1)

    def observe_request(self, request: FinishedRequest) -> None:
        """Count a finished request. On the path of every request: two microseconds, no waiting."""
        key = (*self.labels.together(request.dialect, request.channel, request.model), request.outcome)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _Tally()
        tally.add(request)

    def count_attempt(self, channel: str, result: str) -> None:
        """Count an attempt by its result: `ok`, or the phase or status class in which it failed (named in code)."""
        key = (self._attempts, self.labels.channel(channel), result)
        self._counted[key] = self._counted.get(key, 0) + 1

    def count_keepalives(self, dialect: str, number: int) -> None:
        """Count keep-alives sent into a client's stream."""
        self._keepalives.labels(self.labels.dialect(dialect)).inc(number)

    def count_watchdog_finding(self, finding: str) -> None:
        """Count a look of the watchdog that found something, by its level: `warning` or `error`."""
        self._findings.labels(finding).inc()

    def observe_loop_stall(self, seconds: float) -> None:
        """Count a time in which the event loop did not turn."""
        self._stalls.observe(seconds)

    def count_alert(self, way: str, result: str) -> None:
        """Count an alarm that was `sent`, or has `failed`, by its way: `webhook` or `mail`."""
        self._alerts.labels(way, result).inc()

    def hand_over(self) -> None:
        """Let the page know of all that was counted. In the event loop's thread; `render` alone may be elsewhere."""
        tallies, self._tallies = self._tallies, {}
        for (dialect, channel, model, outcome), tally in tallies.items():
            self._requests.labels(dialect, channel, model, outcome).inc(tally.requests)
            for phase, observed in tally.seconds.items():
                self._phase(phase, channel, model).take(observed)
            for side, size in zip(SIDES, tally.body_bytes, strict=True):
                self._bytes.labels(side, channel).inc(size)
            for kind, number in zip(TOKEN_KINDS, tally.tokens, strict=True):
                self._tokens.labels(kind, channel, model).inc(number)
        counted, self._counted = self._counted, {}
        for (counter, *labels), number in counted.items():
            counter.labels(*labels).inc(number)

    def sample(self, sample: Sample) -> None:
        """Take over what is counted elsewhere, and hand over. Before `render`, and now and then for sibling workers."""
        self.hand_over()
        for name, gauge in self._process_gauges.items():
            gauge.set(getattr(sample, name))
        self._advance(self._log_dropped, sample.log_lines_dropped)
        for kind, opened in sample.opened.items():
            closed = sample.closed.get(kind, 0)
            self._advance(self._opened, opened, kind)
            self._advance(self._closed, closed, kind)
            self._live.labels(kind).set(opened - closed)
            self._unaccounted.labels(kind).set(sample.unaccounted.get(kind, 0))

    def render(self) -> bytes:
        """The page, for all workers if there are several. Reads files then: call it in a thread."""
        registry = self._registry
        if self._directory is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._directory))  # type: ignore[no-untyped-call] # has no hints
        return generate_latest(registry)

    @property
    def content_type(self) -> str:
        """The content type of the page."""
        return CONTENT_TYPE_LATEST

    # The metrics themselves

    def _make_request_metrics(self) -> None:
        self._requests = self._counter("relay_requests", "Finished requests.", "dialect", "channel", "model", "outcome")
        self._seconds = self._histogram("relay_phase_seconds", "Duration of each phase.", "phase", "channel")
        self._first_event = self._histogram(
            "relay_first_event_seconds", "From the request to the first event of its answer.", "channel", "model"
        )
        self._bytes = self._counter("relay_bytes", "Bytes of bodies, by side.", "side", "channel")
        self._tokens = self._counter(
            "relay_tokens", "Tokens as the providers counted them.", "kind", "channel", "model"
        )
        self._attempts = self._counter("relay_attempts", "Attempts at upstreams.", "channel", "result")
        self._keepalives = self._counter("relay_keepalives", "Keep-alives sent to clients.", "dialect")

    def _make_process_metrics(self) -> None:
        self._findings = self._counter("relay_watchdog_findings", "What the watchdog found.", "finding")
        self._stalls = self._histogram("relay_loop_stall_seconds", "Times in which the event loop did not turn.")
        self._alerts = self._counter("relay_alerts", "Alarms, by the way they went.", "way", "result")
        self._log_dropped = self._counter("relay_log_lines_dropped", "Log lines for which there was no room.")
        self._opened = self._counter("relay_opened", "Resources opened, by kind.", "kind")
        self._closed = self._counter("relay_closed", "Resources closed, by kind.", "kind")
        self._live = self._gauge("relay_live", "Resources open now, by kind.", "kind")
        self._unaccounted = self._gauge("relay_unaccounted", "Resources open that no live request owns.", "kind")
        self._process_gauges = {
            "live_nurseries": self._gauge("relay_live_nurseries", "Nurseries of requests and tasks that are open."),
            "tasks": self._gauge("relay_tasks", "Tasks of the event loop."),
            "live_requests": self._gauge("relay_live_requests", "Requests being worked on."),
            "queued_requests": self._gauge("relay_queued_requests", "Requests that wait for a slot."),
            "idle_upstream_connections": self._gauge("relay_upstream_idle_connections", "Kept for reuse."),
            "busy_upstream_connections": self._gauge("relay_upstream_busy_connections", "Serving a request."),
            "open_descriptors": self._gauge("relay_open_descriptors", "Open file descriptors."),
            "resident_bytes": self._gauge("relay_resident_bytes", "Resident memory."),
        }

    def _phase(self, phase: str, channel: str, model: str) -> _Histogram:
        if phase == "first_event":
            return self._first_event.labels(channel, model)
        return self._seconds.labels(phase, channel)

    def _advance(self, counter: Counter, total: int, *labels: str) -> None:
        """Bring a counter to a total that is counted elsewhere in this process."""
        key = (counter, *labels)
        child = counter.labels(*labels) if labels else counter
        child.inc(max(0, total - self._totals.get(key, 0)))
        self._totals[key] = total

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str, *labels: str) -> _Histogram:
        return _Histogram(name, what, labels, registry=self._registry, buckets=SECONDS)

    def _gauge(self, name: str, what: str, *labels: str, mode: Literal["livesum", "max"] = "livesum") -> Gauge:
        return Gauge(name, what, labels, registry=self._registry, multiprocess_mode=mode)


def forget_dead_worker(directory: Path, slot: int) -> None:
    """Take a dead worker's live numbers (its nurseries, its connections) off the page; its counters stay."""
    mark_process_dead(slot, str(directory))  # type: ignore[no-untyped-call] # has no hints


def _choose_where_to_count(directory: Path | None, slot: int) -> None:
    """Tell prometheus_client where its values live: in memory, or in the slot's files.

    It offers this only as a module global, read whenever a value is made (`values.ValueClass`; its documentation sets
    the process identifier the same way for uWSGI). One process counts in one way only.
    """
    # Files cannot hold the creation times, and the page shall not depend on the number of workers.
    disable_created_metrics()  # type: ignore[no-untyped-call] # has no hints
    if directory is None:
        values.ValueClass = values.MutexValue
    else:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        values.ValueClass = _value_in_files(slot)


@functools.cache
def _value_in_files(slot: int) -> type:
    kind: type = values.MultiProcessValue(process_identifier=lambda: slot)  # type: ignore[no-untyped-call] # has no hints
    return kind
