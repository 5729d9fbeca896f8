"""What is said when a process starts: to the log, what it runs with; to a person on the first day, a line to paste."""

from __future__ import annotations

import socket
import sys

import relay_trio
from relay_trio.assembly import slots_by_descriptors
from relay_trio.cli.language import say
from relay_trio.edge.supervisor import DRAIN_GRACE_S
from relay_trio.settings.model import Settings
from relay_trio.telemetry.log import get_logger


def say_start(settings: Settings) -> None:
    """Log the version, the limits and where they came from, the channels, and what the process manager has to know."""
    log = get_logger()
    log.info("starting", version=relay_trio.__version__, python=sys.version.split()[0], workers=settings.workers)
    log.info("limits", **_limits_of(settings))
    log.info("descriptors", streams_per_worker=slots_by_descriptors())
    for channel in settings.channels:
        log.info(
            "channel",
            name=channel.name,
            adaptor=channel.adaptor,
            base_url=channel.base_url,
            keys=len(channel.api_keys),
            models=list(channel.models) if channel.models is not None else "all",
        )
    log.info("keys", count=len(settings.keys))
    if settings.demo:
        log.warning("demo", note="no provider is configured: the built-in demo provider answers, model demo")
    log.info("monitoring endpoints enabled at /api/monitor/health")
    log.info(
        "stop_grace",
        note="the process manager must allow this long for a stop",
        stop_grace_s=settings.limits.drain_s + DRAIN_GRACE_S,
    )


def _limits_of(settings: Settings) -> dict[str, object]:
    """Return each limit in seconds, and where it came from if it is not the default."""
    shown: dict[str, object] = {}
    for name in (
        "total",
        "body",
        "send",
        "queue",
        "connect",
        "headers",
        "first_event",
        "idle",
        "client_write",
        "drain",
    ):
        value = getattr(settings.limits, name)
        source = settings.sources.get(f"limits.{name}", "default")
        if value is not None:
            shown[name] = value if source == "default" else f"{value:g} ({source})"
    return shown


def greet(settings: Settings, url: str | None) -> None:
    """Print what a first user needs: the key of this run and a line to paste. On stderr, so that no log holds the key."""
    if settings.printed_key is None and not settings.demo:
        return
    key = settings.printed_key.reveal() if settings.printed_key is not None else "$YOUR_KEY"
    lines = [f"relay_trio {relay_trio.__version__}{'' if url is None else f' on {url}'}"]
    if settings.demo:
        lines.append(say("DEMO: no provider is configured. The model `demo` only streams a fixed text; see README.md."))
    if settings.printed_key is not None:
        lines.append(say("Client key, for this run only: {key}", key=key))
    if url is not None:
        model = "demo" if settings.demo else "gpt-4o-mini"
        lines.append(
            f"""{say("Try:")} curl -N {url}/v1/chat/completions -H 'Authorization: Bearer {key}' """
            f"""-H 'Content-Type: application/json' """
            f"""-d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "hi"}}]}}'"""
        )
    print("\n".join(lines), file=sys.stderr, flush=True)


def url_of(settings: Settings, listening: socket.socket) -> str:
    """Return where clients reach a listening socket."""
    return f"{'https' if settings.tls_cert is not None else 'http'}://{address_of(listening)}"


def address_of(listening: socket.socket) -> str:
    """Return `host:port`, as a URL has it."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
