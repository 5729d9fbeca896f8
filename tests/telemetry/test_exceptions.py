"""An exception is described by its class, message and stack, and never by what it quotes."""

from __future__ import annotations

import json

import pytest
import trio

from adaptors.failure import Failure, FailureKind
from relay_trio.errors import BadRequest, UpstreamAnswered
from relay_trio.telemetry.exceptions import MAX_FRAMES, MAX_RELATED, describe, message_of, short_path

CANARY = "the 'content' of a prompt"


def _decode() -> None:
    int(CANARY)


def _look_up() -> None:
    dict[str, int]()[CANARY]


@pytest.mark.parametrize("fails", [_decode, _look_up, lambda: json.loads("{" + CANARY), "\ud800".encode])
def test_what_an_exception_quotes_is_left_out(fails: object) -> None:
    """Python's own value errors repeat the value: all between the first and the last quotation mark goes."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever it is
        fails()  # type: ignore[operator] # a function without arguments
    assert "prompt" not in json.dumps(describe(caught.value))
    assert describe(caught.value)["exception"]


@pytest.mark.parametrize(
    "error",
    [
        BadRequest("The body is no JSON: line 3, 'x'."),
        OSError(2, "No such file", "/etc/x"),
        trio.BrokenResourceError("the 'peer' left"),
        TypeError("'NoneType' object is not iterable"),
    ],
)
def test_what_the_system_and_we_say_is_kept(error: BaseException) -> None:
    """Texts that are made without content pass whole."""
    assert message_of(error) == str(error)


def test_a_provider_s_words_are_not_repeated() -> None:
    """They may quote the prompt; the client gets them, the log gets the status."""
    failure = Failure(kind=next(iter(FailureKind)), status=429, message=CANARY)
    assert message_of(UpstreamAnswered(failure)) == "the provider answered with status 429"


def test_causes_are_told() -> None:
    """The chain of causes follows, whether raised from or while handling; `from None` ends it."""
    fields = describe(_raised_from(OSError("the cause"), RuntimeError("the effect")))
    assert [cause["message"] for cause in fields["caused_by"]] == ["the cause"]  # type: ignore[attr-defined] # a list
    assert "caused_by" not in describe(_raised_from(None, RuntimeError("alone")))


def _raised_from(cause: BaseException | None, error: BaseException) -> BaseException:
    try:
        raise error from cause
    except RuntimeError as raised:
        return raised


def test_chains_groups_and_stacks_are_bounded() -> None:
    """A chain without end, a group of thousands and a deep recursion give a line of ordinary size."""
    loop = OSError("loop")
    loop.__cause__ = loop
    assert len(describe(loop)["caused_by"]) == MAX_RELATED  # type: ignore[arg-type] # a list
    group = ExceptionGroup("many", [OSError(str(number)) for number in range(3_000)])
    assert describe(group)["message"] == "3000 exceptions"
    assert len(describe(group)["exceptions"]) == MAX_RELATED  # type: ignore[arg-type] # a list

    def recurse(depth: int) -> None:
        if depth == 0:
            raise OSError("deep")
        recurse(depth - 1)

    with pytest.raises(OSError, match="deep") as caught:
        recurse(200)
    stack = describe(caught.value)["stack"]
    assert len(stack) == MAX_FRAMES + 1  # type: ignore[arg-type] # a list
    assert any("more" in frame for frame in stack)  # type: ignore[attr-defined] # a list


def test_an_exception_without_a_text_is_described() -> None:
    """A broken __str__ costs the message only."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert describe(Mute())["message"] == "(it has no text)"


def test_paths_are_short() -> None:
    """Below the import root: the same wherever it is installed."""
    assert short_path(trio.lowlevel.__file__) == "trio/lowlevel.py"
    assert short_path("<string>") == "<string>"
