"""Promises of the post itself: what its answer may hold is bounded, and it is closed whatever came."""

from __future__ import annotations

import pytest
import trio

from adaptors.values import Header, UpstreamRequest
from relay_trio.background.alerts.webhook import NotDelivered, post
from relay_trio.scopes.phase import Limit, PhaseClock
from relay_trio.upstream.target import Route, tls_context
from relay_trio.upstream.transport import Upload

pytestmark = pytest.mark.anyio

CONNECT = Limit(10, "RELAY_CONNECT_TIMEOUT")
REQUEST = UpstreamRequest(method=b"POST", url="http://127.0.0.1:1/", headers=(), body=b"{}")


class Endless:
    """A sender, and its answer, which has no end."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.headers: list[Header] = []
        self.fields: dict[bytes, bytes] = {}
        self.reused = self.ended = False
        self.received = 0
        self.closed = False

    async def send(
        self,
        request: UpstreamRequest,
        route: Route,
        clock: PhaseClock,
        headers: Limit | None = None,
        upload: Upload | None = None,
    ) -> Endless:
        assert (request, route.connect, clock.current, headers, upload) == (REQUEST, CONNECT, "starting", None, None)
        return self

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        self.received += 1024
        return b"x" * 1024

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("status", "passing"), [(200, None), (429, True), (503, True), (401, False)])
async def test_an_answer_without_an_end_is_read_a_little(status: int, passing: bool | None) -> None:  # noqa: FBT001 - a table
    """Sixteen KiB of it, and it is closed; the status says whether another try may go better."""
    answer = Endless(status)
    route = Route(CONNECT, CONNECT, tls_context(None))
    found: bool | None = None
    with trio.fail_after(10):
        try:
            await post(answer, REQUEST, route, PhaseClock(), "json")
        except NotDelivered as error:
            found = error.passing
    assert found is passing
    assert answer.received == 16 * 1024
    assert answer.closed
