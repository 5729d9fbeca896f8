"""What is known of a request when it is over: the one value behind its log line and its metrics (guarantee G8)."""

from __future__ import annotations

import attrs

from adaptors.values import Usage
from relay_trio.errors import Ended
from relay_trio.scopes.request_scope import RequestScope

_COMPLETED = Ended.COMPLETED


@attrs.define(eq=False)
class Record:
    """The facts of one request, gathered while it lives. What stays None is left out of the log line."""

    scope: RequestScope
    method: str
    path: str
    client: str | None
    dialect: str
    key: str | None = None
    endpoint: str | None = None
    model: str | None = None
    stream: bool = False
    channel: str | None = None
    attempts: int = 0
    status: int | None = None
    outcome: Ended = Ended.COMPLETED
    ended_with: str | None = None
    """The machine-readable code of the error, or nothing."""
    setting: str | None = None
    """The clock that ended it, if one did."""
    phase: str | None = None
    """The phase of that clock; None: the request's own is the one that it ended in."""
    upstream_request_id: str | None = None
    usage: Usage | None = None
    chunks_in: int = 0
    chunks_out: int = 0
    upstream_bytes_in: int = 0
    upstream_bytes_out: int = 0
    """Bytes of the body that went to providers: of each attempt whose head was answered."""
    first_event_s: float | None = None
    """Seconds from the request's start to its first event with content."""
    keepalives: int = 0
    dropped: tuple[str, ...] = ()
    total_s: float = 0.0
    """How long the request took; 0 while it lives."""

    def finish(self) -> None:
        """The request is over: its clocks stand."""
        self.scope.clock.stop()
        self.total_s = self.scope.clock.started - self.scope.started

    def fields(self) -> dict[str, object]:
        """Return the fields of `request_finished`, in the order in which one reads them."""
        scope = self.scope
        clock = scope.clock
        usage = self.usage
        return {
            "event": "request_finished",
            "request_id": scope.id,
            "key": self.key,
            "client": self.client,
            "method": self.method,
            "path": self.path,
            "dialect": self.dialect,
            "stream": self.stream or None,
            "model": self.model,
            "channel": self.channel,
            "status": self.status,
            "outcome": self.outcome,
            "phase": None if self.outcome is _COMPLETED else self.phase or clock.current,
            "ended_with": self.ended_with,
            "setting": self.setting,
            "attempts": self.attempts or None,
            "upstream_request_id": self.upstream_request_id,
            "ms_queue": clock.milliseconds("queue"),
            "ms_connect": clock.milliseconds("connect"),
            "ms_headers": clock.milliseconds("headers"),
            "ms_first_event": None if self.first_event_s is None else round(self.first_event_s * 1000, 3),
            "ms_total": round(self.total_s * 1000, 3),
            "bytes_in": scope.bytes_in,
            "bytes_out": scope.bytes_out,
            "chunks_in": self.chunks_in or None,
            "chunks_out": self.chunks_out or None,
            "keepalives": self.keepalives or None,
            "input_tokens": usage and usage.input_tokens,
            "output_tokens": usage and usage.output_tokens,
            "cached_tokens": (usage and usage.cached_tokens) or None,
            "reasoning_tokens": (usage and usage.reasoning_tokens) or None,
            "usage_source": "upstream" if usage else None,
            "dropped": self.dropped or None,
            "left_open": scope.holding + len(scope.helpers),
        }
