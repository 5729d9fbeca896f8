"""Connecting to a provider: each way ends in a socket that the hub watches, in words of ours, or in nothing at all."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import trio
import trio.testing
from upstream_rig import open_rig

from relay_trio.errors import UpstreamFailed
from relay_trio.sockets import Hub, PortableHub, open_hub
from relay_trio.testing.fake_upstream import open_deaf_address, open_fake_upstream, refused_address
from relay_trio.upstream import connect
from relay_trio.upstream.target import split_url

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

HUBS = pytest.mark.parametrize("hub", [open_hub, PortableHub], ids=["best", "portable"])
LATER = pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
"""A peer on this machine has answered when connect(2) returns; one elsewhere answers after that."""


@pytest.fixture
def _answers(monkeypatch: pytest.MonkeyPatch, later: bool) -> None:  # noqa: FBT001 - a parameter of the test
    if later:
        monkeypatch.setattr(connect, "_is_connected", lambda _: False)


@HUBS
@LATER
@pytest.mark.usefixtures("_answers")
async def test_a_request_goes_over_a_connection_to_an_address_in_numbers(hub: Callable[[], Hub], later: bool) -> None:  # noqa: ARG001, FBT001 - see the fixture
    """Whether its peer has answered at once, or is waited for."""
    async with open_fake_upstream() as upstream, open_rig(hub) as rig:
        answered = await rig.ask(f"{upstream.url}/v1/chat/completions")

        assert answered.status == 200
        assert rig.hub.statistics().attached == 1
        rig.assert_at_rest(idle=1)


@HUBS
@LATER
@pytest.mark.usefixtures("_answers")
async def test_a_refusal_is_told_in_our_words(hub: Callable[[], Hub], later: bool) -> None:  # noqa: ARG001, FBT001 - see the fixture
    """It may come while somebody waits for the connection; nothing of it is kept."""
    host, port = refused_address()
    async with open_rig(hub) as rig:
        with pytest.raises(UpstreamFailed, match=r"could not be reached \(connection refused\)\.$"):
            await rig.ask(f"http://{host}:{port}/v1/models")

        rig.assert_at_rest()


@HUBS
async def test_an_address_without_a_way_to_it_fails_at_once(hub: Callable[[], Hub]) -> None:
    """The system says so before anything has been sent."""
    async with open_rig(hub) as rig:
        with pytest.raises(UpstreamFailed, match="could not be reached"):
            await rig.ask("http://255.255.255.255:9/v1/models")

        rig.assert_at_rest()


@HUBS
async def test_connecting_can_be_given_up(hub: Callable[[], Hub]) -> None:
    """Its one wait is cancelled, and the socket is closed."""
    async with open_deaf_address() as (host, port), open_rig(hub) as rig:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.ask, f"http://{host}:{port}/v1/models")
            await trio.testing.wait_all_tasks_blocked()
            assert rig.hub.statistics().attached == 1
            nursery.cancel_scope.cancel(reason="the client left")

        rig.assert_at_rest()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["number", "name"])
async def test_every_connection_sends_at_once_and_is_kept_awake(host: str) -> None:
    """A small write does not wait for an acknowledgement, and TCP asks a peer that is silent whether it is there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        origin, _ = split_url(f"http://{host}:{listening.getsockname()[1]}/")
        async with open_rig() as rig:
            sock = await connect.open_connection(rig.hub, origin, rig.route)
            try:
                assert sock.raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                for level, option, value in connect.KEEP_AWAKE:
                    assert sock.raw.getsockopt(level, option) == value
            finally:
                sock.close()


@pytest.mark.parametrize(
    ("host", "family"),
    [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6), ("api.example", None), ("1.2.3", None)],
)
def test_what_is_an_address_in_numbers(host: str, family: socket.AddressFamily | None) -> None:
    """Anything else is looked up, and may have several addresses."""
    assert connect._family_of(host) == family
