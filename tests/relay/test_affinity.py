"""Who made which object: remembered, within a bound."""

from __future__ import annotations

import pytest

from relay_trio.relay.affinity import Affinity, id_in_answer


def test_who_made_an_object_is_remembered() -> None:
    """The first id that is known decides; of unknown ones nothing is known."""
    memory = Affinity()
    memory.learn("resp_1", ("main", 1))
    memory.learn("file_1", ("other", 2))
    assert memory.maker_of(("unknown", "file_1", "resp_1")) == ("other", 2)
    assert memory.maker_of(()) is None
    assert memory.maker_of(("unknown",)) is None


def test_the_newest_are_kept() -> None:
    """Learnt again counts as new; nothing grows beyond the bound (guarantee G7)."""
    memory = Affinity(max_remembered=3)
    for name in ("a", "b", "c", "a", "d"):
        memory.learn(name, ("main", 1))
    assert len(memory) == 3
    assert [name for name in "abcd" if memory.maker_of((name,))] == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id": "file-1", "object": "file"}', "file-1"),
        (b'{"object":"file","id":"file-2","bytes":1', "file-2"),
        (b'{"id" :\n "x"}', "x"),
        (b'{"id": 7}', None),
        (b'{"file_id": "x"}', None),
        (b'{"id": "' + b"x" * 257 + b'"}', None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
def test_an_answers_id_is_found_in_its_first_bytes(body: bytes, found: str | None) -> None:
    """Without decoding it; what is no id is none."""
    assert id_in_answer(body) == found
