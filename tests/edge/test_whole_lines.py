"""Bytes cut anywhere leave as whole lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay_trio.edge.whole_lines import CutLine, WholeLines

blocks = st.lists(st.lists(st.sampled_from([b"a", b"bc", b"\n", b"0123456789" * 3]), max_size=8).map(b"".join))


@given(blocks)
def test_whatever_the_blocks_the_lines_are_the_same(blocks: list[bytes]) -> None:
    """Each non-empty line leaves once, whole, in order; the last one by `finish`, with or without its newline."""
    lines = WholeLines()
    pieces = [piece for block in blocks for piece in lines.feed(block)] + lines.finish()
    left = [line for piece in pieces if isinstance(piece, bytes) for line in piece.split(b"\n")]
    assert [line for line in left if line] == [line for line in b"".join(blocks).split(b"\n") if line]
    assert (
        len(left) == len(b"\n".join(piece for piece in pieces if isinstance(piece, bytes)).split(b"\n")) or not pieces
    )


@given(blocks)
def test_a_long_line_is_cut_and_the_next_one_is_whole(blocks: list[bytes]) -> None:
    """What is held never exceeds the limit; a line over it leaves as its beginning and its true size."""
    lines = WholeLines(max_line_bytes=20)
    pieces: list[bytes | CutLine] = []
    for block in blocks:
        pieces += lines.feed(block)
        assert len(lines._held) <= 20
    pieces += lines.finish()
    whole = [line for line in b"".join(blocks).split(b"\n") if line]
    left: list[bytes | CutLine] = []
    for piece in pieces:
        left += [piece] if isinstance(piece, CutLine) else [line for line in piece.split(b"\n") if line]
    assert len(left) == len(whole)
    for got, line in zip(left, whole, strict=True):
        assert got in (line, CutLine(line[:20], len(line)))


def test_lines_that_came_together_leave_together() -> None:
    """One piece for many lines: copying costs what blocks cost, not what lines cost."""
    lines = WholeLines()
    assert lines.feed(b"one\ntwo\nthree\nfo") == [b"one", b"two\nthree"]
    assert lines.feed(b"ur\n") == [b"four"]
    assert lines.finish() == []
