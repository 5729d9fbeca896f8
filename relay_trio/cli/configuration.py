"""The configuration of a command: its options, the environment and the file, read with the adaptors that are installed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from adaptors import registry
from adaptors.protocol import Adaptor
from relay_trio.cli.terminal import CommandFailed
from relay_trio.settings.load import ConfigurationErrors, load
from relay_trio.settings.model import Settings


@attrs.frozen
class Configuration:
    """What was configured, and the adaptors that it may speak of."""

    settings: Settings
    adaptors: Mapping[str, Adaptor]


def configured(config: Path | None, listen: str | None = None) -> Configuration:
    """Return the configuration. Raises CommandFailed with every problem and status 2."""
    adaptors = registry.load(registry.installed())
    try:
        settings = read(config, listen, adaptors, secrets.token_hex)
    except ConfigurationErrors as errors:
        raise CommandFailed(*errors.problems, status=2) from errors
    return Configuration(settings, adaptors)


def read(
    config: Path | None, listen: str | None, adaptors: Mapping[str, Adaptor], randomness: Callable[[int], str]
) -> Settings:
    """Return the settings as they are now. Raises ConfigurationErrors."""
    options = {} if listen is None else {"listen": listen}
    return load(os.environ, config, randomness, providers=tuple(adaptors.values()), options=options)
