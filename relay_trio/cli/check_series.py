"""The words for the verdict on a series of looks. The rule is `scopes.trend`, because the relay's own alarms follow it too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from relay_trio.cli.language import later

TEXTS: Final[Mapping[str, str]] = {
    "too_few": later("too few looks for a trend (eight since the last start are needed)"),
    "stable": later("stable: nothing grows"),
    "follows_load": later("no leak: what grows follows the load"),
    "settling": later("memory grows, as it does in the first ten minutes after a start: look again later"),
    "requests_last_longer": later(
        "requests last longer, or load has just begun: in flight they grow, at the same rate of arrival. It is a leak only "
        "if it goes on for longer than RELAY_TIMEOUT: look again with a longer series"
    ),
    "nurseries_leak": later("a leak: nurseries grow, and the load does not"),
    "memory_leak": later("a leak: memory grows, and the load does not"),
}
"""By the verdict's code."""
