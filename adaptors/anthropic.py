"""Anthropic: its address, its key, the version of its API, and its own wire.

A request of an Anthropic client goes up as it came, with our key. The client's `anthropic-version` and `anthropic-beta`
pass unchanged: which fields a version takes is between the two of them. Requests of other formats are translated, and their
answers back.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from adaptors.alike import LISTING_HEADERS, headers_up, listing_of
from adaptors.anthropic_paths import DIALECT, JSON, MESSAGES
from adaptors.bodies import rename_model
from adaptors.endpoints import wire_of
from adaptors.failure import BodyState, Failure
from adaptors.jsonbytes import Json, NotJSON, decoded, encoded
from adaptors.protocol import Answer
from adaptors.translation.answer import TranslatedAnswer, frame_of, translated_headers
from adaptors.translation.carrier import SEAL, unsealed
from adaptors.translation.formats import is_translated, request_of, translated_endpoints
from adaptors.translation.messages_request import write_messages_request
from adaptors.translation.retelling import RetoldAnswer, asked_anew, is_retold, retold_endpoints
from adaptors.values import Call, Header, Headers, ProviderAccount, UpstreamRequest
from adaptors.wires.anthropic_errors import read_anthropic_failure
from adaptors.wires.anthropic_messages import CountedAnswer, MessagesAnswer
from adaptors.wires.openai_json import PassedOn

_OWN: Final = (MESSAGES,)
VERSION: Final[Header] = (b"anthropic-version", b"2023-06-01")
"""For clients that name none. Newer versions refuse more: temperature, for one (2026-10-21)."""


@attrs.frozen
class Anthropic:
    """A provider of the Anthropic API. `default_base_url` is without the version, as in its SDK."""

    name: str = "anthropic"
    default_base_url: str = "https://api.anthropic.com"
    # anthropic-python, src/anthropic/_client.py
    key_variable: str = "ANTHROPIC_API_KEY"
    base_url_variable: str = "ANTHROPIC_BASE_URL"
    dialects: tuple[str, ...] = (DIALECT,)
    translates: tuple[str, ...] = (*translated_endpoints(_OWN), *retold_endpoints(JSON))
    model_families: tuple[str, ...] = ("claude-",)

    # What goes up.

    def request(self, call: Call, account: ProviderAccount, upstream_model: str | None) -> UpstreamRequest:
        """Return the request as it came, addressed to the provider. Raises BadBody: a model that cannot be renamed."""
        if is_translated(call, _OWN):
            return _translated(call, account, upstream_model or call.model or "")
        if is_retold(call, JSON):
            return asked_anew(self, JSON, call, account, upstream_model)
        query = "?" + call.query.decode("latin-1") if call.query else ""
        return UpstreamRequest(
            method=call.method,
            url=address(account) + call.path.decode("latin-1") + query,
            headers=_headers(call, account),
            body=_body(call, upstream_model),
        )

    def models_request(self, account: ProviderAccount) -> UpstreamRequest:
        """Return the request that lists the provider's models, in one page of the largest size that the API allows."""
        headers = (*LISTING_HEADERS, VERSION, *_key(account))
        return UpstreamRequest(b"GET", address(account) + "/models?limit=1000", headers, None)

    # What comes back.

    def answer(self, call: Call, account: ProviderAccount, upstream_model: str | None, max_event_bytes: int) -> Answer:  # noqa: ARG002 - the contract has it
        """Return a fresh reader for the 2xx answer of this call."""
        wire = wire_of(call.endpoint, stream=call.stream)
        if is_translated(call, _OWN):
            return TranslatedAnswer(MESSAGES, call.endpoint.wire or "", frame_of(call, upstream_model, max_event_bytes))
        if is_retold(call, JSON):
            return RetoldAnswer(call, call.model)
        if wire == MESSAGES:
            model = call.model if upstream_model not in {None, call.model} else None
            return MessagesAnswer(model=model, max_event_bytes=max_event_bytes)
        return CountedAnswer(None) if wire == JSON else PassedOn()

    def failure(self, status: int, headers: Headers, body: bytes, state: BodyState) -> Failure:
        """Say what an error answer means. Never raises, whatever the body holds."""
        return read_anthropic_failure(status, headers, body, state)

    def models(self, body: bytes) -> tuple[str, ...]:
        """Return the names of the models in a listing. Raises AnswerFailed."""
        return listing_of(body, "data", "id")


def _translated(call: Call, account: ProviderAccount, model: str) -> UpstreamRequest:
    body, dropped = write_messages_request(request_of(call), model)
    headers = (*translated_headers(call), VERSION, *_key(account))
    return UpstreamRequest(b"POST", address(account) + "/messages", headers, encoded(body), dropped)


def address(account: ProviderAccount) -> str:
    """Return the address with the version. A base URL that has it already is a slip that is easily made."""
    return account.base_url.rstrip("/").removesuffix("/v1") + "/v1"


def _key(account: ProviderAccount) -> Headers:
    return ((b"x-api-key", account.key.encode()),) if account.key else ()


def _headers(call: Call, account: ProviderAccount) -> Headers:
    """Return the client's headers with our key, and with a version where it names none."""
    headers = headers_up(call, _key(account))
    return headers if any(name == VERSION[0] for name, _ in headers) else (*headers, VERSION)


def _body(call: Call, upstream_model: str | None) -> bytes | None:
    if call.body is None:
        return None
    body = _without_foreign_thoughts(call.body)
    if call.model is None or upstream_model in {None, call.model}:
        return body
    return rename_model(body, b"application/json", str(upstream_model))


_FOREIGN = re.compile(rb'"signature"\s*:\s*"(?:"|' + SEAL + rb")")


def _without_foreign_thoughts(body: bytes) -> bytes:
    """Return a request body without thoughts that Anthropic did not sign: it would answer 400 to them.

    A conversation may have been had with another provider before, which signed them itself, or did not.
    """
    if _FOREIGN.search(body) is None:
        return body
    try:
        document = decoded(body)
    except NotJSON:
        return body
    turns = document.get("messages") if isinstance(document, dict) else None
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, dict) and isinstance(turn.get("content"), list):
            turn["content"] = [block for block in turn["content"] if not _is_foreign(block)]
    return encoded(document)


def _is_foreign(block: Json) -> bool:
    if not isinstance(block, dict) or block.get("type") != "thinking":
        return False
    signature = block.get("signature")
    return signature == "" or (isinstance(signature, str) and unsealed(signature) is not None)
