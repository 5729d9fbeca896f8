"""Who has the address that we want: the process, where the system tells, and a port that is free."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from relay_trio.cli.language import say

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"
"""The state of a listening socket in /proc/net/tcp (Linux, net/tcp_states.h: TCP_LISTEN = 10)."""

_TRIED_PORTS: Final = 50


def who_listens(port: int, proc: Path = _PROC) -> int | None:
    """Return the process that listens on a TCP port, the oldest where several share it; None if nobody tells.

    Only Linux says, and of other users' processes only to root.
    """
    inodes = {inode for name in ("tcp", "tcp6") for inode in _listening_inodes(proc / "net" / name, port)}
    holders = (pid for pid in _processes(proc) if inodes and inodes & _socket_inodes(proc / str(pid) / "fd"))
    return min(holders, default=None)


def address_in_use(host: str, port: int) -> str:
    """Return the line that tells why we cannot listen there, and what would do."""
    pid = who_listens(port)
    shown = f"[{host}]" if ":" in host else host
    address = f"{shown}:{port}"
    if pid is None:
        told = say("{address} is in use", address=address)
    else:
        told = say("{address} is in use by pid {pid}", address=address, pid=pid)
    free = free_port_above(host, port)
    return told + (f"; RELAY_PORT={free}?" if free is not None else "")


def free_port_above(host: str, port: int) -> int | None:
    """Return the next port on which nobody listens, of the next fifty."""
    candidates = range(port + 1, min(port + 1 + _TRIED_PORTS, 65536))
    return next((candidate for candidate in candidates if _can_bind(host, candidate)), None)


def _can_bind(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, port))
    except OSError:
        return False
    return True


def _listening_inodes(table: Path, port: int) -> Iterator[str]:
    """Yield the inodes of the sockets that listen on the port. The columns: kernel.org, networking/proc_net_tcp."""
    with contextlib.suppress(OSError):
        for line in table.read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                yield rest[5]


def _processes(proc: Path) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal()]
    return []


def _socket_inodes(descriptors: Path) -> set[str]:
    with contextlib.suppress(OSError):  # another user's process, or one that has just ended
        targets = (_target(entry) for entry in descriptors.iterdir())
        return {target.removeprefix("socket:[")[:-1] for target in targets if target.startswith("socket:[")}
    return set()


def _target(link: Path) -> str:
    with contextlib.suppress(OSError):  # closed since it was listed
        return str(link.readlink())
    return ""
