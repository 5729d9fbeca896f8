"""The built-in demo provider: what answers when no provider is configured, so that the first curl shows something.

It stands behind the same interface as a real provider's connection and speaks OpenAI's chat wire, so that everything
between the client and it is the relay as it is.
"""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Iterator

import msgspec
import trio

from adaptors.protocol import Adaptor
from adaptors.values import Header, ProviderAccount, UpstreamRequest
from relay_trio.channels.channel import Channel, ChannelClocks, ChannelKey
from relay_trio.errors import UpstreamFailed
from relay_trio.scopes.balance import Balance, Count
from relay_trio.scopes.phase import Limit, PhaseClock
from relay_trio.settings.model import Settings
from relay_trio.upstream.target import Route
from relay_trio.upstream.transport import Upload

NAME = "demo"
MODEL = "demo"
_WORD_INTERVAL_S = 0.05
_TEXT = (
    "This is the demo provider of relay_trio: no model is behind it, only these words, one at a time. Each request "
    "lives in a nursery of its own; when you press Ctrl-C now, everything that it opened is closed within a second. "
    "Set OPENAI_API_KEY, or write a relay.toml, to talk to a real provider."
)
_WORDS = _TEXT.split(" ")

_JSON: list[Header] = [(b"content-type", b"application/json")]
_EVENTS: list[Header] = [(b"content-type", b"text/event-stream")]


def demo_channel(settings: Settings, adaptor: Adaptor, tls: ssl.SSLContext) -> Channel:
    """Return the channel of the demo provider."""
    limits = settings.limits
    never = Limit(limits.connect, "RELAY_CONNECT_TIMEOUT")
    return Channel(
        name=NAME,
        adaptor=adaptor,
        base_url="http://demo",
        keys=(ChannelKey(1, ProviderAccount("http://demo", "")),),
        route=Route(connect=never, send=never, tls=tls),
        clocks=ChannelClocks(headers=None, first_event=None, idle=None, total=Limit(limits.total, "RELAY_TIMEOUT")),
        transport=NAME,
        model_patterns=(MODEL,),
        matches=lambda model: model == MODEL,
    )


class DemoSender:
    """Answers requests as a small provider would."""

    def __init__(self, balance: Balance) -> None:
        self._count = balance.upstream_connections
        self._numbers = itertools.count(1)

    async def send(
        self,
        request: UpstreamRequest,
        route: Route,  # noqa: ARG002 - there is no way to go
        clock: PhaseClock,
        headers: Limit | None = None,  # noqa: ARG002 - it answers at once
        upload: Upload | None = None,
    ) -> DemoResponse:
        """Return the answer to a chat completion, streamed or not; an error to everything else."""
        clock.enter("headers")
        await trio.lowlevel.checkpoint()
        if upload is not None or not request.url.endswith("/chat/completions") or request.body is None:
            return DemoResponse(self._count, 404, _JSON, iter([_NOT_HERE]), 0.0)
        asked = msgspec.json.decode(request.body, type=_Asked)
        number = next(self._numbers)
        if asked.stream:
            return DemoResponse(self._count, 200, _EVENTS, _events(number, usage=asked.include_usage), _WORD_INTERVAL_S)
        return DemoResponse(self._count, 200, _JSON, iter([_whole(number)]), 0.0)


class DemoResponse:
    """An answer that comes word by word."""

    def __init__(
        self, count: Count, status: int, headers: list[Header], pieces: Iterator[bytes], interval_s: float
    ) -> None:
        self.status = status
        self.headers = headers
        self.reused = False
        self._pieces: Iterator[bytes] | None = pieces
        self._interval_s = interval_s
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
        return next(self._pieces, b"")

    async def aclose(self) -> None:
        """Forget the rest."""
        if self._pieces is not None:
            self._pieces = None
            self._count.closed += 1


class _Options(msgspec.Struct):
    include_usage: bool = False


class _Asked(msgspec.Struct):
    stream: bool | None = None
    stream_options: _Options | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


_USAGE = {"prompt_tokens": 1, "completion_tokens": len(_WORDS), "total_tokens": 1 + len(_WORDS)}
_NOT_HERE = msgspec.json.encode(
    {
        "error": {
            "message": "The demo provider answers chat completions only. Configure a provider for everything else.",
            "type": "invalid_request_error",
            "param": None,
            "code": "demo_only",
        }
    }
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
