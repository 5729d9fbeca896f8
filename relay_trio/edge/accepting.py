"""A worker at its cap stops accepting, so that the others do, and the kernel keeps who is left waiting.

Each connection may cost two descriptors. A process that accepts more than it can serve has nothing left for the
provider's side, and fails all of them instead of letting a few wait.

A process whose successor accepts stops for good. It closes its own descriptors of the listening sockets; the sockets,
and whoever waits in their queues, are the successor's too, so nobody is reset.
"""

from __future__ import annotations

from typing import NoReturn

import trio


class AcceptGate:
    """Open while the process has room for another connection."""

    def __init__(self) -> None:
        self._listeners: list[GatedListener] = []  # one for each address that we listen on
        self.limit(float("inf"))

    def __repr__(self) -> str:
        return f"<AcceptGate {self._live} of {self._room}>"

    def limit(self, connections: float) -> None:
        """Let in so many at once from now on."""
        self._room = connections
        self._live = 0
        self._opened = trio.Event()
        self._accepting = trio.Event()
        self._emptied = trio.Event()
        self._retired = trio.Event()
        self.stopped = False
        """Nothing is accepted any more: another process does."""
        self._listeners.clear()

    def entered(self) -> None:
        """A connection was accepted."""
        self._live += 1

    def left(self) -> None:
        """A connection that was accepted has ended."""
        self._live -= 1
        if self._live < self._room:
            self._opened.set()
        if not self._live:
            self._emptied.set()

    def add(self, listener: GatedListener) -> None:
        """A listener stands behind this gate."""
        self._listeners.append(listener)

    def stop(self) -> int:
        """Accept no more, and close the listening sockets; return how many there were."""
        self.stopped = True
        self._opened.set()
        for listener in self._listeners:
            listener.socket.close()
        return len(self._listeners)

    def remove(self, listener: GatedListener) -> None:
        """A listener accepts no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if not self._listeners:
            self._retired.set()

    async def retire(self, listener: GatedListener) -> NoReturn:
        """Keep a listener waiting whose socket was closed: hypercorn takes its end for a failure."""
        self.remove(listener)
        await trio.sleep_forever()

    async def wait_empty(self) -> None:
        """Return when, after `stop`, the last connection has ended."""
        await self._retired.wait()
        while self._live:
            self._emptied = trio.Event()
            await self._emptied.wait()

    async def wait_open(self) -> None:
        """Return when there is room. Checkpoint only where there is none."""
        self._accepting.set()
        while self._live >= self._room and not self.stopped:
            self._opened = trio.Event()
            await self._opened.wait()

    async def wait_accepting(self) -> None:
        """Return when somebody has come to the gate: then the server has started all that it starts."""
        await self._accepting.wait()


GATE = AcceptGate()
"""The one of this process: hypercorn makes its listeners before anything of ours could be handed to them."""


class GatedListener(trio.abc.Listener[trio.SocketStream]):
    """trio's socket listener behind the gate."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._listener = trio.SocketListener(sock)
        self.socket = sock
        GATE.add(self)

    async def accept(self) -> trio.SocketStream:
        """Return the next connection, once there is room for it."""
        await GATE.wait_open()
        stream = None
        try:
            stream = await self._listener.accept()
        except trio.ClosedResourceError:
            if not GATE.stopped:
                raise
        if stream is None:
            await GATE.retire(self)
        GATE.entered()  # here, and not in its own task: the next one may be accepted before that runs
        return stream

    async def aclose(self) -> None:
        """Stop listening."""
        GATE.remove(self)
        await self._listener.aclose()
