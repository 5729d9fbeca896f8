"""What an OpenAI-like provider's error means, wherever it stands: an error body, inside a 200, inside a stream.

Providers agree on `{"error": {"message", "type", "param", "code"}}` and then do otherwise: a bare string, a list around
it, FastAPI's `detail`, a `code` beside the `error`. The words are taken from wherever they are; what has none gets a
sentence that says what came instead. Nothing here raises, whatever the bytes hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import attrs
import msgspec

from adaptors.failure import BodyState, Failure, FailureKind
from adaptors.jsonbytes import UNREADABLE, Json, NotJSON, decoded
from adaptors.values import Headers

MAX_WORDS_BYTES: Final = 8192
"""How much of a provider's own words reaches a client."""

_ENDS_OF_WORDS: Final = (b"}", b"]")
"""Words stand in an object, or in a list of them: where a body broke off, no decoder need look for them, and then a
second, more lenient one."""

_MAX_DEPTH: Final = 8
"""How deep a message may hide in an error; a real one stands at most three objects down."""

_KIND_BY_STATUS: Final[Mapping[int, FailureKind]] = MappingProxyType(
    {
        401: FailureKind.UNAUTHORIZED,
        402: FailureKind.QUOTA_EXHAUSTED,
        403: FailureKind.FORBIDDEN,
        404: FailureKind.NOT_FOUND,
        408: FailureKind.TIMEOUT,
        409: FailureKind.CONFLICT,
        413: FailureKind.TOO_LARGE,
        429: FailureKind.RATE_LIMITED,
        503: FailureKind.OVERLOADED,
        504: FailureKind.TIMEOUT,
        529: FailureKind.OVERLOADED,
    }
)

# An error inside a 200 has no status: its type or code says what it would have been
# (https://platform.openai.com/docs/guides/error-codes).
_STATUS_BY_WORD: Final[Mapping[str, int]] = MappingProxyType(
    {
        "invalid_request_error": 400,
        "invalid_prompt": 400,
        "context_length_exceeded": 400,
        "authentication_error": 401,
        "invalid_api_key": 401,
        "permission_error": 403,
        "not_found_error": 404,
        "model_not_found": 404,
        "timeout_error": 504,
        "rate_limit_error": 429,
        "rate_limit_exceeded": 429,
        "insufficient_quota": 429,
        "overloaded_error": 503,
        "server_is_overloaded": 503,
        "server_error": 500,
        "api_error": 500,
        "internal_server_error": 500,
        # xAI's codes are sentences: those of gRPC's status (https://docs.x.ai/docs/key-information/debugging)
        "Client specified an invalid argument": 400,
        "Some resource has been exhausted": 429,
        "The service is currently unavailable": 503,
    }
)

# insufficient_quota: OpenAI; exceeded_current_quota_error: Moonshot (https://platform.moonshot.ai/docs/api/errors);
# billing_hard_limit_reached: OpenAI's images; 1113, account in arrears: Zhipu (https://docs.bigmodel.cn/cn/api/api-code).
_QUOTA_WORDS: Final = frozenset(
    {"insufficient_quota", "exceeded_current_quota_error", "billing_hard_limit_reached", "1113"}
)
_KEY_WORDS: Final = frozenset(
    {"invalid_api_key", "authentication_error", "account_deactivated", "invalid_authentication"}
)
_SPEAKS_OF_KEY = re.compile(r"\bapi[ _-]?keys?\b|\bauthenticat|\bcredential", re.IGNORECASE)
_REFUSES_KEY = re.compile(r"\b(?:incorrect|invalid|expired|unknown|wrong)\b.{0,20}\bapi[ _-]?key\b", re.IGNORECASE)
_MARKUP = re.compile(r"<\s*(?:!doctype|html|head|body|title|center|h1)\b", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]+")

_MESSAGE_MEMBERS = ("message", "error", "detail", "msg", "error_message", "title")


@attrs.frozen
class _Words:
    """What a provider said in its error, before it is judged."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None


class _Envelope(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw()


def read_failure(status: int, headers: Headers, body: bytes, state: BodyState) -> Failure:
    """Return what an error answer means. Never raises."""
    words = _words(_document(body)) if body.rstrip().endswith(_ENDS_OF_WORDS) else None
    retry_after = _retry_after(headers)
    if words is None:
        message = f"The provider answered {status} {_what_came(headers, body, state)}."
        failure = Failure(_kind(status, _Words(message)), _status(status), message, ours=True)
    else:
        failure = _failure(status, words, raw=_raw_error(body))
    if retry_after is None and failure.kind is FailureKind.RATE_LIMITED:
        retry_after = _reset_after(headers)
    return failure if retry_after is None else attrs.evolve(failure, retry_after=retry_after)


def error_inside(document: Json, body: bytes, *, event_name: bytes = b"") -> Failure | None:
    """Return the failure that a 2xx answer, or one event of its stream, turns out to be; None if it is none.

    OpenRouter reports errors so, with an HTTP status as `code` (https://openrouter.ai/docs/api/reference/errors-and-debugging);
    vLLM and Mistral with `"object": "error"`; a Responses stream with `"type": "error"`.
    """
    if not isinstance(document, dict) or not (event_name == b"error" or _is_error(document)):
        return None
    words = _words(document) or _Words("The provider reported an error without a message inside its answer.")
    return _failure(_status_inside(words), words, raw=_raw_error(body))


def _is_error(document: dict[str, Json]) -> bool:
    return bool(document.get("error")) or "error" in (document.get("object"), document.get("type"))


def broken_answer(message: str) -> Failure:
    """Return the failure of an answer that is itself at fault; the message is a whole sentence of ours."""
    code = "upstream_answer_broken"
    return Failure(FailureKind.BROKEN_ANSWER, 502, message, type="api_error", code=code, ours=True)


def _failure(status: int, words: _Words, *, raw: bytes | None) -> Failure:
    return Failure(
        kind=_kind(status, words),
        status=_status(status),
        message=words.message,
        type=words.type,
        code=words.code,
        param=words.param,
        raw=raw,
    )


# The words: from wherever they stand.


def _document(body: bytes) -> Json:
    try:
        return decoded(body)
    except NotJSON:
        return None


def _words(document: Json) -> _Words | None:
    while isinstance(document, list) and document:  # Google's OpenAI-compatible side wraps its errors in a list
        document = document[0]
    if not isinstance(document, dict):
        return None
    message = _clean(_message(document))
    if message is None:
        return None
    error = document.get("error")
    source = {**document, **error} if isinstance(error, dict) else document
    type_ = (
        None if source.get("type") == "error" else _word(source.get("type"))
    )  # the type of the event, not of the error
    return _Words(message, type_, _word(source.get("code")), _word(source.get("param")))


def _message(value: Json, depth: int = 0) -> str:
    if isinstance(value, str):
        return value
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, (_message(item, depth + 1) for item in value[:_MAX_DEPTH])))
    if not isinstance(value, dict):
        return ""
    # an object under `error` or `message` holds the message; else the members beside it do
    inner = next((value[name] for name in ("error", "message", "detail") if isinstance(value.get(name), dict)), None)
    found = _message(inner, depth + 1) if inner is not None else ""
    return found or next(filter(None, (_message(value.get(name), depth + 1) for name in _MESSAGE_MEMBERS)), "")


def _clean(message: str) -> str | None:
    """Return the message fit for a client, or None where nothing readable is left of it. Markup is not readable."""
    if _MARKUP.search(message):
        return None
    text = _UNPRINTABLE.sub(" ", message).strip()
    return _shortened(text) or None


def _shortened(text: str) -> str:
    return text.encode("utf-8", "replace")[:MAX_WORDS_BYTES].decode("utf-8", "ignore")


def _word(value: Json) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return (_clean(value) or None) if isinstance(value, str) else None


def _raw_error(body: bytes) -> bytes | None:
    """Return the error object as it came, if it is of OpenAI's shape: an object with a text as `message`."""
    try:
        raw = bytes(msgspec.json.decode(body, type=_Envelope).error)
        error = msgspec.json.decode(raw)
    except UNREADABLE:
        return None
    if not isinstance(error, dict) or len(raw) > MAX_WORDS_BYTES:
        return None
    message = error.get("message")
    return raw if isinstance(message, str) and message and not _MARKUP.search(message) else None


# The judgement: kind and status.


def _kind(status: int, words: _Words) -> FailureKind:
    said = {words.type, words.code}
    if status in {HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS} and said & _QUOTA_WORDS:
        return FailureKind.QUOTA_EXHAUSTED
    if status == HTTPStatus.FORBIDDEN and (said & _KEY_WORDS or _SPEAKS_OF_KEY.search(words.message)):
        return FailureKind.UNAUTHORIZED
    if status == HTTPStatus.BAD_REQUEST and (
        said & _KEY_WORDS or _REFUSES_KEY.search(words.message)
    ):  # xAI and Gemini say 400
        return FailureKind.UNAUTHORIZED
    return _KIND_BY_STATUS.get(status) or _KIND_BY_CLASS.get(status // 100, FailureKind.BROKEN_ANSWER)


_KIND_BY_CLASS: Final[Mapping[int, FailureKind]] = MappingProxyType(
    {4: FailureKind.BAD_REQUEST, 5: FailureKind.SERVER_ERROR}
)


def _status(status: int) -> int:
    """Return a status that a client takes for an error: what is none of the two classes is the provider's fault."""
    return status if status // 100 in _KIND_BY_CLASS else HTTPStatus.BAD_GATEWAY


def _status_inside(words: _Words) -> int:
    if words.code is not None and re.fullmatch("[45][0-9][0-9]", words.code):
        return int(words.code)
    said = (_STATUS_BY_WORD.get(word) for word in (words.code, words.type) if word is not None)
    return next(filter(None, said), HTTPStatus.BAD_GATEWAY)


# What came instead of words.


def _what_came(headers: Headers, body: bytes, state: BodyState) -> str:
    received = f"{len(body)} of {length}" if (length := _announced(headers)) else f"{len(body)}"
    sentences = {
        BodyState.EMPTY: "with an empty body",
        BodyState.TRUNCATED: f"with a body that broke off after {received} bytes",
        BodyState.TOO_LARGE: f"with a body that is too large for an error ({received} bytes read)",
        BodyState.TOO_SLOW: f"with a body that did not arrive in time ({received} bytes read)",
        BodyState.UNREADABLE: f"with a body that is damaged or compressed in an unknown way ({received} bytes read)",
    }
    if state in sentences:
        return sentences[state]
    if not body.strip():
        return sentences[BodyState.EMPTY]
    kind = "that is not JSON" if _document(body) is None else "of JSON in which no message stands"
    return f"with a body {kind} ({_media_type(headers)}{len(body)} bytes)"


def _header(headers: Headers, name: bytes) -> bytes | None:
    return next((value for field, value in headers if field == name), None)


def _announced(headers: Headers) -> int | None:
    length = _header(headers, b"content-length")
    if length is None or _header(headers, b"content-encoding") or not re.fullmatch(rb"[0-9]{1,15}", length):
        return None
    return int(length)


def _media_type(headers: Headers) -> str:
    media_type = (_header(headers, b"content-type") or b"").partition(b";")[0].strip().lower()
    known = re.fullmatch(rb"[a-z]+/[a-z0-9.+-]{1,40}", media_type)
    return f"{media_type.decode()}, " if known else ""


def _retry_after(headers: Headers) -> float | None:
    """Return the seconds to wait. A date is left alone: without a clock it means nothing, and the header itself passes."""
    milliseconds = _seconds(_header(headers, b"retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    return _seconds(_header(headers, b"retry-after"))


def _seconds(value: bytes | None) -> float | None:
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


_LIMITS: Final = (b"requests", b"tokens")
_DURATION = re.compile(rb"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6}(?:\.\d{1,9})?)s)?(?:(\d{1,6}(?:\.\d{1,9})?)ms)?")
_UNITS: Final = (3600.0, 60.0, 1.0, 0.001)
_DAY_S: Final = 86_400.0


def _reset_after(headers: Headers) -> float | None:
    """Return the seconds until a used-up limit is full again, for providers that give no Retry-After with a 429.

    OpenAI writes `x-ratelimit-reset-requests: 6m0s` (https://platform.openai.com/docs/guides/rate-limits), Azure plain
    seconds. Of a limit that is not used up the time says nothing: a large request may have gone past it all the same.
    """
    used_up = (name for name in _LIMITS if _header(headers, b"x-ratelimit-remaining-" + name) == b"0")
    resets = (_duration(_header(headers, b"x-ratelimit-reset-" + name) or b"") for name in used_up)
    return max((reset for reset in resets if reset is not None), default=None)


def _duration(text: bytes) -> float | None:
    """Return the seconds that `1h2m3s`, `20ms` or `10` mean; a moment in time, as some write there, means nothing here."""
    seconds = _seconds(text)
    if seconds is None and text and (found := _DURATION.fullmatch(text)) is not None:
        seconds = sum(float(count) * unit for count, unit in zip(found.groups(default=b"0"), _UNITS, strict=True))
    return seconds if seconds is not None and seconds <= _DAY_S else None
