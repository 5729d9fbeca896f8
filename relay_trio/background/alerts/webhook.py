"""Posts one message to the webhook. Every failure is said in our own words: the address is a secret, the answer a stranger's."""

from __future__ import annotations

from typing import Final

from adaptors.values import UpstreamRequest
from relay_trio.background.alerts.messages import refusal
from relay_trio.errors import LimitReached, UpstreamFailed
from relay_trio.scopes.phase import PhaseClock
from relay_trio.upstream.target import Route
from relay_trio.upstream.transport import Response, Sender

_MAX_ANSWER_BYTES: Final = 16 * 1024
"""The answers of the webhooks we know are below 200 bytes."""
_PASSING: Final = frozenset({408, 425, 429})
_SERVER_ERRORS: Final = 500


class NotDelivered(Exception):
    """It was not delivered. The text, the rest of a sentence, says why; `passing`: another try may go better."""

    def __init__(self, why: str, *, passing: bool) -> None:
        super().__init__(why)
        self.passing = passing


async def post(sender: Sender, request: UpstreamRequest, route: Route, clock: PhaseClock, form: str) -> None:
    """Post and read what it says to that. Raises NotDelivered. Has no limit but the route's: the caller sets one."""
    try:
        response = await sender.send(request, route, clock)
        try:
            body = await _read(response)
        finally:
            await response.aclose()
    except (UpstreamFailed, LimitReached) as error:
        raise NotDelivered(_WHY.get(error.phase or "", "its server broke off"), passing=True) from error
    why = refusal(form, response.status, body)
    if why is not None:
        raise NotDelivered(why, passing=response.status in _PASSING or response.status >= _SERVER_ERRORS)


_WHY: Final = {"connect": "its server could not be reached"}


async def _read(response: Response) -> bytes:
    """Return the answer, or as much of it as matters."""
    pieces: list[bytes] = []
    size = 0
    while size < _MAX_ANSWER_BYTES and (piece := await response.receive()):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
