"""What requests and the watchdog did is on the page of metrics, in the numbers that they had."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from stand import STREAM, UNARY, Stand, open_stand

from relay_trio.edge.meter import MetricsMeter
from relay_trio.testing.fake_client import connect

pytestmark = pytest.mark.anyio


def value(stand: Stand, series: str) -> float:
    """Return the value of a series on the page, rendered here: a thread would let the virtual clock jump."""
    meter = stand.relay.running.services.meter
    assert isinstance(meter, MetricsMeter)
    meter.metrics.hand_over()
    found = re.search(rf"^{re.escape(series)} (\S+)$", meter.metrics.render().decode(), re.MULTILINE)
    assert found is not None, series
    return float(found[1])


async def test_bytes_are_counted_on_all_four_sides(tmp_path: Path) -> None:
    """From the client, to the provider, back, and to the client: within one wire each pair is the same."""
    async with open_stand(tmp_path) as stand:
        response = await stand.ask(UNARY)
        await stand.line()
        (request,) = stand.upstream.requests
        sides = {side: value(stand, f'relay_bytes_total{{channel="main",side="{side}"}}') for side in SIDES}
    up, down = len(request.body), len(response.body.data)
    assert sides == {"from_client": up, "to_upstream": up, "from_upstream": down, "to_client": down}


SIDES = ("from_client", "to_upstream", "from_upstream", "to_client")


async def test_every_attempt_counts_its_bytes(tmp_path: Path) -> None:
    """A second attempt sends the body again: that is what the provider's side of the network sees."""
    async with open_stand(tmp_path, channel='api_keys = ["sk-first-0123456789", "sk-second-0123456789"]') as stand:
        stand.upstream.script.enqueue("answer;status=503")
        await stand.ask(UNARY)
        await stand.line()
        assert value(stand, 'relay_bytes_total{channel="main",side="to_upstream"}') == 2 * len(
            stand.upstream.requests[0].body
        )
        assert value(stand, 'relay_attempts_total{channel="main",result="ok"}') == 1


async def test_findings_of_the_watchdog_are_counted(tmp_path: Path) -> None:
    """Each look that finds too many nurseries is one finding of its level."""
    watchdog = "watchdog = { interval = 1, warn = 1, error = 2 }"
    async with open_stand(tmp_path, "silent-mid-body", relay=watchdog, limits="total = 3.5") as stand:
        async with connect(stand.address) as client:
            await client.send(STREAM)
            await client.read_head()
            await client.read_events()
        await stand.line()
        assert value(stand, 'relay_watchdog_findings_total{finding="warning"}') == 3
