"""Promises of `check-config`: it says what would be served, whether the providers answer, and never a key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from adaptors import registry
from relay_trio.cli.main import main
from relay_trio.cli.reach import Finding, check_channels, other_way
from relay_trio.settings.model import ChannelSettings, Limits, Settings
from relay_trio.settings.secret import Secret
from relay_trio.testing.certificates import ca_file, server_context, server_files
from relay_trio.testing.fake_upstream import open_fake_upstream, refused_address
from relay_trio.testing.script import Behaviour, Script

Capture = pytest.CaptureFixture[str]

CANARY = "sk-canary-0123456789"
ADAPTORS = registry.load()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to run in, with nothing configured."""
    providers = {name for row in ADAPTORS.values() for name in (row.key_variable, row.base_url_variable)}
    for name in os.environ:
        if name.startswith("RELAY_") or name in providers:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# What is printed


def test_nothing_configured_is_said_to_be_a_demo(place: Path, capsys: Capture) -> None:
    """Without a provider nobody is asked, and the status is 0."""
    assert main(["check-config"]) == 0
    printed = capsys.readouterr().out
    assert "the built-in demo would answer" in printed
    assert "`serve` would make one" in printed
    assert list(place.iterdir()) == []


def test_the_summary_says_what_is_served_and_where_it_came_from(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Settings with their sources, channels, keys; of secrets only that they are there."""
    monkeypatch.setenv("RELAY_TIMEOUT", "10m")
    monkeypatch.setenv("RELAY_API_KEYS", CANARY)
    (place / "relay.toml").write_text(
        f'[relay]\nadmin_key = "{CANARY}-admin"\nmax_body_bytes = "1MiB"\n[[channels]]\nname = "main"\nadaptor = "openai"\n'
        f'api_keys = ["{CANARY}-up", "{CANARY}-up2"]\nmodels = ["gpt-*"]\nproxy = "http://u:{CANARY}@127.0.0.1:1"\n'
    )
    assert main(["check-config", "--offline"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines() == [
        "settings",
        "  max_body_bytes  1MiB  relay.toml:3",
        "  admin_key       set   relay.toml:2",
        "  limits.total    600   RELAY_TIMEOUT",
        "channels",
        "  main  openai  https://api.openai.com/v1  2 keys  models gpt-*  groups all  priority 0, weight 1  relay.toml:4",
        "keys",
        "  key-1  group default  models all  concurrency unlimited  expires never  from anywhere  RELAY_API_KEYS",
    ]
    assert CANARY not in printed


def test_all_settings_can_be_shown(place: Path, capsys: Capture) -> None:
    """`--all` shows also those that have their defaults, what follows from others in words."""
    assert main(["check-config", "--offline", "--all"]) == 0
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert {"limits.total 900 default", "limits.headers = total default", "tls_cert unset default"} <= set(printed)
    assert "max_body_bytes 64MiB default" in printed
    assert list(place.iterdir()) == []


def test_many_keys_are_counted(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Of 5,000 keys twenty are shown."""
    monkeypatch.setenv("RELAY_API_KEYS", ",".join(f"{CANARY}{number}" for number in range(30)))
    assert main(["check-config", "--offline"]) == 0
    assert "  ... and 10 more" in capsys.readouterr().out
    assert list(place.iterdir()) == []


def test_certificates_are_looked_into(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Files that are there and hold no certificate, or one of another key, are told before anything starts."""
    certificate, key = server_files()
    (place / "empty.pem").write_text("")
    monkeypatch.setenv("RELAY_TLS_CERT", str(certificate))
    for key_file, bundle, status in ((key, ca_file(), 0), (certificate, ca_file(), 2), (key, place / "empty.pem", 2)):
        monkeypatch.setenv("RELAY_TLS_KEY", str(key_file))
        monkeypatch.setenv("RELAY_CA_BUNDLE", str(bundle))
        assert main(["check-config", "--offline"]) == status
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in told] == ["RELAY_TLS_CERT, RELAY_TLS_KEY", "RELAY_CA_BUNDLE"]


@pytest.mark.real_clock
def test_a_provider_that_cannot_be_reached_is_status_1(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The whole command, over a real socket: the address is named, the key is not."""
    host, port = refused_address()
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://{host}:{port}/v1")
    assert main(["check-config"]) == 1
    printed = capsys.readouterr()
    assert f"wrong  openai  http://{host}:{port}/v1 cannot be reached" in printed.out
    assert CANARY not in printed.out + printed.err
    assert list(place.iterdir()) == []


@pytest.mark.anyio
@pytest.mark.real_clock
@pytest.mark.usefixtures("place")
async def test_providers_that_answer_are_status_0(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """The whole command, in a thread beside a provider that answers."""
    async with open_fake_upstream() as upstream:
        monkeypatch.setenv("OPENAI_API_KEY", CANARY)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{upstream.url}/v1")
        assert await trio.to_thread.run_sync(main, ["check-config"]) == 0
    assert "ok     openai  api_keys[0]: answers, 2 models" in capsys.readouterr().out


# What the providers answer


def settings(*channels: ChannelSettings, **limits: float) -> Settings:
    return Settings(channels=channels, limits=Limits(**limits), ca_bundle=ca_file())


def channel(base_url: str, *keys: str, name: str = "main", **more: object) -> ChannelSettings:
    secrets = tuple(Secret(key) for key in keys)
    return ChannelSettings(name=name, adaptor="openai", base_url=base_url, api_keys=secrets, **more)  # type: ignore[arg-type]  # the cases name the fields


NOT_FOUND = "answer;status=404"

CASES: list[tuple[dict[str, Behaviour], str, bool, str]] = [
    # by path, base URL, right, told
    ({}, "/v1", True, "api_keys[0]: answers, 2 models"),
    ({"^/models": NOT_FOUND}, "", False, 'channels[0].base_url: "{url}" lists no models (answers 404 to GET models), "{url}/v1" does: use that'),
    ({"^/v1/models": NOT_FOUND}, "/v1", False, 'channels[0].base_url: "{url}/v1" lists no models (answers 404 to GET models), "{url}" does: use that'),
    ({"models": NOT_FOUND}, "/v1", False, "{url}/v1 answers 404 to GET models, and {url} lists no models either"),
    ({"models": "answer;status=401"}, "/v1", False, "api_keys[0]: answers, but refuses the key (401)"),
    ({"models": "answer;status=403"}, "/v1", False, "api_keys[0]: answers, but refuses the key (403)"),
    ({"models": "answer;status=500"}, "/v1", False, "{url}/v1 answers 500 to GET models, and {url} lists no models either"),
    ({"models": "html-200"}, "/v1", False, "{url}/v1 answers, but with no list of models, and {url} lists no models either"),
]  # fmt: skip


@pytest.mark.anyio
@pytest.mark.usefixtures("nothing_left_open")
@pytest.mark.parametrize(("by_path", "base", "right", "told"), CASES)
async def test_what_is_found_out(by_path: dict[str, Behaviour], base: str, right: bool, told: str) -> None:  # noqa: FBT001 - a case
    """An address with `/v1` missing or one too many is told with the right one; a refused key is told by its place."""
    async with open_fake_upstream(Script(by_path=by_path)) as upstream:
        findings = await check_channels(settings(channel(upstream.url + base, CANARY)), ADAPTORS)
        assert findings == [Finding("main", right, told.format(url=upstream.url))]


@pytest.mark.anyio
@pytest.mark.usefixtures("nothing_left_open")
async def test_each_key_is_tried() -> None:
    """A channel with several keys has a line for each, by its place in the list."""
    script = Script()
    script.enqueue("answer", "answer;status=401", "answer")
    async with open_fake_upstream(script) as upstream:
        found = await check_channels(settings(channel(f"{upstream.url}/v1", "sk-1", "sk-2", "sk-3")), ADAPTORS)
        assert [(finding.right, finding.text.split(":")[0]) for finding in found] == [
            (True, "api_keys[0]"), (False, "api_keys[1]"), (True, "api_keys[2]"),
        ]  # fmt: skip
        assert [request.get("authorization") for request in upstream.requests] == [f"Bearer sk-{n}" for n in (1, 2, 3)]


@pytest.mark.anyio
@pytest.mark.usefixtures("nothing_left_open")
@pytest.mark.parametrize("behaviour", ["silent-before-head", "silent-mid-body", "endless-body"])
async def test_the_quick_limit_ends_every_check(behaviour: str) -> None:
    """A provider that is silent, or never done, costs the quick limit of its channel and no more."""
    async with open_fake_upstream(Script(by_path={"models": behaviour})) as upstream:
        one = channel(f"{upstream.url}/v1", CANARY, limits={"quick": 7.0})
        (finding,) = await check_channels(settings(one), ADAPTORS)
        assert finding == Finding("main", right=False, text="no answer within 7 s (limit RELAY_QUICK_TIMEOUT)")


@pytest.mark.anyio
@pytest.mark.usefixtures("nothing_left_open")
async def test_an_answer_without_end_is_read_to_a_bound() -> None:
    """What is longer than any list of models is no list of models, and costs no more memory than its bound."""
    async with open_fake_upstream(Script(by_path={"models": "endless-body;interval=0"})) as upstream:
        (finding,) = await check_channels(settings(channel(f"{upstream.url}/v1", CANARY)), ADAPTORS)
        assert "answers, but with no list of models" in finding.text


@pytest.mark.anyio
@pytest.mark.real_clock  # `localhost` is looked up in a thread
@pytest.mark.usefixtures("nothing_left_open")
async def test_channels_are_reported_in_their_order_over_tls_and_without_keys() -> None:
    """Every channel has its lines, in the order of the file; the CA bundle is trusted; no key is needed."""
    async with open_fake_upstream(tls=server_context()) as upstream:
        many = [channel(f"https://localhost:{upstream.address[1]}/v1", name=f"c{number}") for number in range(12)]
        found = await check_channels(settings(*many), ADAPTORS)
        assert [(finding.channel, finding.text) for finding in found] == [
            (f"c{number}", "answers, 2 models") for number in range(12)
        ]


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ("https://h/v1", "https://h"),
        ("https://h/v1/", "https://h"),
        ("https://h", "https://h/v1"),
        ("https://h/api/", "https://h/api/v1"),
    ],
)
def test_the_other_way(given: str, other: str) -> None:
    """`/v1` is added where it is missing, and taken away where it stands."""
    assert other_way(given) == other
