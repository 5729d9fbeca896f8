"""The built-in demo provider: what answers when no provider is configured, so that the first curl shows something.

It stands behind the same interface as a real provider's connection and speaks OpenAI's chat wire, so that everything
between the client and it is the relay as it is.
"""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Iterator

import attrs
import msgspec
import trio

from adaptors.protocol import Adaptor
from adaptors.values import Header, UpstreamRequest
from relay_trio.channels.channel import Channel, channel_from
from relay_trio.errors import UpstreamFailed
from relay_trio.scopes.balance import Balance, Count
from relay_trio.scopes.phase import UNLIMITED, Limit, PhaseClock
from relay_trio.settings.model import ChannelSettings, Settings
from relay_trio.upstream.target import Route
from relay_trio.upstream.transport import Upload

NAME = "demo"
MODEL = "demo"
STALLING = "demo-stall"
"""Says some words, and then nothing more."""
SILENT = "demo-silent"
"""Takes the request, and never answers."""
UNREACHABLE = "demo-unreachable"
"""Is never connected to."""
MODELS = (MODEL, STALLING, SILENT, UNREACHABLE)
"""The last three show the clocks at work: `relay-trio test-timeout` asks them."""

_WORD_INTERVAL_S = 0.05
_TEXT = (
    "This is the demo provider of relay_trio: no model is behind it, only these words, one at a time. Each request "
    "lives in a nursery of its own; when you press Ctrl-C now, everything that it opened is closed within a second. "
    "Set OPENAI_API_KEY, or write a relay.toml, to talk to a real provider."
)
_WORDS = _TEXT.split(" ")
_PIECES_BEFORE_STALL = 6

_JSON: list[Header] = [(b"content-type", b"application/json")]
_EVENTS: list[Header] = [(b"content-type", b"text/event-stream")]


def demo_channel(settings: Settings, adaptor: Adaptor, tls: ssl.SSLContext) -> Channel:
    """Return the channel of the demo provider."""
    like_any = ChannelSettings(name=NAME, adaptor=adaptor.name, base_url="http://demo", models=MODELS)
    return attrs.evolve(channel_from(like_any, settings, adaptor, tls), transport=NAME)


class DemoSender:
    """Answers requests as a small provider would; its special models fail as providers do."""

    def __init__(self, balance: Balance) -> None:
        self._count = balance.upstream_connections
        self._numbers = itertools.count(1)

    async def send(
        self,
        request: UpstreamRequest,
        route: Route,
        clock: PhaseClock,
        headers: Limit | None = None,
        upload: Upload | None = None,
    ) -> DemoResponse:
        """Return the answer to a chat completion, streamed or not; an error to everything else. Raises LimitReached."""
        clock.enter("headers")
        await trio.lowlevel.checkpoint()
        if upload is not None or not request.url.endswith("/chat/completions") or not request.body:
            return DemoResponse(self._count, 404, _JSON, iter([_NOT_HERE]), 0.0)
        try:
            asked = msgspec.json.decode(request.body, type=_Asked)
        except msgspec.ValidationError as error:  # `stream_options` is for a provider to read, and this is one
            return DemoResponse(self._count, 400, _JSON, iter([_refused(str(error))]), 0.0)
        if asked.model == UNREACHABLE:
            with clock.limited("connect", route.connect):
                await trio.sleep_forever()
        if asked.model == SILENT:
            with clock.limited("headers", headers or UNLIMITED):
                await trio.sleep_forever()
        stalls = asked.model == STALLING
        number = next(self._numbers)
        if asked.stream:
            events = _events(number, usage=asked.include_usage)
            pieces = itertools.islice(events, _PIECES_BEFORE_STALL) if stalls else events
            return DemoResponse(self._count, 200, _EVENTS, pieces, _WORD_INTERVAL_S, stalls=stalls)
        whole = _whole(number)
        pieces = iter([whole[: len(whole) // 2] if stalls else whole])
        return DemoResponse(self._count, 200, _JSON, pieces, 0.0, stalls=stalls)


class DemoResponse:
    """An answer that comes word by word."""

    def __init__(
        self,
        count: Count,
        status: int,
        headers: list[Header],
        pieces: Iterator[bytes],
        interval_s: float,
        *,
        stalls: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.fields = dict(reversed(headers))
        self.reused = False
        self._pieces: Iterator[bytes] | None = pieces
        self._interval_s = interval_s
        self._stalls = stalls
        self._count = count
        count.opened += 1

    @property
    def ended(self) -> bool:
        """The last word has been said."""
        return False

    async def receive(self) -> bytes:
        """Return the next piece, after the time that a word takes; b"" is the end."""
        if self._pieces is None:
            raise UpstreamFailed("The demo's answer was closed.", phase="answer")
        await trio.sleep(self._interval_s)
        piece = next(self._pieces, b"")
        if self._stalls and not piece:
            await trio.sleep_forever()
        return piece

    async def aclose(self) -> None:
        """Forget the rest."""
        if self._pieces is not None:
            self._pieces = None
            self._count.closed += 1


class _Options(msgspec.Struct):
    include_usage: bool = False


class _Asked(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    stream_options: _Options | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


_USAGE = {"prompt_tokens": 1, "completion_tokens": len(_WORDS), "total_tokens": 1 + len(_WORDS)}


def _refused(message: str, code: str = "invalid_type") -> bytes:
    return msgspec.json.encode(
        {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    )


_NOT_HERE = _refused(
    "The demo provider answers chat completions only. Configure a provider for everything else.", "demo_only"
)


def _whole(number: int) -> bytes:
    message = {"role": "assistant", "content": _TEXT, "refusal": None}
    return msgspec.json.encode(
        {
            "id": f"chatcmpl-demo-{number}",
            "object": "chat.completion",
            "created": 0,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _USAGE,
        }
    )


def _events(number: int, *, usage: bool) -> Iterator[bytes]:
    yield _event(number, {"role": "assistant", "content": ""}, None)
    for at, word in enumerate(_WORDS):
        yield _event(number, {"content": word if at == 0 else f" {word}"}, None)
    yield _event(number, {}, "stop")
    if usage:
        yield _chunk(number, [], _USAGE)
    yield b"data: [DONE]\n\n"


def _event(number: int, delta: dict[str, str], finish_reason: str | None) -> bytes:
    return _chunk(number, [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}], None)


def _chunk(number: int, choices: list[dict[str, object]], usage: dict[str, int] | None) -> bytes:
    chunk: dict[str, object] = {
        "id": f"chatcmpl-demo-{number}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": MODEL,
        "choices": choices,
    }
    if usage is not None:
        chunk["usage"] = usage
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"
