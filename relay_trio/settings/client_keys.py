"""The keys of clients: those in the file, known by digest; those in RELAY_API_KEYS; or one made for this run."""

from __future__ import annotations

from typing import Final

from relay_trio.settings.digests import LONGEST_KEY_BYTES, digest_of
from relay_trio.settings.kinds import Unfit
from relay_trio.settings.model import KeySettings
from relay_trio.settings.read import read_tables, same_twice
from relay_trio.settings.references import resolve_secret, secret
from relay_trio.settings.sources import Sources
from relay_trio.settings.written import InText, Problems, hidden_problem

KEYS_VARIABLE: Final = "RELAY_API_KEYS"

PRINTED_KEY_NAME: Final = "this-run"
"""The name, in logs and metrics, of the key that was made for this run."""


def read_keys(sources: Sources, problems: Problems) -> list[tuple[KeySettings, str]]:
    """Return all keys, each with where it came from. The variable's are added to the file's: they take none away."""
    in_file = sources.in_file("keys")
    found = read_tables(KeySettings, in_file, problems) if in_file is not None else []
    problems += same_twice([(key.name, table) for key, table in found], "name")
    problems += same_twice([(key.digest, table) for key, table in found], "digest")
    written = sources.variable(KEYS_VARIABLE)
    added = _from_variable(written, problems) if written is not None else []
    taken = {key.name for key, _ in found}
    problems += [f"{KEYS_VARIABLE}: the name {key.name} is taken in the file" for key in added if key.name in taken]
    return [*((key, table.source) for key, table in found), *((key, KEYS_VARIABLE) for key in added)]


def _from_variable(written: InText, problems: Problems) -> list[KeySettings]:
    try:
        texts = resolve_secret(written.raw, written.around).replace(",", " ").split()
    except Unfit as unfit:
        problems.append(hidden_problem(written, unfit.reason))
        return []
    refused = [
        (number, reason)
        for number, text in enumerate(texts, 1)
        if (reason := _refused(text, written, texts[: number - 1]))
    ]
    problems += [f"{KEYS_VARIABLE}: key {number} {reason}" for number, reason in refused]
    return [KeySettings(name=f"key-{number}", digest=digest_of(text)) for number, text in enumerate(texts, 1)]


def _refused(text: str, written: InText, before: list[str]) -> str | None:
    try:
        secret().read(text, written.around)
    except Unfit as unfit:
        return unfit.reason
    if len(text) > LONGEST_KEY_BYTES:
        return f"is longer than {LONGEST_KEY_BYTES} bytes"
    return "is there twice" if text in before else None
