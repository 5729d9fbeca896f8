"""Promises of the port finder: it names who has an address, from what Linux tells, and a port that is free."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from relay_trio.cli.ports import address_in_use, free_port_above, who_listens

# As Linux prints it: 127.0.0.1:3000 (0BB8) listening with inode 4242, a connection on the same port, another listener.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0
   1: 0100007F:0BB9 0100007F:0BB8 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0 20 4 30 10 -1
   2: 0100007F:0BB8 0100007F:0BB9 01 00000000:00000000 00:00000000 00000000     0        0 4244 1 0 20 4 30 10 -1
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr inode
   0: 00000000000000000000000001000000:0BBA 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 5151 1 0 100 0
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc of three processes: a supervisor and its worker that share a listener, and a stranger."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(TCP)
    (tmp_path / "net/tcp6").write_text(TCP6)
    for pid, inodes in {"900": [4242], "812": [7, 4242], "77": [4243, 4244], "55": [5151]}.items():
        (tmp_path / pid / "fd").mkdir(parents=True)
        for number, inode in enumerate(inodes):
            (tmp_path / pid / "fd" / str(number)).symlink_to(f"socket:[{inode}]")
        (tmp_path / pid / "fd" / "9").symlink_to("/dev/null")
    (tmp_path / "40").mkdir()  # a process that ends while we look
    (tmp_path / "self").mkdir()
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="the fake /proc is made of symbolic links")
@pytest.mark.parametrize(("port", "pid"), [(3000, 812), (3002, 55), (3001, None), (1, None)])
def test_the_listener_is_named(proc: Path, port: int, pid: int | None) -> None:
    """Of those that share a listener the oldest; connections on the same port are nobody's listening."""
    assert who_listens(port, proc) == pid


def test_nobody_tells_elsewhere(tmp_path: Path) -> None:
    """Without /proc, as on macOS and Windows, nothing is known and nothing fails."""
    assert who_listens(3000, tmp_path / "absent") is None


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_we_find_ourselves() -> None:
    """On a real Linux the real listener is found."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert who_listens(server.getsockname()[1]) == os.getpid()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_line_names_the_address_and_what_would_do(host: str) -> None:
    """The line is as documented, and the port that it offers can be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        told = address_in_use(host, port)
        free = free_port_above(host, port)
        pid = f" by pid {os.getpid()}" if sys.platform == "linux" else ""
        shown = f"[{host}]" if ":" in host else host
        assert free is not None
        assert free > port
        assert told == f"{shown}:{port} is in use{pid}; RELAY_PORT={free}?"
        socket.create_server((host, free), family=family).close()


def test_a_port_in_use_is_not_offered() -> None:
    """The port that is offered is the next one on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert free_port_above("127.0.0.1", port - 1) not in {port, None}


def test_there_may_be_no_port_above() -> None:
    """Above the last port there is none."""
    assert free_port_above("127.0.0.1", 65535) is None
