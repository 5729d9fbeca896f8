"""How likely tokens were, as OpenAI's two formats write it: a list of tokens, each with the likeliest at its place."""

from __future__ import annotations

from adaptors.jsonbytes import Json
from adaptors.translation.conversation import TokenLogprob


def read_tokens(tokens: Json) -> tuple[TokenLogprob, ...]:
    """Return the tokens of such a list. What is none is passed over."""
    return tuple(
        TokenLogprob(*_token(token), tuple(map(_token, _objects(token.get("top_logprobs")))))
        for token in _objects(tokens)
    )


def _token(token: dict[str, Json]) -> tuple[str, float]:
    text, logprob = token.get("token"), token.get("logprob")
    return text if isinstance(text, str) else "", float(logprob) if isinstance(logprob, int | float) else 0.0


def _objects(value: Json) -> list[dict[str, Json]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def written_tokens(tokens: tuple[TokenLogprob, ...]) -> list[Json]:
    """Return such a list."""
    return [
        {**_written(token.token, token.logprob), "top_logprobs": [_written(*other) for other in token.top]}
        for token in tokens
    ]


def _written(token: str, logprob: float) -> dict[str, Json]:
    r"""Return a token. For a piece of a character stands a name (`bytes:\xe2\x80`), and its bytes are not known."""
    piece = token.startswith("bytes:") or "\ufffd" in token
    return {"token": token, "logprob": logprob, "bytes": None if piece else list(token.encode("utf-8", "replace"))}
