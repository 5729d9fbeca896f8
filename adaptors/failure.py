"""What a provider's error means, in one value, whatever format it came in.

An adaptor reads an error answer into a `Failure`; a dialect writes a `Failure` as the bytes that its clients expect.
"""

from __future__ import annotations

import enum

import attrs


class FailureKind(enum.Enum):
    """What the caller of a provider can do about a failure."""

    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    """401, or 403 that speaks of the key: this key will not do, another may."""
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    TIMEOUT = "timeout"
    """408 and 504: the provider's own clock ran out."""
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    """A 429 that waiting does not cure (`insufficient_quota`)."""
    OVERLOADED = "overloaded"
    """503, 529."""
    SERVER_ERROR = "server_error"
    BROKEN_ANSWER = "broken_answer"
    """The answer itself is at fault: cut off, garbage, not the format that was asked for, an error inside a 200."""


class BodyState(enum.Enum):
    """How far an error body could be read before its limit of size or time."""

    WHOLE = "whole"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    """The upstream broke off."""
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    UNREADABLE = "unreadable"
    """It came, but damaged, or compressed in a way that nobody asked for."""


@attrs.frozen
class Failure:
    """A failure as a client may see it: no secret, no prompt, at most 8 KiB of the provider's own words.

    `status` is the HTTP status for a client of the same wire. `type`, `code` and `param` are the provider's own words
    where it gave them. `retry_after` is in seconds, from whatever place the provider hides it in. `raw` holds the
    provider's own JSON error object (not the envelope), for clients of the same wire.
    """

    kind: FailureKind
    status: int
    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    ours: bool = False
    """The message is a sentence of ours, the provider gave no words: it may stand in a log, theirs may hold the prompt."""
    format: str = "openai"
    """Whose form `raw` and whose words `type` and `code` are: `openai`, `anthropic`, `gemini`."""
    raw: bytes | None = attrs.field(default=None, repr=False)


class AnswerFailed(Exception):
    """An answer turned out to be a failure while it was being read.

    Raised by `Answer.chunks`, `Answer.end` and `Answer.whole`; `failure` says what it means. Everything that was
    yielded before stays valid.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
