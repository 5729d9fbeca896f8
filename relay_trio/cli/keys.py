"""`relay-trio keys new NAME`: a key for a client, printed once; `relay.toml` gets its digest only."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import secrets
from pathlib import Path
from typing import Any

from relay_trio.accounts.keys import digest_of, format_digest
from relay_trio.cli.language import say
from relay_trio.cli.terminal import CommandFailed
from relay_trio.settings.kinds import GROUP, MODEL_PATTERN, NAME, Around, Scalar, Unfit, count

_KEY_BYTES = 24
"""192 bits: nobody guesses it, and it fits into one line."""


def run(arguments: argparse.Namespace) -> int:
    """Make a key, print it and the block for `relay.toml`."""
    entries = _entries(arguments, dt.datetime.now(dt.UTC))
    key = f"sk-{secrets.token_hex(_KEY_BYTES)}"
    print(say("The key of {name}, shown this once:", name=arguments.name), f"  {key}", sep="\n\n")
    print("", say("For relay.toml, which holds its digest:"), "", sep="\n")
    print(key_block({"name": entries.pop("name"), "digest": f'"{format_digest(digest_of(key))}"', **entries}))
    return 0


def key_block(entries: dict[str, str]) -> str:
    """Return a table of `[[keys]]`."""
    return "\n".join(["[[keys]]", *(f"{name} = {value}" for name, value in entries.items())])


def _entries(arguments: argparse.Namespace, now: dt.datetime) -> dict[str, str]:
    """Return what was asked for as TOML, less what is the default. Raises CommandFailed."""
    entries = {"name": json.dumps(_read("NAME", NAME, arguments.name))}
    if arguments.group is not None:
        entries["group"] = json.dumps(_read("--group", GROUP, arguments.group))
    if arguments.models is not None:
        patterns = [_read("--models", MODEL_PATTERN, text.strip()) for text in arguments.models.split(",")]
        entries["models"] = json.dumps(patterns, ensure_ascii=False)
    if arguments.concurrency is not None:
        entries["concurrency"] = str(_read("--concurrency", count(1, 10**6), arguments.concurrency))
    if arguments.expires is not None:
        entries["expires"] = _expiry(arguments.expires, now).isoformat().replace("+00:00", "Z")
    return entries


def _read(option: str, kind: Scalar[Any], text: str) -> Any:
    try:
        return kind.read(text, Around({}, Path()))
    except Unfit as unfit:
        told = say("{text!r} {why} (allowed: {allowed})", text=text, why=unfit.reason, allowed=kind.allowed)
        raise CommandFailed(f"{option}: {told}", status=2) from unfit


def _expiry(text: str, now: dt.datetime) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        told = say("{text!r} is no date; want e.g. 2027-01-01", text=text)
        raise CommandFailed(f"--expires: {told}", status=2) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    if moment <= now:
        raise CommandFailed(f"--expires: {say('{text} has passed', text=text)}", status=2)
    return moment.replace(microsecond=0)
