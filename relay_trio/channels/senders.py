"""What sends the requests of which channel: our transport for most, httpx's own for those that say so, the demo's."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from relay_trio.channels.catalog import Catalog
from relay_trio.channels.channel import Channel
from relay_trio.scopes.balance import Balance
from relay_trio.upstream.httpx_transport import HttpxSender
from relay_trio.upstream.transport import Sender, Transport

_LOOK_INTERVAL_S = 5.0


class Senders:
    """The senders of one process. Those of channels that a reload took away are closed when their last request ends."""

    def __init__(self, transport: Transport, balance: Balance, built_in: Mapping[str, Sender]) -> None:
        self._built_in: dict[str, Sender] = {"native": transport, **built_in}
        self._balance = balance
        self._httpx: dict[Channel, HttpxSender] = {}
        self._retired: list[HttpxSender] = []

    def __call__(self, channel: Channel) -> Sender:
        """Return what sends requests for this channel."""
        built_in = self._built_in.get(channel.transport)
        if built_in is not None:
            return built_in
        sender = self._httpx.get(channel)
        if sender is None:
            sender = self._httpx[channel] = HttpxSender(self._balance, channel.route, channel.proxy_url)
        return sender

    @property
    def sockets(self) -> int:
        """Sockets that httpx has open: one for each request under way, as none is kept."""
        return sum(sender.in_flight for sender in (*self._httpx.values(), *self._retired))

    def retire_others(self, catalog: Catalog) -> None:
        """A reload: what serves no channel of this catalog serves no new request."""
        for channel in [channel for channel in self._httpx if channel not in catalog.channels]:
            self._retired.append(self._httpx.pop(channel))

    async def close_retired(self) -> None:
        """Close retired senders once they are out of use, until cancelled. A service task."""
        while True:
            await trio.sleep(_LOOK_INTERVAL_S)
            for sender in [sender for sender in self._retired if not sender.in_flight]:
                self._retired.remove(sender)
                await sender.aclose()

    async def aclose(self) -> None:
        """Close all of them: the process ends."""
        for sender in (*self._httpx.values(), *self._retired):
            await sender.aclose()
