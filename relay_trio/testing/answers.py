"""What an honest OpenAI-like provider would answer: a pure table from request to answer, and a small shelf of objects.

The law: the same requests in the same order get the same bytes; there is no clock and no randomness. Shapes are those of
the API reference (https://platform.openai.com/docs/api-reference) and are read by the official SDK in the tests.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from relay_trio.testing.http_text import Headers

CREATED = 1_750_000_000
"""The moment at which everything here was made."""

WORDS = ("The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog", ".")

MAX_SHELVED = 1000
"""Objects (files, responses) that are kept; the oldest falls off, so that a day of requests does not fill the memory."""

MAX_SHELVED_BYTES = 256 * 1024 * 1024

PIECES_OF_A_BODY = 4
"""A unary body is sent in so many pieces, so that a fault can strike in its middle."""

MODELS = ("fake-small", "fake-large")

Json = dict[str, Any]


@attrs.frozen
class Asked:
    """A request as an answer needs it: the path without any prefix of the fake's own, the body whole."""

    method: str
    path: str
    query: str
    content_type: str
    body: bytes = attrs.field(repr=False)
    body_size: int
    body_sha256: str

    @functools.cached_property
    def fields(self) -> Json:
        """The fields of a JSON object body; {} for any other body."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def model(self) -> str:
        """The model that is asked for; "" if there is none."""
        return str(self.fields.get("model") or form_text(self.form, "model"))

    @functools.cached_property
    def form(self) -> dict[str, FormPart]:
        """The parts of a multipart form by name; {} for any other body."""
        return parse_form(self.content_type, self.body)


@attrs.frozen
class Wanted:
    """What a fault asks of the answer beneath it."""

    status: int = 200
    stream: bool | None = None
    """None: as the request says."""
    words: int = len(WORDS)
    """How many words the model says, hence how many content chunks a stream has."""
    word_bytes: int = 0
    """The size of each word; 0 for natural ones."""


@attrs.frozen
class Answer:
    """A status, header fields, and the body in the pieces in which it is sent."""

    status: int
    headers: Headers
    pieces: tuple[bytes, ...] = attrs.field(repr=False)
    streamed: bool = False

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)

    @property
    def size(self) -> int:
        """The length of the body in bytes."""
        return sum(map(len, self.pieces))


# ---- The provider


@attrs.define(eq=False)
class Provider:
    """Answers requests; remembers files and responses. One for each fake upstream."""

    shelf: OrderedDict[str, tuple[Json, bytes]] = attrs.field(factory=OrderedDict, repr=False)
    shelved_bytes: int = 0
    numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), repr=False)

    def answer(self, asked: Asked, wanted: Wanted) -> Answer:
        """Return the answer to this request."""
        number = next(self.numbers)
        if wanted.status >= 400:
            return identified(error_answer(wanted.status), number)
        answer = self._route(asked)(self, asked, wanted, number)
        return identified(attrs.evolve(answer, status=wanted.status) if wanted.status != 200 else answer, number)

    def _route(self, asked: Asked) -> Route:
        for method, pattern, route in ROUTES:
            if method == asked.method and re.search(pattern, asked.path):
                return route
        return echo

    def keep(self, value: Json, content: bytes = b"") -> Json:
        """Put an object on the shelf under its id and return it."""
        self.shelf[value["id"]] = (value, content)
        self.shelved_bytes += len(content)
        while len(self.shelf) > MAX_SHELVED or self.shelved_bytes > MAX_SHELVED_BYTES:
            self.drop(next(iter(self.shelf)))
        return value

    def drop(self, ident: str) -> Json | None:
        """Take an object off the shelf; None if it is not there."""
        value, content = self.shelf.pop(ident, (None, b""))
        self.shelved_bytes -= len(content)
        return value


Route = Callable[[Provider, Asked, Wanted, int], Answer]


def identified(answer: Answer, number: int) -> Answer:
    """Add the header fields that every answer of a provider has."""
    fields = (
        (b"x-request-id", b"req_fake_%06d" % number),
        (b"openai-processing-ms", b"12"),
        (b"x-ratelimit-remaining-requests", b"4999"),
        (b"set-cookie", b"__cf_bm=fake; path=/; HttpOnly"),
    )
    return attrs.evolve(answer, headers=answer.headers + fields)


def json_answer(value: Json, status: int = 200) -> Answer:
    """Return a JSON answer in a few pieces."""
    return bytes_answer(encode(value), b"application/json", status)


def bytes_answer(body: bytes, content_type: bytes, status: int = 200) -> Answer:
    """Return a unary answer in a few pieces."""
    return Answer(status, ((b"content-type", content_type),), split(body))


def stream_answer(events: Iterable[bytes]) -> Answer:
    """Return a streamed answer, a piece for each event."""
    return Answer(200, ((b"content-type", b"text/event-stream; charset=utf-8"),), tuple(events), streamed=True)


def error_answer(status: int) -> Answer:
    """Return the provider's error for this status (https://platform.openai.com/docs/guides/error-codes)."""
    kind, code = ERRORS.get(status, ("server_error", None))
    message = f"The fake upstream answers {status} because it was told to. " + "It says so at some length. " * 6
    return json_answer({"error": {"message": message, "type": kind, "param": None, "code": code}}, status)


ERRORS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    503: ("server_error", "server_is_overloaded"),
}


# ---- Chat completions


def chat(_provider: Provider, asked: Asked, wanted: Wanted, number: int) -> Answer:
    """POST /chat/completions."""
    fields, envelope = asked.fields, chat_envelope(asked, number)
    words = words_of(wanted)
    usage = chat_usage(asked, len(words))
    choices = range(int(fields.get("n") or 1))
    if wants_stream(asked, wanted):
        return stream_answer(chat_events(envelope, choices, turn_deltas(asked, words), usage, fields))
    message, finish = turn_message(asked, words)
    made = [{"index": i, "message": message, "logprobs": None, "finish_reason": finish} for i in choices]
    return json_answer({**envelope, "object": "chat.completion", "choices": made, "usage": usage})


def chat_envelope(asked: Asked, number: int) -> Json:
    """Return what every chunk of one answer shares."""
    return {
        "id": f"chatcmpl-{number:06d}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": asked.model or MODELS[0],
        "system_fingerprint": "fp_fake",
        "service_tier": "default",
    }


def chat_events(
    envelope: Json, choices: range, deltas: tuple[list[Json], str], usage: Json, fields: Json
) -> Iterator[bytes]:
    """Yield the events of a stream: role, content, finish_reason, usage if it was asked for, [DONE]."""
    asks_usage = bool((fields.get("stream_options") or {}).get("include_usage"))
    shared: Json = {**envelope, "usage": None} if asks_usage else envelope
    moves, finish = deltas

    def event(delta: Json, index: int, reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return data_event({**shared, "choices": [choice]})

    for delta in [{"role": "assistant", "content": "", "refusal": None}, *moves]:
        yield from (event(delta, index) for index in choices)
    yield from (event({}, index, finish) for index in choices)
    if asks_usage:
        yield data_event({**envelope, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def wants_tool(asked: Asked) -> str | None:
    """Return the name of the tool that the model calls: the first one, unless its result is already here."""
    messages = asked.fields.get("messages") or [{}]
    tools = asked.fields.get("tools")
    if not tools or asked.fields.get("tool_choice") == "none" or messages[-1].get("role") == "tool":
        return None
    return str(tools[0].get("function", {}).get("name", "tool"))


def turn_message(asked: Asked, words: tuple[str, ...]) -> tuple[Json, str]:
    """Return the assistant's message and its finish_reason."""
    tool = wants_tool(asked)
    message: Json = {"role": "assistant", "content": "".join(words), "refusal": None, "annotations": []}
    if tool is None:
        return message, "stop"
    call = {"id": "call_fake_1", "type": "function", "function": {"name": tool, "arguments": "".join(ARGUMENTS)}}
    return {**message, "content": None, "tool_calls": [call]}, "tool_calls"


def turn_deltas(asked: Asked, words: tuple[str, ...]) -> tuple[list[Json], str]:
    """Return the same message as deltas."""
    tool = wants_tool(asked)
    if tool is None:
        return [{"content": word} for word in words], "stop"
    opening = {"index": 0, "id": "call_fake_1", "type": "function", "function": {"name": tool, "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": fragment}} for fragment in ARGUMENTS]
    return [{"tool_calls": [call]} for call in (opening, *rest)], "tool_calls"


ARGUMENTS = ('{"city"', ':"', "Utrecht", '"}')


def chat_usage(asked: Asked, output: int) -> Json:
    """Return the usage block: a token for each word."""
    prompt = len(str(asked.fields.get("messages") or asked.fields.get("prompt") or "").split())
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def completions(_provider: Provider, asked: Asked, wanted: Wanted, number: int) -> Answer:
    """POST /completions, the old form."""
    words = words_of(wanted)
    shared = {"id": f"cmpl-{number:06d}", "object": "text_completion", "created": CREATED, "model": asked.model}

    def choice(text: str, reason: str | None) -> list[Json]:
        return [{"index": 0, "text": text, "logprobs": None, "finish_reason": reason}]

    if not wants_stream(asked, wanted):
        usage = chat_usage(asked, len(words))
        return json_answer({**shared, "choices": choice("".join(words), "stop"), "usage": usage})
    chunks = [*(choice(word, None) for word in words), choice("", "stop")]
    return stream_answer([*(data_event({**shared, "choices": chunk}) for chunk in chunks), b"data: [DONE]\n\n"])


# ---- Responses


def responses(provider: Provider, asked: Asked, wanted: Wanted, number: int) -> Answer:
    """POST /responses."""
    words = words_of(wanted)
    done = response_object(asked, f"resp_{number:06d}", words)
    provider.keep(done, encode(asked.fields.get("input") or ""))
    if wants_stream(asked, wanted):
        return stream_answer(response_events(done, words))
    if asked.fields.get("background"):
        return json_answer(unfinished(done, "queued"))
    return json_answer(done)


def response_object(asked: Asked, ident: str, words: tuple[str, ...]) -> Json:
    """Return a completed response."""
    fields = asked.fields
    prompt = len(str(fields.get("input") or "").split())
    return {
        "id": ident,
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "background": bool(fields.get("background")),
        "error": None,
        "incomplete_details": None,
        "instructions": fields.get("instructions"),
        "max_output_tokens": None,
        "model": asked.model or MODELS[0],
        "output": [output_item(ident, words)],
        "parallel_tool_calls": True,
        "previous_response_id": fields.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": len(words),
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + len(words),
        },
        "metadata": fields.get("metadata") or {},
    }


def output_item(ident: str, words: tuple[str, ...]) -> Json:
    """Return the one message of a response."""
    return {
        "id": ident.replace("resp_", "msg_"),
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [text_part("".join(words))],
    }


def text_part(text: str) -> Json:
    """Return a part of text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def unfinished(done: Json, status: str) -> Json:
    """Return the response as it was before its output was there."""
    return {**done, "status": status, "output": [], "usage": None}


def response_events(done: Json, words: tuple[str, ...]) -> Iterator[bytes]:
    """Yield the documented sequence of events (https://platform.openai.com/docs/api-reference/responses-streaming)."""
    item = done["output"][0]
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    opened = {**item, "status": "in_progress", "content": []}
    started = unfinished(done, "in_progress")
    bodies: list[tuple[str, Json]] = [
        ("response.created", {"response": started}),
        ("response.in_progress", {"response": started}),
        ("response.output_item.added", {"output_index": 0, "item": opened}),
        ("response.content_part.added", {**place, "part": text_part("")}),
        *(("response.output_text.delta", {**place, "delta": word, "logprobs": []}) for word in words),
        ("response.output_text.done", {**place, "text": "".join(words), "logprobs": []}),
        ("response.content_part.done", {**place, "part": text_part("".join(words))}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": done}),
    ]
    for sequence, (name, body) in enumerate(bodies):
        yield named_event(name, {"type": name, "sequence_number": sequence, **body})


def cancel_response(provider: Provider, asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """POST /responses/{id}/cancel."""
    value, _ = provider.shelf.get(segment(asked.path, -2), (None, b""))
    return error_answer(404) if value is None else json_answer(unfinished(value, "cancelled"))


def input_items(provider: Provider, asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """GET /responses/{id}/input_items."""
    ident = segment(asked.path, -2)
    if ident not in provider.shelf:
        return error_answer(404)
    text = {"type": "input_text", "text": json.loads(provider.shelf[ident][1])}
    item = {"id": "msg_input_1", "type": "message", "status": "completed", "role": "user", "content": [text]}
    return json_answer(listing([item]))


# ---- The rest of the API


def embeddings(_provider: Provider, asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """POST /embeddings, as floats or as base64 of little-endian floats (what the SDK asks for unasked)."""
    texts = asked.fields.get("input") or ""
    texts = texts if isinstance(texts, list) and texts and not isinstance(texts[0], int) else [texts]
    as_base64 = asked.fields.get("encoding_format") == "base64"
    size = int(asked.fields.get("dimensions") or 8)
    made = [
        {"object": "embedding", "index": i, "embedding": packed(text, size) if as_base64 else vector(text, size)}
        for i, text in enumerate(texts)
    ]
    tokens = len(str(texts).split())
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json_answer({"object": "list", "data": made, "model": asked.model, "usage": usage})


def counted(_provider: Provider, asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """POST /responses/input_tokens: a token for each word."""
    tokens = len(str(asked.fields.get("input") or "").split())
    return json_answer({"object": "response.input_tokens", "input_tokens": tokens})


def vector(text: object, size: int) -> list[float]:
    """Return numbers that depend on the text alone; each is exact in 32 bits."""
    digest = hashlib.sha256(str(text).encode()).digest()
    return [digest[i % len(digest)] / 256 for i in range(size)]


def packed(text: object, size: int) -> str:
    """Return the same numbers as the SDK wants them."""
    return base64.b64encode(struct.pack(f"<{size}f", *vector(text, size))).decode()


def models(_provider: Provider, _asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """GET /models."""
    return json_answer(listing([model_object(name) for name in MODELS]))


def model(_provider: Provider, asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """GET /models/{id}."""
    name = segment(asked.path, -1)
    return json_answer(model_object(name)) if name in MODELS else error_answer(404)


def model_object(name: str) -> Json:
    """Return one entry of the list of models."""
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "fake"}


def create_file(provider: Provider, asked: Asked, _wanted: Wanted, number: int) -> Answer:
    """POST /files: the form's file is kept and can be had back."""
    part = asked.form.get("file")
    if part is None:
        return error_answer(400)
    value = {
        "id": f"file-{number:06d}",
        "object": "file",
        "bytes": len(part.data),
        "created_at": CREATED,
        "filename": part.filename or "unnamed",
        "purpose": form_text(asked.form, "purpose"),
        "status": "processed",
    }
    return json_answer(provider.keep(value, part.data))


def files(provider: Provider, _asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """GET /files."""
    return json_answer(listing([value for value, _ in provider.shelf.values() if value["object"] == "file"]))


def shelved(provider: Provider, asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """GET an object by its id."""
    value, _ = provider.shelf.get(segment(asked.path, -1), (None, b""))
    return error_answer(404) if value is None else json_answer(value)


def file_content(provider: Provider, asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """GET /files/{id}/content."""
    value, content = provider.shelf.get(segment(asked.path, -2), (None, b""))
    return error_answer(404) if value is None else bytes_answer(content, b"application/octet-stream")


def delete(provider: Provider, asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """DELETE an object by its id."""
    value = provider.drop(segment(asked.path, -1))
    if value is None:
        return error_answer(404)
    return json_answer({"id": value["id"], "object": value["object"], "deleted": True})


def speech(_provider: Provider, asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """POST /audio/speech: bytes that are no text."""
    seed = hashlib.sha256(str(asked.fields.get("input")).encode()).digest()
    return bytes_answer(b"ID3\x04\x00" + seed * 256, b"audio/mpeg")


def transcription(_provider: Provider, asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """POST /audio/transcriptions and /translations: says how much it heard."""
    part = asked.form.get("file")
    if part is None:
        return error_answer(400)
    digest = hashlib.sha256(part.data).hexdigest()
    return json_answer({"text": f"{len(part.data)} bytes {digest}", "usage": {"type": "duration", "seconds": 1}})


def images(_provider: Provider, asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """POST /images/*: a PNG of one pixel for each that was asked for."""
    count = int(asked.fields.get("n") or form_text(asked.form, "n") or 1)
    return json_answer({"created": CREATED, "data": [{"b64_json": PIXEL}] * count})


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


def moderations(_provider: Provider, asked: Asked, _wanted: Wanted, number: int) -> Answer:
    """POST /moderations: nothing is ever flagged."""
    texts = asked.fields.get("input") or ""
    result = {
        "flagged": False,
        "categories": dict.fromkeys(CATEGORIES, False),
        "category_scores": dict.fromkeys(CATEGORIES, 0.0),
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }
    results = [result] * (len(texts) if isinstance(texts, list) else 1)
    return json_answer({"id": f"modr-{number:06d}", "model": asked.model, "results": results})


CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"),
    *("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors"),
    *("violence", "violence/graphic"),
)


def echo(_provider: Provider, asked: Asked, _wanted: Wanted, _number: int) -> Answer:
    """Any other path: what arrived, so that a test can hold it against what was sent."""
    return json_answer(
        {
            "object": "echo",
            "method": asked.method,
            "path": asked.path,
            "query": asked.query,
            "content_type": asked.content_type,
            "body_size": asked.body_size,
            "body_sha256": asked.body_sha256,
        }
    )


ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("POST", r"/chat/completions$", chat),
    ("POST", r"/completions$", completions),
    ("POST", r"/responses$", responses),
    ("POST", r"/responses/input_tokens$", counted),
    ("POST", r"/responses/[^/]+/cancel$", cancel_response),
    ("GET", r"/responses/[^/]+/input_items$", input_items),
    ("GET", r"/(responses|files)/[^/]+$", shelved),
    ("DELETE", r"/(responses|files)/[^/]+$", delete),
    ("POST", r"/embeddings$", embeddings),
    ("GET", r"/models$", models),
    ("GET", r"/models/[^/]+$", model),
    ("POST", r"/files$", create_file),
    ("GET", r"/files$", files),
    ("GET", r"/files/[^/]+/content$", file_content),
    ("POST", r"/audio/speech$", speech),
    ("POST", r"/audio/(transcriptions|translations)$", transcription),
    ("POST", r"/images/(generations|edits|variations)$", images),
    ("POST", r"/moderations$", moderations),
)
"""Method, path, route; the first that fits. `/v1` and other prefixes do not matter."""


# ---- Bytes


def encode(value: object) -> bytes:
    """Return JSON as the API writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def data_event(value: Json) -> bytes:
    """Return an event without a name."""
    return b"data: %b\n\n" % encode(value)


def named_event(name: str, value: Json) -> bytes:
    """Return an event with a name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(value))


def split(body: bytes, count: int = PIECES_OF_A_BODY) -> tuple[bytes, ...]:
    """Return the body in so many pieces of about the same size, or fewer if it is short."""
    step = max(1, -(-len(body) // count))
    return tuple(body[at : at + step] for at in range(0, len(body), step))


def words_of(wanted: Wanted) -> tuple[str, ...]:
    """Return what the model says."""
    natural = itertools.islice(itertools.cycle(WORDS), wanted.words)
    return tuple(word.ljust(wanted.word_bytes, "x") for word in natural)


def wants_stream(asked: Asked, wanted: Wanted) -> bool:
    """Tell whether the answer is a stream."""
    return bool(asked.fields.get("stream")) if wanted.stream is None else wanted.stream


def listing(values: list[Json]) -> Json:
    """Return the envelope of a list."""
    first, last = (values[0]["id"], values[-1]["id"]) if values else (None, None)
    return {"object": "list", "data": values, "first_id": first, "last_id": last, "has_more": False}


def segment(path: str, index: int) -> str:
    """Return one segment of a path."""
    return path.split("/")[index]


@attrs.frozen
class FormPart:
    """One part of a multipart form."""

    filename: str | None
    data: bytes = attrs.field(repr=False)


def parse_form(content_type: str, body: bytes) -> dict[str, FormPart]:
    """Return the parts of a multipart/form-data body by name; {} if it is none (RFC 7578)."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if boundary is None or not content_type.startswith("multipart/"):
        return {}
    blocks = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())[1:-1]
    return dict(_form_part(block.removeprefix(b"\r\n")) for block in blocks)


def _form_part(block: bytes) -> tuple[str, FormPart]:
    head, _, data = block.partition(b"\r\n\r\n")
    text = head.decode("utf-8", "replace")
    name = re.search(r'[ ;]name="([^"]*)"', text)
    filename = re.search(r'filename="([^"]*)"', text)
    return name[1] if name else "", FormPart(filename[1] if filename else None, data)


def form_text(form: dict[str, FormPart], name: str) -> str:
    """Return a form field as text; "" if it is not there."""
    return form[name].data.decode("utf-8", "replace") if name in form else ""
