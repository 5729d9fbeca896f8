"""From what the relay knows of its requests to the numbers of `/metrics`."""

from __future__ import annotations

import attrs
import trio

from adaptors.values import Usage
from relay_trio.edge.handlers.health import Vitals
from relay_trio.relay.record import Record
from relay_trio.scopes.census import count_tasks
from relay_trio.telemetry.metrics import FinishedRequest, Metrics, Sample
from relay_trio.telemetry.process import descriptors, memory
from relay_trio.upstream.pool import Pool

HAND_OVER_S = 1.0
"""A page asks all workers for their numbers of now. This is for those that cannot answer: a worker that is killed takes
the counts of so many seconds with it."""

_PHASES = ("queue", "body", "connect", "headers")
_MIB = 1024 * 1024


@attrs.frozen(eq=False)
class MetricsMeter:
    """Counts what requests did. The relay's `Meter`."""

    metrics: Metrics

    def request_finished(self, record: Record) -> None:
        """Count a request that is over."""
        scope = record.scope
        spent = scope.clock.spent
        seconds = {phase: spent[phase] for phase in _PHASES if phase in spent}
        seconds["total"] = record.total_s
        if record.first_event_s is not None:
            seconds["first_event"] = record.first_event_s
        usage = record.usage
        self.metrics.observe_request(
            FinishedRequest(
                record.dialect,
                record.outcome,
                record.channel,
                record.model,
                seconds,
                (scope.bytes_in, record.upstream_bytes_out, record.upstream_bytes_in, scope.bytes_out),
                None if usage is None else _tokens(usage),
            )
        )
        if record.keepalives:
            self.metrics.count_keepalives(record.dialect, record.keepalives)

    def attempt_finished(self, channel: str, result: str) -> None:
        """Count an attempt by its result."""
        self.metrics.count_attempt(channel, result)


def _tokens(usage: Usage) -> tuple[int, int, int, int]:
    return usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens


@attrs.frozen(eq=False)
class Sampler:
    """Brings to the page what is counted elsewhere."""

    metrics: Metrics
    vitals: Vitals
    pool: Pool

    async def sample(self) -> None:
        """Take the numbers of now."""
        vitals, pool = self.vitals, self.pool.statistics()
        slots = vitals.admission.statistics()
        counts = vitals.registry.balance.counts()
        self.metrics.sample(
            Sample(
                live_nurseries=len(vitals.registry),
                tasks=count_tasks(),
                live_requests=slots.live,
                queued_requests=slots.queued,
                idle_upstream_connections=pool.idle,
                busy_upstream_connections=pool.in_use,
                open_descriptors=descriptors().open or 0,
                resident_bytes=round((memory().rss_mb or 0) * _MIB),
                log_lines_dropped=vitals.log.statistics().dropped,
                opened={kind: count.opened for kind, count in counts.items()},
                closed={kind: count.closed for kind, count in counts.items()},
                unaccounted=await vitals.unaccounted(),
            )
        )

    async def run(self) -> None:
        """Hand over what was counted, until cancelled and then once more. A service task."""
        try:
            while True:
                await trio.sleep(HAND_OVER_S)
                self.metrics.hand_over()
        finally:
            self.metrics.hand_over()

    async def page(self) -> tuple[bytes, str]:
        """Return the page and its content type. It is rendered in a thread: with many series it takes milliseconds."""
        await self.sample()
        return await trio.to_thread.run_sync(self.metrics.render, abandon_on_cancel=True), self.metrics.content_type
