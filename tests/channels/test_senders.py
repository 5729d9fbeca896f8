"""Which transport a channel's requests take, and that retired ones are closed once nobody uses them."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
from parts import channel

from relay_trio.accounts.keys import KeyRing
from relay_trio.channels.catalog import Catalog
from relay_trio.channels.senders import Senders
from relay_trio.scopes.balance import Balance
from relay_trio.settings.model import Settings
from relay_trio.upstream.httpx_transport import HttpxSender

pytestmark = pytest.mark.anyio

NATIVE: Any = object()
DEMO: Any = object()


def senders() -> Senders:
    return Senders(NATIVE, Balance(), {"demo": DEMO})


def catalog(*channels: Any) -> Catalog:
    return Catalog(Settings(), channels, KeyRing(()))


def test_a_channel_takes_the_transport_that_it_names() -> None:
    """Ours for most; httpx's own, one for each channel, made once."""
    ours, demo = channel("a"), channel("b", transport="demo")
    one, other = channel("c", transport="httpx"), channel("d", transport="httpx")
    found = senders()
    assert found(ours) is NATIVE
    assert found(demo) is DEMO
    assert isinstance(found(one), HttpxSender)
    assert found(one) is found(one)
    assert found(one) is not found(other)


async def test_what_a_reload_took_away_is_closed_when_its_last_request_ends() -> None:
    """Not before: live requests go on; and what stays is not touched."""
    gone, kept = channel("gone", transport="httpx"), channel("kept", transport="httpx")
    found = senders()
    old, staying = cast("HttpxSender", found(gone)), found(kept)
    old.in_flight += 1
    found.retire_others(catalog(kept))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.close_retired)
        await trio.sleep(60)
        assert found._retired == [old]
        old.in_flight -= 1
        await trio.sleep(6)
        assert found._retired == []
        nursery.cancel_scope.cancel()
    assert found(kept) is staying
    assert found(gone) is not old
    await found.aclose()
