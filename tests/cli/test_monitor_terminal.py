"""Promises of `relay-trio monitor` in a real terminal: keys work, a resize fits, and the terminal is as it was afterwards."""

from __future__ import annotations

import os
import re
import signal
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from serving import ADMIN_KEY, KEY, SERVE, environment, served, stream_request, text_of

from relay_trio.testing.fake_client import connect

if sys.platform == "win32":
    pytest.skip("pseudo terminals as POSIX has them", allow_module_level=True)

import fcntl
import pty
import termios

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

# A session of its own has no terminal until it takes one, and only who has one gets Ctrl-C from it.
PROGRAM = """
import fcntl, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module("relay_trio", run_name="__main__")
"""
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PATIENCE_S = 30
"""What is not drawn by then will not be; pytest's own limit cannot tell what was awaited."""
HOME = "\x1b[H"


@attrs.define(eq=False)
class Screen:
    """The far end of a terminal in which the program runs."""

    master: int
    slave: int
    process: trio.Process
    text: str = ""

    def press(self, keys: str) -> None:
        """Press keys; what is seen from now on is what came after them."""
        self.text = ""
        os.write(self.master, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size."""
        self.text = ""
        set_size(self.master, columns, lines)

    async def seen(self, told: str) -> str:
        """Return the picture in which this is to be read, once it is drawn."""
        with trio.move_on_after(PATIENCE_S):
            while (found := next((picture for picture in self._pictures() if told in picture), None)) is None:
                assert await self._read(), f"it ended without {told!r}: {self.text[-2000:]}"
            return found
        pytest.fail(f"never drawn: {told!r}; last: {self._pictures()[-1:]}")

    async def end(self) -> int:
        """Read on until the program has ended; return its exit status."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_on)
            status = await self.process.wait()
            nursery.cancel_scope.cancel(reason="it has ended")
        return status

    async def _read_on(self) -> None:
        while await self._read():
            pass

    def _pictures(self) -> list[str]:
        """Return the pictures that are whole: another one has begun."""
        return [CODES.sub("", picture) for picture in self.text.split(HOME)[1:-1]]

    async def _read(self) -> bool:
        await trio.lowlevel.wait_readable(self.master)
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: nobody has the other end any more (Linux)
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)


def set_size(descriptor: int, columns: int, lines: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@asynccontextmanager
async def open_monitor(url: str, *words: str) -> AsyncIterator[Screen]:
    master, slave = pty.openpty()
    set_size(master, 120, 30)
    command = [sys.executable, "-c", PROGRAM, "monitor", "--url", url, "--interval", "0.3", *words]
    process = await trio.lowlevel.open_process(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env=environment({"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}),
    )
    try:
        yield Screen(master, slave, process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        os.close(master)
        os.close(slave)


async def test_a_request_is_found_and_cancelled(tmp_path: Path) -> None:
    """Selected, asked for, spared; asked for again and ended: its client gets an error event, and the log has a line."""
    async with served(tmp_path, SERVE, {"RELAY_API_KEYS": KEY, "RELAY_ADMIN_KEY": ADMIN_KEY}) as relay:
        host, port = await relay.address()
        async with connect((host, port)) as client, open_monitor(f"http://{host}:{port}", "--key", ADMIN_KEY) as screen:
            await client.send(stream_request(model="demo-stall"))
            await client.read_head()
            picture = await screen.seen("1 live requests")
            assert "POST /v1/chat/completions" in picture
            assert " stream " in picture

            screen.press("t")
            assert "await" in await screen.seen("relay_trio/relay/")
            screen.press("x")
            picture = await screen.seen("Its client gets an error. y / n")
            request_id = re.findall(r"Cancel (req_\w+)", picture)[0]
            screen.press("n")
            await screen.seen("x cancel")
            screen.press("xy")
            await screen.seen(f"{request_id} was cancelled")
            await screen.seen("0 live requests")

            stream = await client.read_events()
            assert "cancelled_by_operator" in stream.data[-1]
            assert text_of(stream.data[:-1]).startswith("This is the demo")
            line = await relay.line("request_finished", request_id=request_id)
            assert (line["outcome"], line["left_open"]) == ("cancelled_by_operator", 0)
            screen.press("q")
            assert await screen.end() == 0


async def test_it_fits_after_a_resize_and_survives_a_lost_connection(tmp_path: Path) -> None:
    """The next picture has the new size; a relay that is gone is told of with the time, and the view goes on."""
    async with served(tmp_path, SERVE, {"RELAY_API_KEYS": KEY}) as relay:
        host, port = await relay.address()
        async with open_monitor(f"http://{host}:{port}") as screen:
            assert "need the operator's key" in await screen.seen("the live requests")
            screen.resize(64, 18)
            await screen.seen("q leave")
            screen.press("r")
            picture = await screen.seen("q leave")
            assert max(len(line.rstrip("\r")) for line in picture.split("\n")) <= 64
            assert picture.count("\n") <= 18
            relay.process.kill()
            assert re.search(r"no answer since \d\d:\d\d:\d\d: connect: ", await screen.seen("no answer since"))
            screen.press("q")
            assert await screen.end() == 0


@pytest.mark.parametrize("by", ["ctrl-c", "SIGTERM", "SIGHUP", "q"])
async def test_the_terminal_is_as_it_was(tmp_path: Path, by: str) -> None:
    """However it ends: its modes are back, the cursor is shown, the screen that was there before is shown again."""
    async with served(tmp_path, SERVE, {"RELAY_API_KEYS": KEY}) as relay:
        host, port = await relay.address()
        async with open_monitor(f"http://{host}:{port}") as screen:
            before = termios.tcgetattr(screen.slave)
            await screen.seen("q leave")
            assert termios.tcgetattr(screen.slave) != before
            if by.startswith("SIG"):
                screen.process.send_signal(getattr(signal, by))
            else:
                screen.press({"ctrl-c": "\x03", "q": "q"}[by])
            assert await screen.end() == 0
            assert termios.tcgetattr(screen.slave) == before
            assert "\x1b[?25h" in screen.text
            assert "\x1b[?1049l" in screen.text
            assert "Traceback" not in screen.text
