"""What a worker has from its supervisor: a numbered seat, the listening sockets, and a link between the two.

The link is a pair of connected sockets. The worker says one byte over it when it serves; the supervisor says one when
another supervisor's workers accept; each side sees its end when the other side is gone, however that died. So no worker
survives its supervisor, holding the port for nobody.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from pathlib import Path

import attrs
import msgspec
import trio

VARIABLE = "_RELAY_TRIO_WORKER"
"""Not `RELAY_*`: those are settings, and whoever reads the settings reports the ones it does not know."""

READY = b"r"
LEAVE = b"l"


@attrs.frozen
class WorkerSeat:
    """One of the places that the supervisor keeps filled, from slot 0 on; a dead worker's successor gets its slot."""

    slot: int
    runtime: Path
    """A directory of this supervisor's workers, private to their user."""
    listening_fds: tuple[int, ...]
    link_fd: int

    def write(self, environment: MutableMapping[str, str]) -> None:
        """Put the seat where the worker will look for it."""
        fields = [self.slot, str(self.runtime), self.listening_fds, self.link_fd]
        environment[VARIABLE] = msgspec.json.encode(fields).decode()

    @property
    def metrics_directory(self) -> Path:
        """Where the workers count together."""
        return metrics_directory(self.runtime)

    def listening_sockets(self) -> list[socket.socket]:
        """The sockets to accept from, shared with the other workers. Call it once: each call makes new owners."""
        return [_adopt(fd) for fd in self.listening_fds]


def take_seat(environment: MutableMapping[str, str] = os.environ) -> WorkerSeat | None:
    """This process's seat, taken out of the environment so that no child believes it is its own; None: no worker."""
    text = environment.pop(VARIABLE, None)
    if text is None:
        return None
    slot, runtime, listening_fds, link_fd = msgspec.json.decode(text, type=tuple[int, str, tuple[int, ...], int])
    return WorkerSeat(slot, Path(runtime), listening_fds, link_fd)


def metrics_directory(runtime: Path) -> Path:
    """Where the workers of a runtime directory count together."""
    return runtime / "metrics"


class SupervisorLink:
    """The worker's end of the link."""

    def __init__(self, seat: WorkerSeat) -> None:
        self._socket = _adopt(seat.link_fd)
        self._socket.setblocking(False)

    def say_ready(self) -> None:
        """Tell the supervisor that this worker accepts connections. A supervisor that is gone is no failure here."""
        try:
            self._socket.send(READY)
        except OSError:
            return

    async def wait_told_to_leave(self) -> bool:
        """Return True when the supervisor says that others accept now, False when it has died: time to drain and go."""
        await trio.lowlevel.wait_readable(self._socket)
        try:
            return self._socket.recv(1) == LEAVE
        except OSError:
            return False

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def _adopt(fd: int) -> socket.socket:
    """The inherited socket; from here on it is not inherited further."""
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)
