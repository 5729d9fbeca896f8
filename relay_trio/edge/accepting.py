"""A worker at its cap stops accepting, so that the others do, and the kernel keeps who is left waiting.

Each connection may cost two descriptors. A process that accepts more than it can serve has nothing left for the
provider's side, and fails all of them instead of letting a few wait.
"""

from __future__ import annotations

import trio


class AcceptGate:
    """Open while the process has room for another connection."""

    def __init__(self) -> None:
        self._room: float = float("inf")
        self._live = 0
        self._opened = trio.Event()
        self._accepting = trio.Event()

    def __repr__(self) -> str:
        return f"<AcceptGate {self._live} of {self._room}>"

    def limit(self, connections: float) -> None:
        """Let in so many at once from now on."""
        self._room = connections
        self._live = 0
        self._opened = trio.Event()
        self._accepting = trio.Event()

    def entered(self) -> None:
        """A connection was accepted."""
        self._live += 1

    def left(self) -> None:
        """A connection has ended."""
        self._live -= 1
        if self._live < self._room:
            self._opened.set()

    async def wait_open(self) -> None:
        """Return when there is room. Checkpoint only where there is none."""
        self._accepting.set()
        while self._live >= self._room:
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

    async def accept(self) -> trio.SocketStream:
        """Return the next connection, once there is room for it."""
        await GATE.wait_open()
        return await self._listener.accept()

    async def aclose(self) -> None:
        """Stop listening."""
        await self._listener.aclose()
