"""Which channel and key made an object, so that later uses of its id go there: a bounded memory, newest kept.

A response, a file or a batch exists only in the account that made it. What is not remembered (made before a restart, or
by another worker) is looked for in turn.
"""

from __future__ import annotations

import re
from collections import OrderedDict

from relay_trio.channels.health import KeyId

MAX_REMEMBERED = 100_000
"""About 20 MB; at ten new objects a second, nearly three hours."""

_FIRST_ID = re.compile(rb'"id"\s*:\s*"([^"\\]{1,256})"')


class Affinity:
    """Remembers who made which object. One for each process."""

    def __init__(self, max_remembered: int = MAX_REMEMBERED) -> None:
        self._makers: OrderedDict[str, KeyId] = OrderedDict()
        self._max_remembered = max_remembered

    def __len__(self) -> int:
        return len(self._makers)

    def learn(self, object_id: str, maker: KeyId) -> None:
        """Remember who made an object."""
        self._makers[object_id] = maker
        self._makers.move_to_end(object_id)
        if len(self._makers) > self._max_remembered:
            self._makers.popitem(last=False)

    def maker_of(self, object_ids: tuple[str, ...]) -> KeyId | None:
        """Return who made the first of these objects that is remembered."""
        for object_id in object_ids:
            maker = self._makers.get(object_id)
            if maker is not None:
                return maker
        return None


def id_in_answer(body: bytes) -> str | None:
    """Return the id of the object that a JSON answer describes, from its first bytes."""
    found = _FIRST_ID.search(body)
    return found.group(1).decode("utf-8", "replace") if found else None
