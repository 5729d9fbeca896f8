"""Certificates that are right are trusted, and each wrong one is refused for its own reason."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest

from relay_trio.testing import certificates
from relay_trio.testing.fake_client import connect
from relay_trio.testing.fake_upstream import open_fake_upstream
from relay_trio.testing.link import PeerGone
from relay_trio.testing.shapes import chat

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (certificates.wrong_name_context, "IP address mismatch"),
        (certificates.expired_context, "certificate has expired"),
        (certificates.untrusted_context, "unable to get local issuer certificate"),
    ],
)
async def test_wrong_certificates_are_refused(server: Callable[[], ssl.SSLContext], reason: str) -> None:
    """The name, the date and the authority are looked at."""
    async with open_fake_upstream(tls=server()) as upstream:
        with pytest.raises(PeerGone) as caught:
            async with connect(upstream.url, tls=certificates.client_context()):
                pytest.fail("the handshake succeeded")

        assert reason in str(caught.value.__cause__.__cause__)  # type: ignore[union-attr]
        await upstream.wait_no_connections()
        assert upstream.connections.ended[0].peer_first


async def test_files_make_a_server_that_the_authority_file_trusts() -> None:
    """What settings name by file works like the contexts."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificates.server_files())
    client = ssl.create_default_context(cafile=str(certificates.ca_file()))
    async with open_fake_upstream(tls=server) as upstream, connect(upstream.url, tls=client) as one:
        await one.send(chat(stream=False))

        assert (await one.read_response()).status == 200


def test_keys_are_made_once() -> None:
    """The slow part happens once in a process."""
    assert certificates.authority() is certificates.authority()
    assert certificates.server_context() is certificates.server_context()
    assert certificates.ca_file() == certificates.ca_file()
