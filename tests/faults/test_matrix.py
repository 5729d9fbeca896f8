"""Every misbehaviour of a provider, with and without a stream, with a good and with error statuses, in clear and over TLS.

One relay meets a misbehaviour six times in a row, so what the first has left behind strikes the second.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from fault_scene import BOUNDS, open_scene

from relay_trio.testing.misbehaviours import MISBEHAVIOURS
from relay_trio.testing.truths import ROWS, Case, unknown
from relay_trio.testing.verdicts import faults_of, faults_of_secrecy

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

STATUSES = (200, 429, 503)
TRANSPORTS = ("clear", "tls")
OF_TLS = {name for name, row in ROWS.items() if row.over_tls} | {"silent-mid-body", "truncated-without-notice"}
"""Where httpx's TLS could make a difference that its clear text does not."""


def test_every_misbehaviour_has_a_truth() -> None:
    """There is no misbehaviour of which nobody has said what a client may be told."""
    assert unknown() == set()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", MISBEHAVIOURS)
async def test_the_client_is_told_the_truth(tmp_path: Path, name: str, transport: str) -> None:
    """The answer is truthful and in time, everything is closed, one line says so, and no secret is in any line."""
    await meet(tmp_path, name, tls=transport == "tls")


@pytest.mark.parametrize(
    ("name", "transport"),
    [*((name, "clear") for name in MISBEHAVIOURS), *((name, "tls") for name in sorted(OF_TLS))],
)
async def test_httpx_as_transport_tells_the_same_truth(tmp_path: Path, name: str, transport: str) -> None:
    """A channel with `transport = "httpx"` keeps every promise, though httpx is more patient with large heads."""
    await meet(tmp_path, name, STATUSES[:2], tls=transport == "tls", httpx=True)


async def meet(
    directory: Path, name: str, statuses: Sequence[int] = STATUSES, *, tls: bool, httpx: bool = False
) -> None:
    """Meet one misbehaviour in all its forms."""
    faults: list[str] = []
    async with open_scene(directory, "answer", tls=tls, channel='transport = "httpx"' if httpx else "") as scene:
        for stream, status in itertools.product((True, False), statuses):
            case = Case(name, status, BOUNDS, stream=stream, tls=tls, httpx=httpx)
            scene.set_behaviour(case.behaviour)
            got = await scene.ask(stream=stream)
            found = faults_of(case, got, scene.new_lines())
            faults += [f"status={status} {'stream' if stream else 'unary'}: {fault}" for fault in found]
        faults += faults_of_secrecy(scene)
    assert faults == []
