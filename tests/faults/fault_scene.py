"""The relay between fakes under the limits of these tests, in clear or over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from relay_trio.settings.model import Settings
from relay_trio.testing.certificates import ca_file, client_context, server_context, server_files
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream
from relay_trio.testing.relay import open_relay_under_test, settings_for
from relay_trio.testing.scene import UPSTREAM_KEY, BusyProvider, Scene
from relay_trio.testing.truths import Bounds

TOTAL_S = 60.0
CONNECT_S = 4.0
SEND_S = 8.0
MAX_EVENT_BYTES = 64 * 1024
"""The smallest limits that leave room between one clock and the next: nothing here waits on the wall."""

BOUNDS = Bounds(total=TOTAL_S, connect=CONNECT_S, early_head=Settings().keepalive_after, event_bytes=MAX_EVENT_BYTES)


@asynccontextmanager
async def open_scene(
    directory: Path,
    *behaviours: str,
    tls: bool = False,
    channel: str = "",
    channels: Iterable[str] = (),
    relay: str = "",
    environ: Mapping[str, str] | None = None,
    receive_buffer: int | None = None,
) -> AsyncIterator[Scene]:
    """Open a provider for each behaviour and a relay with a channel for each, of falling priority.

    `channel` is TOML for every channel, `channels` for each of them, `relay` for `[relay]`. With `tls` both sides of the
    relay speak it.
    """
    async with AsyncExitStack() as stack:
        context = server_context() if tls else None
        upstreams = [
            await stack.enter_async_context(open_fake_upstream(behaviour, tls=context, receive_buffer=receive_buffer))
            for behaviour in behaviours
        ]
        for upstream in upstreams:
            upstream.provider = BusyProvider()
        own = [*channels, *[""] * len(upstreams)]
        toml = _toml(relay, [channel + own[number] for number in range(len(upstreams))], upstreams)
        settings = settings_for(directory, toml, {**(_tls_environ() if tls else {}), **(environ or {})})
        with _no_authorities(directory):
            running = await stack.enter_async_context(open_relay_under_test(settings))
        yield Scene(running, upstreams, client_context() if tls else None)


@contextmanager
def _no_authorities(directory: Path) -> Iterator[None]:
    """Let the system have no authorities: reading them takes half of the time that a relay needs to start."""
    (directory / "authorities.pem").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(directory / "authorities.pem"))
        patch.setenv("SSL_CERT_DIR", str(directory))
        yield


def _tls_environ() -> dict[str, str]:
    certificate, key = server_files()
    return {"RELAY_CA_BUNDLE": str(ca_file()), "RELAY_TLS_CERT": str(certificate), "RELAY_TLS_KEY": str(key)}


def _toml(relay: str, channels: Sequence[str], upstreams: Sequence[FakeUpstream]) -> str:
    limits = f"total = {TOTAL_S}\nconnect = {CONNECT_S}\nsend = {SEND_S}\n"
    parts = [f"[relay]\nmax_event_bytes = {MAX_EVENT_BYTES}\n{relay}\n[relay.limits]\n{limits}"]
    for number, (channel, upstream) in enumerate(zip(channels, upstreams, strict=True), start=1):
        keys = "" if "api_keys" in channel else f'api_keys = ["{UPSTREAM_KEY}"]\n'
        address = "" if "base_url" in channel else f'base_url = "{upstream.base_url()}"\n'
        head = f'[[channels]]\nname = "channel-{number}"\nadaptor = "openai"\npriority = {100 - number}\n'
        parts.append(f"{head}{address}{keys}{channel}\n")
    return "\n".join(parts)


def statistics(scene: Scene) -> str:
    """Return what the relay says of itself: for messages of failed assertions."""
    return f"{scene.relay.live()} {scene.relay.running.services.admission}"
