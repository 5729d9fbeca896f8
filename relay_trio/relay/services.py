"""What every request of a process uses: long-lived objects, built once, handed down as one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from relay_trio.channels.catalog import CatalogHolder
from relay_trio.channels.channel import Channel
from relay_trio.channels.health import Health
from relay_trio.relay.admission import Admission, BufferBudget
from relay_trio.relay.affinity import Affinity
from relay_trio.relay.pacemaker import Pacemaker
from relay_trio.relay.record import Record
from relay_trio.scopes.balance import Balance
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.upstream.credentials import Tokens
from relay_trio.upstream.fetch import Fetcher
from relay_trio.upstream.transport import Sender


class Log(Protocol):
    """structlog's filtering bound logger, as far as it is used."""

    def debug(self, event: str, **fields: object) -> object:
        """Say what only a developer wants to know."""

    def info(self, event: str, **fields: object) -> object:
        """Say what happened."""

    def warning(self, event: str, **fields: object) -> object:
        """Say what an operator should look at."""

    def error(self, event: str, **fields: object) -> object:
        """Say what an operator must look at."""

    def line(self, level: str, fields: dict[str, object]) -> None:
        """As the method of this level, the `event` among the fields, which are used up."""


class Meter(Protocol):
    """Counts what requests did."""

    def request_finished(self, record: Record) -> None:
        """A request is over."""
        ...

    def attempt_finished(self, channel: str, result: str) -> None:
        """An attempt is over: `ok`, or the code of its failure."""
        ...


@attrs.define
class Drain:
    """Whether the process is going down, and what became of its live requests."""

    draining: bool = False
    """New requests are refused."""
    left: bool = False
    """Another process accepts in our place. What comes over the connections that we have is still served."""
    sockets: int = 0
    """Open for the hand-over to a successor, or closed by it (then below 0): for whoever counts descriptors."""
    finished: int = 0
    cut: int = 0

    @property
    def ending(self) -> bool:
        """The process will end with what is live now."""
        return self.draining or self.left


@attrs.frozen(eq=False)
class RelayServices:
    """What requests use."""

    registry: NurseryRegistry
    balance: Balance
    catalog: CatalogHolder
    health: Health
    sender: Callable[[Channel], Sender]
    """Returns what sends requests for a channel."""
    tokens: Tokens
    """Lent by clouds, in the place of keys."""
    fetcher: Fetcher
    """Fetches what requests point to, for providers that take bytes only."""
    admission: Admission
    budget: BufferBudget
    pacemaker: Pacemaker
    affinity: Affinity
    drain: Drain
    log: Log
    meter: Meter
    clean: Callable[[str], str]
    """Takes our keys out of a provider's words."""
    chance: Callable[[], float]
    new_request_id: Callable[[], str]
    utc_now: Callable[[], float]
    """Seconds since the epoch: for keys that expire, never for a deadline."""
