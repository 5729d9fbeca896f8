"""Promises of a hand-over's parts: whose sockets are taken, who is told, and who may not restart."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from relay_trio.edge import succession as module
from relay_trio.edge.listening import given_listeners, open_listeners
from relay_trio.edge.service_manager import find_manager
from relay_trio.edge.succession import Place, Succession

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors are handed over as POSIX has it")


@pytest.fixture
def taken_over() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def name_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"{host}:{port}"


# Whose sockets


@pytest.mark.parametrize("wanted", ["{host}:{port}", "localhost:{port}", "{host}:0"])
def test_a_socket_that_is_wanted_is_taken_over(taken_over: socket.socket, wanted: str) -> None:
    """By its address, by a name of it, or because any port will do: it is the very same socket."""
    host, port = taken_over.getsockname()
    assert open_listeners((wanted.format(host=host, port=port),), [taken_over]) == [taken_over]


def test_a_socket_that_nobody_wants_is_closed(taken_over: socket.socket) -> None:
    """An address that the configuration no longer has is not listened on for ever; a new one is bound."""
    (listener,) = open_listeners(("127.0.0.2:0",), [taken_over])
    with listener:
        assert listener.getsockname()[0] == "127.0.0.2"
        assert taken_over.fileno() == -1


def test_sockets_of_another_process_are_not_ours() -> None:
    """LISTEN_PID says whose they are. The variables go, so that no child takes them for its own."""
    environment = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "relay"}
    assert given_listeners(environment) == []
    assert environment == {}


# Who is told


def test_without_a_manager_nothing_is_said() -> None:
    """Started by hand: every word goes nowhere, and fails nowhere."""
    manager = find_manager({})
    manager.serving(pid=1)
    manager.stopping()
    assert manager.variables() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="abstract addresses are Linux's")
def test_an_abstract_address_is_understood() -> None:
    """`@name` is how systemd writes an address that is no path (sd_notify(3))."""
    name = f"relay-trio-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        environment = {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "30000000"}
        manager = find_manager(environment)
        manager.serving(pid=17)
        assert sock.recv(4096).decode().split("\n")[:2] == ["READY=1", "MAINPID=17"]
    assert environment == {}
    assert manager.variables() == {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "30000000"}
    manager.alive()  # to a manager that has gone


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    """WATCHDOG_PID says who is watched."""
    watched = {"NOTIFY_SOCKET": "/run/none", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    assert find_manager(dict(watched)).watchdog_s == 30
    assert find_manager({**watched, "WATCHDOG_PID": "1"}).watchdog_s is None


# Who may not restart


def test_the_first_process_of_a_container_does_not_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_over: socket.socket
) -> None:
    """Its end would be the container's, and the successor's: it says so and goes on."""
    place = Place(tmp_path, [taken_over], given=False)
    place.take()
    succession = Succession(place=place)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(module, "_log", structlog.get_logger())
        succession.restart()
    assert [line["event"] for line in lines] == ["restart_refused"]
    assert "container" in lines[0]["why"]
    assert not succession._wanted.is_set()
    place._sock.close()
