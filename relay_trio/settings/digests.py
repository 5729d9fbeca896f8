"""A key's digest: what is kept of it, so that neither the file nor a dump of our memory gives the key away.

BLAKE2b with 256 bits and no salt: keys are long and random, so there is no dictionary to try, and a digest can be looked
up. The same as `printf %s "$KEY" | b2sum -l 256`.
"""

from __future__ import annotations

import hashlib
from typing import Final

LONGEST_KEY_BYTES: Final = 512
"""A longer one is nobody's: what a stranger presents is not hashed without a bound."""

DIGEST_BYTES: Final = 32


def digest_of(key: str) -> bytes:
    """Return the digest of a key."""
    return digest_of_bytes(key.encode())


def digest_of_bytes(key: bytes) -> bytes:
    """Return the digest of a key as it came over the wire."""
    return hashlib.blake2b(key, digest_size=DIGEST_BYTES).digest()


def format_digest(digest: bytes) -> str:
    """Return the digest as `relay.toml` has it."""
    return f"blake2b:{digest.hex()}"
