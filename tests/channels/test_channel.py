"""What a channel is made of its settings: whom it serves, under which names, by which clocks."""

from __future__ import annotations

import ssl
from typing import Any

import attrs
import pytest
from parts import ADAPTORS

from relay_trio.channels.channel import Channel, channel_from
from relay_trio.scopes.phase import Limit
from relay_trio.settings.model import CHANNEL_CLOCKS, ChannelSettings, Limits, Settings, variable_of
from relay_trio.settings.secret import Secret

TLS = ssl.create_default_context()
DIALECT, ENDPOINT = "openai_chat", "chat.completions"


def made(relay: Settings | None = None, **settings: Any) -> Channel:
    """Return the channel of these settings."""
    given = ChannelSettings(name="main", adaptor="openai", **settings)
    return channel_from(given, relay or Settings(), ADAPTORS["openai"], TLS)


def serves(one: Channel, model: str | None, group: str = "default") -> bool:
    return one.serves(model, group, DIALECT, ENDPOINT)


def test_a_channel_without_a_list_serves_every_model() -> None:
    """And a request that names none."""
    one = made()
    assert serves(one, "anything")
    assert serves(one, None)
    assert not one.lists_all
    assert one.plain_models() == ()


@pytest.mark.parametrize(
    ("model", "served"),
    [
        ("gpt-4o", True),
        ("gpt-", True),
        ("o3", True),
        ("o", False),
        ("xgpt-4o", False),
        ("GPT-4o", False),
        ("mine", True),
    ],
)
def test_patterns_say_what_is_served(model: str, served: bool) -> None:  # noqa: FBT001 - a column of the table
    """Whole names, case and all; what is renamed is served by its own name."""
    one = made(models=("gpt-*", "o3"), model_map={"mine": "theirs"})
    assert serves(one, model) is served
    assert one.plain_models() == ("o3", "mine")
    assert not one.lists_all


def test_a_list_without_patterns_is_the_whole_list() -> None:
    """The provider need not be asked."""
    assert made(models=("a", "b")).lists_all


def test_a_renamed_model_has_the_providers_name() -> None:
    """Others keep theirs."""
    one = made(model_map={"mine": "theirs"})
    assert [one.upstream_model(name) for name in ("mine", "other", None)] == ["theirs", "other", None]


def test_groups_say_whom_it_serves() -> None:
    """Absent: everybody."""
    assert serves(made(), "m", "any")
    vip = made(groups=("vip",))
    assert [serves(vip, "m", group) for group in ("vip", "default")] == [True, False]


def test_it_serves_no_dialect_that_its_provider_does_not_speak() -> None:
    """Where nothing translates."""
    assert not made().serves("m", "default", "klingon", "opera")


def test_its_address_is_its_own_or_the_providers() -> None:
    """Without a slash too much."""
    assert made().base_url == ADAPTORS["openai"].default_base_url.rstrip("/")
    assert made(base_url="http://x/v1/").base_url == "http://x/v1"


def test_its_keys_are_numbered_and_never_shown() -> None:
    """A provider that wants no key gets none."""
    one = made(api_keys=(Secret("sk-canary-1"), Secret("sk-canary-2")))
    assert [(key.number, key.account.key) for key in one.keys] == [(1, "sk-canary-1"), (2, "sk-canary-2")]
    assert "canary" not in repr(one)
    assert [key.account.key for key in made().keys] == [""]


def test_its_clocks_are_the_relays_unless_it_says_otherwise() -> None:
    """And an error says whose they are."""
    relay = Settings(limits=Limits(headers=90.0))
    one = made(relay, limits={"connect": 3.0, "idle": 40.0})
    assert one.route.connect == Limit(3.0, "RELAY_CONNECT_TIMEOUT of the channel")
    assert one.route.send == Limit(60.0, "RELAY_SEND_TIMEOUT")
    assert one.clocks.headers == Limit(90.0, "RELAY_HEADER_TIMEOUT")
    assert one.clocks.idle == Limit(40.0, "RELAY_IDLE_TIMEOUT of the channel")
    assert one.clocks.first_event is None
    assert one.clocks.total == Limit(900.0, "RELAY_TIMEOUT")
    assert (one.clocks.client_write, one.clocks.quick, one.route.pool_idle_s) == (None, None, None)


@pytest.mark.parametrize("name", sorted(CHANNEL_CLOCKS))
def test_every_clock_that_a_channel_may_set_is_looked_at(name: str) -> None:
    """None is taken and forgotten."""
    one = made(limits={name: 0.5})
    wanted = {"pool_idle": 0.5}.get(name) or Limit(0.5, f"{variable_of('limits.' + name)} of the channel")
    found = [one.route.connect, one.route.send, one.route.pool_idle_s, *attrs.astuple(one.clocks, recurse=False)]
    assert found.count(wanted) == 1


def test_a_proxy_is_ours_or_httpxs() -> None:
    """Whose transport it is, goes by it."""
    ours = made(proxy=Secret("http://u:p@127.0.0.1:3128"))
    assert ours.route.proxy is not None
    assert ours.route.proxy.origin.port == 3128
    theirs = made(proxy=Secret("socks5h://127.0.0.1:1080"), transport="httpx")
    assert theirs.route.proxy is None
    assert theirs.proxy_url == "socks5h://127.0.0.1:1080"
