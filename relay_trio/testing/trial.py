"""A configuration held to the table of faults: the relay as it would run, its own clocks and limits, between fakes.

The law: of the configuration only what reaches the outside is replaced: the providers, the clients' keys, the addresses, the
certificate. What a client may be told follows from the table of truths under the configuration's own bounds.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from relay_trio.settings.digests import digest_of
from relay_trio.settings.model import Alerts, ChannelSettings, KeySettings, Settings
from relay_trio.settings.secret import Secret
from relay_trio.settings.units import MIB
from relay_trio.testing.conversation import Stage
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream
from relay_trio.testing.http_text import Malformed
from relay_trio.testing.link import PeerGone
from relay_trio.testing.misbehaviours import MISBEHAVIOURS
from relay_trio.testing.oracle import Snapshot, wait_settled
from relay_trio.testing.relay import CLIENT_KEY, open_relay_under_test
from relay_trio.testing.scene import UPSTREAM_KEY, BusyProvider, Got, Scene
from relay_trio.testing.shapes import (
    chat,
    leaves_before_head,
    leaves_mid_stream,
    never_reads,
    sends_half_a_head,
    sends_half_a_request,
)
from relay_trio.testing.truths import Bounds, Case, Said
from relay_trio.testing.verdicts import faults_of, faults_of_secrecy, what_was_said

CLEAR, ENCRYPTED = "m", "m-over-tls"
"""The models of the two channels: of one provider, once asked in clear text and once over TLS."""

ERROR_STATUS = 429
LARGEST_EVENT_BYTES = 64 * MIB
"""Where one event may be larger than this, an event that is too large is not sent: it would take minutes to make."""

_SLACK_S = 1.0
"""Service tasks look twice a second, and what was noticed is closed a step later."""
_CLEAN_UP_S = 5.0


@attrs.frozen
class Form:
    """One way to ask."""

    name: str
    stream: bool
    status: int = 200


FORMS = (
    Form("stream", stream=True),
    Form("whole", stream=False),
    Form("error", stream=True, status=ERROR_STATUS),
    Form("whole error", stream=False, status=ERROR_STATUS),
)


@attrs.frozen
class Met:
    """How one form of a fault ended. `said` is what the client made of it; None: something that may not be said."""

    said: Said | None
    status: int
    after_s: float


@attrs.frozen
class Outcome:
    """What became of a fault: how each form ended, what is wrong with it, and what it has left open."""

    fault: str
    by_form: Mapping[str, Met]
    wrong: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Every promise was kept."""
        return not self.wrong and not self.left


@asynccontextmanager
async def open_trial(settings: Settings, channel: ChannelSettings | None = None) -> AsyncIterator[Trial]:
    """Run a relay with these settings, and with the clocks and the transport of this channel of them."""
    async with open_fake_upstream() as upstream:
        upstream.provider = BusyProvider()
        clocks = channel or ChannelSettings(name=CLEAR, adaptor="openai")
        async with open_relay_under_test(_settings_between_fakes(settings, clocks, upstream)) as relay:
            await trio.sleep(1)  # until it has noted what it holds at rest
            yield Trial(Scene(relay, [upstream]), Bounds.of(settings, channel), clocks, settings)


async def hold(
    settings: Settings, channel: ChannelSettings | None, told: Callable[[Outcome], None], only: Sequence[str] = ()
) -> list[str]:
    """Hold a configuration to every fault, or to those that are named; tell each outcome. Return what is left at the end."""
    before = Snapshot.take()
    async with open_trial(settings, channel) as trial:
        for name, meet in trial.faults():
            if not only or name in only:
                told(await meet())
        secrets = faults_of_secrecy(trial.scene)
    return secrets + (await wait_settled(before)).splitlines()


def _settings_between_fakes(settings: Settings, clocks: ChannelSettings, upstream: FakeUpstream) -> Settings:
    channel = attrs.evolve(
        clocks,
        name=CLEAR,
        adaptor="openai",
        base_url=upstream.base_url(),
        api_keys=(Secret(UPSTREAM_KEY),),
        models=(CLEAR,),
        model_map={},
        groups=None,
        proxy=None,
        options={},
    )
    # the fake speaks no TLS: what it does to a ClientHello needs no certificate
    encrypted = attrs.evolve(
        channel, name=ENCRYPTED, models=(ENCRYPTED,), base_url=upstream.base_url().replace("http:", "https:")
    )
    return attrs.evolve(
        settings,
        listen=("127.0.0.1:0",),
        workers=1,
        tls_cert=None,
        tls_key=None,
        alerts=Alerts(),  # nobody is told of what goes wrong on purpose
        admin_key=None,
        metrics_key=None,
        default_channel=None,
        channels=(channel, encrypted),
        keys=(KeySettings(name="client", digest=digest_of(CLIENT_KEY)),),
        demo=False,
        printed_key=None,
    )


@attrs.frozen(eq=False)
class Trial:
    """A running relay that is held to its promises."""

    scene: Scene
    bounds: Bounds
    channel: ChannelSettings
    settings: Settings

    def faults(self) -> Iterator[tuple[str, Callable[[], Awaitable[Outcome]]]]:
        """Yield every fault by its name, and what meets it: the provider's, and then the client's."""
        for name, misbehaviour in MISBEHAVIOURS.items():
            if name == "giant-line" and self.bounds.event_bytes > LARGEST_EVENT_BYTES:
                continue
            early = misbehaviour.stage is Stage.ACCEPTED
            if not name.startswith("tls-"):
                yield name, partial(self.meet, name, tls=False)
            if early:
                yield name if name.startswith("tls-") else f"tls-{name}", partial(self.meet, name, tls=True)
        for act in CLIENTS:
            yield act.__name__.replace("_", "-"), partial(self.meet_client, act)

    # The provider's faults

    async def meet(self, name: str, *, tls: bool) -> Outcome:
        """Meet one fault of the provider in all its forms."""
        by_form: dict[str, Met] = {}
        wrong: list[str] = []
        left: list[str] = []
        for form in FORMS:
            case = Case(
                name,
                form.status,
                self.bounds,
                stream=form.stream,
                tls=tls,
                httpx=self.channel.transport == "httpx",
            )
            self.scene.set_behaviour(case.behaviour)
            got = await self._ask(case, wrong)
            if got is not None:
                by_form[form.name] = Met(what_was_said(got), got.status, got.after_s)
                wrong += [f"{form.name}: {fault}" for fault in faults_of(case, got, self.scene.new_lines())]
            left += self._open()
        left += await self._left()
        shown = f"tls-{name}" if tls and not name.startswith("tls-") else name
        return Outcome(shown, by_form, tuple(wrong), tuple(dict.fromkeys(left)))

    async def _ask(self, case: Case, wrong: list[str]) -> Got | None:
        try:
            return await self.scene.ask(stream=case.stream, model=ENCRYPTED if case.tls else CLEAR)
        except (PeerGone, Malformed) as error:
            wrong.append(f"no answer: {error}")
        except trio.TooSlowError:
            wrong.append("not everything was closed in time")
        self.scene.new_lines()
        return None

    def _open(self) -> list[str]:
        return [f"{count} {kind}" for kind, count in self.scene.relay.live().items()]

    async def _left(self) -> list[str]:
        """Return what is open though nobody asks and no connection is kept: in the relay's counts, and in no count."""
        self.scene.pool.close_all()
        with trio.move_on_after(_CLEAN_UP_S):
            await self.scene.upstream.wait_no_connections()  # its sockets and tasks are in this process too
        astray = await self.scene.relay.running.own.vitals.unaccounted()
        return [*self._open(), *(f"{count} unaccounted {kind}" for kind, count in astray.items() if count)]

    # The client's faults

    async def meet_client(self, act: ClientAct) -> Outcome:
        """Meet one fault of the client."""
        start = trio.current_time()
        expected = await act(self)
        wrong: list[str] = []
        try:
            await self.scene.wait_all_closed()
        except trio.TooSlowError:
            wrong.append("not everything was closed in time")
        after_s = expected.after_s if expected.after_s is not None else trio.current_time() - start
        lines = [line for line in self.scene.new_lines() if line["event"] == "request_finished"]
        wrong += _faults_of_end(expected, after_s, lines)
        status = next((line["status"] for line in lines if line.get("status")), 0)
        return Outcome(
            act.__name__.replace("_", "-"),
            {"client": Met(Said.ERROR if status else Said.NOTHING, status, after_s)},
            tuple(wrong),
            tuple(await self._left()),
        )

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect."""
        return self.scene.relay.host, self.scene.relay.port

    async def wait_finished(self, count: int) -> None:
        """Wait until so many requests have been logged since the last look."""
        seen = self.scene.lines_seen
        while sum(line["event"] == "request_finished" for line in self.scene.relay.lines()[seen:]) < count:  # noqa: ASYNC110 - a log in memory wakes nobody
            await trio.sleep(0.05)


@attrs.frozen
class Expected:
    """How a client's fault has to end: with this outcome in the log, within these seconds."""

    outcomes: frozenset[str]
    within_s: tuple[float, float]
    after_s: float | None = None


ClientAct = Callable[[Trial], Awaitable[Expected]]


async def client_leaves_before_the_head(trial: Trial) -> Expected:
    """Asks, and leaves while the provider is silent."""
    upstream = trial.scene.upstream
    trial.scene.set_behaviour("silent-before-head")
    asked = upstream.request_count + 1
    await leaves_before_head(trial.address, _request(), lambda: upstream.wait_requests(asked))
    return Expected(frozenset({"client_disconnected"}), (0, _SLACK_S))


async def client_leaves_in_the_middle(trial: Trial) -> Expected:
    """Reads an event of a stream, and leaves while the provider is silent."""
    trial.scene.set_behaviour("silent-mid-body")
    await leaves_mid_stream(trial.address, _request())
    return Expected(frozenset({"client_disconnected"}), (0, _SLACK_S))


async def client_stops_in_its_head(trial: Trial) -> Expected:
    """Sends half of a request's head and waits."""
    reaction = await sends_half_a_head(trial.address, _request())
    limit_s = trial.settings.limits.client_head
    return Expected(frozenset({"rejected"}), (limit_s - _SLACK_S, limit_s + _SLACK_S), reaction.after_s)


async def client_stops_in_its_body(trial: Trial) -> Expected:
    """Sends the head of a request, and less of its body than it announced."""
    request = _request(announced_and_more=True)
    reaction = await sends_half_a_request(trial.address, request)
    limit_s = min(trial.settings.limits.body, trial.settings.limits.total)
    outcomes = frozenset({"rejected", "deadline_exceeded"})
    return Expected(outcomes, (limit_s - _SLACK_S, limit_s + 2 * _SLACK_S), reaction.after_s)


async def client_stops_reading(trial: Trial) -> Expected:
    """Asks for a stream without end and reads nothing of it."""
    trial.scene.set_behaviour("endless-body;interval=0;size=16384")
    limits = trial.settings.limits.with_channel(trial.channel.limits)
    limit_s = min(limits.client_write, trial.bounds.total)
    start = trio.current_time()
    async with never_reads(trial.address, _request()):
        with trio.move_on_after(limit_s + _CLEAN_UP_S + _SLACK_S):
            await trial.wait_finished(1)
        after_s = trio.current_time() - start
    return Expected(frozenset({"deadline_exceeded"}), (limit_s - _SLACK_S, limit_s + _CLEAN_UP_S), after_s)


CLIENTS: tuple[Any, ...] = (
    client_leaves_before_the_head,
    client_leaves_in_the_middle,
    client_stops_in_its_head,
    client_stops_in_its_body,
    client_stops_reading,
)


def _request(*, announced_and_more: bool = False) -> bytes:
    request = chat(key=CLIENT_KEY, model=CLEAR)
    head, mark, body = request.partition(b"\r\n\r\n")
    # half of what is sent lies behind the head then
    return head + mark + body + b" " * len(head) if announced_and_more else request


def _faults_of_end(expected: Expected, after_s: float, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    wrong = [] if len(lines) == 1 else [f"{len(lines)} lines request_finished"]
    wrong += [f"outcome {line['outcome']}" for line in lines if line["outcome"] not in expected.outcomes]
    wrong += [f"{line['left_open']} left open" for line in lines if line.get("left_open")]
    first, last = expected.within_s
    if not first <= after_s <= last:
        wrong.append(f"after {after_s:g} s, not within {first:g} to {last:g} s")
    return wrong


def distinct_clocks(settings: Settings) -> list[tuple[ChannelSettings | None, list[str]]]:
    """Return one channel for each way in which the channels' clocks and transports differ, and who shares it."""
    groups: dict[tuple[Bounds, float, str], tuple[ChannelSettings | None, list[str]]] = {}
    for channel in settings.channels:
        limits = settings.limits.with_channel(channel.limits)
        way = (Bounds.of(settings, channel), limits.client_write, channel.transport)
        groups.setdefault(way, (channel, []))[1].append(channel.name)
    return list(groups.values()) or [(None, [])]


def names() -> list[str]:
    """Return the names of all faults, as `only` takes them."""
    early = [name for name, row in MISBEHAVIOURS.items() if row.stage is Stage.ACCEPTED]
    over_tls = [f"tls-{name}" for name in early if not name.startswith("tls-")]
    clients = [act.__name__.replace("_", "-") for act in CLIENTS]
    return list(itertools.chain(MISBEHAVIOURS, over_tls, clients))
