"""A relay between fakes, in one trio run: what is asked of it, what the client gets, and that it closes everything."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import trio

from relay_trio.testing.answers import Answer, Asked, Provider, Wanted
from relay_trio.testing.fake_client import connect, parse_event
from relay_trio.testing.fake_upstream import FakeUpstream
from relay_trio.testing.http_text import BodyEnd, Headers
from relay_trio.testing.relay import CLIENT_KEY, RelayUnderTest
from relay_trio.upstream.pool import Pool

PROMPT = "prompt-canary-6b1f"
UPSTREAM_KEY = "sk-upstream-canary-0123456789abcdef"
ANSWER_CANARY = "brown"
"""One of the words that the fake provider says, and nobody else here."""

RETRY_AFTER_S = 7

CHAT = "/v1/chat/completions"


@attrs.define
class BusyProvider(Provider):
    """An honest provider whose errors say when to come again."""

    def answer(self, asked: Asked, wanted: Wanted) -> Answer:
        """Return the answer to this request."""
        answer = super().answer(asked, wanted)
        if answer.status < 400:
            return answer
        return attrs.evolve(answer, headers=(*answer.headers, (b"retry-after", b"%d" % RETRY_AFTER_S)))


@attrs.frozen
class Got:
    """What the client got. `after_s` counts from the request to the end of the answer, on trio's clock."""

    status: int
    headers: Headers
    end: BodyEnd
    data: bytes
    after_s: float

    def get(self, name: str) -> str | None:
        """Return the first value of a header field."""
        wanted = name.encode()
        return next((value.decode("latin-1") for field, value in self.headers if field.lower() == wanted), None)

    @property
    def streamed(self) -> bool:
        """The answer is a stream of events."""
        return (self.get("content-type") or "").startswith("text/event-stream")

    @property
    def events(self) -> list[str]:
        """The data of every event, in their order; a torn one at the end counts too."""
        raw = self.data.replace(b"\r\n", b"\n").removeprefix(b"\xef\xbb\xbf")
        return [event.data for piece in raw.split(b"\n\n") if (event := parse_event(piece)).data]

    @property
    def error(self) -> dict[str, Any]:
        """The error that the client is told of: the body's, or that of the last event. {} if there is none."""
        text = (self.events or [""])[-1] if self.streamed else self.data.decode()
        try:
            document = json.loads(text)
        except ValueError:
            return {}
        error = document.get("error") if isinstance(document, dict) else None
        return error if isinstance(error, dict) else {}

    @property
    def text(self) -> str:
        """What the model said, as far as the client could read it."""
        if not self.streamed:
            return str(json.loads(self.data)["choices"][0]["message"]["content"])
        documents = [json.loads(data) for data in self.events if data.startswith("{")]
        deltas = [choice["delta"] for document in documents for choice in document.get("choices", ())]
        return "".join(delta.get("content") or "" for delta in deltas)


@attrs.define(eq=False)
class Scene:
    """A relay and the providers behind it, in the order of their channels."""

    relay: RelayUnderTest
    upstreams: Sequence[FakeUpstream]
    tls: ssl.SSLContext | None = None
    lines_seen: int = 0

    @property
    def upstream(self) -> FakeUpstream:
        """The only provider."""
        (upstream,) = self.upstreams
        return upstream

    @property
    def pool(self) -> Pool:
        """The relay's idle connections to providers."""
        senders: Any = self.relay.running.services.sender
        pool: Pool = senders._built_in["native"].pool  # noqa: SLF001 - an oracle looks inside
        return pool

    async def ask(
        self, *, stream: bool = False, path: str = CHAT, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Got:
        """Ask on a connection of its own, read the answer to its end, and wait until the relay has closed everything.

        Raises PeerGone if there is no answer, trio.TooSlowError if something stays open.
        """
        value = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": PROMPT}], **fields}
        return await self.post(path, json.dumps(value).encode(), headers or {})

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Got:
        """Ask with this body."""
        fields = {"authorization": f"Bearer {CLIENT_KEY}", "content-type": "application/json", **headers}
        async with connect(self.relay.url, tls=self.tls) as client:
            start = trio.current_time()
            await client.request("POST", path, fields.items(), body)
            response = await client.read_response()
            after_s = trio.current_time() - start
        await self.wait_all_closed()
        return Got(response.status, response.head.headers, response.body.end, bytes(response.body.data), after_s)

    async def wait_all_closed(self) -> None:
        """Return when every count of the balance is even; within the clean-up's bound, and a second for the hub."""
        with trio.fail_after(6):
            while self.relay.live():  # noqa: ASYNC110 - a count tells nobody that it has changed
                await trio.sleep(0.01)

    def new_lines(self) -> list[dict[str, Any]]:
        """Return what was logged since this was last asked."""
        lines = self.relay.lines()
        new, self.lines_seen = lines[self.lines_seen :], len(lines)
        return new

    def set_behaviour(self, behaviour: str) -> None:
        """Let the only provider do this from now on."""
        self.upstream.script.always = behaviour
