"""No key leaves: neither as it is, nor in the masked form that a provider makes of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_trio.telemetry import redaction
from relay_trio.telemetry.redaction import REDACTED, Redactor

KEY = "sk-proj-abc123XYZ_def456-wxyz"
ODD_KEY = "päss word/with+signs=1"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"key {KEY} is bad", f"key {REDACTED} is bad"),
        (f"https://x.test/?a=1&token={KEY}&b=2", f"https://x.test/?a=1&token={REDACTED}&b=2"),
        (f"x{KEY}y", f"x{REDACTED}y"),
        (f"twice {KEY} {KEY}", f"twice {REDACTED} {REDACTED}"),
        (f"so: {ODD_KEY}!", f"so: {REDACTED}!"),
        ("p%C3%A4ss%20word%2Fwith%2Bsigns%3D1", REDACTED),
        ("Incorrect API key provided: sk-pr***wxyz.", f"Incorrect API key provided: {REDACTED}."),
        ("provided: sk-proj-" + "*" * 160 + "wxyz. See", f"provided: {REDACTED}. See"),
        ("provided: sk-p...wxyz", f"provided: {REDACTED}"),
        ("provided: sk-p…wxyz", f"provided: {REDACTED}"),
        ("Your api key: ****wxyz is invalid", f"Your api key: {REDACTED} is invalid"),
        ("sk-pr***def***wxyz", REDACTED),
        ("one sk-pr***wxyz, two sk-pr***wxyz", f"one {REDACTED}, two {REDACTED}"),
    ],
)
def test_our_keys_are_hidden(text: str, clean: str) -> None:
    """As they are, percent-encoded, and in the masked forms of OpenAI, xAI and DeepSeek."""
    assert Redactor([KEY, ODD_KEY]).clean_text(text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Bearer abc123def456", f"Authorization: Bearer {REDACTED}"),
        ("authorization: basic dXNlcjpwYXNzMQ==", f"authorization: basic {REDACTED}"),
        ("x-api-key: abcd1234efgh", f"x-api-key: {REDACTED}"),
        ('{"api_key": "abcd1234efgh"}', f'{{"api_key": "{REDACTED}"}}'),
        ("GET /v1beta/models?key=AIzaSy12&alt=sse", f"GET /v1beta/models?key={REDACTED}&alt=sse"),
        ("sk-ant-" + "a1B2" * 6, REDACTED),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", REDACTED),
    ],
)
def test_what_looks_like_a_credential_is_hidden(text: str, clean: str) -> None:
    """Whoever it belongs to."""
    assert Redactor().clean_text(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "You must use Bearer authentication with an API key: see the documentation.",
        "Rate limit reached for gpt-4o-mini-2024-07-18 in organization org-x: wait 1.5s...",
        "**bold** and *** and ... and sk-... are prose",
        "max_tokens=100000000 is too large",
        "the key is missing",
        "task-12345678901234567890 is running",
        "",
    ],
)
def test_prose_is_left_alone(text: str) -> None:
    """Ordinary messages, markdown and names pass unchanged."""
    assert Redactor([KEY, "gp4t-other-key"]).clean_text(text) == text


@given(st.text(), st.text(), st.text(min_size=8, max_size=64).filter(lambda key: key not in REDACTED))
def test_a_known_secret_never_passes(before: str, after: str, secret: str) -> None:
    """Whatever it is made of and stands in."""
    assert secret not in Redactor([secret]).clean_text(before + secret + after).replace(REDACTED, "\0")


def test_a_key_that_begins_like_another_is_hidden_whole() -> None:
    """The longest goes first."""
    assert Redactor(["abcdefgh", "abcdefgh-longer"]).clean_text("abcdefgh-longer") == REDACTED


def test_placeholders_are_no_secrets() -> None:
    """The dummy keys of local servers are words: they are not torn out of texts."""
    assert Redactor(["EMPTY", "ollama", ""]).clean_text("the ollama list is EMPTY") == "the ollama list is EMPTY"


def test_a_request_s_own_key_can_be_named() -> None:
    """The client's key is known as a digest only; for its own request it is given."""
    redactor = Redactor()
    assert redactor.clean_text("no such key client-key-77, nor clie***-77", "client-key-77") == (
        f"no such key {REDACTED}, nor {REDACTED}"
    )
    assert redactor.clean_text("client-key-77") == "client-key-77"


def test_a_replaced_secret_is_hidden_for_one_generation_more() -> None:
    """Live requests still use it after a reload; the list does not grow with every reload."""
    redactor = Redactor(["first-secret"])
    redactor.add("added-secret")
    redactor.replace(["second-secret"])
    assert redactor.clean_text("first-secret added-secret second-secret") == " ".join([REDACTED] * 3)
    redactor.replace(["third-secret"])
    assert redactor.clean_text("first-secret second-secret") == f"first-secret {REDACTED}"
    assert repr(redactor) == "<Redactor of 2 secrets>"


def test_fields_are_cleaned_in_depth() -> None:
    """All strings of a line, also inside lists and objects; numbers stay numbers."""
    fields: dict[str, object] = {"event": "x", "n": 1, "list": [KEY, {"inner": KEY}], "text": KEY}
    Redactor([KEY]).clean_fields(fields)
    assert fields == {"event": "x", "n": 1, "list": [REDACTED, {"inner": REDACTED}], "text": REDACTED}


@pytest.mark.parametrize("shape", redaction._SHAPES, ids=lambda shape: shape[0][0])
def test_no_shape_is_passed_over_for_want_of_its_words(shape: tuple[tuple[str, ...], re.Pattern[str], str]) -> None:
    """Whatever has a credential's shape holds one of the words that the shape is looked for by."""
    words, pattern, _ = shape

    @given(st.from_regex(pattern, alphabet=st.characters(max_codepoint=127)))
    def has_a_word(text: str) -> None:
        assert any(word in text.lower() for word in words)

    has_a_word()
