"""How a thought survives a client whose format has no place for it: inside the id of the tool call that it led to.

Anthropic answers 400 where thinking is on and a tool's result comes back without the signed thought before its call
(https://docs.claude.com/en/docs/build-with-claude/extended-thinking). A client of another format keeps nothing of the
kind, but it must send the id of each tool call back as it was. So the id is lengthened by the thoughts, in the letters
that ids may have, and shortened again on its way to any provider. Nothing is stored, so a restart forgets nothing.

A format that has a place for signatures has one for its own provider's only. There the thoughts of another stand in the
place of the signature, sealed, so that they are told from one.

What a client makes up here is its own conversation: the provider checks the signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from adaptors.jsonbytes import encoded
from adaptors.translation.conversation import Thinking

_MARK = "__rt1_"
MARK = _MARK.encode()
_CARRIED = re.compile(rb"__rt1_[A-Za-z0-9_-]+")
_TO_ID = str.maketrans("+/", "-_", "=")
_FROM_ID = str.maketrans("-_", "+/")

_SEAL = "X19ydDFf"
"""The mark in base64, as which signatures are checked by clients: what follows it is base64 too."""
SEAL = _SEAL.encode()

MAX_CARRIED: Final = 256 * 1024
"""Characters of thought that are carried: more than the largest budget of 64,000 tokens fills."""

_decode = msgspec.json.Decoder(tuple[Thinking, ...]).decode


def fits(thoughts: Iterable[Thinking]) -> bool:
    """Whether the thoughts are not too long to be carried."""
    return sum(len(thought.text) + len(thought.signature) + len(thought.hidden) for thought in thoughts) <= MAX_CARRIED


def packed(call_id: str, thoughts: Iterable[Thinking]) -> str:
    """Return the id with the thoughts in it; those that nobody signed need not come back."""
    signed = tuple(thought for thought in thoughts if thought.signature or thought.hidden)
    if not signed:
        return call_id
    return call_id + _MARK + _base64(signed).translate(_TO_ID)


def unpacked(call_id: str) -> tuple[str, tuple[Thinking, ...]]:
    """Return the provider's own id and the thoughts. What was cut or changed on its way holds none."""
    own, mark, carried = call_id.partition(_MARK)
    return (own, _thoughts(carried)) if mark else (call_id, ())


def sealed(thoughts: Iterable[Thinking]) -> str:
    """Return the thoughts in the form of a signature."""
    return _SEAL + _base64(tuple(thoughts))


def unsealed(signature: str) -> tuple[Thinking, ...] | None:
    """Return the thoughts that stand in the place of a signature, or None: it is a signature."""
    return _thoughts(signature.removeprefix(_SEAL)) if signature.startswith(_SEAL) else None


def _base64(thoughts: tuple[Thinking, ...]) -> str:
    return msgspec.json.encode(encoded(msgspec.to_builtins(thoughts))).decode().strip('"')  # bytes are base64 there


def _thoughts(base64: str) -> tuple[Thinking, ...]:
    unpadded = base64.translate(_FROM_ID).rstrip("=")
    try:
        return _decode(msgspec.json.decode(f'"{unpadded}{"=" * (-len(unpadded) % 4)}"', type=bytes))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()


def without_thoughts(body: bytes) -> bytes:
    """Return a request body with the providers' own ids: a conversation may go on with another provider."""
    return _CARRIED.sub(b"", body) if MARK in body else body
