"""No key leaves in a log line or in a message to a client: neither ours, nor the masked form a provider makes of it.

Two nets. The secrets we know (`Redactor.replace`) are looked for as they are and in masked forms (`sk-ab***wxyz`),
which providers put into their error messages. What merely looks like a credential (a bearer token, a `key=` in a URL,
the well-known prefixes) goes as well, whoever it belongs to.

Lines are cleaned by where text comes from: the lines that requests write are made of numbers and configured names, so
only their few free-text fields are looked at; of every other line, all strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

REDACTED = "[redacted]"

MIN_SECRET_CHARACTERS = 8
"""Shorter ones are no secrets but the placeholders that local servers want (`EMPTY`, `ollama`): replacing them would
tear ordinary words apart."""

MIN_MASKED_CHARACTERS = 4
"""What must be left of a key in its masked form before we call it one; DeepSeek shows the last four."""

FREE_TEXT_FIELDS = ("message", "why", "url", "detail", "exception", "stack", "caused_by", "exceptions")
KNOWN_EVENTS = frozenset({"request_finished", "attempt_failed"})
"""Events whose fields are all values of ours but for those above."""

_KEY = r"(?=[^\s'\"&,;]{0,256}(?:\d|[a-z][A-Z]))[\w\-.~+/=%]{8,}"  # not plain letters: "Bearer authentication" is prose
_PREFIXES = ("sk", "xai", "gsk", "pplx", "fw", "csk", "tgp", "hf")
_SHAPES: Sequence[tuple[tuple[str, ...], re.Pattern[str], str]] = (
    (("bearer", "basic"), re.compile(rf"\b((?i:bearer|basic))(\s+){_KEY}"), rf"\1\2{REDACTED}"),
    (("key",), re.compile(rf"((?i:api[-_ ]?key)['\"]?\s{{0,8}}[:=]\s{{0,8}}['\"]?){_KEY}"), rf"\1{REDACTED}"),
    (("key=",), re.compile(r"(?i)([?&](?:api[-_]?)?key=)[^&\s'\"]+"), rf"\1{REDACTED}"),
    (
        tuple(prefix + joint for prefix in _PREFIXES for joint in "-_"),
        re.compile(rf"\b(?:{'|'.join(_PREFIXES)})[-_][\w\-]{{16,}}"),
        REDACTED,
    ),
    (("aiza",), re.compile(r"\bAIza[\w\-]{30,}"), REDACTED),
)
"""Each with words one of which is in the text, in small letters, where the shape is: looking for a word takes a hundredth
of looking for a shape, and error messages, which pass here three times, hardly ever hold one."""
_MASK = re.compile(r"\*{2,}|\.{3,}|…+")
_MASK_WORDS = ("**", "...", "…")
_KEY_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
_MASKED_SIDE_CHARACTERS = 64
"""How far a masked key is followed to each side; longer than any provider shows of a key."""


class Redactor:
    """Knows the secrets of this process, and takes them out of texts.

    The cost grows with the number of secrets (about 0.1 us each for a short text): these are the channels' keys, not
    the clients', of which only digests are known.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._current: frozenset[str] = _worth_hiding(secrets)
        self._known: tuple[str, ...] = _longest_first(self._current)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._known)} secrets>"

    def add(self, *secrets: str) -> None:
        """Hide these as well."""
        self._current |= _worth_hiding(secrets)
        self._known = _longest_first({*self._known, *self._current})

    def replace(self, secrets: Iterable[str]) -> None:
        """Hide these from now on, and those known until now once more: live requests still use them.

        Two generations are kept and no more, so that the list does not grow with every reload.
        """
        before, self._current = self._current, _worth_hiding(secrets)
        self._known = _longest_first(before | self._current)

    def clean_text(self, text: str, *also: str) -> str:
        """The text without any key of ours, their masked forms, and what looks like a credential.

        `also` are secrets of this one request: the key that the client came with is known to us as a digest only.
        """
        for secret in _longest_first({*_worth_hiding(also), *self._known}) if also else self._known:
            if secret in text:
                text = text.replace(secret, REDACTED)
        small = text.lower()
        for words, pattern, replacement in _SHAPES:
            if _holds_one(small, words):
                text = pattern.sub(replacement, text)
        return self._without_masked(text, also) if _holds_one(text, _MASK_WORDS) else text

    def clean_fields(self, fields: dict[str, object]) -> None:
        """Clean the strings of a log line, in place."""
        if fields.get("event") not in KNOWN_EVENTS:
            names = tuple(fields)
        elif fields.keys().isdisjoint(FREE_TEXT_FIELDS):
            return
        else:
            names = FREE_TEXT_FIELDS
        for name in names:
            value = fields.get(name)
            if value.__class__ in _CLEANABLE:
                fields[name] = self._clean(value)

    def _clean(self, value: object) -> object:
        if isinstance(value, str):
            return self.clean_text(value)
        if isinstance(value, Mapping):
            return {key: self._clean(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._clean(item) for item in value]
        return value

    def _without_masked(self, text: str, also: tuple[str, ...]) -> str:
        parts: list[str] = []
        done = 0
        for mask in _MASK.finditer(text):
            if mask.start() < done:
                continue
            start, end = _masked_word(text, mask)
            if start >= done and self._is_masked_secret(text[start:end], also):
                parts += (text[done:start], REDACTED)
                done = end
        return "".join((*parts, text[done:]))

    def _is_masked_secret(self, word: str, also: tuple[str, ...]) -> bool:
        head = word[: len(word) - len(word.lstrip(_KEY_CHARACTERS))]
        tail = word[len(word.rstrip(_KEY_CHARACTERS)) :]
        if len(head) + len(tail) < MIN_MASKED_CHARACTERS:
            return False
        return any(secret.startswith(head) and secret.endswith(tail) for secret in (*self._known, *also))


_CLEANABLE = frozenset({str, list, tuple, dict})


def _holds_one(text: str, words: tuple[str, ...]) -> bool:
    for word in words:  # noqa: SIM110 - any() and its generator cost more than what they look for
        if word in text:
            return True
    return False


def _masked_word(text: str, mask: re.Match[str]) -> tuple[int, int]:
    """Where the word around a mask begins and ends; it may hold further masks (`sk-ab***cd***ef`)."""
    left = text[max(0, mask.start() - _MASKED_SIDE_CHARACTERS) : mask.start()]
    right = text[mask.end() : mask.end() + _MASKED_SIDE_CHARACTERS]
    start = mask.start() - (len(left) - len(left.rstrip(_KEY_CHARACTERS)))
    tail = len(right) - len(right.lstrip(_KEY_CHARACTERS + "*…."))
    return start, mask.end() + len(right[:tail].rstrip("."))


def _worth_hiding(secrets: Iterable[str]) -> frozenset[str]:
    long_enough = {secret for secret in secrets if len(secret) >= MIN_SECRET_CHARACTERS}
    return frozenset(long_enough | {quote(secret, safe="") for secret in long_enough})


def _longest_first(secrets: Iterable[str]) -> tuple[str, ...]:
    """So that a key that begins like another one is not left half hidden."""
    return tuple(sorted(secrets, key=len, reverse=True))
