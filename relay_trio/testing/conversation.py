"""One request on a fake upstream's connection, and the words with which behaviours answer it.

The law: a behaviour is an async function of one `Conversation`. It may send anything, wait, and end the link in any way;
what it leaves open is closed by the server that called it. `PeerGone` may pass through it: the server takes it.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from relay_trio.testing.answers import Answer, Asked, Provider, Wanted, data_event
from relay_trio.testing.http_text import BodyEnd, Framing, Headers
from relay_trio.testing.link import Link

KEPT_BODY_BYTES = 64 * 1024 * 1024
"""What a record keeps of a body; the rest is counted and hashed only, so that an upload of 1 GiB can be checked."""


# ---- What was asked


@attrs.define(eq=False)
class RecordedRequest:
    """A request as it arrived. Written by its connection's task alone; the body grows until `body_end` is set."""

    connection: int
    """The number of the connection, from 1."""
    method: str = ""
    target: str = ""
    """As it stood in the request line, with the fake's own prefix."""
    version: str = ""
    headers: Headers = ()
    kept: bytearray = attrs.field(factory=bytearray, repr=False)
    body_size: int = 0
    body_end: BodyEnd | None = None
    trailers: Headers = ()
    framing: Framing = Framing.NONE
    arrived_at: float = 0.0
    """When the request line was there, on trio's clock."""
    _digest: Any = attrs.field(factory=hashlib.sha256, repr=False)

    @property
    def body(self) -> bytes:
        """The body without its framing; what is beyond KEPT_BODY_BYTES is not kept."""
        return bytes(self.kept)

    @property
    def body_sha256(self) -> str:
        """The digest of the whole body so far."""
        return str(self._digest.hexdigest())

    @property
    def complete(self) -> bool:
        """The whole request has arrived."""
        return self.body_end is BodyEnd.COMPLETE

    @property
    def prefix(self) -> str:
        """The first segment of the path if it names a behaviour (`fault:...`), else ""."""
        first = self.target.split("/", 2)[1] if self.target.startswith("/") else ""
        return first if first.startswith("fault:") else ""

    @property
    def path(self) -> str:
        """The path without the fake's own prefix and without the query."""
        path = self.target.partition("?")[0]
        return path.removeprefix("/" + self.prefix) if self.prefix else path

    @property
    def query(self) -> str:
        """What follows the question mark."""
        return self.target.partition("?")[2]

    def get(self, name: str) -> str | None:
        """Return the first value of a header field, or None."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """Return all values of a header field."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.kept)

    def add(self, piece: bytes) -> None:
        """Take another piece of the body."""
        self.body_size += len(piece)
        self._digest.update(piece)
        self.kept += piece[: KEPT_BODY_BYTES - len(self.kept)]

    def asked(self) -> Asked:
        """Return what an answer needs to know."""
        return Asked(
            method=self.method,
            path=self.path,
            query=self.query,
            content_type=self.get("content-type") or "",
            body=self.body,
            body_size=self.body_size,
            body_sha256=self.body_sha256,
        )


# ---- What is to be done about it


class Stage(enum.IntEnum):
    """How much of a connection has happened when a behaviour sets in. Later stages can act out earlier behaviours."""

    ACCEPTED = 0
    """Nothing was read, TLS has not begun."""
    CONNECTED = 1
    """TLS, if any, stands."""
    LINE = 2
    """The request line is here."""
    HEAD = 3
    """The header fields are here, the body is not read."""
    REQUEST = 4
    """The whole request is here."""


class Nature(enum.Enum):
    """What the receiver of an answer can truthfully make of it, with status 200."""

    WHOLE = "the answer is right, however odd its form; it must arrive whole"
    SLOW = "the answer is right, but takes its time; a clock may end it first"
    EITHER = "HTTP allows a receiver to read it or to refuse it; what arrives must be right"
    BROKEN = "it ends by itself, but is no complete answer"
    ERROR = "a complete answer that says error"
    SILENT = "nothing comes any more; only a clock can end it"
    ENDLESS = "bytes keep coming for ever; a limit of size or the total clock must end it"


@attrs.frozen
class Fault:
    """A behaviour by name with its parameters; written `name;status=429;after=3`, also with `fault:` in front."""

    name: str = "answer"
    status: int = 200
    stream: bool | None = None
    """Answer with a stream or not; None: as the request asks."""
    after: int = 2
    """How many pieces of the body (events of a stream, quarters of another body) go out before the fault strikes."""
    interval: float | None = None
    """Seconds between two sends; None: the behaviour's own."""
    size: int | None = None
    """Bytes, of what is too large; None: the behaviour's own."""
    words: int = Wanted().words
    word_bytes: int = 0
    retry_after: float = 20.0

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read the written form. Raises ValueError on a parameter that does not exist."""
        name, *parameters = text.removeprefix("fault:").split(";")
        pairs = (parameter.partition("=") for parameter in parameters)
        return cls(name, **{key: _read(key, value) for key, _, value in pairs})

    def __str__(self) -> str:
        """Return the written form, fit for a model name or the first segment of a path."""
        default = Fault(self.name)
        changed = [
            f"{field.name}={_write(getattr(self, field.name))}"
            for field in attrs.fields(Fault)
            if getattr(self, field.name) != getattr(default, field.name)
        ]
        return ";".join([f"fault:{self.name}", *changed])

    def wanted(self) -> Wanted:
        """Return what this fault asks of the answer beneath it."""
        return Wanted(self.status, self.stream, self.words, self.word_bytes)


def _read(key: str, value: str) -> Any:
    if key not in _READERS:
        raise ValueError(f"no parameter {key!r}; there are {sorted(_READERS)}")
    return _READERS[key](value)


def _write(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


_READERS: dict[str, Callable[[str], object]] = {
    "status": int,
    "stream": lambda text: text in {"1", "true"},
    "after": int,
    "interval": float,
    "size": int,
    "words": int,
    "word_bytes": int,
    "retry_after": float,
}


@attrs.frozen
class Misbehaviour:
    """A behaviour that has a name. `run` does what its docstring says."""

    name: str
    stage: Stage
    nature: Nature
    run: Callable[[Conversation], Awaitable[None]]
    streams_only: bool = False
    """It is a fault of event streams; without one it acts out the nearest thing a JSON body can do."""

    @property
    def summary(self) -> str:
        """The first line of what `run` says of itself."""
        return (self.run.__doc__ or self.name).strip().splitlines()[0]


# ---- The words to answer with


@attrs.define(eq=False)
class Conversation:
    """What a behaviour works with: the link, the request, and the answer that an honest provider would give."""

    link: Link
    request: RecordedRequest
    fault: Fault
    provider: Provider
    reuse: bool = True
    """The connection goes on with the next request when the behaviour returns."""
    then: Misbehaviour | None = None
    """What the next request on this connection gets, whatever it asks for."""
    _answer: Answer | None = attrs.field(default=None, repr=False)
    _framing: Framing | None = None

    @property
    def answer(self) -> Answer:
        """The honest answer, made when it is first looked at."""
        if self._answer is None:
            self._answer = self.provider.answer(self.request.asked(), self.fault.wanted())
        return self._answer

    def replace_answer(self, other: Answer) -> None:
        """Let `other` be the answer from now on."""
        self._answer = other

    @property
    def first_pieces(self) -> tuple[bytes, ...]:
        """The pieces that go out before the fault strikes: never the whole body."""
        return self.answer.pieces[: min(self.fault.after, len(self.answer.pieces) - 1)]

    def interval(self, default: float) -> float:
        """Return the fault's interval in seconds, or the default."""
        return default if self.fault.interval is None else self.fault.interval

    def size(self, default: int) -> int:
        """Return the fault's size in bytes, or the default."""
        return default if self.fault.size is None else self.fault.size

    # ---- Sending

    def framing(self) -> Framing:
        """Return how the answer is framed by nature."""
        if self.request.version == "HTTP/1.0":
            return Framing.CLOSE
        return Framing.CHUNKED if self.answer.streamed else Framing.LENGTH

    def head(self, framing: Framing | None = None, extra: Headers = ()) -> bytes:
        """Return the bytes of the answer's head; later pieces are framed accordingly."""
        self._framing = framing or self.framing()
        answer = self.answer
        return head_bytes(answer.status, answer.headers + framing_fields(self._framing, answer.size) + extra)

    async def send(self, data: bytes) -> None:
        """Send these bytes as they are."""
        await self.link.send(data)

    async def send_head(self, framing: Framing | None = None, extra: Headers = ()) -> None:
        """Send the answer's head."""
        await self.send(self.head(framing, extra))

    async def send_piece(self, piece: bytes) -> None:
        """Send a piece of the body in the framing that the head announced."""
        await self.send(chunk(piece) if self._framing is Framing.CHUNKED else piece)

    async def send_pieces(self, *pieces: bytes, interval_s: float = 0.0) -> None:
        """Send several pieces, each on its own, with so many seconds between two."""
        for number, piece in enumerate(pieces):
            if number and interval_s:
                await self.link.pause(interval_s)
            await self.send_piece(piece)

    async def send_end(self) -> None:
        """Send what proves the end of the body in the announced framing."""
        if self._framing is Framing.CHUNKED:
            await self.send(LAST_CHUNK)
        elif self._framing is Framing.CLOSE:
            await self.link.finish()

    async def send_answer(
        self, framing: Framing | None = None, extra: Headers = (), *, interval_s: float = 0.0
    ) -> None:
        """Send the whole answer."""
        await self.send_head(framing, extra)
        if self.request.method == "HEAD":
            self._framing = Framing.CLOSE if self._framing is Framing.CLOSE else Framing.NONE
        else:
            await self.send_pieces(*self.answer.pieces, interval_s=interval_s)
        await self.send_end()

    async def send_in_place(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole other answer with a content-length."""
        await self.send(head_bytes(status, headers + framing_fields(Framing.LENGTH, len(body))) + body)

    async def send_until_fault(self, framing: Framing | None = None) -> None:
        """Send the head and the pieces that go out before the fault strikes."""
        await self.send_head(framing)
        await self.send_pieces(*self.first_pieces)

    # ---- Waiting and leaving

    async def silence(self) -> None:
        """Say nothing more, but notice when the peer leaves."""
        await self.link.wait_peer_gone()

    async def read_rest_and_finish(self) -> None:
        """Read what the peer still sends, for a moment, then end: closing at once would reset what was just said."""
        self.reuse = False
        await self.link.pause(FINISH_PAUSE_S)
        await self.link.finish()


FINISH_PAUSE_S = 1.0

LAST_CHUNK = b"0\r\n\r\n"

REASONS = {200: b"OK", 204: b"No Content", 429: b"Too Many Requests", 503: b"Service Unavailable", 529: b""}


def head_bytes(status: int, headers: Headers) -> bytes:
    """Return a status line and header fields, with the empty line."""
    fields = b"".join(b"%b: %b\r\n" % field for field in headers)
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, REASONS.get(status, b"Fake"), fields)


def framing_fields(framing: Framing, size: int) -> Headers:
    """Return the header fields that announce a framing."""
    match framing:
        case Framing.LENGTH:
            return ((b"content-length", b"%d" % size),)
        case Framing.CHUNKED:
            return ((b"transfer-encoding", b"chunked"),)
        case Framing.CLOSE:
            return ((b"connection", b"close"),)
        case Framing.NONE:
            return ()


def chunk(data: bytes) -> bytes:
    """Return one chunk of the chunked framing."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def padding_event(size: int) -> bytes:
    """Return a content event of about this size, as a chatty model would send it."""
    delta = {"index": 0, "delta": {"content": "x" * size}, "finish_reason": None}
    return data_event({"id": "chatcmpl-pad", "object": "chat.completion.chunk", "choices": [delta]})
