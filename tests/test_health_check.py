"""Promises of `deploy/health.py`, which says for a container whether the relay in it answers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio
from serving import KEY, ROOT, Running, environment, served

from relay_trio.testing.certificates import server_files

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]


async def said_healthy(port: int, **variables: str) -> bool:
    """Run the check as the container does; it says nothing but its exit status."""
    done = await trio.run_process(
        [sys.executable, str(ROOT / "deploy" / "health.py")],
        env=environment({"RELAY_PORT": str(port), **variables}),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    return done.returncode == 0


async def port_of(relay: Running) -> int:
    return (await relay.address())[1]


@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.1"])
async def test_a_relay_that_answers_is_healthy(tmp_path: Path, host: str) -> None:
    """It is asked where it listens: on loopback if it listens everywhere."""
    async with served(tmp_path) as relay:
        assert await said_healthy(await port_of(relay), RELAY_HOST=host)


async def test_a_relay_with_tls_is_healthy_though_only_its_file_says_tls(tmp_path: Path) -> None:
    """The check reads no file, so it finds out by itself, and the attempt in clear text is nothing to be logged."""
    certificate, key = server_files()
    (tmp_path / "relay.toml").write_text(f"[relay]\ntls_cert = '{certificate}'\ntls_key = '{key}'\n")
    async with served(tmp_path, variables={"RELAY_API_KEYS": KEY}) as relay:
        port = await port_of(relay)
        assert await said_healthy(port)
        assert await relay.end() == 0
    assert [line for line in relay.lines if line["level"] in ("warning", "error") and line["event"] != "demo"] == []


async def test_a_file_that_an_edit_broke_makes_nobody_ill(tmp_path: Path) -> None:
    """A relay goes on with what it had when its file is broken: so the check must not look into the file."""
    broken = tmp_path / "relay.toml"
    async with served(tmp_path) as relay:
        port = await port_of(relay)
        broken.write_text("[relay\n")
        assert await said_healthy(port, RELAY_CONFIG=str(broken))


async def test_nobody_there_is_ill(tmp_path: Path) -> None:
    """Where nothing listens any more, the check fails at once."""
    async with served(tmp_path) as relay:
        port = await port_of(relay)
        await relay.end()
    assert not await said_healthy(port)


async def test_any_answer_but_200_is_ill() -> None:
    """Something answers there, but not the relay as it should be."""

    async def refuse(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, refuse, 0)
        port: int = listeners[0].socket.getsockname()[1]
        assert not await said_healthy(port, RELAY_HOST="127.0.0.1")
        nursery.cancel_scope.cancel(reason="asked")
