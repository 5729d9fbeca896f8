"""Every behaviour of the fake upstream by name: when it sets in, and what can truthfully be made of its answer.

The table is the whole list; the functions are in `faults_of_*`. A name is its function's, with dashes. Everything works
with every status, with and without a stream, in clear text and over TLS; `python -m relay_trio.testing.misbehaviours`
prints the list.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator

from relay_trio.testing import faults_of_connection as connection
from relay_trio.testing import faults_of_content as content
from relay_trio.testing import faults_of_framing as framing
from relay_trio.testing import faults_of_time as time
from relay_trio.testing.conversation import Conversation, Misbehaviour, Nature, Stage

Run = Callable[[Conversation], Awaitable[None]]

STREAMS_ONLY = frozenset(
    {
        content.error_event,
        content.error_event_first,
        content.response_failed,
        content.json_for_stream,
        content.no_terminal_event,
        content.no_done,
        content.torn_last_event,
        content.stream_in_other_spelling,
    }
)


def rows(stage: Stage, nature: Nature, *runs: Run) -> Iterator[Misbehaviour]:
    """Yield a row for each of these functions."""
    for run in runs:
        name = run.__name__.replace("_", "-")
        yield Misbehaviour(name, stage, nature, run, streams_only=run in STREAMS_ONLY)


MISBEHAVIOURS: dict[str, Misbehaviour] = {
    row.name: row
    for row in (
        # Before and during the request
        *rows(Stage.ACCEPTED, Nature.BROKEN, connection.close_on_accept, connection.reset_on_accept),
        *rows(Stage.ACCEPTED, Nature.SILENT, connection.tls_hangs),
        *rows(Stage.ACCEPTED, Nature.BROKEN, connection.tls_closes, connection.tls_resets, connection.tls_garbage),
        *rows(Stage.CONNECTED, Nature.SILENT, connection.never_reads),
        *rows(Stage.LINE, Nature.BROKEN, connection.reset_during_head, connection.close_during_head),
        *rows(Stage.HEAD, Nature.SILENT, connection.never_reads_body),
        *rows(Stage.HEAD, Nature.BROKEN, connection.reset_during_body),
        *rows(Stage.HEAD, Nature.WHOLE, connection.early_answer),
        *rows(Stage.HEAD, Nature.EITHER, connection.early_answer_reset),
        # The connection ends
        *rows(
            Stage.REQUEST,
            Nature.BROKEN,
            connection.close_after_request,
            connection.reset_after_request,
            connection.close_mid_head,
            connection.reset_mid_head,
            connection.close_after_head,
            connection.reset_after_head,
            connection.reset_mid_body,
            connection.truncated_length,
            connection.truncated_chunked,
            connection.truncated_mid_chunk,
            connection.truncated_without_notice,
        ),
        *rows(
            Stage.REQUEST,
            Nature.WHOLE,
            connection.close_announced,
            connection.close_unannounced,
            connection.reset_unannounced,
            connection.close_on_reuse,
            connection.reset_on_reuse,
            connection.stray_bytes,
        ),
        # Time
        *rows(
            Stage.REQUEST,
            Nature.SILENT,
            time.silent_before_head,
            time.silent_mid_head,
            time.silent_after_head,
            time.silent_mid_body,
            time.silent_before_end,
        ),
        *rows(Stage.REQUEST, Nature.SLOW, time.late_head, time.late_body),
        *rows(Stage.REQUEST, Nature.SLOW, time.drip_head, time.drip_body, time.slow_body),
        *rows(
            Stage.REQUEST,
            Nature.ENDLESS,
            time.endless_body,
            time.endless_drip,
            time.endless_comments,
            time.endless_head,
            time.endless_interim,
            time.endless_trailers,
        ),
        # Framing
        *rows(
            Stage.REQUEST,
            Nature.BROKEN,
            framing.garbage,
            framing.bad_status_line,
            framing.bad_header_line,
            framing.giant_header,
            framing.many_headers,
            framing.giant_status_line,
            framing.bad_chunk_size,
            framing.negative_chunk_size,
            framing.huge_chunk_size,
            framing.giant_chunk_line,
            framing.chunk_too_long,
            framing.length_too_small,
            framing.length_invalid,
            framing.length_negative,
            framing.lengths_differ,
            framing.body_after_204,
        ),
        *rows(Stage.REQUEST, Nature.SILENT, framing.length_too_large),
        *rows(
            Stage.REQUEST,
            Nature.WHOLE,
            framing.close_delimited,
            framing.http10,
            framing.chunked,
            framing.fixed_length,
            framing.interim,
            framing.trailers,
            framing.chunk_extensions,
            framing.one_byte_chunks,
            framing.one_byte_writes,
            framing.one_write,
            framing.duplicate_headers,
        ),
        *rows(
            Stage.REQUEST,
            Nature.EITHER,
            framing.bad_version,
            framing.nul_in_header,
            framing.length_and_chunked,
            framing.folded_header,
            framing.bare_line_feeds,
        ),
        # Content
        *rows(Stage.REQUEST, Nature.WHOLE, content.answer),
        *rows(
            Stage.REQUEST,
            Nature.ERROR,
            content.retry_after_seconds,
            content.retry_after_ms,
            content.retry_after_date,
            content.retry_after_garbage,
            content.insufficient_quota,
            content.overloaded_529,
            content.html_503,
            content.empty_error,
            content.text_error,
            content.redirect,
        ),
        *rows(
            Stage.REQUEST,
            Nature.BROKEN,
            content.error_in_200,
            content.error_event,
            content.error_event_first,
            content.response_failed,
            content.html_200,
            content.html_as_json,
            content.json_for_stream,
            content.stream_for_json,
            content.empty_200,
            content.bad_json,
            content.garbage_in_body,
            content.giant_line,
            content.no_terminal_event,
            content.gzip_truncated,
            content.gzip_corrupt,
            content.gzip_bomb,
            content.unknown_encoding,
            content.binary_for_json,
        ),
        *rows(
            Stage.REQUEST,
            Nature.WHOLE,
            content.no_done,
            content.torn_last_event,
            content.stream_in_other_spelling,
            content.gzip_answer,
            content.deflate_answer,
        ),
    )
}
"""Name to behaviour."""


def find(name: str) -> Misbehaviour:
    """Return the behaviour of this name. Raises LookupError that names the nearest ones."""
    if name in MISBEHAVIOURS:
        return MISBEHAVIOURS[name]
    import difflib  # noqa: PLC0415 - only for the sentence of a mistake

    raise LookupError(f"no misbehaviour {name!r}; near: {difflib.get_close_matches(name, MISBEHAVIOURS)}")


def listing() -> str:
    """Return the table as text, a line for each behaviour."""
    return "".join(
        f"{row.name:26} {row.stage.name.lower():9} {row.nature.name.lower():8} {row.summary}\n"
        for row in MISBEHAVIOURS.values()
    )


if __name__ == "__main__":
    sys.stdout.write(listing())
