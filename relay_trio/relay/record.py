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
        fields: dict[str, object] = {
            "event": "request_finished",
            "request_id": scope.id,
            "key": self.key,
            "client": self.client,
            "method": self.method,
            "path": self.path,
            "dialect": self.dialect,
            "model": self.model,
            "channel": self.channel,
            "status": self.status,
            "outcome": self.outcome,
        }
        if self.outcome is not _COMPLETED:
            fields |= {
                "phase": self.phase or scope.clock.current,
                "ended_with": self.ended_with,
                "setting": self.setting,
            }
        if self.stream:
            fields["stream"] = True
        if self.attempts:
            fields["attempts"] = self.attempts
            fields["upstream_request_id"] = self.upstream_request_id
        self._add_times(fields)
        self._add_sizes(fields)
        if self.dropped:
            fields["dropped"] = self.dropped
        fields["left_open"] = scope.holding + len(scope.helpers)
        return fields

    def _add_times(self, fields: dict[str, object]) -> None:
        clock = self.scope.clock
        for phase, name in _PHASES_TOLD:
            if phase in clock.spent:
                fields[name] = clock.milliseconds(phase)
        if self.first_event_s is not None:
            fields["ms_first_event"] = round(self.first_event_s * 1000, 3)
        fields["ms_total"] = round(self.total_s * 1000, 3)

    def _add_sizes(self, fields: dict[str, object]) -> None:
        fields["bytes_in"] = self.scope.bytes_in
        fields["bytes_out"] = self.scope.bytes_out
        if self.chunks_in:
            fields["chunks_in"] = self.chunks_in
        if self.chunks_out:
            fields["chunks_out"] = self.chunks_out
        if self.keepalives:
            fields["keepalives"] = self.keepalives
        if self.usage is not None:
            fields |= _tokens(self.usage)


_PHASES_TOLD = (("queue", "ms_queue"), ("connect", "ms_connect"), ("headers", "ms_headers"))


def _tokens(usage: Usage) -> dict[str, object]:
    tokens: dict[str, object] = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    if usage.cached_tokens:
        tokens["cached_tokens"] = usage.cached_tokens
    if usage.reasoning_tokens:
        tokens["reasoning_tokens"] = usage.reasoning_tokens
    tokens["usage_source"] = "upstream"
    return tokens
