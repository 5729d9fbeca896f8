"""`relay-trio serve`: start the relay in this process, or a supervisor and its workers.

What a person needs on the first day is printed on stderr (the demo's key, a line to paste); stdout holds JSON lines only.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from functools import partial

import trio

from relay_trio.assembly import build_app
from relay_trio.cli.configuration import configured
from relay_trio.cli.greeting import address_of, greet, say_start, url_of
from relay_trio.cli.ports import address_in_use
from relay_trio.cli.startup import Started, start
from relay_trio.cli.terminal import CommandFailed
from relay_trio.edge.listening import AddressInUse, CannotListen, given_listeners, open_listeners
from relay_trio.edge.server import Server, end_process_at_once
from relay_trio.edge.service_manager import find_manager
from relay_trio.edge.succession import Place, RunDirectoryUnfitError, Succession, find_predecessor
from relay_trio.edge.supervisor import WorkerPlan, run_workers
from relay_trio.edge.worker_seat import SupervisorLink, WorkerSeat, take_seat
from relay_trio.settings.model import Settings
from relay_trio.telemetry.log import get_logger


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; return the exit status."""
    since = time.monotonic()
    configuration = configured(arguments.config, arguments.listen)
    settings = configuration.settings
    seat = take_seat()
    succession = Succession() if seat is not None else _succession(settings)
    listeners = seat.listening_sockets() if seat is not None else _listen(settings, succession)
    started = start(configuration, arguments.config, arguments.listen, seat)
    if seat is None:
        say_start(settings)
        if succession.predecessor is not None:
            get_logger().info("taking_over", from_pid=succession.predecessor.pid)
        greet(settings, url_of(settings, listeners[0]))
        if settings.workers > 1:
            return _supervise(arguments, settings, listeners, started, succession)
    return _serve(started, listeners, seat, since, succession)


def _succession(settings: Settings) -> Succession:
    """Find the relay whose place we take, if there is a directory to look in, and who started us."""
    environment = dict(os.environ)
    manager = find_manager()
    predecessor = None
    if settings.run_directory is not None:
        try:
            predecessor = find_predecessor(settings.run_directory)
        except (RunDirectoryUnfitError, OSError) as error:
            raise CommandFailed(f"RELAY_RUN_DIRECTORY: {error}", status=2) from error
    command = (sys.executable, "-m", "relay_trio", *sys.argv[1:])
    return Succession(manager, predecessor, command=command, environment=environment)


def _listen(settings: Settings, succession: Succession) -> list[socket.socket]:
    """Return what we accept from, and take our place in the run directory with it."""
    given, taken_over = given_listeners(), []
    if succession.predecessor is not None:
        taken_over = succession.predecessor.listening
        if succession.predecessor.given and not given:
            given, taken_over = taken_over, []
    try:
        listeners = given + open_listeners(() if given else settings.listen, taken_over)
        if settings.run_directory is not None:
            succession.place = Place(settings.run_directory, listeners, given=bool(given))
    except AddressInUse as error:
        raise CommandFailed(address_in_use(error.host, error.port), status=2) from error
    except CannotListen as error:
        raise CommandFailed(str(error), status=2) from error
    except RunDirectoryUnfitError as error:
        raise CommandFailed(f"RELAY_RUN_DIRECTORY: {error}", status=2) from error
    return listeners


def _serve(
    started: Started, listeners: list[socket.socket], seat: WorkerSeat | None, since: float, succession: Succession
) -> int:
    """Serve in this process: alone, or as one of a supervisor's workers."""
    log = get_logger()
    process = started.process()
    link = SupervisorLink(seat) if seat is not None else None

    def ready() -> None:
        log.info(
            "ready",
            listening=[address_of(sock) for sock in listeners],
            ready_ms=round((time.monotonic() - since) * 1000),
        )
        if link is not None:
            link.say_ready()

    def end_at_once() -> None:
        started.sink.close(timeout_s=0.5)
        end_process_at_once()

    server = Server(build_app(process), process.settings, process.drain, log, end_at_once)
    return trio.run(partial(server.serve, listeners, ready, succession, link))


def _supervise(
    arguments: argparse.Namespace,
    settings: Settings,
    listeners: list[socket.socket],
    started: Started,
    succession: Succession,
) -> int:
    command = [sys.executable, "-m", "relay_trio", "serve"]
    if arguments.config is not None:
        command += ["--config", str(arguments.config)]
    if arguments.listen is not None:
        command += ["--listen", arguments.listen]
    environment = dict(os.environ)
    if settings.printed_key is not None:
        environment["RELAY_API_KEYS"] = settings.printed_key.reveal()
    return run_workers(
        WorkerPlan(
            count=settings.workers,
            command=tuple(command),
            listening=tuple(listeners),
            drain_s=settings.limits.drain_s,
            environment=environment,
            succession=succession,
        ),
        started.sink,
    )
