"""What systemd, or whoever else speaks its protocol, is told: ready, restarting, stopping, alive.

The protocol is sd_notify(3): datagrams of lines to the socket that NOTIFY_SOCKET names. Where there is none nothing is
said. A manager that does not listen is no reason for a relay not to serve, so nothing here fails.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

import attrs

_SOCKET = "NOTIFY_SOCKET"
_WATCHDOG = "WATCHDOG_USEC"
_PATIENCE_S = 0.5
"""How long a change of state waits for room in the manager's queue, which holds ten messages (net.unix.max_dgram_qlen). The
event loop waits with it, a few times in its life: a lost READY=1 would cost the process."""

_VARIABLES = (_SOCKET, _WATCHDOG, "WATCHDOG_PID")


@attrs.frozen
class ServiceManager:
    """The one that started us. Without an address there is none that wants to know."""

    address: str | None = None
    watchdog_s: float | None = None
    """Within this time it wants to hear again that we are alive."""

    def serving(self, *, pid: int) -> None:
        """Say that this process serves, and is the service's main one, whoever was it before."""
        self._tell("READY=1", f"MAINPID={pid}", f"STATUS=pid {pid} serves")

    def restarting(self) -> None:
        """Say that a successor is being started."""
        self._tell("RELOADING=1", "STATUS=starting a successor")

    def stopping(self) -> None:
        """Say that no new requests are taken any more."""
        self._tell("STOPPING=1", "STATUS=draining")

    def alive(self) -> None:
        """Say that the event loop turns."""
        self._tell("WATCHDOG=1", patience_s=0)

    def variables(self) -> dict[str, str]:
        """Return what a successor needs in its environment to find the same manager."""
        watchdog = {} if self.watchdog_s is None else {_WATCHDOG: str(round(self.watchdog_s * 1_000_000))}
        return {} if self.address is None else {_SOCKET: self.address, **watchdog}

    def _tell(self, *lines: str, patience_s: float = _PATIENCE_S) -> None:
        if self.address is None or not hasattr(socket, "AF_UNIX"):
            return
        name = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(patience_s)
                sock.sendto("\n".join(lines).encode(), name)
        except OSError:
            return


def find_manager(environment: MutableMapping[str, str] = os.environ) -> ServiceManager:
    """Return the manager, taken out of the environment: no worker and no child speaks for the service."""
    address, watchdog, for_pid = (environment.pop(name, None) for name in _VARIABLES)
    ours = for_pid is None or for_pid == str(os.getpid())
    return ServiceManager(
        address or None, int(watchdog) / 1_000_000 if watchdog and watchdog.isdecimal() and ours else None
    )
