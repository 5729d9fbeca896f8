"""Anthropic's wire at other houses: the model and the version change their places, and pictures go as bytes.

AWS Bedrock and Google's Vertex AI take the body of `/messages` without its `model`, with the version of the wire in it, and
fetch nothing (https://docs.claude.com/en/api/claude-on-amazon-bedrock, .../claude-on-vertex-ai).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adaptors.anthropic_paths import MESSAGES
from adaptors.bodies import BadBody
from adaptors.jsonbytes import Json, NotJSON, decoded
from adaptors.translation.conversation import refused
from adaptors.translation.formats import request_of
from adaptors.translation.messages_request import write_messages_request
from adaptors.values import Call, Fetched


def wrapped(call: Call, model: str, version: str) -> tuple[dict[str, Json], tuple[str, ...]]:
    """Return the body, whoever's client asks, and the names of what was left out. Raises BadBody."""
    body, dropped = (
        _own_body(call) if call.endpoint.wire == MESSAGES else write_messages_request(request_of(call), model)
    )
    body = {name: value for name, value in body.items() if name != "model"}
    return {"anthropic_version": version, **_betas(call), **_with_bytes(body, call.fetched, "")}, dropped


_BETA: Final = b"anthropic-beta"


def _own_body(call: Call) -> tuple[dict[str, Json], tuple[str, ...]]:
    """Return what an Anthropic client asks for. Raises BadBody."""
    try:
        body = decoded(call.body or b"")
    except NotJSON as error:
        raise BadBody(f"The request body is not JSON: {error}.", code="invalid_json") from error
    if not isinstance(body, dict):
        raise BadBody("The request body is JSON but no object.", code="invalid_json")
    return body, ()


def _betas(call: Call) -> dict[str, Json]:
    """Return the beta versions that an Anthropic client asks for: a header there, a field here."""
    if call.endpoint.wire != MESSAGES:
        return {}
    named = b",".join(value for name, value in call.headers if name == _BETA).decode("latin-1").split(",")
    betas = [beta.strip() for beta in named if beta.strip()]
    return {"anthropic_beta": betas} if betas else {}


def _with_bytes(value: Json, fetched: Mapping[str, Fetched], where: str) -> Json:
    """Return the body with bytes in the place of addresses. Raises BadBody: one was not fetched.

    Everything else stays what it is. A picture lies no deeper than in the result of a tool, in a message.
    """
    if isinstance(value, list):
        return [_with_bytes(item, fetched, f"{where}[{at}]") for at, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if not isinstance(source := value.get("source"), dict) or source.get("type") != "url":
        inside = {name: value[name] for name in ("messages", "content") if name in value}
        dotted = f"{where}." if where else ""
        return value | {name: _with_bytes(item, fetched, dotted + name) for name, item in inside.items()}
    found = fetched.get(str(source.get("url")))
    if found is None:
        raise refused(f"{where}.source", f"`{where}.source` is an address, and this model's provider takes bytes only.")
    return value | {"source": {"type": "base64", "media_type": found.media_type, "data": found.data}}
