"""Builds the long-lived objects, once, and opens the service nursery in which their tasks live.

This is the only module that knows all others. It is read from top to bottom: a process gets its log, then each ASGI
lifespan gets one set of objects, and its service tasks run until the lifespan ends.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from email.utils import formatdate
from operator import attrgetter
from pathlib import Path
from typing import Any

import attrs
import trio

import relay_trio
from adaptors.dialects.table import DIALECTS
from adaptors.protocol import Adaptor
from relay_trio.background.alerts.alerting import Alerting
from relay_trio.background.alerts.causes import Observation
from relay_trio.background.alerts.delivery import Delivery, Ways
from relay_trio.channels.catalog import Catalog, CatalogHolder, catalog_from
from relay_trio.channels.health import Health
from relay_trio.channels.senders import Senders
from relay_trio.demo import NAME as DEMO
from relay_trio.demo import DemoSender, demo_channel
from relay_trio.edge.accepting import GATE
from relay_trio.edge.app import App, Running
from relay_trio.edge.client_address import reader
from relay_trio.edge.client_tls import ClientTls
from relay_trio.edge.connection import ConnectionServices
from relay_trio.edge.files import ConfigurationFile
from relay_trio.edge.handlers.health import Vitals
from relay_trio.edge.handlers.models import ModelList
from relay_trio.edge.handlers.own import Own
from relay_trio.edge.meter import MetricsMeter, Sampler
from relay_trio.edge.reaper import reap
from relay_trio.edge.siblings import Siblings
from relay_trio.relay.admission import Admission, BufferBudget
from relay_trio.relay.affinity import Affinity
from relay_trio.relay.pacemaker import Pacemaker
from relay_trio.relay.pipeline import Pipeline
from relay_trio.relay.services import Drain, RelayServices
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.census import Baseline, take_census
from relay_trio.scopes.ebb import Ebb
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.scopes.phase import Limit
from relay_trio.scopes.watchdog import Watchdog
from relay_trio.settings.load import ConfigurationErrors
from relay_trio.settings.model import Settings
from relay_trio.sockets import Hub, open_hub
from relay_trio.telemetry.log import get_logger
from relay_trio.telemetry.log_writer import LogSink
from relay_trio.telemetry.metrics import Labels, Metrics
from relay_trio.telemetry.process import descriptor_limit, give_back_memory, memory
from relay_trio.telemetry.redaction import Redactor
from relay_trio.upstream.credentials import Tokens
from relay_trio.upstream.fetch import Fetcher
from relay_trio.upstream.pool import Pool
from relay_trio.upstream.target import Route, tls_context
from relay_trio.upstream.transport import Transport

_DESCRIPTORS_KEPT = 200
"""For the log, the listeners, name look-ups, and whoever logs in to look."""
_DESCRIPTORS_PER_STREAM = 2
_ID_BYTES = 12
_LOOKS = 3
_BETWEEN_LOOKS_S = 0.1
_DEFAULT_SLOTS = 10_000
"""Where the system names no limit of descriptors."""


@attrs.frozen(eq=False)
class Process:
    """What the process gives to the relay in it.

    `load` reads the configuration again, for a reload; `path` is its file. `runtime` is the directory that the workers
    of one supervisor share, `slot` this worker's place among them.
    """

    settings: Settings
    adaptors: Mapping[str, Adaptor]
    load: Callable[[], Settings]
    path: Path | None
    sink: LogSink
    redactor: Redactor
    runtime: Path | None = None
    metrics_directory: Path | None = None
    slot: int = 0
    drain: Drain = attrs.field(factory=Drain)
    tune_gc: bool = False
    """Freeze what the start has made and collect more rarely: at 5,000 streams that took the p99 of an added chunk's
    delay from 48.8 to 0.87 ms. A process that serves does it; a test does not."""


def build_app(process: Process) -> App:
    """Return the ASGI application. Nothing is opened before its lifespan starts."""

    def opens() -> AbstractAsyncContextManager[Running]:
        return open_relay(process)

    return App(opens)


@asynccontextmanager
async def open_relay(process: Process) -> AsyncIterator[Running]:
    """Open everything that lives as long as the process serves, and its tasks; close it on leaving."""
    relay = _Relay(process)
    async with trio.open_nursery() as services:
        try:
            for name, task in relay.tasks().items():
                services.start_soon(task, name=f"service: {name}")
            await services.start(relay.siblings.serve, relay.own.answer_sibling, name="service: siblings")
            if process.tune_gc:
                gc.collect()
                gc.freeze()
                # While thousands of streams open, all that they are made of is young: a look at it after 20 rounds of the
                # first generation stopped the loop for 384 ms at 9,500 streams, after 500 for 63 (bench/run, W3).
                gc.set_threshold(50_000, 500, 100)
            yield relay.running
        finally:
            relay.pool.close_all()
            await relay.senders.aclose()
            services.cancel_scope.cancel(reason="the process ends")


class _Relay:
    """The objects of one lifespan and how they hang together."""

    def __init__(self, process: Process) -> None:
        settings = process.settings
        limits = settings.limits
        self._process = process
        self._log = get_logger().bind()  # bound once: the lazy one costs 4 us a line
        self._tls = tls_context(settings.ca_bundle)
        self._demo_adaptor = process.adaptors["openai"]
        self._baseline: Baseline | None = None
        self.balance = Balance()
        self.hub: Hub = open_hub()
        self.registry = NurseryRegistry(self.balance)
        self.catalog = CatalogHolder(self._catalog(settings))
        self.pool = Pool(limits.pool_idle)
        default_route = Route(
            connect=Limit(limits.connect, "RELAY_CONNECT_TIMEOUT"),
            send=Limit(limits.send, "RELAY_SEND_TIMEOUT"),
            tls=self._tls,
        )
        self.transport = Transport(self.hub, self.balance, self.pool, default_route)
        self.senders = Senders(self.transport, self.balance, {DEMO: DemoSender(self.balance)})
        self.metrics = Metrics(
            Labels(dialects=DIALECTS, **_names(self.catalog.current)),
            version=relay_trio.__version__,
            directory=process.metrics_directory,
            slot=process.slot,
        )
        self.services = self._relay_services(settings)
        self.client_tls = ClientTls(self._log)
        self.connections = self._connection_services(settings)
        self.watchdog = Watchdog(
            self.registry,
            self._log,
            lambda: self.catalog.current.settings.watchdog,
            lambda: self.balance.client_connections.live,
            lambda: memory().rss_mb,
            meter=self.metrics,
        )
        self.siblings = Siblings(process.runtime)
        self.vitals = Vitals(
            pid=os.getpid(),
            version=relay_trio.__version__,
            started=trio.current_time(),
            registry=self.registry,
            admission=self.services.admission,
            watchdog=self.watchdog,
            hub=self.hub,
            catalog=self.catalog,
            channel_health=self.services.health,
            drain=process.drain,
            log=process.sink,
            siblings=self.siblings,
            senders=self.senders,
            baseline=lambda: self._baseline,
        )
        self.sampler = Sampler(self.metrics, self.vitals, self.pool)
        self.own = Own(
            self.vitals,
            self.sampler,
            self._ask_siblings,
            wait_for_restart=lambda: _needs_restart(process.settings, self.catalog.current.settings),
        )
        self.delivery = Delivery(
            Ways(self.transport, self._tls, default_route.connect),
            lambda: self.catalog.current.settings,
            self.registry,
            self._log,
            self.metrics,
        )
        self.alerting = Alerting(
            alerts=lambda: self.catalog.current.settings.alerts,
            look=self._look_at_all,
            ending=lambda: process.drain.ending,
            utc_now=time.time,
            delivery=self.delivery,
            speaker=self._log,
        )
        self.file = ConfigurationFile(process.path, self.reload, self.client_tls.look)
        self.running = Running(
            services=self.services,
            connections=self.connections,
            pipeline=Pipeline(self.services),
            own=self.own,
            models=ModelList(self.services, created=int(time.time())),
            reload=self.file.reload_soon,
        )

    def tasks(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        """Return the service tasks by name. Each runs until it is cancelled."""
        tasks: dict[str, Callable[[], Awaitable[Any]]] = {
            "hub": self.hub.run,
            "pool": self.pool.reap,
            "pacemaker": self.services.pacemaker.run,
            "connections": lambda: reap(self.connections),
            "watchdog": self.watchdog.run,
            "heartbeat": self.watchdog.beat,
            "files": self.file.run,
            "baseline": self.note_baseline,
            "senders": self.senders.close_retired,
            "tokens": self.services.tokens.run,
        }
        if self._process.metrics_directory is not None:
            tasks["metrics"] = self.sampler.run
        if self._process.tune_gc:
            ebb = Ebb(lambda: self.hub.statistics().attached, lambda: memory().rss_mb, give_back_memory, self._log)
            tasks["memory"] = ebb.run
        if self._process.slot == 0:  # one alarm, and not one of each worker: this one asks the others
            tasks |= {"alerts": self.alerting.run, **dict(self.delivery.tasks())}
        return tasks

    def _relay_services(self, settings: Settings) -> RelayServices:
        queue = Limit(settings.limits.queue, "RELAY_QUEUE_TIMEOUT")
        slots = settings.max_concurrency or slots_by_descriptors()
        return RelayServices(
            registry=self.registry,
            balance=self.balance,
            catalog=self.catalog,
            health=Health(),
            sender=self.senders,
            tokens=Tokens(self._log),
            fetcher=Fetcher(self.hub, self.balance, self._tls),
            admission=Admission(
                slots, slots if settings.max_queue is None else settings.max_queue, queue, self.balance.slots
            ),
            budget=BufferBudget(settings.max_buffered_bytes, queue, self.balance.buffered_bodies),
            pacemaker=Pacemaker(),
            affinity=Affinity(),
            drain=self._process.drain,
            log=self._log,
            meter=MetricsMeter(self.metrics),
            clean=self._process.redactor.clean_text,
            chance=random.random,
            new_request_id=request_ids(),
            utc_now=time.time,
        )

    def _connection_services(self, settings: Settings) -> ConnectionServices:
        limits = settings.limits
        GATE.limit(slots_by_descriptors())
        return ConnectionServices(
            hub=self.hub,
            balance=self.balance,
            gate=GATE,
            head=Limit(limits.client_head, "RELAY_CLIENT_HEAD_TIMEOUT"),
            idle=Limit(limits.client_idle, "RELAY_CLIENT_IDLE_TIMEOUT"),
            write=Limit(limits.client_write, "RELAY_CLIENT_WRITE_TIMEOUT"),
            client_address=reader(lambda: self.catalog.current.settings.trusted_proxies),
            drain_s=limits.drain_s,
            date=http_date(),
            tls=self.client_tls,
            refused=self._refused,
            crashed=lambda error: self._log.error("connection_crashed", exc_info=error),
        )

    def _refused(self, status: int, code: str, client: str | None) -> None:
        self._log.info(
            "request_finished", client=client, status=status, outcome="rejected", ended_with=code, phase="head"
        )

    # Reloading

    def _catalog(self, settings: Settings) -> Catalog:
        demo = (demo_channel(settings, self._demo_adaptor, self._tls),) if settings.demo else ()
        return catalog_from(settings, self._process.adaptors, self._tls, demo)

    async def reload(self) -> None:
        """Read the configuration again; new requests see what it says now. A bad one changes nothing.

        It is read in a thread: with 5,000 keys it takes a third of a second, in which no stream shall stand still.
        """
        try:
            settings = await trio.to_thread.run_sync(self._process.load, abandon_on_cancel=True)
        except ConfigurationErrors as errors:
            self._log.error("configuration_rejected", problems=list(errors.problems))
            return
        except Exception as error:  # noqa: BLE001 - whatever a file holds: what runs goes on
            self._log.error("configuration_rejected", problems=["it cannot be read"], exc_info=error)
            return
        catalog = self._catalog(settings)
        self._process.redactor.add(*secrets_of(settings))
        self.metrics.labels.add(**_names(catalog))
        self.services.health.forget_others(
            {(channel.name, key.number) for channel in catalog.channels for key in channel.keys}
        )
        self.catalog.replace(catalog)
        self.senders.retire_others(catalog)
        self._log.info(
            "configuration_loaded",
            channels=[channel.name for channel in catalog.channels],
            keys=len(catalog.keys),
            needs_restart=_needs_restart(self._process.settings, settings) or None,
        )

    # Being looked at

    async def note_baseline(self) -> None:
        """Note what a process holds beside what is counted, once hypercorn accepts: the least of a few looks.

        By the clock alone it could be too early, on a machine that is busy with starting others.
        """
        await GATE.wait_accepting()
        looks = []
        for _ in range(_LOOKS):
            await trio.sleep(_BETWEEN_LOOKS_S)
            looks.append(Baseline.at_rest(take_census(self.vitals.sockets.look()), self.vitals.known()))
        self._baseline = Baseline.least(looks)
        await trio.sleep_forever()  # this task is in the baseline, so it stays

    async def _look_at_all(self) -> Observation:
        """Look at this worker and all others, for alarms."""
        others = await self.siblings.ask({"ask": "watched"})
        answers = [answer.answer for answer in others if answer.answer is not None and "alerts" in answer.answer]
        silent = tuple(answer.pid for answer in others if answer.answer is None)
        return Observation(trio.current_time(), (await self.vitals.watched(), *answers), silent)

    async def _ask_siblings(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        answers = await self.siblings.ask(question)
        return [answer.answer or {"problem": answer.problem, "pid": answer.pid} for answer in answers]


def slots_by_descriptors() -> int:
    """Return how many streams the process's descriptors allow: two each, and some kept back."""
    limit = descriptor_limit()
    return _DEFAULT_SLOTS if limit is None else max(1, (limit - _DESCRIPTORS_KEPT) // _DESCRIPTORS_PER_STREAM)


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Return every secret of the configuration, for redaction."""
    alerts = settings.alerts
    found = [settings.admin_key, settings.metrics_key, settings.printed_key]
    found += [alerts.webhook, alerts.webhook_secret, alerts.smtp_password]
    for channel in settings.channels:
        found += [*channel.api_keys, channel.proxy]
    return tuple(secret.reveal() for secret in found if secret is not None)


def http_date() -> Callable[[], bytes]:
    """Return what gives the Date header, made anew once a second: making it costs 3 % of a small request."""
    second = 0
    rendered = b""

    def date() -> bytes:
        nonlocal second, rendered
        now = int(time.time())
        if now != second:
            second = now
            rendered = formatdate(now, usegmt=True).encode("ascii")
        return rendered

    return date


def request_ids() -> Callable[[], str]:
    """Return what gives request ids: 96 random bits each, taken from the system in blocks (one at a time costs 14 us)."""
    block: list[str] = []

    def next_id() -> str:
        if not block:
            random_hex = os.urandom(_ID_BYTES * 256).hex()
            block.extend(random_hex[at : at + 2 * _ID_BYTES] for at in range(0, len(random_hex), 2 * _ID_BYTES))
        return f"req_{block.pop()}"

    return next_id


def _names(catalog: Catalog) -> dict[str, list[str]]:
    """Return the names that get series of their own on the page of metrics."""
    models = [model for channel in catalog.channels for model in (*(channel.model_patterns or ()), *channel.model_map)]
    return {"channels": [channel.name for channel in catalog.channels], "models": models}


_FIXED_AT_START = (
    "listen", "workers", "max_concurrency", "max_queue", "max_buffered_bytes", "log_level", "log_buffer_bytes",
    "ca_bundle", "tls_cert", "tls_key", "limits.queue", "limits.client_head", "limits.client_idle", "limits.client_write",
    "limits.pool_idle", "limits.drain_s", "run_directory",
)  # fmt: skip


def _needs_restart(before: Settings, after: Settings) -> list[str]:
    """Name the settings that have changed and that only a restart can follow."""
    return [name for name in _FIXED_AT_START if attrgetter(name)(before) != attrgetter(name)(after)]
