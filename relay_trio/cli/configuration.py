"""The configuration of a command: its options, the environment and the file, read with the adaptors that are installed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
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
    options = {} if listen is None else {"listen": listen}
    try:
        settings = load(os.environ, config, secrets.token_hex, providers=tuple(adaptors.values()), options=options)
    except ConfigurationErrors as errors:
        raise CommandFailed(*errors.problems, status=2) from errors
    return Configuration(settings, adaptors)
