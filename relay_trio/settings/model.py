"""Every setting: its default (the only place that has one), its kind, its variable, and one line of help.

All else is made from these classes: the loader reads by them, the errors quote them, the README's table is printed from
them. A setting's key in `relay.toml` is its field's name: `[relay]` for Settings, `[relay.limits]`, `[relay.watchdog]`,
`[alerts]`, `[[channels]]`, `[[keys]]`.
"""

from __future__ import annotations

# `setting` returns an attrs field, which is made once for the class and never a shared default value.
# ruff: noqa: RUF009
import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import attrs

from relay_trio.settings import kinds, references
from relay_trio.settings.kinds import Kind, ListOf, MapOf, Network, count, or_off, seconds, size
from relay_trio.settings.secret import Secret
from relay_trio.settings.units import GIB, KIB, MIB

T = TypeVar("T")

CLEANUP_S: Final = 5.0
"""Clean-up after a deadline, in seconds: fixed, because guarantee G1 (bounded life) is stated with this number."""

DAY_S: Final = 86400
"""The longest limit that may be set, in seconds: what waits longer is not waiting for an answer."""

WEBHOOK_FORMATS: Final = ("json", "slack", "feishu", "dingtalk", "wecom")
SIGNED_FORMATS: Final = frozenset({"feishu", "dingtalk"})
_FORMAT_OF_HOST: Final[Mapping[str, str]] = MappingProxyType(
    {
        "hooks.slack.com": "slack",
        "open.feishu.cn": "feishu",
        "open.larksuite.com": "feishu",
        "oapi.dingtalk.com": "dingtalk",
        "qyapi.weixin.qq.com": "wecom",
    }
)

_ABOUT = "relay_trio.settings"

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@attrs.frozen
class About:
    """What is known of a setting besides its value."""

    kind: Kind[Any]
    help: str
    variable: str | None
    required: bool = False


def setting(default: T, kind: Kind[Any], meaning: str, variable: str | None = None) -> T:
    """Return a field with a default."""
    return attrs.field(default=default, metadata={_ABOUT: About(kind, meaning, variable)})


def required(kind: Kind[Any], meaning: str) -> Any:
    """Return a field that must be given."""
    return attrs.field(metadata={_ABOUT: About(kind, meaning, None, required=True)})


def listed(cls: type[attrs.AttrsInstance]) -> Iterator[tuple[attrs.Attribute[Any], About]]:
    """Yield the fields of a class that an operator can set, in their order."""
    for field in attrs.fields(cls):
        about = field.metadata.get(_ABOUT)
        if about is not None:
            yield field, about


@attrs.frozen(kw_only=True)
class Limits:
    """The clocks, in seconds. None is said in words: `headers` = total, `first_event` and `idle` off, `drain` = total + 60."""

    total: float = setting(
        900.0,
        seconds(1, DAY_S, zero="no unlimited here (one-api's meaning)"),
        "a whole request, from its head read to the last byte sent; 600 suits answers of 5-8 minutes, 1200 of 10-15",
        "RELAY_TIMEOUT",
    )
    body: float = setting(
        60.0,
        seconds(0.1, DAY_S),
        "the client's body: so long, plus 1 s for each 128 KiB received",
        "RELAY_BODY_TIMEOUT",
    )
    send: float = setting(
        60.0, seconds(0.1, DAY_S), "one write to the provider that makes no progress", "RELAY_SEND_TIMEOUT"
    )
    queue: float = setting(
        30.0, seconds(0.1, DAY_S), "waiting for a slot, or for room for the body", "RELAY_QUEUE_TIMEOUT"
    )
    connect: float = setting(
        10.0, seconds(0.1, DAY_S), "name, proxy, TCP and TLS towards the provider", "RELAY_CONNECT_TIMEOUT"
    )
    headers: float | None = setting(
        None,
        or_off(seconds(0.1, DAY_S), means="= total", words=("total",)),
        "request sent to the provider's response headers",
        "RELAY_HEADER_TIMEOUT",
    )
    first_event: float | None = setting(
        None,
        or_off(seconds(0.1, DAY_S), words=("off", 0, "0")),
        "response headers to the first event with content; lets a silent channel be left for another",
        "RELAY_FIRST_EVENT_TIMEOUT",
    )
    idle: float | None = setting(
        None,
        or_off(seconds(0.1, DAY_S), words=("off", 0, "0")),
        "a stream that fell silent after its first content; off, because ten silent minutes may precede a good answer",
        "RELAY_IDLE_TIMEOUT",
    )
    client_write: float = setting(
        60.0, seconds(0.1, DAY_S), "one write to the client that makes no progress", "RELAY_CLIENT_WRITE_TIMEOUT"
    )
    quick: float = setting(
        120.0,
        seconds(0.1, DAY_S),
        "a whole call that should be fast: model lists, checks, polls",
        "RELAY_QUICK_TIMEOUT",
    )
    pool_idle: float = setting(
        90.0, seconds(0.1, DAY_S), "an unused connection to a provider is kept", "RELAY_POOL_IDLE_TIMEOUT"
    )
    task: float = setting(3600.0, seconds(1, DAY_S), "a background task", "RELAY_TASK_TIMEOUT")
    drain: float | None = setting(
        None,
        or_off(seconds(0.1, 2 * DAY_S), means="= total + 60", words=("total + 60",)),
        "live requests may go on after SIGTERM; the process manager must allow 10 s more",
        "RELAY_DRAIN_TIMEOUT",
    )
    client_head: float = setting(
        20.0,
        seconds(0.1, DAY_S),
        "a request's head, from its first byte (over TLS: from the accept) to its last",
        "RELAY_CLIENT_HEAD_TIMEOUT",
    )
    client_idle: float = setting(
        75.0, seconds(0.1, DAY_S), "a client's connection is kept between two requests", "RELAY_CLIENT_IDLE_TIMEOUT"
    )

    @property
    def drain_s(self) -> float:
        """The drain in seconds, whether it was set or follows from the total."""
        return self.total + 60 if self.drain is None else self.drain

    def with_channel(self, overrides: Mapping[str, float]) -> Limits:
        """Return the limits of a channel."""
        return attrs.evolve(self, **overrides) if overrides else self


CHANNEL_CLOCKS: Final = frozenset(
    {"total", "connect", "send", "headers", "first_event", "idle", "client_write", "quick", "pool_idle"}
)
"""The limits that still run once a channel has been chosen: a channel may shorten these."""

LENGTHENED_BY_CHANNELS: Final = frozenset({"connect", "send", "headers", "first_event", "idle"})
"""The limits that a channel may also lengthen. Never the total: the client and the operator were promised it."""


@attrs.frozen(kw_only=True)
class Watchdog:
    """When the watchdog looks and when it speaks."""

    interval: float = setting(30.0, seconds(0.1, 3600), "seconds between two looks", "RELAY_WATCHDOG_INTERVAL")
    warn: int = setting(2000, count(1, 10**7), "live nurseries for a warning", "RELAY_WATCHDOG_WARN")
    error: int = setting(5000, count(1, 10**7), "live nurseries for an error", "RELAY_WATCHDOG_ERROR")


@attrs.frozen(kw_only=True)
class Alerts:
    """Who is told when something is wrong: a webhook, mail, both or nobody. `name` None: this machine's name."""

    webhook: Secret | None = setting(
        None, references.webhook(), "where alarms are posted to; unset = nowhere", "RELAY_ALERTS_WEBHOOK"
    )
    format: str | None = setting(
        None,
        or_off(kinds.choice(*WEBHOOK_FORMATS), means="by the webhook's host", words=("auto",)),
        "whose messages the webhook takes; of a host that is not known: json",
        "RELAY_ALERTS_FORMAT",
    )
    webhook_secret: Secret | None = setting(
        None,
        references.secret(),
        "signs the messages, where DingTalk or Feishu gave one",
        "RELAY_ALERTS_WEBHOOK_SECRET",
    )
    smtp: str | None = setting(
        None,
        kinds.mail_server(),
        "the mail server; smtp:// begins TLS with STARTTLS, and sends in clear on this machine alone",
        "RELAY_ALERTS_SMTP",
    )
    smtp_user: str | None = setting(None, kinds.TEXT, "its user, if it wants one", "RELAY_ALERTS_SMTP_USER")
    smtp_password: Secret | None = setting(
        None, references.password(), "the user's password", "RELAY_ALERTS_SMTP_PASSWORD"
    )
    mail_from: str | None = setting(None, kinds.MAIL_ADDRESS, "who the mail is from", "RELAY_ALERTS_MAIL_FROM")
    mail_to: tuple[str, ...] = setting((), ListOf(kinds.MAIL_ADDRESS), "who it goes to", "RELAY_ALERTS_MAIL_TO")
    remind: float = setting(
        3600.0, seconds(60, DAY_S), "seconds after which what still lasts is told again", "RELAY_ALERTS_REMIND"
    )
    name: str | None = setting(
        None,
        or_off(kinds.NAME, means="this machine's name", words=("auto",)),
        "what this relay is called in alarms",
        "RELAY_ALERTS_NAME",
    )

    @property
    def webhook_format(self) -> str:
        """Whose messages the webhook takes, whether it was said or follows from its host."""
        if self.format is not None or self.webhook is None:
            return self.format or WEBHOOK_FORMATS[0]
        return _FORMAT_OF_HOST.get(urlsplit(self.webhook.reveal()).hostname or "", WEBHOOK_FORMATS[0])


@attrs.frozen(kw_only=True)
class ChannelSettings:
    """One account at a provider. `base_url` None: the adaptor's own. `models` and `groups` None: all."""

    name: str = required(kinds.NAME, "names the channel in logs and metrics; clients never see it")
    adaptor: str = required(kinds.ADAPTOR, "the provider's translator")
    base_url: str | None = setting(
        None, kinds.url(), "the provider's address, with its `/v1`; default: the adaptor's own"
    )
    api_keys: tuple[Secret, ...] = setting((), ListOf(references.secret()), "the keys for the provider; taken in turn")
    models: tuple[str, ...] | None = setting(
        None,
        ListOf(kinds.MODEL_PATTERN, empty="serves nothing; leave it out for all models"),
        "what the channel serves; default: all",
    )
    model_map: Mapping[str, str] = setting(
        _EMPTY, MapOf(kinds.MODEL), "the client's name of a model = the provider's name"
    )
    groups: tuple[str, ...] | None = setting(
        None,
        ListOf(kinds.GROUP, empty="serves nobody; leave it out for all groups"),
        "the groups of keys that the channel serves; default: all",
    )
    priority: int = setting(0, count(-1000, 1000), "higher ones are tried first")
    weight: int = setting(1, count(1, 10_000), "the share among channels of the same priority")
    proxy: Secret | None = setting(
        None, references.proxy(), 'a proxy towards the provider; SOCKS with `transport = "httpx"`'
    )
    transport: str = setting("native", kinds.choice("native", "httpx"), "whose connections: ours, or httpx's own")
    ask_usage: bool = setting(False, kinds.switch(), "ask the provider for usage in streams that did not ask for it")
    limits: Mapping[str, float] = setting(
        _EMPTY, MapOf(seconds(0.1, DAY_S)), "clocks of this channel: may be shorter, some of them longer"
    )
    options: Mapping[str, str] = setting(
        _EMPTY, MapOf(kinds.TEXT), "what only the adaptor reads, such as `api_version`"
    )


@attrs.frozen(kw_only=True)
class KeySettings:
    """One client's key, known by its digest. `models` None: all. `concurrency` and `expires` None: no limit of its own."""

    name: str = required(kinds.NAME, "names the key in logs and metrics")
    digest: bytes = attrs.field(
        repr=False,
        metadata={_ABOUT: About(kinds.digest(), "what `relay-trio keys new NAME` prints", None, required=True)},
    )
    group: str = setting("default", kinds.GROUP, "decides which channels serve the key")
    models: tuple[str, ...] | None = setting(
        None,
        ListOf(kinds.MODEL_PATTERN, empty="allows nothing; leave it out for all models"),
        "what the key may use; default: all",
    )
    concurrency: int | None = setting(
        None, or_off(count(1, 10**6)), "its requests at the same time; one more gets a 429"
    )
    expires: dt.datetime | None = setting(None, kinds.moment(), "from then on the key is refused")
    allow_from: tuple[Network, ...] = setting((), ListOf(kinds.network()), "where it may come from; default: anywhere")


@attrs.frozen(kw_only=True)
class Settings:
    """All that an operator decides. The same value for the life of a process, or until the next reload."""

    listen: tuple[str, ...] = setting(
        ("127.0.0.1:3000",),
        ListOf(kinds.address(), empty="leaves nothing to listen on"),
        "addresses to listen on; `RELAY_HOST` and `RELAY_PORT` say one in two words",
        "RELAY_LISTEN",
    )
    workers: int = setting(1, kinds.cores(256), "processes over one listener", "RELAY_WORKERS")
    cors_origins: tuple[str, ...] = setting(
        (), ListOf(kinds.ORIGIN), "pages of these origins may call from a browser; `*` for all", "RELAY_CORS_ORIGINS"
    )
    trusted_proxies: tuple[Network, ...] = setting(
        (), ListOf(kinds.network()), "networks whose `X-Forwarded-For` is believed", "RELAY_TRUSTED_PROXIES"
    )
    max_concurrency: int | None = setting(
        None, or_off(count(1, 10**6)), "requests at the same time; more are queued", "RELAY_MAX_CONCURRENCY"
    )
    max_queue: int | None = setting(
        None,
        or_off(count(0, 10**6), means="= max_concurrency", words=("max_concurrency",)),
        "requests that wait for a slot; more get a 503",
        "RELAY_MAX_QUEUE",
    )
    max_body_bytes: int = setting(
        64 * MIB, size(KIB, 4 * GIB), "a body that is read whole; over it 413", "RELAY_MAX_BODY_BYTES"
    )
    max_upload_bytes: int = setting(
        GIB, size(KIB, 1024 * GIB), "a body that streams through (files, audio); over it 413", "RELAY_MAX_UPLOAD_BYTES"
    )
    max_buffered_bytes: int = setting(
        GIB, size(KIB, 1024 * GIB), "all whole bodies together; over it 503", "RELAY_MAX_BUFFERED_BYTES"
    )
    max_event_bytes: int = setting(16 * MIB, size(64 * KIB, GIB), "one event of a stream", "RELAY_MAX_EVENT_BYTES")
    max_answer_bytes: int = setting(
        256 * MIB,
        size(64 * KIB, 4 * GIB),
        "one answer that is read whole; counts into max_buffered_bytes",
        "RELAY_MAX_ANSWER_BYTES",
    )
    fetch_max_bytes: int | None = setting(
        20 * MIB,
        or_off(size(KIB, GIB)),
        "one image or PDF that a request points to, fetched for a provider that takes bytes only; off = none is",
        "RELAY_FETCH_MAX_BYTES",
    )
    fetch_networks: tuple[Network, ...] = setting(
        (),
        ListOf(kinds.network()),
        "networks that such addresses may lie in, besides the public internet",
        "RELAY_FETCH_NETWORKS",
    )
    max_attempts: int = setting(
        3, count(1, 20), "tries of one request, on other keys and channels", "RELAY_MAX_ATTEMPTS"
    )
    retry_min_left: float = setting(
        10.0, seconds(0, DAY_S), "seconds of the total that a further attempt needs", "RELAY_RETRY_MIN_LEFT"
    )
    keepalive_after: float = setting(
        10.0, seconds(0.1, DAY_S), "seconds of silence before a stream's first keep-alive", "RELAY_KEEPALIVE_AFTER"
    )
    keepalive_interval: float = setting(
        15.0, seconds(0, DAY_S), "seconds of silence between keep-alives; 0 = none", "RELAY_KEEPALIVE_INTERVAL"
    )
    watchdog: Watchdog = attrs.field(factory=Watchdog)
    limits: Limits = attrs.field(factory=Limits)
    alerts: Alerts = attrs.field(factory=Alerts)
    log_level: str = setting(
        "info", kinds.choice("debug", "info", "warning", "error"), "the least that is logged", "RELAY_LOG_LEVEL"
    )
    log_buffer_bytes: int = setting(
        8 * MIB, size(64 * KIB, GIB), "log lines that wait to be written; more are counted", "RELAY_LOG_BUFFER_BYTES"
    )
    admin_key: Secret | None = setting(
        None, references.secret(), "opens the paths below /debug; unset = closed", "RELAY_ADMIN_KEY"
    )
    metrics_key: Secret | None = setting(
        None, references.secret(), "closes /metrics; unset = open", "RELAY_METRICS_KEY"
    )
    ca_bundle: Path | None = setting(
        None, references.path(), "certificates (PEM) that are trusted besides the system's", "RELAY_CA_BUNDLE"
    )
    tls_cert: Path | None = setting(
        None, references.path(), "certificate chain (PEM) shown to clients", "RELAY_TLS_CERT"
    )
    tls_key: Path | None = setting(None, references.path(), "its private key (PEM)", "RELAY_TLS_KEY")
    run_directory: Path | None = setting(
        None,
        references.directory(),
        "a private directory, where a successor finds this relay and takes its listeners over; unset = none can",
        "RELAY_RUN_DIRECTORY",
    )
    default_channel: str | None = setting(
        None,
        kinds.NAME,
        "takes paths that name no model; default: the first OpenAI channel",
        "RELAY_DEFAULT_CHANNEL",
    )

    channels: tuple[ChannelSettings, ...] = ()
    keys: tuple[KeySettings, ...] = ()
    demo: bool = False
    """No provider is configured: the built-in demo provider answers. Its channel is not among `channels`."""
    printed_key: Secret | None = None
    """The key that was made for this run, because there was none and only this machine can reach us."""
    sources: Mapping[str, str] = _EMPTY
    """Where each value came from: `limits.total` -> `default`, `RELAY_TIMEOUT` or `relay.toml:7`."""


def variable_of(name: str) -> str:
    """Return the variable of a setting, by its name in Settings: `limits.total` -> `RELAY_TIMEOUT`."""
    return VARIABLES[name]


def named() -> Iterator[tuple[str, attrs.Attribute[Any], About]]:
    """Yield all settings of `[relay]` and `[alerts]` by their names in Settings, in their order: `listen`, ..., `watchdog.warn`, ..."""
    tables: dict[str, type[attrs.AttrsInstance]] = {
        "": Settings,
        "limits.": Limits,
        "watchdog.": Watchdog,
        "alerts.": Alerts,
    }
    for prefix, cls in tables.items():
        for field, about in listed(cls):
            yield prefix + field.name, field, about


def path_in_file(name: str) -> tuple[str, ...]:
    """Return where a setting stands in the file: `limits.total` -> relay, limits, total; `alerts.name` -> alerts, name."""
    parts = tuple(name.split("."))
    return parts if parts[0] == "alerts" else ("relay", *parts)


VARIABLES: Final[Mapping[str, str]] = {name: about.variable for name, _, about in named() if about.variable}
"""The variable of each setting."""
