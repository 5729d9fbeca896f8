"""The one seam at which hypercorn is changed: its connection class gives way to ours.

`hypercorn.trio.run.worker_serve` looks `TCPServer` up in its own module for every server it starts, and awaits what it
returns for each accepted stream. That is all that we rely on; a test starts a server and fails loudly where it is no
longer so, and `install` refuses to start without it, because hypercorn's own class breaks guarantees G1 and G3.
"""

from __future__ import annotations

import inspect

import hypercorn.trio.run

from relay_trio.edge.connection import ClientConnection

_NAME = "TCPServer"


class SeamMissing(RuntimeError):
    """hypercorn has changed where our connection class stands."""


def install() -> str:
    """Put our connection class in place; return what was done, for the start line. Raises SeamMissing."""
    worker_serve = getattr(hypercorn.trio.run, "worker_serve", None)
    if not hasattr(hypercorn.trio.run, _NAME) or _NAME not in inspect.getsource(worker_serve or install):
        raise SeamMissing(
            "hypercorn.trio.run.TCPServer is not where it was in hypercorn 0.18: this relay stands on hypercorn>=0.18,<0.19"
        )
    setattr(hypercorn.trio.run, _NAME, ClientConnection)
    return "hypercorn.trio.run.TCPServer -> relay_trio.edge.connection.ClientConnection"
