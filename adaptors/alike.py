"""What the adaptors of providers do alike: the headers of a request that goes up as it came, and the names in a listing of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from adaptors.failure import AnswerFailed
from adaptors.jsonbytes import Json, NotJSON, decoded
from adaptors.values import Call, Header, Headers
from adaptors.wires.openai_errors import broken_answer

# What goes up.

IDENTITY: Final[Header] = (b"accept-encoding", b"identity")
"""What a wire reads comes without compression."""

LISTING_HEADERS: Final[Headers] = (IDENTITY, (b"accept", b"application/json"))
"""With which a provider is asked for its models."""


def headers_up(call: Call, ours: Headers) -> Headers:
    """Return the client's headers with ours; an answer that a wire reads is asked for without compression.

    Every request comes here: what is in C (`dict`, unpacking) is taken before what would be a call.
    """
    if call.endpoint.wire is not None:
        ours = (IDENTITY, *ours)
    replaced = dict(ours)
    if call.body is not None:
        replaced[b"content-length"] = b""  # the transport says the length of a body that is here: it may have changed
    return (*[header for header in call.headers if header[0] not in replaced], *ours)


# What comes back.


def listing_of(body: bytes, member: str, field: str) -> tuple[str, ...]:
    """Return the names of the models in a listing, an object whose `member` holds objects with a `field`. Raises AnswerFailed."""
    listing = listing_in(body)
    models = listing.get(member) if isinstance(listing, dict) else None
    return names_of(models, lambda model: model.get(field) if isinstance(model, dict) else None)


def listing_in(body: bytes) -> Json:
    """Return the document of a listing. Raises AnswerFailed: it is not JSON."""
    try:
        return decoded(body)
    except NotJSON as error:
        raise AnswerFailed(broken_answer("The provider's list of models is not JSON.")) from error


def names_of(models: Json, name_of: Callable[[Json], Json]) -> tuple[str, ...]:
    """Return the models' names; what has none is left out. Raises AnswerFailed: it is no list."""
    if not isinstance(models, list):
        raise AnswerFailed(broken_answer("The provider's list of models is no list."))
    return tuple(name for model in models if isinstance(name := name_of(model), str) and name)
