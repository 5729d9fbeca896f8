"""`relay-trio doctor`: from this machine to every provider, step by step, and with each finding what to do about it.

Channels are looked at side by side and told in the order of the configuration. Nothing is spent unless `--spend` is said.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from typing import Final
from urllib.request import getproxies, proxy_bypass

import attrs
import trio

from adaptors.protocol import Adaptor
from relay_trio.cli.configuration import Configuration, configured
from relay_trio.cli.doctor_clock import Watch, clock_finding
from relay_trio.cli.doctor_completion import Completion, cheap_model
from relay_trio.cli.doctor_findings import Finding, Level, Section, as_json, exit_status, show, worst
from relay_trio.cli.doctor_machine import descriptors_finding, disk_findings, port_findings
from relay_trio.cli.doctor_way import Way
from relay_trio.cli.language import choose, say
from relay_trio.cli.reach import (
    Answer,
    Asked,
    Asker,
    ask_channel,
    client_for,
    no_answer_within,
    what_is_wrong,
    with_key,
)
from relay_trio.cli.summary import base_url_of
from relay_trio.cli.terminal import CommandFailed
from relay_trio.settings.model import ChannelSettings, Settings
from relay_trio.upstream.target import origin_of, tls_context

_AT_ONCE: Final = 8
"""Channels that are looked at side by side: a look is no load test."""

MACHINE: Final = "machine"
_RATE_LIMITED: Final = 429
_SERVER_ERRORS: Final = 500


@attrs.frozen
class Wishes:
    """What the user asked for beside the look itself."""

    spend: bool = False
    model: str | None = None
    only: tuple[str, ...] = ()


def run(arguments: argparse.Namespace) -> int:
    """Look, and tell. 0: nothing to do; 1: something should be done; 2: something has to be."""
    if arguments.json:
        choose("en", os.environ)  # what machines read is in one language
    configuration = configured(arguments.config)
    wishes = Wishes(arguments.spend, arguments.model, tuple(arguments.channel or ()))
    _check_names(configuration.settings, wishes)
    sections: list[Section] = []

    def told(section: Section) -> None:
        sections.append(section)
        if not arguments.json:
            print("\n".join(show(section)), flush=True)

    trio.run(look, configuration, wishes, told)
    if arguments.json:
        print(json.dumps(as_json(sections), ensure_ascii=False, indent=1))
    else:
        print(_verdict(sections))
    return exit_status(worst(section.level for section in sections))


def _check_names(settings: Settings, wishes: Wishes) -> None:
    known = {channel.name for channel in settings.channels}
    for name in wishes.only:
        if name not in known:
            there = ", ".join(sorted(known)) or say("none")
            raise CommandFailed(
                say("--channel: there is no channel {name}; channels: {there}", name=name, there=there), status=2
            )
    if wishes.model is not None and not wishes.spend:
        raise CommandFailed(say("--model names what --spend asks for: say --spend too"), status=2)


def _verdict(sections: list[Section]) -> str:
    findings = [finding for section in sections for finding in section.findings]
    errors = sum(finding.level is Level.ERROR for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    if not errors and not warnings:
        return say("all is well")
    return say("{errors} errors, {warnings} warnings", errors=errors, warnings=warnings)


# The look


async def look(configuration: Configuration, wishes: Wishes, told: Callable[[Section], None]) -> None:
    """Look at the machine and at every channel; tell each section when it is its turn."""
    settings = configuration.settings
    here = [descriptors_finding(settings), *disk_findings(settings), *await port_findings(settings)]
    chosen = [
        (number, channel)
        for number, channel in enumerate(settings.channels)
        if not wishes.only or channel.name in wishes.only
    ]
    tls = tls_context(settings.ca_bundle)
    looks = [
        Look(number, channel, configuration.adaptors[channel.adaptor], settings, Way(channel, origin_of(
            base_url_of(channel, configuration.adaptors)), tls, settings.limits.with_channel(channel.limits).connect,
            _system_proxies(base_url_of(channel, configuration.adaptors))), wishes)
        for number, channel in chosen
    ]  # fmt: skip
    slots = trio.CapacityLimiter(_AT_ONCE)
    async with trio.open_nursery() as nursery:
        for one in looks:
            nursery.start_soon(one.run, slots, name=f"look at {one.channel.name}")
        for one in looks:
            await one.done.wait()
            told(one.section())
    if not looks:
        here.append(Finding(Level.NOTE, "channels", say("none: no provider is configured, so the built-in demo answers"),
                            say("set OPENAI_API_KEY, or write [[channels]] into relay.toml")))  # fmt: skip
    else:
        here.append(clock_finding([one.watch for one in looks]))
    told(Section(MACHINE, say("this machine"), tuple(here)))


def _system_proxies(base_url: str) -> Mapping[str, str]:
    """Return the proxies that environment or system name for this address: other programs here use them."""
    host = origin_of(base_url).host
    return {} if proxy_bypass(host) else getproxies()


@attrs.define(eq=False)
class Look:
    """One channel, looked at."""

    number: int
    channel: ChannelSettings
    adaptor: Adaptor
    settings: Settings
    way: Way
    wishes: Wishes
    findings: list[Finding] = attrs.field(factory=list)  # at most one for each step and key
    done: trio.Event = attrs.field(factory=trio.Event)
    watch: Watch = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.watch = Watch(self.channel.name)

    def section(self) -> Section:
        """Return what was found."""
        channel = self.channel
        url = base_url_of(channel, {channel.adaptor: self.adaptor})
        return Section(channel.name, f"{channel.name}  {channel.adaptor}  {url}", tuple(self.findings))

    async def run(self, slots: trio.CapacityLimiter) -> None:
        """Go the way, and ask at its end."""
        try:
            async with slots:
                await self.way.walk(self.findings)
                if worst(finding.level for finding in self.findings) < Level.ERROR:
                    await self._ask()
        finally:
            self.done.set()

    async def _ask(self) -> None:
        limit_s = self.settings.limits.with_channel(self.channel.limits).quick
        with trio.move_on_after(limit_s) as limit:
            async with client_for(self.channel, self.settings) as client:
                client.event_hooks = {"request": [self.watch.note_request], "response": [self.watch.note_response]}
                asked = await ask_channel(Asker(client, self.adaptor, self.channel))
                self.findings += self._key_findings(asked)
                if self.wishes.spend and asked.is_right:
                    self.findings.append(
                        await self._complete(Completion(client, self.adaptor, self.channel, asked.base_url), asked)
                    )
        if limit.cancelled_caught:
            advice = say(
                "the provider accepts connections and does not answer in time; does its status page know more?"
            )
            self.findings.append(Finding(Level.ERROR, "key", no_answer_within(limit_s), advice))

    def _key_findings(self, asked: Asked) -> list[Finding]:
        if not asked.is_right:
            return [Finding(Level.ERROR, "base_url", what_is_wrong(self.number, asked), self._address_advice(asked))]
        return [self._key_finding(place, answer) for place, answer in enumerate(asked.answers)]

    def _key_finding(self, place: int, answer: Answer) -> Finding:
        told = with_key(self.channel, place, answer.told)
        if answer.models is not None:
            return Finding(Level.OK, "key", told)
        if answer.refused:
            return Finding(Level.ERROR, "key", told, say("is the key whole, of this provider, and still valid?"))
        return Finding(Level.WARNING, "key", told, say("ask again later; the other keys are answered"))

    def _address_advice(self, asked: Asked) -> str:
        status = asked.answers[0].status
        if asked.other is not None:
            return say('base_url = "{url}"', url=asked.other)
        if status is None:
            return say("the way is open, but the request failed: does something in between speak HTTP for itself?")
        if status == _RATE_LIMITED or status >= _SERVER_ERRORS:
            return say("the provider has a problem of its own, or too many ask it: try again later")
        return say("is it the address of the API, as the provider's documents have it?")

    async def _complete(self, completion: Completion, asked: Asked) -> Finding:
        listed = next((answer.models for answer in asked.answers if answer.models is not None), ())
        model = self.wishes.model or cheap_model(self.channel, listed)
        if model is None:
            return Finding(Level.NOTE, "completion", say("not tried: no model is known; name one with --model"))
        return await completion.ask(model)
