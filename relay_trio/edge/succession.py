"""One relay takes another one's place, and nobody who comes meanwhile is refused or reset.

The one that serves stands ready at a socket in the run directory. Its successor gets the listening sockets there, as
descriptors of the very same sockets (unix(7), SCM_RIGHTS), starts, and says when it serves; only then does the old one
close its own. A connection that waits in a queue is in the queue of both, so it is lost to neither. A successor that
fails changes nothing.

    old one    at relay.sock      successor
               <- connects        finds it before it binds anything
    sends  ->  descriptors        starts, with these
                                  puts its own socket in the place of relay.sock
               <- one byte        accepts
    accepts no more, ends with its last connection
    and with it the link ->       sees it
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import trio

from relay_trio.edge.service_manager import ServiceManager
from relay_trio.telemetry.log import get_logger

NAME = "relay.sock"
SERVES = b"s"
BOUND = b"b"
GIVEN = b"g"
"""With the descriptors: the relay has bound its sockets itself, or has them from the service manager."""

MAX_DESCRIPTORS = 64
"""Addresses that are handed over; the kernel passes at most 253 at once (unix(7), SCM_MAX_FD). More are bound anew."""

START_WITHIN_S = 180.0
"""A successor that does not serve by then hangs, and the next one gets its turn. Its workers have a minute each."""

ANSWER_WITHIN_S = 5.0
"""How long a successor waits for descriptors: the old one's event loop has nothing else to do for them."""

MAX_PATH_BYTES = 90
"""Of the directory: what a socket's whole path may have is 103 bytes on macOS, 107 on Linux (unix(7), sun_path)."""

_ATTEMPTS = 3
"""Whoever we find may just be leaving its place to another successor."""

_BACKLOG = 4

NOT_ON_WINDOWS = "a run directory needs POSIX, where one process can hand its sockets to another: leave it out"

_log = get_logger()


class RunDirectoryUnfitError(Exception):
    """Nobody can be found, or trusted, in this directory."""


class Predecessor:
    """The relay that serves until we do. Blocking: there is no event loop yet."""

    def __init__(self, link: socket.socket, listening: list[socket.socket], *, given: bool) -> None:
        self._link = link
        self.pid = _peer_of(link)
        self.listening = listening
        self.given = given
        """A service manager has chosen the addresses: they are not what the configuration says."""

    def say_serving(self) -> None:
        """Let it go. It may have gone already."""
        with contextlib.suppress(OSError):
            self._link.send(SERVES)

    async def wait_gone(self) -> None:
        """Return when it has ended: it keeps the link open as long as it lives, and says nothing over it any more."""
        with trio.socket.from_stdlib_socket(self._link) as link, contextlib.suppress(OSError):
            await link.recv(1)


def find_predecessor(directory: Path) -> Predecessor | None:
    """Return the relay that serves from this run directory, with its listening sockets; None if there is none.

    Raises RunDirectoryUnfitError.
    """
    _look_at(directory)
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
            predecessor = _ask(directory / NAME)
            if predecessor is not None:
                return predecessor
    return None


def _ask(path: Path) -> Predecessor | None:
    if sys.platform == "win32":
        raise RunDirectoryUnfitError(NOT_ON_WINDOWS)
    link = _unix_socket()
    try:
        link.settimeout(ANSWER_WITHIN_S)
        link.connect(str(path))
        said, descriptors, _, _ = socket.recv_fds(link, 1, MAX_DESCRIPTORS)
        if said in {BOUND, GIVEN}:
            return Predecessor(link, [_adopted(fd) for fd in descriptors], given=said == GIVEN)
    except BaseException:
        link.close()
        raise
    link.close()
    return None


def _unix_socket() -> socket.socket:
    if sys.platform == "win32":
        raise RunDirectoryUnfitError(NOT_ON_WINDOWS)
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def _adopted(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)


def _look_at(directory: Path) -> None:
    """Make the directory if need be. Who can write in it could hand us sockets of their own."""
    if sys.platform == "win32":
        raise RunDirectoryUnfitError(NOT_ON_WINDOWS)
    if len(os.fsencode(directory)) > MAX_PATH_BYTES:
        raise RunDirectoryUnfitError(f"{directory} is too long: a socket's path may have {MAX_PATH_BYTES} bytes there")
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.stat()
    except OSError as error:
        raise RunDirectoryUnfitError(f"{directory} cannot be used: {error.strerror}") from error
    if found.st_uid not in {os.geteuid(), 0} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RunDirectoryUnfitError(f"{directory} may be written by others: chmod go-w, or take one of your own")


class Place:
    """Where successors find us: a listening unix socket, which stands at its path once we serve.

    Raises RunDirectoryUnfitError where it cannot be made.
    """

    def __init__(self, directory: Path, listening: list[socket.socket], *, given: bool) -> None:
        self._path = directory / NAME
        self._successor: trio.socket.SocketType | None = None
        """Held open until we end, which tells the successor."""
        self._descriptors = array.array("i", [sock.fileno() for sock in listening[:MAX_DESCRIPTORS]])
        self._said = GIVEN if given else BOUND
        self._sock = _unix_socket()
        self._sock.setblocking(False)
        try:
            self._aside = Path(tempfile.mkdtemp(dir=directory, prefix="."))
            self._sock.bind(str(self._aside / "s"))
            self._sock.listen(_BACKLOG)
        except OSError as error:
            self._sock.close()
            raise RunDirectoryUnfitError(f"{self._path} cannot be made: {error}") from error

    def take(self) -> None:
        """Stand at the path, in the place of whoever stood there: a rename leaves no moment without one."""
        (self._aside / "s").rename(self._path)
        self._aside.rmdir()

    async def wait_taken(self, links: Callable[[int], None]) -> int | None:
        """Return the successor's pid when one serves. `links` is told of each socket that comes (+1) and goes (-1)."""
        with trio.socket.from_stdlib_socket(self._sock) as listener:
            while True:
                link, _ = await listener.accept()
                links(+1)
                pid = _peer_of(link)
                if await self._serves(link):
                    self._successor = link
                    return pid
                link.close()
                links(-1)
                _log.error("successor_failed", successor_pid=pid)

    async def _serves(self, link: trio.socket.SocketType) -> bool:
        """Hand the descriptors over; whether the successor came to serve."""
        if sys.platform == "win32":
            raise RunDirectoryUnfitError(NOT_ON_WINDOWS)
        with contextlib.suppress(OSError), trio.move_on_after(START_WITHIN_S):
            await link.sendmsg([self._said], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, self._descriptors)])
            return await link.recv(1) == SERVES
        return False


def _peer_of(link: socket.socket | trio.socket.SocketType) -> int | None:
    """Return the process at the other end, where the system tells (Linux: unix(7), SO_PEERCRED)."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid: int = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))[0]
    return pid


@attrs.define(eq=False)
class Succession:
    """This process between the one before it and the one after it, and what the service manager hears of that."""

    manager: ServiceManager = attrs.field(factory=ServiceManager)
    predecessor: Predecessor | None = None
    place: Place | None = None
    command: tuple[str, ...] = ()
    """Starts a successor."""
    environment: Mapping[str, str] = attrs.field(factory=dict)
    _over: bool = attrs.field(default=False, init=False)
    _wanted: trio.Event = attrs.field(factory=trio.Event, init=False)
    _alone: trio.Event | None = attrs.field(default=None, init=False)
    """There was one before us that was let go; set when it has ended."""

    def serving(self) -> None:
        """We accept: stand where successors look, let the one before us go, and tell the manager."""
        if self.place is not None:
            self.place.take()
        if self.predecessor is not None:
            self.predecessor.say_serving()
            self._alone = trio.Event()
        self.manager.serving(pid=os.getpid())

    async def wait_taken(self, links: Callable[[int], None]) -> int | None:
        """Return the pid of the one that serves in our place; without a run directory there will be none."""
        if self.place is None:
            await trio.sleep_forever()
        successor = await self.place.wait_taken(links)
        self._over = True
        return successor

    async def see_predecessor_off(self, links: Callable[[int], None]) -> None:
        """Wait until the one before us, which was let go, has ended. `links` is told of the socket to it."""
        if self.predecessor is not None:
            links(+1)
            await self.predecessor.wait_gone()
            links(-1)
            self.forget_predecessor()

    def forget_predecessor(self) -> None:
        """Wait no longer for it."""
        if self._alone is not None:
            self._alone.set()

    async def wait_alone(self) -> None:
        """Return when the one before us has ended, if that matters.

        To the service manager we are the main process: when we end, it kills what is left, streams and all.
        """
        if self.manager.address is not None and self._alone is not None and not self._over:
            await self._alone.wait()

    def ending(self) -> None:
        """Tell the manager that the service ends, if it ends with us."""
        if not self._over:
            self.manager.stopping()

    def restart(self) -> None:
        """Have a successor started, if one can find us. What it does not become is told in the log."""
        if self.place is None:
            _log.warning("restart_refused", why="set RELAY_RUN_DIRECTORY: a successor has to find this process")
        elif os.getpid() == 1:
            _log.warning("restart_refused", why="a container ends with its first process: start another container")
        else:
            self._wanted.set()

    async def start_successors(self) -> None:
        """Start the program anew, as it is on disk now, whenever that is wanted. Runs until cancelled."""
        while True:
            await self._wanted.wait()
            await self._attend_successor()
            self._wanted = trio.Event()

    async def _attend_successor(self) -> None:
        if sys.platform == "win32":
            raise RunDirectoryUnfitError(NOT_ON_WINDOWS)
        self.manager.restarting()
        process = await trio.lowlevel.open_process(
            self.command,
            stdin=subprocess.DEVNULL,
            env={**self.environment, **self.manager.variables()},
            process_group=0,
        )
        _log.info("successor_started", successor_pid=process.pid)
        await process.wait()
        _log.error("successor_ended", successor_pid=process.pid, status=process.returncode)
        if not self._over:
            self.manager.serving(pid=os.getpid())

    async def be_watched(self) -> None:
        """Say again and again that the loop turns, if the manager wants it. Runs until cancelled."""
        while self.manager.watchdog_s is not None and not self._over:
            self.manager.alive()
            await trio.sleep(self.manager.watchdog_s / 2)
        await trio.sleep_forever()
