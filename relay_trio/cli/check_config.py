"""`relay-trio check-config`: what is wrong, or what would be served and where each value came from. Starts nothing."""

from __future__ import annotations

import argparse
import sys

from relay_trio.cli.configuration import Configuration, configured
from relay_trio.cli.language import say
from relay_trio.cli.summary import changed_rows, channel_lines, key_lines
from relay_trio.cli.terminal import CommandFailed, paint, show_table
from relay_trio.settings.model import Settings
from relay_trio.settings.shown import setting_rows


def run(arguments: argparse.Namespace) -> int:
    """Read the configuration, show it, and ask the providers. 0: all is right; 1: a provider is not; 2: the words are not."""
    configuration = configured(arguments.config)
    wrong = _certificate_problems(configuration.settings)
    if wrong:
        raise CommandFailed(*wrong, status=2)
    rows = list(setting_rows(configuration.settings)) if arguments.all else changed_rows(configuration.settings)
    _show(say("settings"), show_table(rows) if rows else [say("  all have their defaults (--all shows them)")])
    _show_channels(configuration)
    _show(say("keys"), _keys(configuration.settings))
    return 0 if arguments.offline or configuration.settings.demo else _check_providers(configuration)


def _certificate_problems(settings: Settings) -> list[str]:
    """Return what is wrong inside the files of certificates: that they are there, the settings have seen to."""
    import ssl  # noqa: PLC0415 - it takes longer than all the rest, and most have no certificates

    problems = []
    if settings.tls_cert is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
        except OSError as error:  # ssl.SSLError is one
            told = say("no certificate chain with its key in PEM ({why})", why=error.strerror)
            problems.append(f"RELAY_TLS_CERT, RELAY_TLS_KEY: {told}")
    if settings.ca_bundle is not None:
        try:
            ssl.create_default_context(cafile=settings.ca_bundle)
        except OSError as error:
            told = say("{path} holds no certificates in PEM ({why})", path=settings.ca_bundle, why=error.strerror)
            problems.append(f"RELAY_CA_BUNDLE: {told}")
    return problems


def _show_channels(configuration: Configuration) -> None:
    demo = [
        say(
            "  none: no provider is configured, so the built-in demo would answer (set OPENAI_API_KEY, or [[channels]])"
        )
    ]
    lines = channel_lines(configuration.settings, configuration.adaptors)
    _show(say("channels"), demo if configuration.settings.demo else lines)


def _keys(settings: Settings) -> list[str]:
    if settings.printed_key is not None:
        return [say("  none: `serve` would make one for its run and print it (set RELAY_API_KEYS, or [[keys]])")]
    return key_lines(settings)


def _check_providers(configuration: Configuration) -> int:
    import trio  # noqa: PLC0415 - what reads only the configuration needs no event loop

    from relay_trio.cli.reach import all_right, check_channels  # noqa: PLC0415

    findings = trio.run(check_channels, configuration.settings, configuration.adaptors)
    marks = {True: paint(say("ok").ljust(5), "green", sys.stdout), False: paint(say("wrong"), "red", sys.stdout)}
    _show(say("providers"), show_table([(marks[found.right], found.channel, found.text) for found in findings]))
    return 0 if all_right(findings) else 1


def _show(title: str, lines: list[str]) -> None:
    print(paint(title, "bold", sys.stdout))
    print("\n".join(lines))
