"""`hypercorn -k trio relay_trio.asgi:app`: the relay under plain hypercorn, with every guarantee of `relay-trio serve`.

Importing this module reads the configuration (RELAY_CONFIG, the environment), starts the log and puts our connection
class in hypercorn's place. A configuration that is wrong ends the process with status 2, as `serve` does. Where we
listen, with how many workers and with which certificate is hypercorn's to say here. With more than one of its workers
each is a relay by itself: keys must be configured, and health and metrics speak for one.
"""

from __future__ import annotations

import sys

from hypercorn.config import Config

from relay_trio.assembly import build_app
from relay_trio.cli.configuration import configured
from relay_trio.cli.greeting import greet, say_start
from relay_trio.cli.startup import start
from relay_trio.cli.terminal import CommandFailed, complain
from relay_trio.edge.app import App
from relay_trio.telemetry.log import HypercornLogger


def _app() -> App:
    try:
        configuration = configured(None)
    except CommandFailed as failed:
        complain(failed.lines)
        sys.exit(failed.status)
    Config.logger_class = HypercornLogger  # read when hypercorn writes its first line, which is after this import
    started = start(configuration)
    say_start(configuration.settings)
    greet(configuration.settings, None)
    return build_app(started.process())


app = _app()
