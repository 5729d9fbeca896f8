"""Promises of loading: who beats whom, what a run without a file gets, and that all that is wrong is told at once."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from relay_trio.settings.digests import digest_of, format_digest
from relay_trio.settings.load import ConfigurationErrors, load
from relay_trio.settings.model import Limits, Settings, Watchdog, named

NOTHING: Mapping[str, str] = {}


@attrs.frozen
class Row:
    name: str
    default_base_url: str
    key_variable: str
    base_url_variable: str


PROVIDERS = (
    Row("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    Row("xai", "https://api.x.ai/v1", "XAI_API_KEY", "XAI_BASE_URL"),
    Row("azure", "", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
    Row("vllm", "http://localhost:8000/v1", "VLLM_API_KEY", ""),
)


@attrs.frozen
class Place:
    """A directory in which a configuration is read."""

    directory: Path

    def write(self, text: str, name: str = "relay.toml") -> None:
        (self.directory / name).write_text(text)

    def load(
        self,
        environ: Mapping[str, str] = NOTHING,
        *,
        config: Path | None = None,
        listen: str | None = None,
        **variables: str,
    ) -> Settings:
        return load(
            {**environ, **variables},
            config,
            lambda count: "5e" * count,
            providers=PROVIDERS,
            options={} if listen is None else {"listen": listen},
            directory=self.directory,
        )

    def problems(self, environ: Mapping[str, str] = NOTHING, **variables: str) -> list[str]:
        with pytest.raises(ConfigurationErrors) as caught:
            self.load({**environ, **variables})
        return list(caught.value.problems)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


EXAMPLE = f"""
[relay]
listen = ["0.0.0.0:3000"]
workers = 3
cors_origins = ["*"]
trusted_proxies = ["10.0.0.0/8"]
max_concurrency = 500
max_queue = 1000
max_body_bytes = "64MiB"
max_buffered_bytes = "1GiB"
watchdog = {{ interval = 30, warn = 2000, error = 5000 }}
[relay.limits]
total = "15m"
[[channels]]
name = "openai-main"
adaptor = "openai"
base_url = "https://api.openai.com/v1/"
api_keys = ["env:OPENAI_KEY_1", "file:secrets/openai_2"]
models = ["gpt-*", "o*"]
model_map = {{ "gpt-4o" = "gpt-4o-2024-11-20" }}
groups = ["default", "vip"]
priority = 10
weight = 3
proxy = "env:HK_PROXY"
limits = {{ headers = 120 }}
[[keys]]
name = "acme"
digest = "{format_digest(digest_of("sk-acme"))}"
group = "vip"
models = ["gpt-*"]
concurrency = 50
expires = 2027-01-01T00:00:00Z
allow_from = ["203.0.113.0/24"]
"""

CHANNEL = '[[channels]]\nname = "one"\nadaptor = "openai"\napi_keys = ["sk-up"]\n'
KEY = {"RELAY_API_KEYS": "sk-client"}


# What is right


def test_the_shape_in_the_documentation_is_read(place: Place) -> None:
    """Each kind of value in the example arrives as what it means."""
    (place.directory / "secrets").mkdir()
    place.write("sk-two\n", "secrets/openai_2")
    place.write(EXAMPLE)
    settings = place.load(OPENAI_KEY_1="sk-one", HK_PROXY="http://user:pw@proxy:8080")
    (channel,), (key,) = settings.channels, settings.keys
    assert settings.listen == ("0.0.0.0:3000",)
    assert (settings.workers, settings.max_concurrency, settings.max_queue) == (3, 500, 1000)
    assert (settings.max_body_bytes, settings.limits.total) == (64 * 2**20, 900)
    assert settings.trusted_proxies == (ipaddress.ip_network("10.0.0.0/8"),)
    assert settings.watchdog == Watchdog()
    assert channel.base_url == "https://api.openai.com/v1"
    assert [secret.reveal() for secret in channel.api_keys] == ["sk-one", "sk-two"]
    assert (channel.models, channel.groups) == (("gpt-*", "o*"), ("default", "vip"))
    assert (dict(channel.model_map), dict(channel.limits)) == ({"gpt-4o": "gpt-4o-2024-11-20"}, {"headers": 120})
    assert (channel.priority, channel.weight, channel.transport) == (10, 3, "native")
    assert channel.proxy is not None
    assert channel.proxy.reveal() == "http://user:pw@proxy:8080"
    assert (key.name, key.group, key.models, key.concurrency) == ("acme", "vip", ("gpt-*",), 50)
    assert key.digest == digest_of("sk-acme")
    assert key.expires == dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
    assert key.allow_from == (ipaddress.ip_network("203.0.113.0/24"),)
    assert (settings.demo, settings.printed_key) == (False, None)


def test_nothing_configured_is_a_demo_with_a_key_made_for_the_run(place: Place) -> None:
    """No file and no variable: the defaults, no channel, and one key that is in force and can be printed."""
    settings = place.load()
    assert settings.printed_key is not None
    assert settings.printed_key.reveal() == "sk-" + "5e" * 24
    assert [key.digest for key in settings.keys] == [digest_of(settings.printed_key.reveal())]
    assert (settings.demo, settings.channels) == (True, ())
    unset = attrs.evolve(settings, keys=(), printed_key=None, demo=False, sources={})
    assert unset == Settings()


def test_a_variable_beats_the_file_and_an_option_beats_both(place: Place) -> None:
    """The order is option, variable, file, default; and the settings say where each value came from."""
    place.write('[relay]\nlisten = ["127.0.0.1:1"]\nworkers = 2\n[relay.limits]\ntotal = 60\nbody = 5\n')
    settings = place.load(listen="127.0.0.1:9", RELAY_LISTEN="127.0.0.1:5", RELAY_TIMEOUT="10m", RELAY_WORKERS="")
    assert (settings.listen, settings.workers) == (("127.0.0.1:9",), 2)
    assert (settings.limits.total, settings.limits.body, settings.limits.send) == (600, 5, 60)
    wanted = ("listen", "limits.total", "workers", "limits.body", "limits.send", "keys[0]")
    assert [settings.sources[name] for name in wanted] == [
        "--listen", "RELAY_TIMEOUT", "relay.toml:3", "relay.toml:6", "default", "made for this run",
    ]  # fmt: skip


def test_every_setting_says_where_it_came_from(place: Place) -> None:
    """No setting of `[relay]` is without a source."""
    assert {name for name, _, _ in named()} <= set(place.load().sources)


@pytest.mark.parametrize(
    ("variables", "listen"),
    [
        ({"RELAY_PORT": "3001"}, ("127.0.0.1:3001",)),
        ({"RELAY_HOST": "::1"}, ("[::1]:3000",)),
        ({"RELAY_HOST": "localhost", "RELAY_PORT": "0"}, ("localhost:0",)),
        ({"RELAY_HOST": "0.0.0.0", **KEY}, ("0.0.0.0:3000",)),
        ({"RELAY_LISTEN": "127.0.0.1:1, [::1]:1"}, ("127.0.0.1:1", "[::1]:1")),
        ({"RELAY_LISTEN": ":8080", **KEY}, ("0.0.0.0:8080",)),
    ],
)
def test_an_address_may_be_said_in_halves(place: Place, variables: dict[str, str], listen: tuple[str, ...]) -> None:
    """RELAY_HOST and RELAY_PORT replace their half of the address."""
    assert place.load(variables).listen == listen


def test_a_port_replaces_the_ports_of_the_file(place: Place) -> None:
    """The advice of a port in use, `RELAY_PORT=3001?`, keeps the hosts that the file says."""
    place.write('[relay]\nlisten = ["127.0.0.1:3000", "[::1]:3000"]\n')
    assert place.load(RELAY_PORT="3001").listen == ("127.0.0.1:3001", "[::1]:3001")


def test_the_file_may_be_named(place: Place) -> None:
    """--config beats RELAY_CONFIG, which beats relay.toml where we run; secrets are looked for beside the file."""
    (place.directory / "etc").mkdir()
    for number, name in enumerate(("relay.toml", "etc/variable.toml", "etc/option.toml"), 1):
        place.write(f"[relay]\nmax_attempts = {number}\nadmin_key = 'file:admin'", name)
    place.write("here", "admin")
    place.write("there", "etc/admin")
    named_by_variable = place.load(RELAY_CONFIG="etc/variable.toml")
    named_by_option = place.load(RELAY_CONFIG="etc/variable.toml", config=Path("etc/option.toml"))
    assert [place.load().max_attempts, named_by_variable.max_attempts, named_by_option.max_attempts] == [1, 2, 3]
    assert named_by_option.sources["max_attempts"] == "etc/option.toml:2"
    keys = [settings.admin_key for settings in (place.load(), named_by_option)]
    assert [key.reveal() for key in keys if key] == ["here", "there"]


def test_limits_that_may_be_off(place: Place) -> None:
    """`off` and, where no limit must exist, 0 mean none; what follows from the total may say so."""
    settings = place.load(RELAY_IDLE_TIMEOUT="off", RELAY_FIRST_EVENT_TIMEOUT="0", RELAY_HEADER_TIMEOUT="total")
    assert settings.limits == Limits()
    place.write('[relay]\nmax_concurrency = "off"\nkeepalive_interval = 0\n[relay.limits]\nidle = 0\n')
    settings = place.load()
    assert (settings.limits.idle, settings.max_concurrency, settings.keepalive_interval) == (None, None, 0)
    assert (settings.limits.drain_s, Limits(drain=7).drain_s) == (960, 7)


def test_a_providers_own_variables_make_its_channel(place: Place) -> None:
    """Whoever has OPENAI_API_KEY set needs no file: the channel has the adaptor's name, and the demo is off."""
    settings = place.load(OPENAI_API_KEY="sk-up", OPENAI_BASE_URL="https://proxy.example.org/v1/", XAI_API_KEY="xai-up")
    assert [(channel.name, channel.adaptor, channel.base_url) for channel in settings.channels] == [
        ("openai", "openai", "https://proxy.example.org/v1"),
        ("xai", "xai", None),
    ]
    assert [channel.api_keys[0].reveal() for channel in settings.channels] == ["sk-up", "xai-up"]
    assert (settings.demo, settings.sources["channels[0]"]) == (False, "OPENAI_API_KEY")


def test_a_server_that_wants_no_key_needs_only_its_address(place: Place) -> None:
    """OPENAI_BASE_URL alone, as for a server on one's own machine, makes a channel without a key."""
    (channel,) = place.load(OPENAI_BASE_URL="http://localhost:8000/v1").channels
    assert (channel.base_url, channel.api_keys) == ("http://localhost:8000/v1", ())


def test_channels_in_the_file_are_the_only_ones(place: Place) -> None:
    """A variable that lies about adds no channel to those that somebody has listed."""
    place.write(CHANNEL)
    assert [channel.name for channel in place.load(OPENAI_API_KEY="sk-other", XAI_API_KEY="x").channels] == ["one"]


def test_keys_may_be_a_variable(place: Place) -> None:
    """RELAY_API_KEYS holds keys with commas between, or names a file of them; those of the file count too."""
    place.write("sk-a\nsk-b\n", "keys")
    place.write(f'[[keys]]\nname = "acme"\ndigest = "{format_digest(digest_of("sk-acme"))}"\n')
    for text in ("sk-a, sk-b,", "file:keys"):
        settings = place.load(RELAY_API_KEYS=text, RELAY_HOST="0.0.0.0")
        assert [key.name for key in settings.keys] == ["acme", "key-1", "key-2"]
        assert [key.digest for key in settings.keys] == [digest_of(key) for key in ("sk-acme", "sk-a", "sk-b")]


def test_kubernetes_may_have_a_service_named_relay(place: Place) -> None:
    """The variables that Kubernetes makes of a Service's name are nobody's settings."""
    service = {
        "RELAY_PORT": "tcp://10.0.0.7:80", "RELAY_SERVICE_HOST": "10.0.0.7", "RELAY_SERVICE_PORT": "80",
        "RELAY_SERVICE_PORT_HTTP": "80", "RELAY_PORT_80_TCP": "tcp://10.0.0.7:80", "RELAY_PORT_80_TCP_ADDR": "10.0.0.7",
        "RELAY_TRIO_SERVICE_HOST": "10.0.0.8", "RELAY_TRIO_PORT": "tcp://10.0.0.8:80",
    }  # fmt: skip
    assert place.load(service).listen == ("127.0.0.1:3000",)


def test_less_memory_lowers_the_defaults_inside_it(place: Place) -> None:
    """A small max_buffered_bytes is not in conflict with a default: the default follows, and says so."""
    settings = place.load(RELAY_MAX_BUFFERED_BYTES="32MiB")
    assert (settings.max_body_bytes, settings.max_answer_bytes) == (32 * 2**20, 32 * 2**20)
    assert settings.sources["max_body_bytes"] == "default, no more than max_buffered_bytes"


def test_a_file_from_windows_is_read(place: Place) -> None:
    """A byte order mark and CRLF change nothing, the lines neither."""
    (place.directory / "relay.toml").write_bytes(b"\xef\xbb\xbf[relay]\r\n\r\nworkers = 0\r\n")
    assert place.problems() == ["relay.toml:3 relay.workers: 0 is out of range; allowed 1..256 or auto, default 1"]


def test_a_channel_may_be_shorter_or_in_part_longer(place: Place) -> None:
    """Any clock that runs on a channel may be shorter; connect, send, headers, first event and idle longer."""
    place.write(
        CHANNEL + "limits = { total = 60, quick = '30s', connect = 100, send = 100, headers = 5, idle = 3600 }\n"
    )
    settings = place.load()
    limits = settings.limits.with_channel(settings.channels[0].limits)
    assert limits == Limits(total=60, quick=30, connect=100, send=100, headers=5, idle=3600)


# What is wrong


def test_the_documented_problems_have_their_documented_form(place: Place) -> None:
    """The sentences of the documentation, to the letter."""
    place.write("\n" * 19 + CHANNEL + '[[channels]]\nname = "two"\nadaptor = "openai"\nbase_url = "api.openai.com"\n')
    assert place.problems(RELAY_TIMEOUT="0") == [
        "RELAY_TIMEOUT=0: no unlimited here (one-api's meaning); allowed 1..86400, default 900",
        'relay.toml:27 channels[1].base_url: "api.openai.com" is no URL; want e.g. "https://api.openai.com/v1"',
    ]


def test_an_open_address_without_a_key_is_refused_with_what_helps(place: Place) -> None:
    """Nobody serves a provider's key to the network by accident."""
    advice = "can be reached from the network and no key is set; try RELAY_API_KEYS=sk-$(openssl rand -hex 24)"
    assert place.problems(RELAY_HOST="0.0.0.0") == [f"0.0.0.0:3000 {advice}"]
    assert place.problems(RELAY_LISTEN="127.0.0.1:1,[::]:1") == [f"[::]:1 {advice}"]
    assert place.problems(RELAY_HOST="relay.example.org") == [f"relay.example.org:3000 {advice}"]


WRONG = [
    # text of the file, what is told
    ("[relay]\nlissten = 1", "relay.toml:2 relay.lissten: no such setting; did you mean listen?"),
    ("[relay]\nwatchdog = { wran = 1 }", "relay.toml:2 relay.watchdog.wran: no such setting; did you mean warn?"),
    ("[relay]\ndemo = true", "relay.toml:2 relay.demo: no such setting"),
    ("[limits]\ntotal = 5", "relay.toml:1 limits: no such setting here; it belongs to relay.limits"),
    ("max_queue = 5", "relay.toml:1 max_queue: no such setting here; it belongs to relay.max_queue"),
    ("[[chanels]]", "relay.toml:1 chanels: no such setting; did you mean channels?"),
    ("relay = 5", "relay.toml:1 relay: 5 is no table"),
    ("[relay]\nlimits = 5", "relay.toml:2 relay.limits: 5 is no table"),
    ("[channels]\nname = 'a'", "relay.toml:1 channels is no list of tables; want [[channels]]"),
    ("keys = ['sk-secret']", "relay.toml:1 keys[0] is no table"),
    ("[relay]\nlisten = '0.0.0.0:1'", 'relay.toml:2 relay.listen: "0.0.0.0:1" is no list: want it in [brackets]'),
    ("[relay]\nlisten = []", "relay.toml:2 relay.listen: [...] leaves nothing to listen on"),
    ("[relay]\nlisten = [\n'x',\n3]", 'relay.toml:3 relay.listen[0]: "x" is no address; want e.g. "127.0.0.1:3000" or "[::1]:3000"'),
    ("[relay]\nlisten = [\n'x',\n3]", "relay.toml:4 relay.listen[1]: 3 is no text (which stands in quotes)"),
    ("[relay]\nmax_body_bytes = '64M'", 'relay.toml:2 relay.max_body_bytes: "64M" is no size (want 1048576, "64MiB" or "500MB"); allowed 1KiB..4GiB, default 64MiB'),
    ("[relay]\nmax_attempts = true", "relay.toml:2 relay.max_attempts: true is no whole number; allowed 1..20, default 3"),
    ("[relay]\nlog_level = 'loud'", 'relay.toml:2 relay.log_level: "loud" is none of the words; allowed debug, info, warning, error, default info'),
    ("[relay]\nlimits.body = inf", "relay.toml:2 relay.limits.body: inf is out of range; allowed 0.1..86400, default 60"),
    ("[relay]\nlimits.body = nan", "relay.toml:2 relay.limits.body: nan is out of range; allowed 0.1..86400, default 60"),
    ("[relay]\nlimits.connect = 0", "relay.toml:2 relay.limits.connect: 0: no unlimited here; allowed 0.1..86400, default 10"),
    ("[relay]\nlimits.idle = 'never'", 'relay.toml:2 relay.limits.idle: "never" is no duration (want 90, "90s", "15m" or "1h30m"); allowed 0.1..86400 or off or 0, default off'),
    ("[relay]\ntls_cert = 'none.pem'", 'relay.toml:2 relay.tls_cert: "none.pem" is no file that is there'),
    ("[relay]\nwatchdog.warn = 6000", "relay.toml:2 relay.watchdog.warn: 6000 is above RELAY_WATCHDOG_ERROR (5000)"),
    ("[relay]\nmax_body_bytes = '2GiB'", "relay.toml:2 relay.max_body_bytes: 2GiB is above RELAY_MAX_BUFFERED_BYTES (1GiB): it could never be read"),
    ("[relay]\ndefault_channel = 'x'\n" + CHANNEL, 'relay.toml:2 relay.default_channel: "x" is no channel; channels: one'),
    ("[relay]\ncors_origins = ['https://a.b/c']", 'relay.toml:2 relay.cors_origins[0]: "https://a.b/c" is no origin; want e.g. "https://chat.example.org"'),
    ("[relay]\ntrusted_proxies = ['10.0.0.1/8']", 'relay.toml:2 relay.trusted_proxies[0]: "10.0.0.1/8" has bits set behind its prefix; want e.g. "10.0.0.0/8"'),
    ("[relay]\nadmin_key = 'env:ADMIN'", "relay.toml:2 relay.admin_key: the variable ADMIN is not set"),
    ("[relay]\nmetrics_key = 'sk secret'", "relay.toml:2 relay.metrics_key holds white space or letters outside ASCII: no HTTP header can carry it"),
    ("[relay]\nmetrics_key = ''", "relay.toml:2 relay.metrics_key is empty"),
    ("[[channels]]\nadaptor = 'openai'", "relay.toml:1 channels[0]: no name, which must be given: names the channel in logs and metrics; clients never see it"),
    ("[[channels]]\nname = 'a b'\nadaptor='openai'", 'relay.toml:2 channels[0].name: "a b" is no name (letters, digits and . _ - @ : +, at most 64); want e.g. "openai-main"'),
    ("[[channels]]\nname = 'a'\nadaptor='opena'", 'relay.toml:3 channels[0].adaptor: "opena" is no adaptor; did you mean openai?'),
    ("[[channels]]\nname = 'a'\nadaptor='zzz'", 'relay.toml:3 channels[0].adaptor: "zzz" is no adaptor; known: azure, openai, vllm, xai'),
    ("[[channels]]\nname = 'a'\nadaptor='azure'", "relay.toml:1 channels[0]: no base_url; azure has no address of its own"),
    ("[[channels]]\nname = 'a'\nadaptor='xai'", 'relay.toml:1 channels[0]: no api_keys; want e.g. api_keys = ["env:XAI_API_KEY"]'),
    (CHANNEL + "models = []", "relay.toml:5 channels[0].models: [...] serves nothing; leave it out for all models"),
    (CHANNEL + "model_map = { a = 5 }", 'relay.toml:5 channels[0].model_map.a: 5 is no model name; want e.g. "gpt-4o-2024-11-20"'),
    (CHANNEL + "model_map = 'x'", 'relay.toml:5 channels[0].model_map: "x" is no table: want { name = value }'),
    (CHANNEL + "[channels.model_map]\n\"gpt-4.1\" = ''", 'relay.toml:6 channels[0].model_map."gpt-4.1": "" is no model name; want e.g. "gpt-4o-2024-11-20"'),
    (CHANNEL + "transport = 'curl'", 'relay.toml:5 channels[0].transport: "curl" is none of the words; allowed native, httpx, default native'),
    (CHANNEL + "ask_usage = 1", "relay.toml:5 channels[0].ask_usage: 1 is neither true nor false; allowed true or false, default false"),
    (CHANNEL + "limits = { total = 1000 }", "relay.toml:5 channels[0].limits.total: 1000 is longer than RELAY_TIMEOUT (900); a channel may only shorten it"),
    (CHANNEL + "limits = { quick = 121 }", "relay.toml:5 channels[0].limits.quick: 121 is longer than RELAY_QUICK_TIMEOUT (120); a channel may only shorten it"),
    (CHANNEL + "limits = { drain = 5 }", "relay.toml:5 channels[0].limits.drain: 5 is no clock of a channel; these are: client_write, connect, first_event, headers, idle, pool_idle, quick, send, total"),
    (CHANNEL + "limits = { hedaers = 5 }", "relay.toml:5 channels[0].limits.hedaers: 5: no such setting; did you mean headers?"),
    (CHANNEL + "limits = { headers = '5x' }", 'relay.toml:5 channels[0].limits.headers: "5x" is no duration (want 90, "90s", "15m" or "1h30m"); allowed 0.1..86400'),
    (CHANNEL + "proxy = 'socks5h://u:secret@h:1'", 'relay.toml:5 channels[0].proxy is a SOCKS proxy, which needs transport = "httpx"'),
    (CHANNEL + "proxy = 'ftp://u:secret@h:1'", 'relay.toml:5 channels[0].proxy: no proxy\'s URL; want e.g. "http://proxy.example.org:8080" or "socks5h://127.0.0.1:1080"'),
    (CHANNEL + "base_url = 'https://u@h/v1'", 'relay.toml:5 channels[0].base_url: "https://u@h/v1" holds a user, a query or a fragment; want e.g. "https://api.openai.com/v1"'),
    (CHANNEL + "base_url = 'https://h:99999'", 'relay.toml:5 channels[0].base_url: "https://h:99999" is no URL; want e.g. "https://api.openai.com/v1"'),
    (CHANNEL + CHANNEL, "relay.toml:6 channels[1].name: the same as in relay.toml:1"),
    ("[[keys]]\nname = 'a'", "relay.toml:1 keys[0]: no digest, which must be given: what `relay-trio keys new NAME` prints"),
    ("[[keys]]\nname = 'a'\ndigest = 'sk-secret'", "relay.toml:3 keys[0].digest: no digest; a key in clear text does not belong here: `relay-trio keys new NAME` prints both"),
    ("[[keys]]\nname = 'a'\ndigest = ''\nexpires = 2027-01-01", "relay.toml:4 keys[0].expires: 2027-01-01 is no date and time; want e.g. 2027-01-01T00:00:00Z (without quotes)"),
    ("[[keys]]\nname = 'a'\ndigest = ''\nexpires = 2027-01-01T00:00:00", "relay.toml:4 keys[0].expires: 2027-01-01T00:00:00 has no time zone; want e.g. 2027-01-01T00:00:00Z (without quotes)"),
    ("[[keys]]\nname = 'a'\ndigest = ''\nallow_from = ['home']", 'relay.toml:4 keys[0].allow_from[0]: "home" is no network; want e.g. "203.0.113.0/24"'),
    ("[relay]\nworkers = = 5", "relay.toml:2: no TOML: Invalid value (column 11)"),
    ('[relay]\n\nlog_level = "', "relay.toml:3: no TOML: Unterminated string (at end of document)"),
    ("x = " + "[" * 5000 + "]" * 5000, "relay.toml:1: nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), WRONG, ids=[f"{number}" for number in range(len(WRONG))])
def test_each_problem_has_its_line(place: Place, text: str, told: str) -> None:
    """A problem in the file names the line, the key, the value unless it is secret, and what would do."""
    place.write(text)
    problems = place.problems()
    assert told in problems
    assert not any("secret" in problem for problem in problems)


WRONG_VARIABLES = [
    ({"RELAY_TIMEOUT": "86401"}, "RELAY_TIMEOUT=86401 is out of range; allowed 1..86400, default 900"),
    ({"RELAY_TIMEOUT": "soon"}, 'RELAY_TIMEOUT=soon is no duration (want 90, "90s", "15m" or "1h30m"); allowed 1..86400, default 900'),
    ({"RELAY_TIMEOUTS": "5"}, "RELAY_TIMEOUTS: no such setting; did you mean RELAY_TIMEOUT?"),
    ({"RELAY_MAX_CONCURENCY": "5"}, "RELAY_MAX_CONCURENCY: no such setting; did you mean RELAY_MAX_CONCURRENCY?"),
    ({"RELAY_ZZZ": "5"}, "RELAY_ZZZ: no such setting"),
    ({"RELAY_PORT": "70000"}, "RELAY_PORT=70000 is out of range; allowed 0..65535, default 3000"),
    ({"RELAY_HOST": "a b"}, 'RELAY_HOST=a b is no host; want e.g. "0.0.0.0" or "::1"'),
    ({"RELAY_PORT": "1", "RELAY_LISTEN": "127.0.0.1:1"}, "RELAY_PORT: RELAY_LISTEN is set too; say it once"),
    ({"RELAY_LISTEN": "127.0.0.1:1,x"}, 'RELAY_LISTEN: "x" is no address; want e.g. "127.0.0.1:3000" or "[::1]:3000"'),
    ({"RELAY_TLS_CERT": "pem"}, "RELAY_TLS_CERT: stands alone; TLS needs both RELAY_TLS_CERT and RELAY_TLS_KEY"),
    ({"RELAY_TLS_KEY": "pem"}, "RELAY_TLS_KEY: stands alone; TLS needs both RELAY_TLS_CERT and RELAY_TLS_KEY"),
    ({"RELAY_DEFAULT_CHANNEL": "x"}, 'RELAY_DEFAULT_CHANNEL: "x" is no channel; channels: none'),
    ({"RELAY_API_KEYS": "sk-secret,sk-b,sk-secret"}, "RELAY_API_KEYS: key 3 is there twice"),
    ({"RELAY_API_KEYS": "sk-b,sk-secrét"}, "RELAY_API_KEYS: key 2 holds white space or letters outside ASCII: no HTTP header can carry it"),
    ({"RELAY_API_KEYS": "s" * 513}, "RELAY_API_KEYS: key 1 is longer than 512 bytes"),
    ({"RELAY_API_KEYS": "file:nowhere"}, "RELAY_API_KEYS: the file {directory}/nowhere cannot be read (No such file or directory)"),
    ({"RELAY_ADMIN_KEY": "file:empty"}, "RELAY_ADMIN_KEY: the file {directory}/empty is empty"),
    ({"RELAY_ADMIN_KEY": "file:binary"}, "RELAY_ADMIN_KEY: the file {directory}/binary is no text in UTF-8"),
    ({"RELAY_ADMIN_KEY": "file:large"}, "RELAY_ADMIN_KEY: the file {directory}/large is larger than 64KiB"),
    ({"RELAY_ADMIN_KEY": "env:EMPTY", "EMPTY": ""}, "RELAY_ADMIN_KEY: the variable EMPTY is not set"),
    ({"RELAY_CONFIG": "nowhere.toml"}, "nowhere.toml: the file cannot be read (No such file or directory)"),
    ({"OPENAI_API_KEY": "sk secret"}, "OPENAI_API_KEY holds white space or letters outside ASCII: no HTTP header can carry it"),
    ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "h"}, 'OPENAI_BASE_URL=h is no URL; want e.g. "https://api.openai.com/v1"'),
    ({"AZURE_OPENAI_API_KEY": "k"}, "AZURE_OPENAI_API_KEY: azure has no address of its own; set AZURE_OPENAI_ENDPOINT too"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "told"), WRONG_VARIABLES, ids=[" ".join(variables)[:40] for variables, _ in WRONG_VARIABLES]
)
def test_each_problem_names_its_variable(place: Place, variables: dict[str, str], told: str) -> None:
    """A problem in the environment names the variable, the value unless it is secret, and what would do."""
    for name, content in {"pem": b"x", "empty": b"\n", "binary": b"\xff", "large": b"x" * 65537}.items():
        (place.directory / name).write_bytes(content)
    problems = place.problems(_beside(place, variables))
    assert told.format(directory=place.directory) in problems
    assert not any("secret" in problem for problem in problems)


def _beside(place: Place, variables: dict[str, str]) -> dict[str, str]:
    return {name: str(place.directory / "pem") if text == "pem" else text for name, text in variables.items()}


def test_all_that_is_wrong_is_told_at_once(place: Place) -> None:
    """One start shows every problem, of the environment, each table and each element; the text has a line for each."""
    place.write(
        "[relay]\nworkers = 0\nlimits.body = 0\n"
        + CHANNEL.replace("openai", "opena")
        + '[[channels]]\nname = "two"\nadaptor = "openai"\napi_keys = ["env:A", "env:B"]\nweight = 0\nspeed = 1\n'
        + '[[keys]]\nname = "k"\ndigest = "x"\nconcurrency = 0\n'
    )
    with pytest.raises(ConfigurationErrors) as caught:
        place.load(RELAY_TIMEOUT="0", RELAY_TIMEOTU="5")
    assert [" ".join(problem.split()[:2]) for problem in caught.value.problems] == [
        "relay.toml:2 relay.workers:", "RELAY_TIMEOUT=0: no", "relay.toml:3 relay.limits.body:",
        "relay.toml:13 channels[1].speed:", "relay.toml:11 channels[1].api_keys[0]:",
        "relay.toml:11 channels[1].api_keys[1]:", "relay.toml:12 channels[1].weight:",
        "relay.toml:6 channels[0].adaptor:", "relay.toml:16 keys[0].digest:", "relay.toml:17 keys[0].concurrency:",
        "RELAY_TIMEOTU: no",
    ]  # fmt: skip
    assert str(caught.value).splitlines() == list(caught.value.problems)


def test_a_key_twice_is_told_without_the_key(place: Place) -> None:
    """Two names for one key would make logs and limits lie."""
    key = f'digest = "{format_digest(digest_of("sk-a"))}"\n'
    place.write(
        f'[[keys]]\nname = "a"\n{key}[[keys]]\nname = "b"\n{key}[[keys]]\nname = "key-1"\ndigest = "blake2b:{"0" * 64}"'
    )
    assert place.problems(RELAY_API_KEYS="sk-b") == [
        "relay.toml:6 keys[1].digest: the same as in relay.toml:1",
        "RELAY_API_KEYS: the name key-1 is taken in the file",
    ]


def test_a_name_twice_is_told(place: Place) -> None:
    """Two keys of one name could not be told apart in the log."""
    keys = [f'[[keys]]\nname = "a"\ndigest = "{format_digest(digest_of(key))}"\n' for key in ("sk-a", "sk-b")]
    place.write("".join(keys))
    assert place.problems() == ["relay.toml:5 keys[1].name: the same as in relay.toml:1"]


def test_a_file_that_is_no_text_has_a_line_too(place: Place) -> None:
    """What is not UTF-8 is told by its line, and no text of it is shown."""
    (place.directory / "relay.toml").write_bytes(b"[relay]\n\nlog_level = '\xe9secret'\n")
    assert place.problems() == ["relay.toml:3: no text in UTF-8, which TOML is written in"]


def test_a_directory_is_no_file(place: Place) -> None:
    """A volume that was not mounted leaves a directory: that is told, not a traceback."""
    (place.directory / "relay.toml").mkdir()
    assert place.problems() == ["relay.toml: the file cannot be read (Is a directory)"]


def test_what_is_wrong_is_shown_in_one_short_line(place: Place) -> None:
    """A value with line ends, escapes of a terminal or a megabyte makes one readable line."""
    (problem,) = place.problems(RELAY_LOG_LEVEL="\x1b[2J\n" + "x" * 10**6)
    assert problem.isprintable()
    assert len(problem) < 250


# At the edges


@pytest.mark.parametrize(
    ("variables", "value"),
    [
        ({"RELAY_LOG_LEVEL": "debug"}, "debug"),
        ({"RELAY_WATCHDOG_WARN": "5000"}, Watchdog(warn=5000)),
        ({"RELAY_PORT": "65535"}, ("127.0.0.1:65535",)),
        ({"RELAY_LISTEN": "127.0.0.1:65535"}, ("127.0.0.1:65535",)),
        ({"RELAY_TIMEOUT": "86400"}, Limits(total=86400)),
        ({"RELAY_TIMEOUT": "1"}, Limits(total=1)),
        ({"RELAY_MAX_QUEUE": "0"}, 0),
        ({"RELAY_API_KEYS": "x" * 512}, digest_of("x" * 512)),
    ],
)
def test_the_last_value_that_is_allowed(place: Place, variables: dict[str, str], value: object) -> None:
    """What stands on a bound is inside it."""
    settings = place.load(variables)
    found = {
        "RELAY_LOG_LEVEL": settings.log_level,
        "RELAY_WATCHDOG_WARN": settings.watchdog,
        "RELAY_PORT": settings.listen,
        "RELAY_LISTEN": settings.listen,
        "RELAY_TIMEOUT": settings.limits,
        "RELAY_MAX_QUEUE": settings.max_queue,
        "RELAY_API_KEYS": settings.keys[0].digest,
    }
    assert found[next(iter(variables))] == value


@pytest.mark.parametrize(
    ("written", "meant"),
    [("true", True), ("false", False), ("'yes'", True), ("'on'", True), ("'1'", True), ("'No'", False), ("'off'", False),
     ("'0'", False), ("'TRUE'", True), ("'false'", False)],
)  # fmt: skip
def test_yes_and_no(place: Place, written: str, meant: bool) -> None:  # noqa: FBT001 - a case
    """A switch may be written as TOML does, or in words."""
    place.write(CHANNEL + f"ask_usage = {written}\n")
    assert place.load().channels[0].ask_usage is meant


def test_a_variable_that_the_file_refers_to_is_no_misspelling(place: Place) -> None:
    """`env:RELAY_UPSTREAM_KEY` may be named as one likes, at any depth of the file."""
    place.write(CHANNEL.replace("sk-up", "env:RELAY_UPSTREAM_KEY"))
    settings = place.load(RELAY_UPSTREAM_KEY="sk-a")
    assert settings.channels[0].api_keys[0].reveal() == "sk-a"
    assert place.problems(RELAY_UPSTREAM_KEY="sk-a", RELAY_ZZZ="sk-b") == ["RELAY_ZZZ: no such setting"]


def test_channels_and_keys_say_where_they_came_from(place: Place) -> None:
    """Each by its number."""
    key = f'[[keys]]\nname = "acme"\ndigest = "{format_digest(digest_of("sk-acme"))}"\n'
    place.write(key + CHANNEL + CHANNEL.replace("one", "two"))
    sources = place.load(RELAY_API_KEYS="sk-b").sources
    names = ("keys[0]", "keys[1]", "channels[0]", "channels[1]")
    assert [sources[name] for name in names] == ["relay.toml:1", "RELAY_API_KEYS", "relay.toml:4", "relay.toml:8"]


def test_a_file_has_a_bound(place: Place) -> None:
    """A disk image by mistake is refused before it is parsed."""
    place.write("#" * (16 * 2**20 + 1))
    assert place.problems() == ["relay.toml: the file is larger than 16MiB"]
    place.write("#" * (16 * 2**20))
    assert place.load().demo


def test_a_long_or_foreign_value_is_shown_as_it_is_or_shortened(place: Place) -> None:
    """Letters of any script are shown; of a long value the beginning; of a list or a table, that it is one."""
    place.write(f"[relay]\nlog_level = 'läut'\ncors_origins = ['{'x' * 80}', '{'y' * 81}']\nworkers = [1]\n")
    told = "\n".join(place.problems())
    assert '"läut" is none' in told
    assert f'"{"x" * 80}" is' in told
    assert f'"{"y" * 80}..." is' in told
    assert "relay.workers: [...] is no whole number" in told


def test_nothing_that_is_said_is_a_secret(place: Place) -> None:
    """Whatever goes wrong around secrets, no problem shows one."""
    secret = "sk-canary"
    place.write(
        f'[relay]\nadmin_key = "{secret} x"\nmetrics_key = ["{secret}"]\n'
        f'[[channels]]\nname = "a"\nadaptor = "openai"\napi_keys = ["{secret} x", 5]\nproxy = "{secret}"\n'
        f'[[channels]]\nname = "b"\nadaptor = "openai"\napi_keys = "{secret}"\nproxy = 5\n'
        f'[[keys]]\nname = "k"\ndigest = "{secret}"\n[[keys]]\nname = "l"\ndigest = ["{secret}"]\n'
    )
    problems = place.problems(RELAY_API_KEYS=f"{secret},{secret}", XAI_API_KEY=f"{secret} x")
    assert len(problems) == 10
    assert not any(secret in problem for problem in problems)
