"""The event parser against the letter of the WHATWG's event stream format, written out naively."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_streams import split_at

from adaptors.sse import EventTooLarge, SSEParser, last_boundary, raw_events

LIMIT = 1 << 20


def naive(stream: bytes) -> list[tuple[bytes, bytes]]:
    """Return (event, data) of each event that is dispatched, line by line as the specification tells it."""
    stream = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = stream.split(b"\n")[:-1]
    events: list[tuple[bytes, bytes]] = []
    name, data, any_data = b"", b"", False
    for line in lines:
        if not line:
            if any_data:
                events.append((name, data[:-1]))
            name, data, any_data = b"", b"", False
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if field == b"data":
                data, any_data = data + value + b"\n", True
            elif field == b"event":
                name = value
    return events


def fed(pieces: list[bytes]) -> list[tuple[bytes, bytes]]:
    parser = SSEParser(LIMIT)
    return [(e.name, e.data) for piece in pieces for e in parser.feed(piece) if e.data is not None]


line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
contents = st.sampled_from(
    [b"data: a", b"data:b", b"data:  c", b"data", b"data:", b":comment", b"event: x", b"event:y", b"id: 1", b"retry: 9",
     b"unknown: z", b"\xef\xbb\xbfdata: z", b"data: \xe2\x80\xa8\xc2\x85", b'data: {"k": "\xf0\x9f\x98\x80"}', b"", b""]
)  # fmt: skip
streams = st.builds(
    lambda bom, lines: bom + b"".join(content + end for content, end in lines),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.tuples(contents, line_ends), max_size=14),
)


@given(streams, st.lists(st.integers(0, 400), max_size=6))
@settings(max_examples=600)
def test_any_stream_cut_anywhere_gives_the_events_of_the_specification(stream: bytes, places: list[int]) -> None:
    """However the bytes come in, the same events come out, and they are those of a naive reading."""
    assert fed(split_at(stream, places)) == naive(stream)


@given(streams)
def test_every_byte_is_in_an_event_or_held_back(stream: bytes) -> None:
    """The raw bytes of the events and what is held add up to the stream: nothing is lost, nothing is doubled."""
    parser = SSEParser(LIMIT)
    raw = b"".join(event.raw for event in parser.feed(stream))
    assert raw + parser.rest == stream


@given(streams, st.lists(st.integers(0, 400), max_size=6))
def test_whole_events_are_the_same_bytes_as_the_parsed_ones(stream: bytes, places: list[int]) -> None:
    """The fast way and the parsing way draw the line between whole and torn at the same places."""
    fast, parsing = SSEParser(LIMIT), SSEParser(LIMIT)
    for piece in split_at(stream, places):
        assert fast.whole_events(piece) == b"".join(event.raw for event in parsing.feed(piece))
        assert fast.rest == parsing.rest


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_cut_of_a_stream_gives_the_same_events(end: bytes) -> None:
    """Cut at every byte, inside a CRLF and inside a character too."""
    lines = [b"event: e", "data: {“a”}".encode(), b"data: b", b"", b": c", b"", b"data: last", b""]
    stream = b"".join(line + end for line in lines)
    expected = [(b"e", "{“a”}\nb".encode()), (b"", b"last")]
    assert naive(stream) == expected
    for at in range(len(stream) + 1):
        assert fed([stream[:at], stream[at:]]) == expected
    assert fed([bytes([byte]) for byte in stream]) == expected


def test_an_event_that_ends_in_lone_crs_does_not_wait_for_the_next_byte() -> None:
    """A lone CR ends a line; a LF that comes after it later is the rest of a CRLF, not an empty line."""
    parser = SSEParser(LIMIT)
    assert [event.data for event in parser.feed(b"data: a\r\r")] == [b"a"]
    assert parser.feed(b"\n") == []
    assert [event.data for event in parser.feed(b"data: b\r\n\r\n") if event.data is not None] == [b"b"]


def test_a_byte_order_mark_counts_only_at_the_very_start() -> None:
    """Later it is part of a line, which then begins with no known field."""
    parser = SSEParser(LIMIT)
    assert [event.data for event in parser.feed(b"\xef\xbb\xbfdata: a\n\n")] == [b"a"]
    assert [event.data for event in parser.feed(b"\xef\xbb\xbfdata: b\n\n")] == [None]


def test_an_event_without_data_is_dropped_but_its_bytes_are_kept() -> None:
    """A comment means nothing, and can still be passed on."""
    (event,) = SSEParser(LIMIT).feed(b": keep-alive\n\n")
    assert (event.data, event.raw) == (None, b": keep-alive\n\n")


@pytest.mark.parametrize("method", ["feed", "whole_events"])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_an_event_over_the_limit_is_refused_whole_or_torn(method: str, size: int) -> None:
    """Neither in one piece nor in many does an event grow past the limit."""
    stream = b"data: 1\n\ndata: " + b"x" * 32 + b"\n\n"
    parser = SSEParser(max_event_bytes=24)
    with pytest.raises(EventTooLarge, match="24 bytes"):
        list(map(getattr(parser, method), (stream[at : at + size] for at in range(0, len(stream), size))))


def test_an_event_that_never_ends_is_refused_at_the_limit() -> None:
    """What is held does not grow past the limit by more than one read."""
    parser = SSEParser(max_event_bytes=24)
    assert parser.whole_events(b"data: " + b"x" * 18) == b""
    with pytest.raises(EventTooLarge):
        parser.whole_events(b"x")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_line_ends_of_an_event_are_part_of_it(end: bytes) -> None:
    """Each event can be passed on by itself, with the empty line that ends it, as soon as it is whole."""
    events = [b"data: %d" % number + end + end for number in range(3)]
    assert list(raw_events(b"".join(events))) == events
    assert SSEParser(LIMIT).whole_events(events[0]) == events[0]


def test_many_small_events_in_one_block_are_no_large_event() -> None:
    """The limit is for each event: a block of many may be larger."""
    block = b"data: 1\n\n" * 100
    assert SSEParser(max_event_bytes=24).whole_events(block) == block


@given(st.binary(max_size=40).map(lambda raw: bytes(b"\n\rab"[byte % 4] for byte in raw)))
def test_the_last_boundary_is_where_the_last_event_ends(buffer: bytes) -> None:
    """Searching from behind finds what reading from the front finds."""
    cut = last_boundary(buffer)
    assert b"".join(raw_events(buffer[:cut])) == buffer[:cut]
    rest = buffer[cut:].replace(b"\r\n", b"n")
    assert not any(pair in rest for pair in (b"\n\n", b"\n\r", b"\r\r", b"n\n", b"n\r", b"nn", b"\rn", b"\nn"))
