"""The workloads: what is asked of every gateway, and what is written down of it. Issue by issue in README.md.

Gateways that are compared stand side by side and are measured in turn, round after round, so that what disturbs the
machine disturbs all of them alike. Where one gateway would get in the other's way (thousands of streams, memory), each
stands alone. A record is one measurement: `{"workload", "target", "round", ...}`; medians are taken in figures.py.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import peers
from fetching import BENCH, CannotHave
from peers import Target
from processes import BOTH_CORES
from rigging import (
    SLACK_S,
    STREAM_50,
    UNARY,
    Ask,
    Report,
    Stand,
    all_standing,
    haproxy_between,
    make_certificate,
    standing,
)
from watching import watched_relay

Record = dict[str, Any]


@attrs.frozen
class Plan:
    """How much is done: `full` for figures to be shown, `quick` for a look."""

    rounds: int
    seconds: float
    slow_streams: tuple[int, ...]
    slow_chunks: int
    streams_on_two: int
    """On two workers: more than one process has descriptors for."""
    chunks_on_two: int
    """They take longer to open, so they last longer."""
    errors: int
    after_s: float
    """How long after the streams' end memory is looked at."""
    soak_s: float


FULL = Plan(
    rounds=5,
    seconds=3.0,
    slow_streams=(5000, 9500),
    slow_chunks=30,
    streams_on_two=18_000,
    chunks_on_two=50,
    errors=169_000,
    after_s=60.0,
    soak_s=1800.0,
)
QUICK = Plan(
    rounds=3,
    seconds=1.5,
    slow_streams=(1000,),
    slow_chunks=15,
    streams_on_two=2000,
    chunks_on_two=15,
    errors=10_000,
    after_s=5.0,
    soak_s=60.0,
)

OPENING_S = 8.0
"""Slow streams are opened over this time, so that their chunks do not all come at once."""

OPENED_A_S_ON_TWO = 750
"""So many a second on two workers: there the rig needs a part of a core that it also measures."""

ERRORS_S = 120.0
"""How long a gateway may take for the errors of W4: the slow ones see fewer of them."""


@attrs.define
class Bench:
    """One run: what is compared, how much is done, what came out."""

    targets: Sequence[Target]
    plan: Plan
    records: list[Record] = attrs.field(factory=list)
    skipped: dict[str, str] = attrs.field(factory=dict)

    def note(self, workload: str, target: str, number: int, report: Report) -> None:
        self.records.append({"workload": workload, "target": target, "round": number, **report})
        rate, done = report.get("rate"), report.get("done")
        print(f"  {workload:8} {target:14} round {number}: {done} done, {rate}/s", file=sys.stderr, flush=True)

    def skip(self, what: str, why: str) -> None:
        self.skipped[what] = why
        print(f"  {what} skipped: {why}", file=sys.stderr, flush=True)

    def target(self, name: str) -> Target:
        return peers.TARGETS[name]

    def gateways(self) -> list[Target]:
        return [target for target in self.targets if target.start is not None]

    def each_alone(
        self, workload: str, *, direct: bool = False, streams_at_once: int = 0, **place_of: Any
    ) -> Iterator[Stand]:
        """Yield a fresh stand of each target, one after another."""
        for target in self.targets if direct else self.gateways():
            if target.most_workers < place_of.get("workers", 1):
                continue
            if target.most_streams < streams_at_once:
                self.skip(f"{workload} {target.name}", f"does not hold {streams_at_once} streams")
                continue
            try:
                with standing(target, **place_of) as stand:
                    yield stand
            except (CannotHave, RuntimeError) as reason:
                self.skip(f"{workload} {target.name}", str(reason))


# W1, W2: as fast as it goes


def unary(bench: Bench) -> None:
    """W1: answers of 1 KB, 64 connections; then 1 and 32 connections, for the latency that is added."""
    _in_turn(bench, "W1", UNARY, connections=64)
    _in_turn(bench, "W1-c1", UNARY, connections=1)
    _in_turn(bench, "W1-c32", UNARY, connections=32)


def streams(bench: Bench) -> None:
    """W2: streams of 50 chunks, as fast as they are taken, 64 connections; then the relay's loop, watched from within."""
    _in_turn(bench, "W2", STREAM_50, connections=64)
    if bench.target("relay") in bench.targets:
        _turns(bench)


def _turns(bench: Bench) -> None:
    with watched_relay("turns") as watched:
        watched.stand.load(STREAM_50, "-c", 16, seconds=1.0)
        for number in range(bench.plan.rounds):
            report, seconds = watched.during(STREAM_50, "-c", 64, seconds=bench.plan.seconds)
            at = partial(_at, sorted(seconds))
            turns = {"turns": len(seconds), "turn_p50_s": at(0.5), "turn_p99_s": at(0.99), "turn_max_s": max(seconds)}
            bench.note("W2-turns", "relay", number, {**report, **turns})


def _in_turn(bench: Bench, workload: str, ask: Ask, *, connections: int) -> None:
    with contextlib.ExitStack() as stack:
        stands = all_standing(stack, bench.targets, partial(_skip_in, bench, workload))
        for stand in stands:
            stand.load(ask, "-c", 16, seconds=1.0)
        for number in range(bench.plan.rounds):
            for stand in stands:
                report = stand.load(ask, "-c", connections, seconds=bench.plan.seconds)
                bench.note(workload, stand.target.name, number, {**report, **_own_view(stand)})


def _skip_in(bench: Bench, workload: str, target: str, why: str) -> None:
    bench.skip(f"{workload} {target}", why)


def _own_view(stand: Stand) -> Report:
    """What the relay says of itself: how late its heartbeat was at worst since its watchdog's last look, what it holds."""
    if stand.target.name != "relay" or stand.place.key is not None:
        return {}
    health = json.loads(stand.get("/api/monitor/health"))
    return {
        "loop_lag_ms": health["loop_lag_ms"],
        "nurseries": health["nurseries"],
        "tasks": health["tasks"],
        "live": {kind: count["live"] for kind, count in health["balance"].items()},
    }


# W3: thousands of slow streams


def slow_streams(bench: Bench) -> None:
    """W3: streams with a chunk a second: are all held, at what price of CPU and memory, how late is each chunk?"""
    for streams_at_once in bench.plan.slow_streams:
        for stand in bench.each_alone("W3", direct=True, streams_at_once=streams_at_once):
            report = _hold(stand, bench.plan, streams_at_once, chunks=bench.plan.slow_chunks, opening_s=OPENING_S)
            bench.note(f"W3-{streams_at_once}", stand.target.name, 0, report)


def disturbed_streams(bench: Bench) -> None:
    """W3-big: the same while one client sends bodies of 20 MB, twice a second."""
    streams_at_once = bench.plan.slow_streams[0]
    for stand in bench.each_alone("W3-big", direct=True, streams_at_once=streams_at_once):
        big = stand.start_load(UNARY, "-c", 1, "-w", 400, "-z", 20_000_000, "-d", bench.plan.slow_chunks + 5)
        report = _hold(stand, bench.plan, streams_at_once, chunks=bench.plan.slow_chunks, opening_s=OPENING_S)
        big_report = big.report(within_s=60)
        held = min(report["held"], streams_at_once)  # the big ones have a connection too
        bench.note("W3-big", stand.target.name, 0, {**report, "held": held, "big_ok": big_report.get("ok", 0)})


def streams_on_two(bench: Bench) -> None:
    """W3-two: more streams than one process has descriptors for, on two workers; the rig shares the second's core."""
    streams_at_once = bench.plan.streams_on_two
    opening_s = streams_at_once / OPENED_A_S_ON_TWO
    for stand in bench.each_alone("W3-two", streams_at_once=streams_at_once, core=BOTH_CORES, workers=2):
        report = _hold(stand, bench.plan, streams_at_once, chunks=bench.plan.chunks_on_two, opening_s=opening_s)
        bench.note("W3-two", f"{stand.target.name}, 2 workers", 0, report)


def _hold(stand: Stand, plan: Plan, streams_at_once: int, *, chunks: int, opening_s: float) -> Report:
    ask = Ask(chunks=chunks, interval_ms=1000)
    idle = stand.usage()
    load = stand.start_load(ask, "-c", streams_at_once, "-1", "-r", int(streams_at_once / opening_s), "-a", 4)
    time.sleep(opening_s + 1)
    window = _window(stand, max(1.0, chunks - opening_s - 3))
    report = load.report(within_s=chunks + SLACK_S)
    time.sleep(plan.after_s)
    after = stand.usage()
    return {
        **report,
        **_own_view(stand),
        "n": streams_at_once,
        "held": window.held,
        "cpu_us_per_chunk": window.cpu_us / max(1, window.chunks),
        "kib_per_stream": (window.resident_kib - idle.resident_kib) / max(1, window.held),
        "rss_idle_kib": idle.resident_kib,
        "rss_after_kib": after.resident_kib,
        "descriptors_idle": idle.descriptors,
        "descriptors_after": after.descriptors,
    }


@attrs.frozen
class Window:
    """A time in which all streams should be open: what was really open and sent, for a gateway may have fallen behind."""

    cpu_us: float
    chunks: int
    held: int
    resident_kib: int


def _window(stand: Stand, seconds: float) -> Window:
    sent, before = stand.provider(), stand.usage()
    time.sleep(seconds)
    now, after = stand.provider(), stand.usage()
    return Window(
        cpu_us=after.cpu_us - before.cpu_us,
        chunks=now["chunks"] - sent["chunks"],
        held=now["open"] - 1,
        resident_kib=after.resident_kib,
    )


# W4: the ancestor's death


def errors(bench: Bench) -> None:
    """W4: 429s whose bodies break off. What did the client see, and what is left?"""
    for stand in bench.each_alone("W4"):
        report = _answer_errors(stand, bench.plan.errors)
        bench.note("W4", stand.target.name, 0, report)


def _answer_errors(stand: Stand, wanted: int) -> Report:
    broken, seen = Ask(mode="broken"), 0
    idle, memory, total = stand.usage(), [], Report()
    until = time.monotonic() + ERRORS_S
    # in parts, to see memory along the way: the first part fills caches and pools
    for part in _parts(wanted, 20_000):
        left_s = until - time.monotonic()
        if left_s <= 0:
            break
        report = stand.load(broken, "-c", 64, "-n", part, seconds=left_s)
        total = {key: total.get(key, 0) + value for key, value in report.items() if isinstance(value, int | float)}
        seen += report["done"]
        memory.append(stand.usage().resident_kib)
    time.sleep(2)
    after, provider = stand.usage(), stand.provider()
    return {
        **{key: total.get(key, 0) for key in ("done", "seconds", "client_errors", "server_errors", "told_429", "cut")},
        **_own_view(stand),
        "rate": round(seen / max(total.get("seconds", 0), 0.001), 1),
        "cpu_us": total.get("cpu_us", 0),
        "rss_parts_kib": memory,
        "rss_idle_kib": idle.resident_kib,
        "descriptors_idle": idle.descriptors,
        "descriptors_after": after.descriptors,
        "threads_idle": idle.threads,
        "threads_after": after.threads,
        "faults": provider["faults"],
        "upstream_left_open": provider["open"] - 1,
    }


def _parts(whole: int, part: int) -> list[int]:
    return [min(part, whole - start) for start in range(0, whole, part)]


# The client leaves


def leaving(bench: Bench) -> None:
    """Leave: clients leave slow streams while W2 loads the gateway: when is the provider's connection closed?"""
    leavers = Ask(chunks=2000, interval_ms=5, numbered=True)
    for stand in bench.each_alone("leave"):
        seconds = bench.plan.seconds * 3
        left_file = stand.place.directory / "left"
        stand.load(STREAM_50, "-c", 16, seconds=1.0)
        background = stand.start_load(STREAM_50, "-c", 64, "-d", seconds + 1)
        report = stand.load(leavers, "-c", 8, "-l", 100, "-g", left_file, seconds=seconds)
        background.report(within_s=seconds + 60)
        time.sleep(2)
        stand.provider()  # makes it write out what it noted
        bench.note("leave", stand.target.name, 0, {**report, **_delays(left_file, stand.gone_file)})


def _delays(left_file: Path, gone_file: Path) -> Report:
    left, gone = _noted(left_file), _noted(gone_file)
    delays = sorted((gone[number] - at) / 1e6 for number, at in left.items() if number in gone)
    if not delays:
        return {"never_closed": len(left)}
    at = partial(_at, delays)
    return {"closed_p50_ms": at(0.5), "closed_p99_ms": at(0.99), "closed_max_ms": delays[-1], "closed": len(delays)} | {
        "never_closed": len(left) - len(delays)
    }


def _at(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def _noted(file: Path) -> dict[int, int]:
    lines = [line.split() for line in file.read_text().splitlines()]
    return {int(line[1]): int(line[2]) for line in lines if len(line) == 3}


# W5: another dialect behind than in front


def cross_dialect(bench: Bench) -> None:
    """W5: OpenAI's clients, Anthropic's provider, streams of 50 chunks; beside W2 of the same relay."""
    crossed = Ask(chunks=50, model="claude-bench")
    with standing(bench.target("relay")) as stand:
        first = stand.load(crossed, "-c", 1, "-n", 1, seconds=5)
        if not first["ok"]:
            bench.skip("W5", "the relay does not translate between these dialects")
            return
        for number in range(bench.plan.rounds):
            for name, ask in (("relay, same dialect", STREAM_50), ("relay, crossed", crossed)):
                bench.note("W5", name, number, stand.load(ask, "-c", 64, seconds=bench.plan.seconds))


# W6, W6c: with TLS on either side


def tls_upstream(bench: Bench) -> None:
    """W6: TLS to the provider, which a haproxy on the rig's core ends; beside W1 and W2 without it."""
    with _certificate() as (directory, certificate, _key), standing(bench.target("relay")) as plain:
        server = f"127.0.0.1:{plain.place.upstream_port}"
        listen = f"ssl crt {directory / 'both.pem'}"
        with (
            haproxy_between(listen, server, directory, "terminator") as port,
            standing(
                bench.target("relay"), upstream_port=port, upstream_scheme="https", certificate=certificate
            ) as over_tls,
        ):
            _beside(bench, "W6", {"clear": (plain, None), "TLS to provider": (over_tls, None)})


def tls_clients(bench: Bench) -> None:
    """W6c: TLS from the clients, which a haproxy on the rig's core speaks for them; beside W1 and W2 without it."""
    with contextlib.ExitStack() as stack:
        directory, certificate, key = stack.enter_context(_certificate())
        plain = stack.enter_context(standing(bench.target("relay")))
        secure = stack.enter_context(standing(bench.target("relay"), certificate=certificate, key=key))
        server = f"127.0.0.1:{secure.port} ssl verify none alpn http/1.1"
        front = stack.enter_context(haproxy_between("", server, directory, "originator"))
        _beside(bench, "W6c", {"clear": (plain, None), "TLS from clients": (secure, front)})


def _beside(bench: Bench, workload: str, stands: Mapping[str, tuple[Stand, int | None]]) -> None:
    for shape, ask in (("unary", UNARY), ("stream", STREAM_50)):
        for stand, front in stands.values():
            stand.load(ask, "-c", 64, seconds=1.0, front=front)
        for number in range(bench.plan.rounds):
            for name, (stand, front) in stands.items():
                report = stand.load(ask, "-c", 64, seconds=bench.plan.seconds, front=front)
                bench.note(f"{workload}-{shape}", f"relay, {name}", number, report)


@contextlib.contextmanager
def _certificate() -> Iterator[tuple[Path, Path, Path]]:
    with tempfile.TemporaryDirectory(prefix="bench-tls-") as name:
        directory = Path(name)
        yield directory, *make_certificate(directory)


# W7: two workers


def workers(bench: Bench) -> None:
    """W7: one worker and two, both with both cores, which the rig uses too: so less than twice is to be had."""
    one = standing(bench.target("relay"), core=BOTH_CORES)
    two = standing(bench.target("relay"), core=BOTH_CORES, workers=2)
    with one as single, two as double:
        for number in range(bench.plan.rounds):
            for name, stand in (("relay, 1 worker", single), ("relay, 2 workers", double)):
                bench.note("W7", name, number, stand.load(UNARY, "-c", 64, seconds=bench.plan.seconds))


# W8: hours of everything at once


def soak(bench: Bench) -> None:
    """W8: all faults mixed, for as long as is asked: memory, tasks and descriptors over time, and at rest."""
    with standing(bench.target("relay")) as stand:
        idle = attrs.asdict(stand.usage()) | _own_view(stand)
        loads = [stand.start_load(ask, "-d", bench.plan.soak_s, *options) for ask, options in _FAULTS]
        samples = []
        start = time.monotonic()
        while (at := time.monotonic() - start) < bench.plan.soak_s:
            samples.append({"at_s": round(at, 1), **attrs.asdict(stand.usage()), **_own_view(stand)})
            time.sleep(min(10.0, bench.plan.soak_s / 30))
        reports = [load.report(within_s=120) for load in loads]
        time.sleep(10)
        rest = {"rest": attrs.asdict(stand.usage()) | _own_view(stand), "idle": idle}
        done = sum(report["done"] for report in reports)
        report = {
            "done": done,
            "rate": round(done / bench.plan.soak_s, 1),
            "samples": samples,
            "loads": reports,
            **rest,
        }
        bench.note("W8", "relay", 0, report | {"upstream_left_open": stand.provider()["open"] - 1})


_FAULTS: tuple[tuple[Ask, tuple[object, ...]], ...] = (
    (UNARY, ("-c", 8, "-w", 20)),
    (Ask(chunks=50, interval_ms=20), ("-c", 50)),
    (Ask(mode="broken"), ("-c", 8, "-w", 20)),
    (Ask(mode="refuse"), ("-c", 4, "-w", 20)),
    (Ask(chunks=20, interval_ms=10, mode="cut"), ("-c", 8, "-w", 20)),
    (Ask(chunks=500, interval_ms=20), ("-c", 20, "-l", 500, "-w", 20)),
    (Ask(chunks=5), ("-c", 2, "-w", 1000, "-z", 5_000_000)),
)


# How fast it is there


def starting(bench: Bench) -> None:
    """Start: from the command to the first connection that is let in, and `--help`."""
    for number in range(bench.plan.rounds):
        with standing(bench.target("relay")) as stand:
            listening_after_s = stand.listening_after_s
        begun = time.monotonic()
        command = [sys.executable, "-m", "relay_trio", "--help"]
        subprocess.run(command, cwd=BENCH.parent, check=True, capture_output=True)
        bench.note("start", "relay", number, {"ready_s": listening_after_s, "help_s": time.monotonic() - begun})


WORKLOADS: Mapping[str, Callable[[Bench], None]] = {
    "W1": unary,
    "W2": streams,
    "W3": slow_streams,
    "W3-two": streams_on_two,
    "W3-big": disturbed_streams,
    "W4": errors,
    "W5": cross_dialect,
    "W6": tls_upstream,
    "W6c": tls_clients,
    "W7": workers,
    "W8": soak,
    "leave": leaving,
    "start": starting,
}
