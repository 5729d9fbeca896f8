"""What an answer's writer must know beside the answer, and the contracts of readers and writers of answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs

from adaptors.jsonbytes import Json
from adaptors.sse import ServerEvent
from adaptors.translation.conversation import Event
from adaptors.values import Usage


@attrs.frozen
class Frame:
    """`model` is the client's name of the model where it is not the provider's. `created` is in seconds since 1970."""

    max_bytes: int
    model: str | None = None
    created: int = 0
    include_usage: bool = False
    input_estimate: int = 0
    """Tokens that the request may have, for a format that tells them before they are counted."""
    echo: Mapping[str, Json] = attrs.field(factory=dict)
    """What the answer repeats of the request, in a format whose answers do."""
    candidates: int = 1
    """How many answers were asked for, each of which must have come to its end."""
    array: bool = False
    """A stream is one JSON array, as clients of the Gemini API get it that ask for no events."""


class StreamReader(Protocol):
    """Reads the events of a provider's stream. A state machine; one for each attempt."""

    def read(self, event: ServerEvent) -> list[Event]:
        """Return what this event says; `Ended` comes last. Raises AnswerFailed: an error, or garbage."""
        ...

    def end(self) -> list[Event]:
        """The stream has ended cleanly: return what that means. Raises AnswerFailed unless it is complete."""
        ...


class StreamWriter(Protocol):
    """Writes the events of a client's stream. A state machine; one for each attempt."""

    @property
    def sequence(self) -> int:
        """The number of the next event, in a format that numbers its events; else 0."""
        ...

    def write(self, event: Event) -> bytes:
        """Return the bytes that say it: whole events, or nothing. Raises AnswerFailed: too much had to be held."""
        ...


def own_id(given: str, prefix: str) -> str:
    """Return the id as this format would have it; the provider's own stays to be seen in it."""
    return given if given.startswith(prefix) else prefix + given


NO_USAGE = Usage()
