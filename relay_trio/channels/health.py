"""How the keys of the channels fare: which of them asked to be left alone, and until when. The clock is passed in."""

from __future__ import annotations

import attrs

SET_ASIDE_S = 300.0
"""How long a key that the provider refused is left aside: long enough to spare the provider, short enough to heal."""

MAX_RETRY_AFTER_S = 3600.0
"""What a provider may ask for at most: a wrong header must not switch a channel off for a day."""

KeyId = tuple[str, int]
"""The channel's name and the number of its key."""


@attrs.define
class KeyHealth:
    """What is known of one key. Times are on trio's clock."""

    retry_at: float = 0.0
    aside_until: float = 0.0
    failures_in_row: int = 0


class Health:
    """What is known of all keys of one process; forgotten on restart, kept over a reload."""

    def __init__(self) -> None:
        self._keys: dict[KeyId, KeyHealth] = {}

    def succeeded(self, key: KeyId) -> None:
        """The key gave an answer: everything is forgiven."""
        if key in self._keys:
            del self._keys[key]

    def asked_to_wait(self, key: KeyId, now: float, seconds: float) -> None:
        """The provider named a time before which it does not want to be asked."""
        self._health(key).retry_at = now + min(seconds, MAX_RETRY_AFTER_S)

    def refused(self, key: KeyId, now: float) -> None:
        """The provider does not accept the key."""
        self._health(key).aside_until = now + SET_ASIDE_S

    def failed(self, key: KeyId) -> None:
        """An attempt on the key failed for a reason of the provider's."""
        self._health(key).failures_in_row += 1

    def burden(self, key: KeyId, now: float) -> int:
        """Return 0 for a key that may be asked, 1 for one that asked to wait, 2 for one that was refused."""
        health = self._keys.get(key)
        if health is None:
            return 0
        if health.aside_until > now:
            return 2
        return 1 if health.retry_at > now else 0

    def is_down(self, key: KeyId, now: float) -> bool:
        """Say whether nothing good is to be expected of the key: refused, or three failures and no success since."""
        health = self._keys.get(key)
        return health is not None and (health.aside_until > now or health.failures_in_row >= _DOWN_AFTER)

    def is_refused(self, key: KeyId) -> bool:
        """Say whether the provider did not accept the key and it gave no answer since, however long ago that was."""
        health = self._keys.get(key)
        return health is not None and health.aside_until > 0

    def is_failing(self, key: KeyId) -> bool:
        """Say whether the key was refused, or failed three times in a row: `is_down`, until it answers again."""
        health = self._keys.get(key)
        return health is not None and (health.aside_until > 0 or health.failures_in_row >= _DOWN_AFTER)

    def forget_others(self, keys: set[KeyId]) -> None:
        """A reload: keep what is known of these keys only."""
        self._keys = {key: health for key, health in self._keys.items() if key in keys}

    def _health(self, key: KeyId) -> KeyHealth:
        return self._keys.setdefault(key, KeyHealth())


_DOWN_AFTER = 3
