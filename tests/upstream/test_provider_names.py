"""A provider's name that leads nowhere is the provider's failure, never a crash of the relay."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand import PROVIDER_KEY, UNARY, Stand, error_of, open_with

from relay_trio.testing.fake_upstream import open_fake_upstream

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]  # names are looked up in a thread


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "a" * 64 + ".test", "xn--a"])
async def test_a_name_that_is_not_found_is_502(tmp_path: Path, host: str) -> None:
    """Also one that can be none, because a label of it is empty or too long (RFC 1035, 2.3.4)."""
    toml = f'[[channels]]\nname="main"\nadaptor="openai"\nbase_url="http://{host}:9/v1"\napi_keys=["{PROVIDER_KEY}"]'
    async with open_with(tmp_path, toml) as relay, open_fake_upstream() as upstream:
        stand = Stand(relay, upstream)
        response = await stand.ask(UNARY)
        assert response.status == 502
        error = error_of(response)
        assert (error["code"], error["phase"]) == ("upstream_connect_failed", "connect")
        assert host not in error["message"], "a client is not told who the providers are"
        line = await stand.line()
        assert (line["outcome"], line["phase"]) == ("upstream_error", "connect")
        assert relay.lines("request_crashed") == []
