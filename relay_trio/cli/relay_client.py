"""The client with which commands ask a running relay: in stages, so that a failure says how far it came and what was tried.

DNS, connect, TLS, HTTP. One connection a question, each under a deadline of its own; nothing is retried. What goes wrong is
a CommandFailed of plain lines, never an exception of a library.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import attrs
import httptools
import msgspec
import trio

import relay_trio
from relay_trio.cli.language import later, say
from relay_trio.cli.relay_place import RelayPlace
from relay_trio.cli.terminal import CommandFailed
from relay_trio.settings.secret import Secret

Json = dict[str, Any]
T = TypeVar("T")

PATIENCE_S: Final = 10.0
"""A relay answers its own paths in milliseconds; one that is busy or far away may take seconds."""

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""Ten thousand live requests with all their stacks are about 30 MB."""

_MAX_HEAD_BYTES: Final = 64 * 1024
"""Of a head, and of what stands between two pieces of a body or behind the last: trailers have no end of their own."""

_MOST_ADDRESSES: Final = 8
"""Each has its share of the time: more of them, and no share would be enough to connect in."""

_READ_BYTES: Final = 64 * 1024
_FIRST_FINAL: Final = 200
_OK: Final = 200
_TLS_ALERT: Final = b"\x15\x03"
"""What a TLS server says to clear text (RFC 8446, 5.1: content type alert, legacy version 3.x)."""

_FIELDS: Final = ("requests", "memory", "fds", "channels", "thresholds", "workers")
"""Of the health, what commands read; an older relay may lack some."""

_STAGES: Final = ("DNS", "connect", "TLS", "HTTP")


class NotReached(CommandFailed):
    """No answer came. `stage` is where it ended; `why` is one line; the lines tell also what was tried before."""

    def __init__(self, place: RelayPlace, trail: Trail, why: str, advice: str) -> None:
        self.stage = trail.stage
        self.why = why
        self.tried = (*trail.passed, (trail.stage, why))
        super().__init__(
            say("no relay answers at {url} (said by {source})", url=place.url, source=place.source),
            *(f"  {stage.ljust(7)}  {told}" for stage, told in self.tried),
            *place.notes,
            advice,
            status=2,
        )


class Refused(CommandFailed):
    """An answer came, and it was not the one that was wanted."""

    def __init__(self, status: int, *lines: str) -> None:
        super().__init__(*lines, status=2)
        self.answered = status


@attrs.define
class Trail:
    """How far an attempt has come."""

    stage: str = _STAGES[0]
    passed: list[tuple[str, str]] = attrs.field(factory=list)  # at most one entry for each stage

    def pass_on(self, told: str, following: str) -> None:
        """Note what this stage came to, and which is the next."""
        self.passed.append((self.stage, told))
        self.stage = following


class _Failed(CommandFailed):
    """A stage has failed: why, and what to do about it. While a body is read nobody tells more of it."""

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(why, advice, status=2)
        self.why = why
        self.advice = advice


@attrs.frozen
class Question:
    """One request to a relay."""

    method: str
    path: str
    key: Secret | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes | None = None

    def bytes_for(self, place: RelayPlace) -> bytes:
        """Return the request as it is sent."""
        headers = {
            "host": place.authority_part,
            "user-agent": f"relay-trio/{relay_trio.__version__}",
            "accept": "*/*",
            "connection": "close",
            **({} if self.key is None else {"authorization": f"Bearer {self.key.reveal()}"}),
            **({} if self.body is None else {"content-length": str(len(self.body))}),
            **self.headers,
        }
        target = f"{self.method} {place.prefix}{self.path} HTTP/1.1"
        lines = [target, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1", "replace") + (self.body or b"")


@attrs.frozen
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json | None:
        """Return the body if it is a JSON object."""
        try:
            value = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return None
        return value if isinstance(value, dict) else None


@attrs.frozen
class RelayClient:
    """Asks one relay."""

    place: RelayPlace
    patience_s: float = PATIENCE_S

    # What is asked

    async def health(self) -> Json:
        """Return what `/api/monitor/health` says. Raises CommandFailed."""
        found = await self._json("GET", "/api/monitor/health", None)
        if "balance" not in found:
            raise Refused(_OK, *self._no_relay())
        if missing := [name for name in _FIELDS if name not in found]:
            told = say("the relay at {url} is of another version: its health lacks {names}", url=self.place.url,
                       names=", ".join(missing))  # fmt: skip
            raise Refused(_OK, told)
        return found

    async def metrics(self) -> str:
        """Return the page of `/metrics`. Raises CommandFailed."""
        answer = await self.ask(Question("GET", "/metrics", self.place.metrics_key))
        if answer.status != _OK:
            raise self._refusal("GET", "/metrics", answer)
        return answer.body.decode("utf-8", "replace")

    async def settings(self) -> Json:
        """Return the settings in force, and where each came from. Raises CommandFailed."""
        return await self._json("GET", "/debug/settings", self.place.admin_key)

    async def nurseries(self, *, stacks: bool = False) -> list[Json]:
        """Return the live requests, the oldest first. Raises CommandFailed."""
        found = await self._json("GET", f"/debug/nurseries{'?stacks=1' if stacks else ''}", self.place.admin_key)
        branches: list[Json] = found.get("nurseries", [])
        return sorted(branches, key=lambda branch: -branch["age_s"])

    async def cancel(self, request_id: str) -> None:
        """Cancel a live request. Raises CommandFailed."""
        await self._json("DELETE", f"/debug/nurseries/{request_id}", self.place.admin_key)

    async def _json(self, method: str, path: str, key: Secret | None) -> Json:
        answer = await self.ask(Question(method, path, key))
        if answer.status != _OK:
            raise self._refusal(method, path, answer)
        found = answer.json()
        if found is None:
            raise Refused(answer.status, *self._no_relay())
        return found

    def _refusal(self, method: str, path: str, answer: Answer) -> Refused:
        error = (answer.json() or {}).get("error")
        message = error.get("message") if isinstance(error, dict) else None
        if message is None:
            told = say("{url} answers {status} to {method} {path}", url=self.place.url, status=answer.status,
                       method=method, path=path)  # fmt: skip
            return Refused(answer.status, told, *self._no_relay())
        keys = {401: say("give the key with --key or in the variable")}
        return Refused(answer.status, f"{answer.status}: {message}", *filter(None, [keys.get(answer.status)]))

    def _no_relay(self) -> list[str]:
        return [say("what answers at {url} is no relay_trio, or a proxy hides its own paths", url=self.place.url)]

    # How it is asked

    async def ask(self, question: Question) -> Answer:
        """Return the whole answer, within the patience. Raises NotReached."""

        async def read(trail: Trail) -> Answer:
            async with await self._opened(trail, question) as answer:
                return Answer(answer.status, answer.headers, await answer.read())

        return await self._told(read, self.patience_s)

    async def open(self, question: Question, head_within_s: float | None = None) -> OpenAnswer:
        """Return an answer whose head is there, to be read piece by piece and closed. Raises NotReached."""
        within_s = self.patience_s if head_within_s is None else head_within_s
        return await self._told(lambda trail: self._opened(trail, question), within_s)

    async def _told(self, work: Callable[[Trail], Awaitable[T]], within_s: float) -> T:
        """Do the work; what goes wrong is told with how far it came."""
        trail = Trail()
        try:
            with trio.fail_after(within_s):
                return await work(trail)
        except trio.TooSlowError:
            why = say("nothing within {seconds:g} s", seconds=within_s)
            raise NotReached(self.place, trail, why, say(_SLOW[trail.stage])) from None
        except _Failed as failed:
            raise NotReached(self.place, trail, failed.why, failed.advice) from failed

    async def _opened(self, trail: Trail, question: Question) -> OpenAnswer:
        answer = OpenAnswer(await _connected(self.place, trail), bodiless=question.method == "HEAD")
        try:
            await answer.start(question.bytes_for(self.place))
        except BaseException:
            await answer.aclose()
            raise
        return answer


_SLOW: Final[Mapping[str, str]] = {
    "DNS": later("the name server does not answer: try the address in numbers"),
    "connect": later("nothing says no either: a firewall between here and there, or a host that is down"),
    "TLS": later("what listens there does not speak TLS: try http://"),
    "HTTP": later("it accepts connections and does not answer: its event loop is blocked, or it is no relay"),
}


# Stage by stage


async def _connected(place: RelayPlace, trail: Trail) -> trio.abc.Stream:
    addresses = await _resolved(place)
    trail.pass_on(", ".join(addresses), "connect")
    stream, address = await _dialled(place, addresses)
    trail.pass_on(address, "HTTP" if place.scheme == "http" else "TLS")
    if place.scheme == "http":
        return stream
    try:
        encrypted, told = await _encrypted(place, stream)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    trail.pass_on(told, "HTTP")
    return encrypted


async def _resolved(place: RelayPlace) -> list[str]:
    try:
        found = await trio.socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _Failed(
            f"{place.host}: {_reason(error)}",
            say("the name is not known here: is it spelt right, and is the name server reached?"),
        ) from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))[:_MOST_ADDRESSES]


async def _dialled(place: RelayPlace, addresses: list[str]) -> tuple[trio.SocketStream, str]:
    """Try the addresses one after the other, each for its share of the time."""
    left = trio.current_effective_deadline() - trio.current_time()
    failures = []
    for address in addresses:
        shown = f"[{address}]:{place.port}" if ":" in address else f"{address}:{place.port}"
        with trio.move_on_after(left / len(addresses)):
            try:
                return await _dial(address, place.port), shown
            except OSError as error:
                failures.append((f"{shown} {_reason(error)}", error))
                continue
        failures.append((f"{shown} {say('no answer')}", OSError()))
    refused = any(isinstance(error, ConnectionRefusedError) for _, error in failures)
    advice = say("nothing listens there: start it with `relay-trio serve`, or say where it is with --url")
    elsewhere = say("is the address right, and is there a way to it from here?")
    raise _Failed("; ".join(told for told, _ in failures), advice if refused else elsewhere)


async def _dial(address: str, port: int) -> trio.SocketStream:
    sock = trio.socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        await sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def _encrypted(place: RelayPlace, stream: trio.SocketStream) -> tuple[trio.abc.Stream, str]:
    encrypted = trio.SSLStream(stream, _context(place), server_hostname=place.host, https_compatible=True)
    try:
        await encrypted.do_handshake()
    except trio.BrokenResourceError as broken:
        raise _tls_failure(broken.__cause__ or broken) from broken
    return encrypted, str(encrypted.version())


def _context(place: RelayPlace) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = place.checks_name
    if place.authority is not None:
        try:
            context.load_verify_locations(place.authority)
        except OSError as error:  # ssl.SSLError is one
            raise CommandFailed(
                say("{path} holds no certificates in PEM ({why})", path=place.authority, why=_reason(error)), status=2
            ) from error
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the relay's own chain stands for its authority
    return context


def _tls_failure(error: BaseException) -> _Failed:
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = say("an authority that this machine does not know is named with --ca FILE")
        return _Failed(say("the certificate is refused: {why}", why=error.verify_message), advice)
    if isinstance(error, ssl.SSLError) and error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return _Failed(say("what listens there does not speak TLS"), say("try http://"))
    return _Failed(say("the handshake broke off: {why}", why=_reason(error)), say("is this the relay's port?"))


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return str(error.reason).replace("_", " ").lower()
    told = (error.strerror if isinstance(error, OSError) else None) or str(error)
    told = told.rpartition("): ")[2]  # trio puts "Error connecting to (host, port): " before it
    return told or type(error).__name__


# HTTP


class OpenAnswer:
    """An answer that is being read. The stream is its own; closing it is leaving, whatever was still to come."""

    def __init__(self, stream: trio.abc.Stream, *, bodiless: bool = False) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        """Whether the answer has come to its end, as its framing says."""
        self._stream = stream
        self._bodiless = bodiless
        self._framed = False
        self._head_is_here = False
        self._framing_bytes = 0  # since the head, or a piece of the body, came
        self._pieces: list[bytes] = []  # of one read: at most _READ_BYTES
        self._parser = httptools.HttpResponseParser(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self, request: bytes) -> None:
        """Send the request and read up to the end of the head."""
        try:
            await self._stream.send_all(request)
        except trio.BrokenResourceError as error:
            raise self._cut_off(error) from error
        while not self._head_is_here:
            if not await self._feed():
                raise self._cut_off(None)

    async def receive(self) -> bytes:
        """Return the next piece of the body, b"" at its end; `complete` says whether that was its real end.

        Raises CommandFailed: what comes is no HTTP, or has no end.
        """
        while not self._pieces and not self.complete:
            if not await self._feed():
                self.complete = not self._framed
                break
        piece = b"".join(self._pieces)
        self._pieces.clear()
        return piece

    async def read(self) -> bytes:
        """Return the whole body. It must come to its end."""
        body = bytearray()
        while piece := await self.receive():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise _Failed(say("an answer without end"), say("is this the relay's port?"))
        if not self.complete:
            raise _Failed(say("the answer broke off after {count} bytes", count=len(body)), say("try again"))
        return bytes(body)

    async def aclose(self) -> None:
        """Leave."""
        await trio.aclose_forcefully(self._stream)

    async def _feed(self) -> bool:
        try:
            data = bytes(await self._stream.receive_some(_READ_BYTES))
        except trio.BrokenResourceError:
            return False
        had_head = self._head_is_here
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise self._no_http(data) from error
        came_on = self._pieces or self._head_is_here is not had_head
        self._framing_bytes = 0 if came_on else self._framing_bytes + len(data)
        if self._framing_bytes > _MAX_HEAD_BYTES:
            why = say("an answer without end") if had_head else say("a head without end")
            raise _Failed(why, say("is this the relay's port?"))
        return bool(data)

    def _no_http(self, data: bytes) -> _Failed:
        if data.startswith(_TLS_ALERT):
            return _Failed(say("what listens there speaks TLS"), say("try https://"))
        return _Failed(say("the answer is no HTTP"), say("is this the relay's port?"))

    def _cut_off(self, error: BaseException | None) -> _Failed:
        why = say("the connection ended without an answer") if error is None else _reason(error.__cause__ or error)
        return _Failed(why, say("if the relay speaks TLS, say https://; else its log knows more"))

    # httptools' callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; trailers are dropped, as nobody may rely on them (RFC 9110, 6.5.1)."""
        if not self._head_is_here:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the head, unless it is an interim one (1xx)."""
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL:
            self.headers = {}
            return
        self.status = status
        self._head_is_here = True
        self._framed = "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "")
        self.complete = self._bodiless

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Note the end."""
        self.complete = self._head_is_here
