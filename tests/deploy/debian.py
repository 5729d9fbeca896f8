"""Programs that Debian has and this project does not need to run: a test that wants one is skipped where it is missing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import yaml

from relay_trio.testing.fake_client import PeerGone, connect

DEPLOY = Path(__file__).parents[2] / "deploy"

_PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Servers lie in directories that an ordinary user's PATH does not have."""


def program(name: str) -> str:
    """Return where a program lies; its own name where it is missing."""
    return shutil.which(name, path=_PATHS) or name


def needs(name: str, package: str) -> pytest.MarkDecorator:
    """Return the mark that skips a test without this program."""
    missing = shutil.which(name, path=_PATHS) is None
    return pytest.mark.skipif(missing, reason=f"{name} is not there: apt-get install {package}")


def run(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; what it says on both outputs is in `stdout`."""
    return subprocess.run(
        [program(str(words[0])), *map(str, words[1:])],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def read_yaml(text: str) -> Any:
    """Return a YAML document."""
    return yaml.safe_load(text)


def seconds(text: str) -> float:
    """Return a time as systemd and Compose write it: `980`, `980s`, `1m30s`."""
    units = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
    parts = re.findall(r"(\d+)([a-z]*)", text)
    assert "".join(number + unit for number, unit in parts) == text, text
    return sum(float(number) * units[unit] for number, unit in parts)


@attrs.define(eq=False)
class Daemon:
    """A program that runs for the length of a block, and what it printed."""

    process: trio.Process
    output: bytes = b""

    async def read(self) -> None:
        """Take what it prints."""
        assert self.process.stdout is not None
        async for block in self.process.stdout:
            self.output += block


@asynccontextmanager
async def daemon(
    *words: str | Path, cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> AsyncIterator[Daemon]:
    """Run a program for the length of the block."""
    process = await trio.lowlevel.open_process(
        [program(str(words[0])), *map(str, words[1:])],
        cwd=cwd,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    running = Daemon(process)
    assert process.stdout is not None
    async with process.stdout, trio.open_nursery() as nursery:
        nursery.start_soon(running.read)
        try:
            yield running
        finally:
            with trio.CancelScope(shield=True):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its children too: they hold its output open
                await process.wait()


async def wait_listening(address: tuple[str, int], running: Daemon) -> None:
    """Return when somebody accepts there. A program that has ended instead fails the test with what it printed."""
    while True:
        try:
            async with connect(address):
                return
        except (OSError, PeerGone):
            assert running.process.returncode is None, running.output.decode()
            await trio.lowlevel.checkpoint()
