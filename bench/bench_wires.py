"""What the adaptors cost, without any network: beside reading the same JSON and writing it again, in the same run.

    python bench/bench_wires.py [--seconds 0.3]

The bytes are those that the rig's provider sends; those of the Responses API and of Gemini's, which it does not speak, are the
test kit's. `json` is the standard library's loads and dumps of each event's data: what a relay pays that decodes what it passes on. A ratio under 1 says that the wire reads an event for less.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial

import attrs
import peers
import rigging
from rigging import STREAM_50, UNARY, Ask, Stand, standing

from adaptors.anthropic_paths import ANTHROPIC_PATHS
from adaptors.endpoints import OPENAI_PATHS
from adaptors.gemini_paths import GEMINI_PATHS
from adaptors.paths import PathTable
from adaptors.protocol import Adaptor
from adaptors.registry import BUILT_IN
from adaptors.values import Call, Endpoint, ProviderAccount
from relay_trio.testing.answers import Asked, Wanted
from relay_trio.testing.answers_gemini import GeminiProvider
from relay_trio.testing.answers_responses import ResponsesProvider

MAX_EVENT_BYTES = 16 * 1024 * 1024
REPEATS = 5


@attrs.frozen
class Case:
    """One way through an adaptor."""

    name: str
    adaptor: str
    call: Call
    parts: tuple[bytes, ...]
    """The answer as it arrives."""
    upstream_model: str | None = None
    api: str = ""
    """Which of OpenAI's two APIs the channel names, if it does."""

    def run(self) -> None:
        adaptor: Adaptor = BUILT_IN[self.adaptor]
        account = attrs.evolve(ACCOUNT, options={"api": self.api})
        answer = adaptor.answer(self.call, account, self.upstream_model or self.call.model, MAX_EVENT_BYTES)
        if not self.call.stream:
            answer.whole(self.parts[0])
            return
        for part in self.parts:
            for _ in answer.chunks(part):
                pass
        for _ in answer.end():
            pass


ACCOUNT = ProviderAccount(base_url="https://provider.example/v1", key="sk-bench")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seconds", type=float, default=0.3, help="for each measurement")
    seconds = arguments.parse_args().seconds
    rigging.build()
    print("| | us per event | json us per event | ratio |\n|---|---:|---:|---:|")
    for case in cases():
        documents = [document for part in case.parts for document in _documents(part)]
        wire_us = _best_us(case.run, seconds) / len(documents)
        json_us = _best_us(partial(_read_and_write, documents), seconds) / len(documents)
        print(f"| {case.name} | {wire_us:.2f} | {json_us:.2f} | {wire_us / json_us:.2f} |")


def cases() -> Sequence[Case]:
    """Return the cases, with answers that are fetched from the rig's provider."""
    with standing(peers.TARGETS["direct"]) as stand:
        unary, stream = _fetch(stand, UNARY, "/v1/chat/completions"), _fetch(stand, STREAM_50, "/v1/chat/completions")
        messages = _fetch(stand, STREAM_50, "/v1/messages")
    chat, chat_stream = _call(UNARY, "/chat/completions"), _call(STREAM_50, "/chat/completions")
    message_stream, response_stream = _call(STREAM_50, "/messages"), _call(STREAM_50, "/responses")
    responses = _events(_responses(STREAM_50))
    gemini_stream = _gemini_call()
    generated = tuple(event + b"\r\n\r\n" for event in _generated(STREAM_50).split(b"\r\n\r\n") if event)
    return (
        Case("chat, whole", "openai", chat, (unary,)),
        Case("chat, whole, model renamed", "openai", chat, (unary,), "another"),
        Case("chat, stream, each event alone", "openai", chat_stream, _events(stream)),
        Case("chat, stream, all events at once", "openai", chat_stream, (stream,)),
        Case("chat, stream, model renamed", "openai", chat_stream, _events(stream), "another"),
        Case("messages, stream", "anthropic", message_stream, _events(messages)),
        Case("messages to chat, stream", "anthropic", chat_stream, _events(messages)),
        Case("messages to Responses, stream", "anthropic", response_stream, _events(messages)),
        Case("chat to Responses, stream", "deepseek", response_stream, _events(stream)),
        Case("Responses, stream", "openai", response_stream, responses),
        Case("Responses to chat, stream", "openai", chat_stream, responses, api="responses"),
        Case("Responses to messages, stream", "openai", message_stream, responses, api="responses"),
        Case("Gemini, stream", "gemini", gemini_stream, generated),
        Case("Gemini to chat, whole", "gemini", chat, (_generated(UNARY),)),
        Case("Gemini to chat, stream", "gemini", chat_stream, generated),
        Case("Gemini to messages, stream", "gemini", message_stream, generated),
        Case("chat to Gemini, stream", "openai", gemini_stream, _events(stream)),
        Case("messages to Gemini, stream", "anthropic", gemini_stream, _events(messages)),
    )


def _call(ask: Ask, path: str) -> Call:
    table, dialect = (ANTHROPIC_PATHS, "anthropic") if path == "/messages" else (OPENAI_PATHS, "openai")
    return Call(
        endpoint=_endpoint(table, path),
        dialect=dialect,
        method=b"POST",
        path=path.encode(),
        query=b"",
        headers=((b"content-type", b"application/json"),),
        body=ask.body().encode(),
        model=ask.model,
        stream=bool(ask.chunks),
    )


def _gemini_call() -> Call:
    path = "/models/m:streamGenerateContent"
    endpoint = _endpoint(GEMINI_PATHS, path)
    return Call(endpoint, "gemini", b"POST", path.encode(), b"alt=sse", (), b"{}", model="m", stream=True)


def _endpoint(table: PathTable, path: str) -> Endpoint:
    endpoint = table.match(b"POST", path.encode())
    assert endpoint is not None
    return endpoint


def _fetch(stand: Stand, ask: Ask, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{stand.port}{path}", ask.body().encode(), timeout=10) as answer:
        return bytes(answer.read())


def _responses(ask: Ask) -> bytes:
    body = ask.body().encode()
    asked = Asked("POST", "/responses", "", "application/json", body, len(body), "")
    return ResponsesProvider().answer(asked, Wanted(stream=True, words=ask.chunks)).body


def _generated(ask: Ask) -> bytes:
    method, query = ("streamGenerateContent", "alt=sse") if ask.chunks else ("generateContent", "")
    asked = Asked("POST", f"/v1beta/models/m:{method}", query, "application/json", b"{}", 2, "")
    return GeminiProvider().answer(asked, Wanted(words=ask.chunks or 8)).body


def _events(stream: bytes) -> tuple[bytes, ...]:
    return tuple(event + b"\n\n" for event in stream.split(b"\n\n") if event)


def _documents(part: bytes) -> list[bytes]:
    if part.startswith(b"{"):
        return [part]
    lines = [line.removeprefix(b"data: ") for line in part.splitlines() if line.startswith(b"data: ")]
    return [line for line in lines if line != b"[DONE]"]


def _read_and_write(documents: Sequence[bytes]) -> None:
    for document in documents:
        json.dumps(json.loads(document))


def _best_us(run: Callable[[], None], seconds: float) -> float:
    """Return the least time of one run: whatever disturbs a measurement only ever adds to it."""
    return min(_mean_us(run, seconds / REPEATS) for _ in range(REPEATS))


def _mean_us(run: Callable[[], None], seconds: float) -> float:
    start = time.perf_counter()
    runs = 0
    while (elapsed := time.perf_counter() - start) < seconds:
        run()
        runs += 1
    return elapsed * 1e6 / runs


if __name__ == "__main__":
    main()
