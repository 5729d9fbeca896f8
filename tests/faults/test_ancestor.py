"""How the relay's ancestor died: a provider answers with an error, the body cannot be read, and nothing is ever closed.

It held 169,000 goroutines in the end. Here thousands of such answers come in waves, and after each wave nothing is left.
"""

from __future__ import annotations

import gc
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from fault_scene import TOTAL_S, open_scene

from relay_trio.testing.conversation import Fault
from relay_trio.testing.fake_client import connect
from relay_trio.testing.oracle import Snapshot, descriptors, tasks_and_nurseries, wait_settled
from relay_trio.testing.scene import Scene
from relay_trio.testing.shapes import chat

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

WAVES = 2
AT_ONCE = 100
"""Requests in a wave; each holds four sockets of this process: two ends towards the client, two towards the provider."""

BODIES = {
    "breaks off": "truncated-length;status=429",
    "breaks off in a chunk": "truncated-mid-chunk;status=503",
    "is reset": "reset-mid-body;status=504",
    "never ends": "endless-body;status=429;size=1024",
    "drips": "endless-drip;status=503",
    "never comes": "silent-after-head;status=504",
    "stops": "silent-mid-body;status=429",
    "is garbage": "garbage-in-body;status=503",
}


async def ask_all(scene: Scene, count: int, statuses: Counter[int]) -> None:
    """Ask so many times at once, each on a connection of its own, and count the answers' statuses."""
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(partial(ask_once, scene, statuses, stream=number % 2 == 0))


async def ask_once(scene: Scene, statuses: Counter[int], *, stream: bool) -> None:
    async with connect(scene.relay.url) as client:
        await client.send(chat(key=scene.relay.key, stream=stream))
        statuses[(await client.read_response()).status] += 1


async def wave(scene: Scene, statuses: Counter[int]) -> str:
    """Ask AT_ONCE times and wait for the end; return which descriptors and tasks are there that were not before."""
    sockets, tasks = descriptors(), tasks_and_nurseries()[0]
    await ask_all(scene, AT_ONCE, statuses)
    await scene.wait_all_closed()
    await scene.upstream.wait_no_connections()
    await trio.testing.wait_all_tasks_blocked()
    left = [text for key, text in descriptors().items() if key not in sockets]
    left += tasks_and_nurseries()[0] - tasks
    await trio.sleep(TOTAL_S + 1)  # trio forgets the deadlines of scopes that were left when their time comes
    return "\n".join(left)


@pytest.mark.parametrize("body", BODIES)
async def test_errors_whose_body_cannot_be_read_leave_nothing(tmp_path: Path, body: str) -> None:
    """After each wave of such answers the tasks, sockets and counts are those of the beginning; each kept its status."""
    statuses: Counter[int] = Counter()
    async with open_scene(tmp_path, BODIES[body]) as scene:
        await wave(scene, statuses)  # what is made once for good is there before the first look
        before = Snapshot.take()
        leftovers = [await wave(scene, statuses) for _ in range(WAVES)]
        leftovers.append(await wait_settled(before))
        lines = scene.relay.finished()

    asked = AT_ONCE * (WAVES + 1)
    assert set(leftovers) == {""}
    assert statuses == {Fault.parse(BODIES[body]).status: asked}
    assert [line["left_open"] for line in lines] == [0] * asked


async def test_memory_stays_flat(tmp_path: Path) -> None:
    """Wave after wave, the process holds no more objects than after the first: no list, dictionary or heap grows."""
    statuses: Counter[int] = Counter()
    counts = []
    async with open_scene(tmp_path, "truncated-length;status=503") as scene:
        for _ in range(WAVES + 2):
            await wave(scene, statuses)
            forget_what_the_test_keeps(scene)
            gc.collect()
            counts.append(len(gc.get_objects()))

    assert statuses == {503: AT_ONCE * (WAVES + 2)}
    assert max(counts[1:]) - counts[1] < AT_ONCE // 2, f"objects after each wave: {counts}"


def forget_what_the_test_keeps(scene: Scene) -> None:
    """Empty the fake's records and the log's lines: they grow on purpose."""
    scene.upstream.requests.clear()
    scene.upstream.connections.ended.clear()
    scene.relay.log.lines.clear()
