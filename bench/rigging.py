"""The rig: its two C programs are built on the spot, a provider stands behind every gateway, a load comes from the front.

A `Stand` is one gateway with a provider of its own, both fresh. The gateway is alone on core 0; provider and load share
the other core.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import peers
import processes
from fetching import BENCH, BUILD, CannotHave
from peers import Place, Target
from processes import Process, Usage

RIG = BENCH / "rig"
SLACK_S = 90
"""A load that has not ended so long after its own bound is ended, and its gateway has not held."""

Report = dict[str, Any]


def build() -> None:
    """Compile provider and load, where the source is newer than the program. Raises CannotHave without a compiler."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in ("upstream", "load"):
        source, program = RIG / f"{name}.c", BUILD / name
        if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
            continue
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise CannotHave("no C compiler here")
        subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)], check=True)


# What is asked for

_QUESTION = (
    "Explain, for a reader who knows operating systems, why an event loop that serves many slow connections needs "
    "back-pressure, and what happens to memory when a producer is faster than its consumer. Give an example with numbers. "
)


@attrs.frozen
class Ask:
    """A request of about 1 KB, and in a message of it what the provider shall do (see rig/upstream.c).

    In a message, because every gateway hands those on: sglang-router, for one, drops the field `user`.
    """

    chunks: int = 0
    """0: no stream."""
    interval_ms: int = 0
    mode: str = "answer"
    model: str = "gpt-4o-mini"
    numbered: bool = False

    def body(self) -> str:
        words = f"bench k={self.chunks or 50} i={self.interval_ms} m={self.mode}"
        wish = f"{words} id=00000000" if self.numbered else words
        messages = [
            {"role": "system", "content": "You are a helpful assistant. Answer in short sentences."},
            {"role": "user", "content": f"{_QUESTION * 2}{wish}"},
        ]
        whole = {"model": self.model, "max_tokens": 256, "messages": messages}
        return json.dumps({**whole, "stream": True} if self.chunks else whole, separators=(",", ":"))


UNARY = Ask()
STREAM_50 = Ask(chunks=50)


# One gateway and its provider


@attrs.frozen
class Stand:
    """A gateway that answers, and the provider behind it. `gateway` is None where the load goes to the provider."""

    target: Target
    place: Place
    upstream: Process
    gateway: Process | None
    port: int
    listening_after_s: float = 0.0
    """From the command to the first connection that was let in."""

    @property
    def gone_file(self) -> Path:
        return self.place.directory / "gone"

    def usage(self) -> Usage:
        return self.gateway.usage() if self.gateway else Usage(0, 0, 0, 0)

    def provider(self) -> dict[str, int]:
        """Return what the provider counted: open, accepted, requests, streams, chunks, faults, left. The asking is one of the open."""
        with urllib.request.urlopen(f"http://127.0.0.1:{_provider_port(self)}/stats", timeout=10) as answer:
            counted: dict[str, int] = json.load(answer)
        return counted

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def load(self, ask: Ask, *options: object, seconds: float, front: int | None = None) -> Report:
        """Load the gateway and return the report, with the CPU that the gateway used for it."""
        before = self.usage()
        load = self.start_load(ask, "-d", seconds, *options, front=front)
        report = load.report(within_s=seconds + SLACK_S)
        report["cpu_us"] = self.usage().cpu_us - before.cpu_us
        return report

    def start_load(self, ask: Ask, *options: object, front: int | None = None) -> Load:
        body = self.place.write(f"ask-{time.monotonic_ns()}.json", ask.body())
        headers = (f"Authorization: Bearer {self.target.client_key}", *self.target.headers(self.place))
        command = ["taskset", "-c", processes.RIG_CORE, str(BUILD / "load")]
        command += ["-p", str(front or self.port), "-u", self.target.path, "-b", body, *map(str, options)]
        for header in headers:
            command += ["-H", header]
        return Load(subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True))


def _provider_port(stand: Stand) -> int:
    return int((stand.place.directory / "provider.port").read_text())


@attrs.frozen
class Load:
    """A load that runs."""

    _popen: subprocess.Popen[bytes]

    def report(self, *, within_s: float) -> Report:
        """Wait for its end. One that does not come is said in the report: `hung`."""
        try:
            said, _ = self._popen.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            self.end()
            return {"hung": True, "done": 0, "rate": 0.0}
        report: Report = json.loads(said)
        return report

    def end(self) -> None:
        self._popen.kill()
        self._popen.communicate()


@contextlib.contextmanager
def standing(target: Target, ask: Ask = UNARY, **place_of: Any) -> Iterator[Stand]:
    """Yield the gateway when it has answered `ask`, and end all of it after. Raises CannotHave, RuntimeError."""
    target.install()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        provider_port = processes.free_port()
        (directory / "provider.port").write_text(str(provider_port))
        upstream = processes.start(
            "upstream",
            [str(BUILD / "upstream"), "-p", str(provider_port), "-g", str(directory / "gone")],
            core=processes.RIG_CORE,
            log=directory / "upstream.log",
        )
        stack.callback(upstream.end)
        processes.wait_listening(upstream, provider_port, within_s=5)
        place_of.setdefault("upstream_port", provider_port)
        place = Place(port=processes.free_port(), directory=directory, **place_of)
        if target.start is None:
            yield Stand(target, place, upstream, None, provider_port)
            return
        begun = time.monotonic()
        gateway = target.start(place)
        stack.callback(gateway.end)
        processes.wait_listening(gateway, place.port, within_s=target.ready_s)
        stand = Stand(target, place, upstream, gateway, place.port, time.monotonic() - begun)
        try:
            _wait_answering(stand, ask)
        except RuntimeError as error:
            gateway.end()
            raise RuntimeError(f"{error}; its log says: {gateway.last_words()[:400]}") from None
        yield stand


def _wait_answering(stand: Stand, ask: Ask) -> None:
    until = time.monotonic() + stand.target.ready_s
    said = "nothing"
    while time.monotonic() < until:
        said = _answer_to(stand, ask)
        if said == "200":
            return
        time.sleep(0.25)
    raise RuntimeError(f"{stand.target.name} did not answer within {stand.target.ready_s:g} s: {said}")


def _answer_to(stand: Stand, ask: Ask) -> str:
    if stand.place.key is not None:  # behind TLS: the workload's own way in looks at it
        return "200"
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {stand.target.client_key}"}
    headers |= dict(_split(line) for line in stand.target.headers(stand.place))
    url = f"http://127.0.0.1:{stand.port}{stand.target.path}"
    request = urllib.request.Request(url, ask.body().encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read(200).decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as error:
        return repr(error)


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value


# TLS, which the rig's own programs do not speak: haproxy on the rig's core does it for them


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 and its key, and both in one file for haproxy."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    (directory / "both.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    return certificate, key


@contextlib.contextmanager
def haproxy_between(listen: str, server: str, directory: Path, name: str) -> Iterator[int]:
    """Yield the port of a haproxy on the rig's core; `listen` and `server` are what stands behind each address."""
    peers.install_haproxy()
    port = processes.free_port()
    text = f"""global
  nbthread 1
  maxconn 9000
defaults
  mode tcp
  option http-no-delay
  timeout connect 5s
  timeout client 600s
  timeout server 600s
listen between
  bind 127.0.0.1:{port} {listen}
  server one {server}
"""
    process = peers.start_haproxy(text, directory, core=processes.RIG_CORE, name=name)
    try:
        processes.wait_listening(process, port, within_s=10)
        yield port
    finally:
        process.end()


def all_standing(
    stack: contextlib.ExitStack, targets: Sequence[Target], skip: Callable[[str, str], None]
) -> list[Stand]:
    """Return the stands of all targets that can be had; `skip` is told which cannot, and why."""
    stands = []
    for target in targets:
        try:
            stands.append(stack.enter_context(standing(target)))
        except (CannotHave, RuntimeError) as reason:
            skip(target.name, str(reason))
    return stands
