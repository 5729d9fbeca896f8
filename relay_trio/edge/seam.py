"""The one seam at which hypercorn is changed: its connection class gives way to ours, and its listeners get a gate.

`hypercorn.trio.run.worker_serve` looks `TCPServer` up in its own module for every server it starts, and awaits what it
returns for each accepted stream; it makes its listeners by `trio.SocketListener`. That is all that we rely on. A test
starts a server and fails loudly where it is no longer so, and `install` refuses to start without it, because hypercorn's
own class breaks guarantees G1 and G3.
"""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import hypercorn.trio.run
import trio

from relay_trio.edge.accepting import GatedListener
from relay_trio.edge.connection import ClientConnection

_USED = ("TCPServer", "trio.SocketListener(", "trio.serve_listeners")


class SeamMissing(RuntimeError):
    """hypercorn has changed where our connection class stands."""


class _TrioWithGate(ModuleType):
    """The module `trio` as hypercorn's runner sees it: all of it, but for the listener."""

    SocketListener = GatedListener

    def __getattr__(self, name: str) -> Any:
        return getattr(trio, name)


def install() -> str:
    """Put ours in place; return what was done, for the start line. Raises SeamMissing."""
    runner = hypercorn.trio.run
    source = inspect.getsource(runner.worker_serve) if hasattr(runner, "worker_serve") else ""
    missing = [name for name in _USED if name not in source]
    if missing:
        raise SeamMissing(
            f"hypercorn.trio.run.worker_serve no longer uses {', '.join(missing)}: this relay stands on hypercorn>=0.18,<0.19"
        )
    setattr(runner, "TCPServer", ClientConnection)  # noqa: B010 - it is no attribute that mypy may check
    setattr(runner, "trio", _TrioWithGate("trio"))  # noqa: B010 - the same
    return "hypercorn.trio.run: TCPServer -> ClientConnection, trio.SocketListener -> GatedListener"
