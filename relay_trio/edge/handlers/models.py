"""`GET /v1/models` and `GET /v1/models/{id}`: what this client may use, over all channels.

A channel whose configuration names its models in full is not asked. Any other is, under the quick limit, and its answer
is kept for five minutes; one that does not answer is left out, so that a dead provider does not take the list with it.
"""

from __future__ import annotations

from urllib.parse import unquote

import attrs
import trio

from adaptors.failure import AnswerFailed
from adaptors.protocol import at_moment
from relay_trio.accounts.keys import Key
from relay_trio.channels.channel import Channel
from relay_trio.errors import ModelNotAllowed, RelayError
from relay_trio.relay.exchange import Exchange
from relay_trio.relay.relaying import identify
from relay_trio.relay.services import RelayServices
from relay_trio.scopes.phase import Limit, LimitedPhase, PhaseClock
from relay_trio.upstream.transport import Response

KEPT_S = 300.0
_MAX_LISTING_BYTES = 8 * 1024 * 1024
"""OpenRouter's list, the longest we know, is under 1 MiB."""
_CONVERSES = {
    "openai_chat": "chat.completions",
    "openai_responses": "responses",
    "anthropic": "messages",
    "gemini": "models.generate_content",
}
"""The endpoint of each dialect by which a listed model is most likely to be asked."""
_JSON = (b"content-type", b"application/json")


@attrs.frozen
class _Kept:
    names: tuple[str, ...]
    until: float


class ModelList:
    """Knows which models there are. One for each process."""

    def __init__(self, services: RelayServices, created: int) -> None:
        self._services = services
        self._created = created
        self._kept: dict[Channel, _Kept] = {}

    async def answer(self, exchange: Exchange, path: bytes) -> None:
        """Answer with the list, or with one model of it. Raises Unauthorized, ModelNotAllowed."""
        key, _ = identify(self._services, exchange)
        names = await self._names(key, exchange)
        wanted = unquote(path.decode("latin-1")).removeprefix("/models").lstrip("/")
        if not wanted:
            await exchange.answer(200, [_JSON], exchange.dialect.models_body(names, self._created))
        elif wanted in names:
            await exchange.answer(200, [_JSON], exchange.dialect.model_body(wanted, self._created))
        else:
            raise ModelNotAllowed(
                f"The model `{wanted[:256]}` does not exist here or your key may not use it.", param="model"
            )

    async def _names(self, key: Key, exchange: Exchange) -> tuple[str, ...]:
        endpoint = _CONVERSES[exchange.dialect.name]
        channels = self._channels(key, exchange.dialect.name, endpoint)
        self._forget_old(channels)
        missing = [channel for channel in channels if not channel.lists_all and channel not in self._kept]
        if missing:
            await self._ask_all(missing, exchange)
        names: dict[str, None] = {}
        for channel in channels:
            for name in (*channel.plain_models(), *self._listed(channel)):
                if key.allows(name) and channel.serves(name, key.group, exchange.dialect.name, endpoint):
                    names[name] = None
        return tuple(names)

    def _channels(self, key: Key, dialect: str, endpoint: str) -> tuple[Channel, ...]:
        channels = self._services.catalog.current.channels
        return tuple(channel for channel in channels if channel.serves(None, key.group, dialect, endpoint))

    def _listed(self, channel: Channel) -> tuple[str, ...]:
        kept = self._kept.get(channel)
        return () if kept is None else kept.names

    def _forget_old(self, channels: tuple[Channel, ...]) -> None:
        """Drop what is too old, and channels that a reload has replaced."""
        now = trio.current_time()
        current = {*channels, *self._services.catalog.current.channels}
        self._kept = {channel: kept for channel, kept in self._kept.items() if kept.until > now and channel in current}

    async def _ask_all(self, channels: list[Channel], exchange: Exchange) -> None:
        """Ask several channels at once, in the request's own nursery."""
        left = len(channels)
        done = trio.Event()

        async def ask(channel: Channel) -> None:
            nonlocal left
            try:
                names = await self._ask(channel)
                self._kept[channel] = _Kept(names, trio.current_time() + KEPT_S)
            except (RelayError, AnswerFailed, OSError) as error:
                self._services.log.warning("models_not_listed", channel=channel.name, why=str(error))
            finally:
                left -= 1
                if not left:
                    done.set()

        for channel in channels:
            exchange.scope.start_soon(ask, channel, name=f"models of {channel.name}")
        await done.wait()

    async def _ask(self, channel: Channel) -> tuple[str, ...]:
        limits = self._services.catalog.current.settings.limits
        quick = channel.clocks.quick or Limit(limits.quick, "RELAY_QUICK_TIMEOUT")
        adaptor = at_moment(channel.adaptor, self._services.utc_now())
        with LimitedPhase("headers", quick):
            request = adaptor.models_request(await self._services.tokens.account(adaptor, channel.keys[0].account))
            clock = PhaseClock()
            response = await self._services.sender(channel).send(request, channel.route, clock)
            try:
                body = await _read(response)
            finally:
                await response.aclose()
        return channel.adaptor.models(body)


async def _read(response: Response) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while size <= _MAX_LISTING_BYTES and (piece := await response.receive()):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
