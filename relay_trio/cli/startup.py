"""What a process does before it serves, however it was started: its log, its descriptors, its place in hypercorn."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs

from relay_trio.assembly import Process, secrets_of
from relay_trio.cli.configuration import Configuration, read
from relay_trio.edge import seam
from relay_trio.edge.worker_seat import WorkerSeat
from relay_trio.settings.model import Settings
from relay_trio.telemetry.log import catch_all, configure, get_logger
from relay_trio.telemetry.log_writer import LogWriter
from relay_trio.telemetry.process import raise_descriptor_limit
from relay_trio.telemetry.redaction import Redactor

_STDOUT = 1


@attrs.frozen(eq=False)
class Started:
    """A process that has its log and may serve."""

    configuration: Configuration
    config: Path | None
    listen: str | None
    seat: WorkerSeat | None
    sink: LogWriter
    redactor: Redactor

    def process(self) -> Process:
        """Put our connection class in hypercorn's place and return what the relay needs of this process."""
        get_logger().info("seam_installed", seam=seam.install())
        settings, seat = self.configuration.settings, self.seat
        return Process(
            settings=settings,
            adaptors=self.configuration.adaptors,
            load=partial(read, self.config, self.listen, self.configuration.adaptors, _same_key(settings)),
            path=_file_of(self.config),
            sink=self.sink,
            redactor=self.redactor,
            runtime=None if seat is None else seat.runtime,
            metrics_directory=None if seat is None else seat.metrics_directory,
            slot=0 if seat is None else seat.slot,
            tune_gc=True,
        )


def start(
    configuration: Configuration, config: Path | None = None, listen: str | None = None, seat: WorkerSeat | None = None
) -> Started:
    """Raise the descriptor limit and send every line to stdout, through a thread that nobody waits for."""
    raise_descriptor_limit()
    settings = configuration.settings
    sink = LogWriter(_STDOUT, max_bytes=settings.log_buffer_bytes)
    sink.start()
    redactor = Redactor(secrets_of(settings))
    configure(sink, redactor, level=settings.log_level)
    catch_all(level=settings.log_level)
    return Started(configuration, config, listen, seat, sink, redactor)


def _same_key(settings: Settings) -> Callable[[int], str]:
    """Return what gives a reload the key again that was made for this run."""
    printed = settings.printed_key
    if printed is None:
        return secrets.token_hex
    text = printed.reveal().removeprefix("sk-")
    return lambda _: text


def _file_of(config: Path | None) -> Path:
    """Return the configuration file, which may be there later though it is not there now."""
    return config or Path(os.environ.get("RELAY_CONFIG") or "relay.toml")
