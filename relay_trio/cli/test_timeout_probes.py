"""Requests that end by a clock of a running relay, and one that its client abandons: what each should come to, and does.

A clock that is longer than anybody wants to wait for is not waited for: the request brings a shorter deadline of its own
(`X-Relay-Timeout`), and then it is that deadline, not the clock, of which something has been shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs
import trio

from relay_trio.cli.doctor_findings import Level
from relay_trio.cli.language import say
from relay_trio.cli.relay_client import NotReached, OpenAnswer, Question, RelayClient
from relay_trio.cli.terminal import CommandFailed
from relay_trio.demo import MODEL, SILENT, STALLING, UNREACHABLE
from relay_trio.settings.secret import Secret

Json = dict[str, Any]

OWN_DEADLINE_S: Final = 3.0
"""The deadline that a request brings where the relay's own clock would take too long."""

SLACK_S: Final = 1.0
"""What the network and a busy relay may add."""

OWN_SETTING: Final = "X-Relay-Timeout"

LEAVING_S: Final = 1.0
"""An abandoned request is over within a second: the relay's own promise."""

_PATIENCE_S: Final = 15.0
_LOOK_AGAIN_S: Final = 0.05
_LOOKS_BEFORE: Final = 3
_LISTENING_S: Final = 2.0
_SILENCE_S: Final = 0.3
_OK: Final = 200
_MAX_KEPT: Final = 4 * 1024 * 1024
_LONG: Final = "Count from 1 to 2000 in words, one number a line. Do not stop early and do not shorten anything."


@attrs.frozen
class Clock:
    """A clock of the relay: its limit in seconds (None: off), the setting that says so, and where that came from."""

    seconds: float | None
    setting: str
    source: str


@attrs.frozen
class Row:
    """One clock that was tried, or the reason why it was not."""

    level: Level
    clock: str
    expected: str
    seen: str
    by_own_deadline: bool = False
    """Not the relay's clock ended it, but a shorter deadline that the request brought: that is all that was shown."""


@attrs.frozen
class Ended:
    """How a request ended."""

    status: int
    after_s: float
    whole: bool
    error: Json

    @property
    def told(self) -> str:
        """Return it as a person reads it."""
        if self.error:
            in_band = say("200 and an error event") if self.status == _OK else str(self.status)
            return say("{how} after {seconds:.1f} s: phase {phase}, limit {limit:g} s ({setting})", how=in_band,
                       seconds=self.after_s, phase=self.error.get("phase"), limit=self.error.get("limit_s") or 0,
                       setting=self.error.get("setting"))  # fmt: skip
        how = say("whole") if self.whole else say("broken off")
        return say("{status}, {how}, after {seconds:.1f} s", status=self.status, how=how, seconds=self.after_s)


@attrs.frozen
class Models:
    """What to ask for. None: nothing on this relay can be asked that would try this clock."""

    short: str
    silent: str | None
    stalling: str | None
    unreachable: str | None = None
    spends: bool = True

    @classmethod
    def of_demo(cls) -> Models:
        """Return the demo's own, which cost nothing."""
        return cls(MODEL, SILENT, STALLING, UNREACHABLE, spends=False)

    @classmethod
    def named(cls, model: str) -> Models:
        """Return a real model in every place: its long answers are cut short."""
        return cls(model, model, model)


@attrs.frozen
class Prober:
    """Tries the clocks of one relay. `clocks` is None where the relay did not say which it has."""

    client: RelayClient
    key: Secret
    models: Models
    clocks: Mapping[str, Clock] | None
    within_s: float

    # Each clock

    async def short(self) -> Row:
        """A small request has to come to its end: else nothing that follows means anything."""
        expected = say("an answer, whole")
        ended = await self._chat(self.models.short, "Say hi.", self.within_s, stream=True)
        level = Level.OK if ended.status == _OK and ended.whole and not ended.error else Level.ERROR
        return Row(level, "short", expected, ended.told if not ended.error.get("message") else self._refusal(ended))

    async def connect(self) -> Row:
        """A provider that cannot be connected to."""
        if self.models.unreachable is None:
            told = say("only the demo has a provider that is never connected to; see `selftest`")
            return Row(Level.NOTE, "connect", self._promise("connect"), say("not tried: {why}", why=told))
        return await self._by_clock("connect", self.models.unreachable, "connect", stream=False)

    async def headers(self) -> Row:
        """A provider that takes a request and sends no answer."""
        assert self.models.silent is not None
        return await self._by_clock("headers", self.models.silent, "headers", stream=False)

    async def total(self) -> Row:
        """A stream that does not come to its end."""
        assert self.models.stalling is not None
        return await self._by_clock("total", self.models.stalling, "stream", stream=True)

    async def _by_clock(self, name: str, model: str, phase: str, *, stream: bool) -> Row:
        deadline_s = self._deadline_s(name)
        ended = await self._chat(model, _LONG, deadline_s, stream=stream)
        expected = self._expected(name, deadline_s)
        if not ended.error:
            if ended.status == _OK and ended.whole:
                why = say("the answer was whole before that; a model that answers longer, or a smaller --within")
                return Row(Level.NOTE, name, expected, say("not tried: {why}", why=why))
            return Row(Level.ERROR, name, expected, ended.told)
        limit_s = ended.error.get("limit_s")
        if limit_s is None:
            return Row(Level.ERROR, name, expected, self._refusal(ended))
        in_time = limit_s - SLACK_S / 10 <= ended.after_s <= limit_s + SLACK_S
        in_place = name == "total" or ended.error.get("phase") in {phase, "send"}
        if not in_time or not in_place or limit_s > deadline_s:
            return Row(Level.ERROR, name, expected, ended.told)
        return Row(Level.OK, name, expected, ended.told, by_own_deadline=ended.error.get("setting") == OWN_SETTING)

    async def disconnect(self) -> Row:
        """A client that leaves in the middle of a stream."""
        expected = say("the request is gone within {seconds:g} s of its client", seconds=LEAVING_S)
        assert self.models.stalling is not None
        before = min([await self._live_in_a_moment() for _ in range(_LOOKS_BEFORE)])
        deadline = {"x-relay-timeout": f"{self.within_s + OWN_DEADLINE_S:g}"}
        answer = await self.client.open(self._question(self.models.stalling, _LONG, deadline, stream=True), _PATIENCE_S)
        async with answer:
            request_id = answer.headers.get("x-request-id", "")
            if answer.status != _OK:
                return Row(
                    Level.ERROR, "disconnect", expected, say("{status} instead of a stream", status=answer.status)
                )
            await _read_until_silent(answer)
            seen_live = await self._is_live(request_id, before)
        since = trio.current_time()
        if not seen_live:
            why = say("it was over before its client left; a model that answers longer")
            return Row(Level.NOTE, "disconnect", expected, say("not tried: {why}", why=why))
        with trio.move_on_after(LEAVING_S + _PATIENCE_S):
            while await self._is_live(request_id, before):  # noqa: ASYNC110 - another process tells nobody
                await trio.sleep(_LOOK_AGAIN_S)
            return self._left(expected, trio.current_time() - since)
        return Row(
            Level.ERROR, "disconnect", expected, say("still live {seconds:g} s later", seconds=LEAVING_S + _PATIENCE_S)
        )

    def _left(self, expected: str, after_s: float) -> Row:
        told = say("gone {seconds:.2f} s after its client", seconds=after_s)
        if self.client.place.admin_key is None:
            told = say(
                "{told}, as the count of live requests has it (which one, only RELAY_ADMIN_KEY shows)", told=told
            )
        late = after_s > LEAVING_S + SLACK_S  # the question itself takes its time
        return Row(Level.ERROR if late else Level.OK, "disconnect", expected, told)

    async def left(self) -> Row:
        """After all of it, the relay's books have to be even."""
        health = await self.client.health()
        astray = {kind: count["unaccounted"] for kind, count in health["balance"].items() if count["unaccounted"]}
        overdue = health["requests"]["overdue"]
        seen = say("nothing") if not astray and not overdue else f"unaccounted {astray}, overdue {overdue}"
        return Row(Level.OK if not astray and not overdue else Level.ERROR, "left", say("nothing"), seen)

    # What they share

    def _deadline_s(self, name: str) -> float:
        """Return the deadline that the request brings: longer than the clock, if that can be waited for."""
        clock = None if self.clocks is None else self.clocks.get(name)
        if clock is not None and clock.seconds is not None and clock.seconds <= self.within_s:
            return self.within_s if name != "total" else clock.seconds
        return self.within_s if name == "connect" and clock is None else min(OWN_DEADLINE_S, self.within_s)

    def _promise(self, name: str) -> str:
        clock = None if self.clocks is None else self.clocks.get(name)
        if clock is None:
            return say("ends at its clock")
        if clock.seconds is None:
            return say("{setting} is off", setting=clock.setting)
        return say("ends after {seconds:g} s ({setting})", seconds=clock.seconds, setting=clock.setting)

    def _expected(self, name: str, deadline_s: float) -> str:
        clock = None if self.clocks is None else self.clocks.get(name)
        if clock is not None and clock.seconds is not None and clock.seconds <= deadline_s:
            return self._promise(name)
        if clock is None or clock.seconds is None:
            return say("ends after {seconds:g} s at the latest (the request's own deadline)", seconds=deadline_s)
        return say(
            "ends after {seconds:g} s (the request's own deadline; {setting} itself, {limit:g} s, is longer than --within)",
            seconds=deadline_s,
            setting=clock.setting,
            limit=clock.seconds,
        )

    def _question(self, model: str, prompt: str, headers: Mapping[str, str], *, stream: bool) -> Question:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": prompt}]}
        fields = {"content-type": "application/json", **headers}
        return Question("POST", "/v1/chat/completions", self.key, fields, json.dumps(body).encode())

    async def _chat(self, model: str, prompt: str, deadline_s: float, *, stream: bool) -> Ended:
        question = self._question(model, prompt, {"x-relay-timeout": f"{deadline_s:g}"}, stream=stream)
        since = trio.current_time()
        async with await self.client.open(question, deadline_s + _PATIENCE_S) as answer:
            body = await _read(answer, deadline_s + _PATIENCE_S)
            after_s = trio.current_time() - since
        whole = answer.complete and (not stream or answer.status != _OK or body.rstrip().endswith(b"data: [DONE]"))
        return Ended(answer.status, after_s, whole, _error_in(body))

    def _refusal(self, ended: Ended) -> str:
        return f"{ended.status}: {ended.error.get('message')}"

    async def _live(self) -> int:
        if self.client.place.admin_key is not None:
            return 0
        return int((await self.client.health())["requests"]["live"])

    async def _live_in_a_moment(self) -> int:
        await trio.sleep(_LOOK_AGAIN_S)  # the request before this one may be giving its slot back
        return await self._live()

    async def _is_live(self, request_id: str, before: int) -> bool:
        if self.client.place.admin_key is not None:
            return any(branch["id"] == request_id for branch in await self.client.nurseries())
        return await self._live() > before


async def _read_until_silent(answer: OpenAnswer) -> None:
    """Read until nothing comes for a while: a client that leaves then is noticed by nothing that is written to it."""
    with trio.move_on_after(_LISTENING_S):
        while True:
            with trio.move_on_after(_SILENCE_S) as listening:
                if not await answer.receive():
                    return
            if listening.cancelled_caught:
                return


async def _read(answer: OpenAnswer, within_s: float) -> bytes:
    body = bytearray()
    with trio.move_on_after(within_s):
        while piece := await answer.receive():
            body += piece
            del body[:-_MAX_KEPT]
    return bytes(body)


def _error_in(body: bytes) -> Json:
    """Return the error that a body, or the last event of a stream, tells. {} if there is none."""
    events = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: {")]
    try:
        document = json.loads(events[-1] if events else body)
    except ValueError:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


async def attempt(name: str, probe: Any) -> Row:
    """Return what a probe found; a relay that cannot be reached any more is a finding too."""
    try:
        row: Row = await probe()
    except NotReached as error:
        return Row(Level.ERROR, name, say("an answer"), f"{error.stage}: {error.why}")
    except CommandFailed as error:
        return Row(Level.ERROR, name, say("an answer"), error.lines[0])
    return row
