"""What this machine gives the relay: descriptors, room on the disk, the port."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Final

from relay_trio.assembly import slots_by_descriptors
from relay_trio.cli.doctor_findings import Finding, Level
from relay_trio.cli.language import say
from relay_trio.cli.ports import address_in_use
from relay_trio.cli.relay_client import RelayClient
from relay_trio.cli.relay_place import RelayPlace
from relay_trio.cli.terminal import CommandFailed
from relay_trio.settings.model import Settings
from relay_trio.settings.units import MIB
from relay_trio.telemetry.process import raise_descriptor_limit

FEW_STREAMS: Final = 1000
"""One core carries several thousand slow streams; a limit below this is somebody's default, not a decision."""

LITTLE_ROOM_BYTES: Final = 100 * MIB
"""The metrics of a worker take about 1 MiB; whatever fills the rest does not stop at 100."""

_ASKED_S: Final = 3.0
_HERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound


def descriptors_finding(settings: Settings) -> Finding:
    """Return how many streams a worker's descriptors allow, once the soft limit is raised as `serve` raises it."""
    limit = raise_descriptor_limit()
    streams = slots_by_descriptors()
    if limit is None:
        return Finding(Level.OK, "descriptors", say("this system has no limit for them"))
    told = say("{limit}, which allows {streams} streams a worker", limit=limit, streams=streams)
    advice = say(
        "raise the hard limit: LimitNOFILE= in systemd, ulimits: nofile in Compose, --ulimit nofile= for docker run"
    )
    wanted = settings.max_concurrency
    if wanted is not None and wanted > streams:
        short = say("{told}, and RELAY_MAX_CONCURRENCY is {wanted}", told=told, wanted=wanted)
        return Finding(Level.WARNING, "descriptors", short, advice)
    if wanted is None and streams < FEW_STREAMS:
        return Finding(Level.WARNING, "descriptors", told, advice)
    return Finding(Level.OK, "descriptors", told)


def disk_findings(settings: Settings) -> list[Finding]:
    """Return whether the directories that a relay writes to have room and may be written to."""
    found = [_shared_finding(settings)]
    return found if settings.run_directory is None else [*found, _run_directory_finding(settings.run_directory)]


def _shared_finding(settings: Settings) -> Finding:
    """Return whether workers can share one: the supervisor takes the first of these; one worker alone needs none."""
    needed = settings.workers > 1
    directory = next(filter(_is_writable, (_temporary(), *OTHER_DIRECTORIES)), None)
    if directory is None:
        told = say("no directory for the sockets and metrics that workers share: {names}",
                   names=", ".join(map(str, (_temporary(), *OTHER_DIRECTORIES))))  # fmt: skip
        advice = say("mount a tmpfs at /tmp, or name another directory in TMPDIR")
        return Finding(Level.ERROR if needed else Level.NOTE, "disk", told, advice if needed else None)
    free = shutil.disk_usage(directory).free
    told = say("{free} MiB free in {directory}; the log goes to stdout", free=free // MIB, directory=directory)
    if free >= LITTLE_ROOM_BYTES:
        return Finding(Level.OK, "disk", told)
    advice = say("make room there: workers share their metrics in it")
    return Finding(Level.WARNING if needed else Level.NOTE, "disk", told, advice if needed else None)


OTHER_DIRECTORIES = (Path("/dev/shm"), Path("/run"))  # noqa: S108 - looked at, as the supervisor does, not used


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # it tries several, and none may be written to
        return Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108 - named, not used


def _run_directory_finding(directory: Path) -> Finding:
    """Return whether a relay may take its place in the run directory, which it makes if only its parent is there."""
    where = directory if directory.exists() else directory.parent
    told = say("{directory}, where a successor finds this relay", directory=directory)
    if _is_writable(where):
        return Finding(Level.OK, "run_directory", told)
    advice = say("give it to the user that runs the relay, or unset RELAY_RUN_DIRECTORY")
    return Finding(Level.ERROR, "run_directory", say("{told}, cannot be written to", told=told), advice)


def _is_writable(directory: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(b"x")
    except OSError:
        return False
    return True


async def port_findings(settings: Settings) -> list[Finding]:
    """Return for each address whether it is free, or who has it."""
    return [await _port_finding(address, settings) for address in settings.listen]


async def _port_finding(address: str, settings: Settings) -> Finding:
    host, _, digits = address.rpartition(":")
    host, port = host.strip("[]"), int(digits)
    if port == 0:
        return Finding(Level.OK, "port", say("{address}: any that is free", address=address))
    try:
        _bind(host, port)
    except PermissionError:
        advice = say("ports below 1024 belong to root: choose a higher one, or give CAP_NET_BIND_SERVICE")
        return Finding(Level.ERROR, "port", say("{address} may not be taken by this user", address=address), advice)
    except OSError as error:
        return await _taken(host, port, address, settings, error)
    return Finding(Level.OK, "port", say("{address} is free", address=address))


async def _taken(host: str, port: int, address: str, settings: Settings, error: OSError) -> Finding:
    """Return who has the address: a relay of ours answers as one."""
    scheme = "http" if settings.tls_cert is None else "https"
    place = RelayPlace(scheme, _HERE.get(host, host), port, authority=settings.tls_cert, checks_name=False)
    with contextlib.suppress(CommandFailed):
        health = await RelayClient(place, _ASKED_S).health()
        told = say("{address}: relay_trio {version} serves there, for {seconds:.0f} s", address=address,
                   version=health["version"], seconds=health["uptime_s"])  # fmt: skip
        return Finding(Level.OK, "port", told)
    if isinstance(error, socket.gaierror) or not _in_use(error):
        told = say("{address} cannot be listened on ({why})", address=address, why=error.strerror or error)
        return Finding(Level.ERROR, "port", told, say("an address of this machine, or 0.0.0.0 for all of them"))
    advice = say("stop that program, or choose another port (RELAY_PORT)")
    return Finding(Level.ERROR, "port", address_in_use(host, port), advice)


def _in_use(error: OSError) -> bool:
    import errno  # noqa: PLC0415 - only where something is wrong

    return error.errno in {errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE)}


def _bind(host: str, port: int) -> None:
    """Take the address for an instant, as a server would. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":  # there it would let two servers share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)
