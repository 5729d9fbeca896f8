"""What was opened and what was closed, for every kind of resource: at rest each pair is equal (guarantee G2)."""

from __future__ import annotations

import attrs


@attrs.define
class Count:
    """How many of one kind were opened and closed since the start."""

    opened: int = 0
    closed: int = 0

    @property
    def live(self) -> int:
        """How many are open now."""
        return self.opened - self.closed


@attrs.frozen
class Balance:
    """The counts of one process. `tasks` are those that the relay itself started; hypercorn's own are not in it."""

    request_scopes: Count = attrs.field(factory=Count)
    nurseries: Count = attrs.field(factory=Count)
    tasks: Count = attrs.field(factory=Count)
    client_connections: Count = attrs.field(factory=Count)
    upstream_connections: Count = attrs.field(factory=Count)
    """Upstream connections in use by an attempt; idle ones in the pool are none."""
    slots: Count = attrs.field(factory=Count)
    buffered_bodies: Count = attrs.field(factory=Count)

    def counts(self) -> dict[str, Count]:
        """Return the counts by the name of their kind."""
        return {field.name: getattr(self, field.name) for field in attrs.fields(Balance)}
