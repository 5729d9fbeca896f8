"""From the environment and the file to Settings, or to every problem at once.

Nothing is started and nothing is kept half read: either all is right, or ConfigurationErrors says everything that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import attrs

from relay_trio.settings.addresses import HOST_VARIABLE, PORT_VARIABLE, is_loopback
from relay_trio.settings.client_keys import KEYS_VARIABLE, PRINTED_KEY_NAME, read_keys
from relay_trio.settings.digests import digest_of
from relay_trio.settings.kinds import Around
from relay_trio.settings.model import (
    SIGNED_FORMATS,
    VARIABLES,
    Alerts,
    KeySettings,
    Limits,
    Settings,
    Watchdog,
    path_in_file,
    variable_of,
)
from relay_trio.settings.providers import Provider, read_channels
from relay_trio.settings.relay_table import read_relay
from relay_trio.settings.secret import Secret
from relay_trio.settings.sources import (
    COMMAND_VARIABLES,
    CONFIG_VARIABLE,
    Sources,
    Unreadable,
    config_file,
    given_variables,
    read_document,
    unknown_variables,
)
from relay_trio.settings.units import show_bytes
from relay_trio.settings.written import InFile, Problems

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_PRINTED_KEY_BYTES: Final = 24


class ConfigurationErrors(Exception):
    """The configuration is wrong; `problems` says all of it, one line each, and shows no secret."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def load(
    environ: Mapping[str, str],
    config_path: Path | None,
    randomness: Callable[[int], str],
    *,
    providers: Sequence[Provider],
    options: Mapping[str, str] = _NOTHING,
    directory: Path = Path(),
) -> Settings:
    """Return the settings. Raises ConfigurationErrors.

    `randomness(n)` returns n random bytes as text, for the key of a run that has none; a reload that is to keep that
    key passes what gives the same again. `options` holds what the command line said, by the setting's name:
    `{"listen": "127.0.0.1:3001"}`. `directory` is where we run. Reads files, so it may block; starts nothing.
    """
    problems: Problems = []
    variables = given_variables(environ)
    root = _root(variables, config_path, directory, problems)
    sources = Sources(options, variables, root, Around(variables, directory))
    settings = _settings(sources, providers, problems)
    problems += unknown_variables(variables, _known_variables(root, providers))
    if not problems and not settings.keys:
        settings = _with_printed_key(settings, randomness, problems)
    if problems:
        raise ConfigurationErrors(problems)
    return settings


def _root(variables: Mapping[str, str], config_path: Path | None, directory: Path, problems: Problems) -> InFile | None:
    path = config_file(variables, config_path, directory)
    try:
        return None if path is None else read_document(path, variables, directory).root
    except Unreadable as unreadable:
        problems.append(str(unreadable))
        return None


def _settings(sources: Sources, providers: Sequence[Provider], problems: Problems) -> Settings:
    relay = read_relay(sources, problems)
    limits = Limits(**relay.below("limits."))
    channels = read_channels(sources, providers, limits, problems)
    keys = read_keys(sources, problems)
    places = {f"channels[{number}]": place for number, (_, place) in enumerate(channels)}
    places |= {f"keys[{number}]": place for number, (_, place) in enumerate(keys)}
    settings = Settings(
        **relay.below(""),
        limits=limits,
        watchdog=Watchdog(**relay.below("watchdog.")),
        alerts=Alerts(**relay.below("alerts.")),
        channels=tuple(channel for channel, _ in channels),
        keys=tuple(key for key, _ in keys),
        demo=not channels,
        sources=MappingProxyType(relay.sources | places),
    )
    problems += _contradictions(settings, complete=not problems)
    return settings


def _known_variables(root: InFile | None, providers: Sequence[Provider]) -> set[str]:
    theirs = {name for provider in providers for name in (provider.key_variable, provider.base_url_variable)}
    referred = root.document.variables() if root is not None else set()
    general = {CONFIG_VARIABLE, *COMMAND_VARIABLES, HOST_VARIABLE, PORT_VARIABLE, KEYS_VARIABLE}
    return {*VARIABLES.values(), *general, *theirs, *referred}


def _with_printed_key(settings: Settings, randomness: Callable[[int], str], problems: Problems) -> Settings:
    exposed = [address for address in settings.listen if not is_loopback(address)]
    if exposed:
        advice = f"try {KEYS_VARIABLE}=sk-$(openssl rand -hex 24)"
        problems.append(f"{exposed[0]} can be reached from the network and no key is set; {advice}")
        return settings
    key = f"sk-{randomness(_PRINTED_KEY_BYTES)}"
    entry = KeySettings(name=PRINTED_KEY_NAME, digest=digest_of(key))
    sources = MappingProxyType({**settings.sources, "keys[0]": "made for this run"})
    return attrs.evolve(settings, keys=(entry,), printed_key=Secret(key), sources=sources)


# Settings that are right each for itself


def _contradictions(settings: Settings, *, complete: bool) -> Problems:
    watchdog, room = settings.watchdog, show_bytes(settings.max_buffered_bytes)
    checks = (
        *_contradictions_of(settings.alerts),
        (
            (settings.tls_cert is None) != (settings.tls_key is None),
            "tls_cert" if settings.tls_key is None else "tls_key",
            "stands alone; TLS needs both RELAY_TLS_CERT and RELAY_TLS_KEY",
        ),
        (
            watchdog.warn > watchdog.error,
            "watchdog.warn",
            f"{watchdog.warn} is above {variable_of('watchdog.error')} ({watchdog.error})",
        ),
        (
            settings.max_body_bytes > settings.max_buffered_bytes,
            "max_body_bytes",
            f"{show_bytes(settings.max_body_bytes)} is above RELAY_MAX_BUFFERED_BYTES ({room}): it could never be read",
        ),
        (
            settings.max_answer_bytes > settings.max_buffered_bytes,
            "max_answer_bytes",
            f"{show_bytes(settings.max_answer_bytes)} is above RELAY_MAX_BUFFERED_BYTES ({room}): it could never be read",
        ),
        (
            complete and not _default_channel_exists(settings),
            "default_channel",
            f'"{settings.default_channel}" is no channel; channels: {_channel_names(settings)}',
        ),
    )
    return [f"{_place(settings, name)}: {why}" for wrong, name, why in checks if wrong]


def _contradictions_of(alerts: Alerts) -> tuple[tuple[bool, str, str], ...]:
    sends_mail = alerts.smtp is not None
    has_ends = alerts.mail_from is not None and bool(alerts.mail_to)
    signs = alerts.webhook is not None and alerts.webhook_format in SIGNED_FORMATS
    return (
        (
            sends_mail and not has_ends,
            "alerts.smtp",
            "needs RELAY_ALERTS_MAIL_FROM and RELAY_ALERTS_MAIL_TO too",
        ),
        (bool(alerts.mail_to) and not sends_mail, "alerts.mail_to", "stands alone; mail needs RELAY_ALERTS_SMTP too"),
        (
            (alerts.smtp_user is None) != (alerts.smtp_password is None),
            "alerts.smtp_user" if alerts.smtp_password is None else "alerts.smtp_password",
            "stands alone; the mail server wants both RELAY_ALERTS_SMTP_USER and RELAY_ALERTS_SMTP_PASSWORD",
        ),
        (
            alerts.webhook_secret is not None and not signs,
            "alerts.webhook_secret",
            "signs nothing: only webhooks of DingTalk and Feishu are signed",
        ),
    )


def _default_channel_exists(settings: Settings) -> bool:
    return settings.default_channel in {None, *(channel.name for channel in settings.channels)}


def _channel_names(settings: Settings) -> str:
    return ", ".join(channel.name for channel in settings.channels) or "none"


def _place(settings: Settings, name: str) -> str:
    source = settings.sources[name]
    return f"{source} {'.'.join(path_in_file(name))}" if ":" in source else variable_of(name)
