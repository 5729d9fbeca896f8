"""Gemini: its address, its key, the model in its paths, and its own wire.

A request of a Gemini client goes up as it came, with our key. A stream is always asked for as events, which can be watched;
who wanted a JSON array gets one. Requests of other formats are translated, and their answers back.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from adaptors.alike import LISTING_HEADERS, headers_up, listing_of
from adaptors.bodies import BadBody
from adaptors.endpoints import wire_of
from adaptors.failure import BodyState, Failure
from adaptors.gemini_paths import (
    DEFAULT_VERSION,
    DIALECT,
    GENERATE,
    JSON,
    asking_for_events,
    asks_for_events,
    quoted,
    split_version,
    with_model,
)
from adaptors.jsonbytes import encoded
from adaptors.protocol import Answer
from adaptors.translation.answer import TranslatedAnswer, frame_of, translated_headers
from adaptors.translation.fetched import addresses
from adaptors.translation.formats import is_translated, request_of, translated_endpoints
from adaptors.translation.gemini_content import GenerateOptions, without_sealed
from adaptors.translation.gemini_request import write_generate_request
from adaptors.translation.retelling import RetoldAnswer, asked_anew, is_retold, retold_endpoints
from adaptors.values import Call, Headers, ProviderAccount, UpstreamRequest
from adaptors.wires.gemini_errors import read_gemini_failure
from adaptors.wires.gemini_generate import GeminiJSONAnswer, GenerateAnswer
from adaptors.wires.openai_json import PassedOn

_OWN: Final = (GENERATE,)
_GOOGLES = re.compile(r"https://(?:generativelanguage\.googleapis\.com|(?:www\.)?youtube\.com|youtu\.be)/")
_NAMES_MODEL = re.compile(rb'("model"\s*:\s*)("models/[^"\\]*")')


@attrs.frozen
class Gemini:
    """A provider of the Gemini API. `default_base_url` is without the version, as in its SDK."""

    name: str = "gemini"
    default_base_url: str = "https://generativelanguage.googleapis.com"
    # python-genai, google/genai/_api_client.py
    key_variable: str = "GEMINI_API_KEY"
    base_url_variable: str = "GOOGLE_GEMINI_BASE_URL"
    dialects: tuple[str, ...] = (DIALECT,)
    translates: tuple[str, ...] = (*translated_endpoints(_OWN), *retold_endpoints(JSON))
    model_families: tuple[str, ...] = ("gemini-", "gemma-", "imagen-", "veo-")

    # What goes up.

    def request(self, call: Call, account: ProviderAccount, upstream_model: str | None) -> UpstreamRequest:
        """Return the request as it came, addressed to the provider. Raises BadBody: a model that cannot be renamed."""
        if is_translated(call, _OWN):
            return _translated(call, account, upstream_model or call.model or "")
        if is_retold(call, JSON):
            return asked_anew(self, JSON, call, account, upstream_model)
        renames = call.model is not None and upstream_model not in {None, call.model}
        path = with_model(call.path, str(upstream_model)) if renames else call.path
        body = call.body
        if renames and body is not None:
            body = _renamed(body, str(call.model), str(upstream_model))
        query = _query(call)
        return UpstreamRequest(
            method=call.method,
            url=_address(account, path) + ("?" + query.decode("latin-1") if query else ""),
            headers=headers_up(call, _key(account)),
            body=None if body is None else without_sealed(body),
        )

    def wants(self, call: Call) -> tuple[str, ...]:
        """Return the addresses that must be fetched: those of others than Google.

        Not every model takes addresses of others (https://ai.google.dev/gemini-api/docs/file-input-methods); all take bytes.
        """
        if not is_translated(call, _OWN) or b"http" not in (call.body or b""):
            return ()
        return tuple(url for url in addresses(request_of(call)) if not _GOOGLES.match(url))

    def models_request(self, account: ProviderAccount) -> UpstreamRequest:
        """Return the request that lists the provider's models, in one page of the largest size that the API allows."""
        headers = (*LISTING_HEADERS, *_key(account))
        return UpstreamRequest(b"GET", _address(account, b"/models") + "?pageSize=1000", headers, None)

    # What comes back.

    def answer(self, call: Call, account: ProviderAccount, upstream_model: str | None, max_event_bytes: int) -> Answer:  # noqa: ARG002 - the contract has it
        """Return a fresh reader for the 2xx answer of this call."""
        wire = wire_of(call.endpoint, stream=call.stream)
        if is_translated(call, _OWN):
            return TranslatedAnswer(GENERATE, call.endpoint.wire or "", frame_of(call, upstream_model, max_event_bytes))
        if is_retold(call, JSON):
            return RetoldAnswer(call, call.model)
        if wire == GENERATE:
            model = call.model if upstream_model not in {None, call.model} else None
            array = call.stream and not asks_for_events(call.query)
            return GenerateAnswer(call, model=model, max_event_bytes=max_event_bytes, array=array)
        return GeminiJSONAnswer(None) if wire == JSON else PassedOn()

    def failure(self, status: int, headers: Headers, body: bytes, state: BodyState) -> Failure:
        """Say what an error answer means. Never raises, whatever the body holds."""
        return read_gemini_failure(status, headers, body, state)

    def models(self, body: bytes) -> tuple[str, ...]:
        """Return the names of the models in a listing. Raises AnswerFailed."""
        return tuple(name.removeprefix("models/") for name in listing_of(body, "models", "name"))


def _translated(call: Call, account: ProviderAccount, model: str) -> UpstreamRequest:
    body, dropped = write_generate_request(request_of(call), model, GenerateOptions())
    method = b"streamGenerateContent?alt=sse" if call.stream else b"generateContent"
    url = _address(account, b"/models/" + quoted(model.removeprefix("models/")) + b":" + method)
    return UpstreamRequest(b"POST", url, (*translated_headers(call), *_key(account)), encoded(body), dropped)


def _renamed(body: bytes, model: str, upstream_model: str) -> bytes:
    """Return the body with the provider's name where it names the model too, as those of embeddings do. Raises BadBody."""
    renamed = _NAMES_MODEL.sub(
        lambda found: (
            found[1] + encoded(f"models/{upstream_model}") if found[2] == encoded(f"models/{model}") else found[0]
        ),
        body,
    )
    if any(found[2] != encoded(f"models/{upstream_model}") for found in _NAMES_MODEL.finditer(renamed)):
        raise BadBody("This request names another model in its body than in its path.", param="model")
    return renamed


def _query(call: Call) -> bytes:
    return asking_for_events(call.query) if call.stream else call.query


def _address(account: ProviderAccount, path: bytes) -> str:
    version, below = split_version(path)
    base = re.sub(r"/v1(?:beta|alpha)?$", "", account.base_url.rstrip("/"))
    return base + ((version or DEFAULT_VERSION) + below).decode("latin-1")


def _key(account: ProviderAccount) -> Headers:
    return ((b"x-goog-api-key", account.key.encode()),) if account.key else ()
