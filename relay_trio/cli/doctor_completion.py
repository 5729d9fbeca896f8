"""One tiny completion, for those who said `--spend`: the only question that shows whether a model really answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs
import httpx
import msgspec
import trio

from adaptors.bodies import BadBody
from adaptors.endpoints import ENDPOINTS
from adaptors.failure import AnswerFailed, BodyState
from adaptors.protocol import Adaptor
from adaptors.values import Call, ProviderAccount
from relay_trio.cli.doctor_findings import Finding, Level
from relay_trio.cli.language import say
from relay_trio.settings.model import ChannelSettings

_DIALECT: Final = "openai_chat"
_CHAT: Final = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "chat.completions")
_MAX_EVENT_BYTES: Final = 1024 * 1024
_MAX_TOLD: Final = 300
_FIRST_ERROR: Final = 400

_CHEAP: Final = re.compile(r"mini|nano|lite|flash|haiku|small|instant|turbo|8b|7b|chat")
_NO_CHAT: Final = re.compile(
    r"embed|whisper|tts|audio|image|dall|moderation|realtime|transcribe|search|rerank|vision|video|sora|codex|instruct|computer"
)


@attrs.frozen
class Completion:
    """Asks one channel's first key for a word."""

    client: httpx.AsyncClient
    adaptor: Adaptor
    channel: ChannelSettings
    base_url: str

    async def ask(self, model: str) -> Finding:
        """Return how a model answered."""
        if _DIALECT not in self.adaptor.dialects and _CHAT.name not in self.adaptor.translates:
            return Finding(
                Level.NOTE,
                "completion",
                say("not tried: {adaptor} speaks no chat completions", adaptor=self.channel.adaptor),
            )
        key = self.channel.api_keys[0].reveal() if self.channel.api_keys else ""
        account = ProviderAccount(self.base_url, key, options=self.channel.options)
        name = self.channel.model_map.get(model, model)
        call = _call(name)
        since = trio.current_time()
        try:
            wanted = self.adaptor.request(call, account, name)
            response = await self.client.request(
                wanted.method.decode(), wanted.url, headers=list(wanted.headers), content=wanted.body
            )
        except (httpx.HTTPError, BadBody) as error:
            why = (str(error) or type(error).__name__).replace(key, "(hidden)") if key else str(error)
            return Finding(Level.ERROR, "completion", say("{model}: no answer ({why})", model=model, why=why))
        return self._read(response, call, account, model, trio.current_time() - since)

    def _read(
        self, response: httpx.Response, call: Call, account: ProviderAccount, model: str, took_s: float
    ) -> Finding:
        if response.status_code >= _FIRST_ERROR:
            headers = tuple((name.lower(), value) for name, value in response.headers.raw)
            failure = self.adaptor.failure(response.status_code, headers, response.content, BodyState.WHOLE)
            return self._refused(model, response.status_code, failure.message, account.key)
        answer = self.adaptor.answer(call, account, call.model, _MAX_EVENT_BYTES)
        try:
            answer.whole(response.content)
        except AnswerFailed as failed:
            return self._refused(model, response.status_code, failed.failure.message, account.key)
        usage = answer.usage
        tokens = (
            ""
            if usage is None
            else say(", {taken} + {given} tokens", taken=usage.input_tokens, given=usage.output_tokens)
        )
        told = say("{model} answered in {seconds:.1f} s{tokens}", model=model, seconds=took_s, tokens=tokens)
        return Finding(Level.OK, "completion", told)

    def _refused(self, model: str, status: int, message: str, key: str) -> Finding:
        words = " ".join((message.replace(key, "(hidden)") if key else message).split())[:_MAX_TOLD]
        told = say("{model}: {status}, {message}", model=model, status=status, message=words)
        return Finding(
            Level.ERROR, "completion", told, say("try another model with --model; is the account in credit?")
        )


def _call(model: str) -> Call:
    body = {"model": model, "messages": [{"role": "user", "content": "Reply with the word ok."}]}
    return Call(
        endpoint=_CHAT,
        dialect=_DIALECT,
        method=b"POST",
        path=b"/chat/completions",
        query=b"",
        headers=((b"content-type", b"application/json"),),
        body=msgspec.json.encode(body),
        model=model,
    )


def cheap_model(channel: ChannelSettings, listed: Sequence[str]) -> str | None:
    """Return a model that answers for little: one that the channel names, else one that the provider lists."""
    named = [
        model for model in (*(channel.models or ()), *channel.model_map) if not any(mark in model for mark in "*?[")
    ]
    chatting = [model for model in (named or listed) if not _NO_CHAT.search(model.lower())]
    cheap = [model for model in chatting if _CHEAP.search(model.lower())]
    return next(iter(cheap or chatting or named), None)
