"""Google's Vertex AI: Gemini's and Anthropic's models below one project and location, each with its maker's own wire.

The address says both: `https://LOCATION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION`. A model whose name
begins with `claude-` is Anthropic's (https://docs.claude.com/en/api/claude-on-vertex-ai), all others are Google's. What proves who
asks is a token that Google lends for an hour: to the credentials in a file (the channel's option `credentials`), or to
those that this machine has (https://cloud.google.com/docs/authentication/application-default-credentials). A channel whose key
is a token itself needs neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from adaptors.alike import LISTING_HEADERS, listing_of
from adaptors.anthropic_paths import MESSAGES
from adaptors.anthropic_wrapped import wrapped
from adaptors.failure import BodyState, Failure
from adaptors.gemini import Gemini
from adaptors.jsonbytes import encoded
from adaptors.protocol import Answer, FoundAccount
from adaptors.translation.answer import TranslatedAnswer, frame_of, translated_headers
from adaptors.translation.conversation import refused
from adaptors.translation.fetched import addresses
from adaptors.translation.formats import request_of, translated_endpoints
from adaptors.values import Call, Headers, Lender, ProviderAccount, UpstreamRequest
from adaptors.wires.anthropic_errors import read_anthropic_failure
from adaptors.wires.anthropic_messages import MessagesAnswer
from adaptors.wires.gemini_errors import read_gemini_failure

_VERSION: Final = "vertex-2023-10-16"
"""Of Anthropic's wire there; the only one there is."""
_GOOGLES: Final = ("models.generate_content", "models.stream_generate_content", "models.count_tokens")
_GEMINI: Final = Gemini()
_BELOW_MODELS = re.compile(r"https://gemini/v1(?:beta|alpha)?\d*/models/(.*)", re.DOTALL)
_HOST = re.compile(r"(https?://[^/]+)")

# python-genai, google/genai/_api_client.py, whose switch says that these variables are meant for models
_SWITCH, _PROJECT, _LOCATION = "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"
_CREDENTIALS: Final = "GOOGLE_APPLICATION_CREDENTIALS"
_OFF: Final = frozenset({"", "0", "false"})


@attrs.frozen
class Vertex:
    """One project in one location."""

    name: str = "vertex"
    default_base_url: str = ""
    key_variable: str = ""
    base_url_variable: str = ""
    dialects: tuple[str, ...] = ()
    translates: tuple[str, ...] = (*_GOOGLES, *(name for name in translated_endpoints(()) if name not in _GOOGLES))
    model_families: tuple[str, ...] = ("gemini-", "claude-")
    variables: tuple[str, ...] = (_SWITCH, _PROJECT, _LOCATION, _CREDENTIALS)
    options: Mapping[str, tuple[str, ...]] = MappingProxyType({"credentials": ()})

    def account_from(self, values: Mapping[str, str]) -> FoundAccount | None:
        """Return the account that the variables describe; None where they are meant for something else.

        Raises ValueError: they name no project, or no location.
        """
        if values.get(_SWITCH, "").lower() in _OFF:
            return None
        missing = [name for name in (_PROJECT, _LOCATION) if name not in values]
        if missing:
            raise ValueError(f"{_SWITCH}: vertex has an address in each project and location; set {missing[0]} too")
        location = values[_LOCATION]
        host = "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"
        return FoundAccount("", f"https://{host}/v1/projects/{values[_PROJECT]}/locations/{location}")

    def lender(self, account: ProviderAccount) -> Lender | None:
        """Return whom to ask for a token; None where the channel's key is one."""
        return None if account.key else Lender("google", account.options.get("credentials", ""))

    # What goes up.

    def wants(self, call: Call) -> tuple[str, ...]:
        """Return the addresses of pictures and documents, which not every model fetches."""
        if call.endpoint.name in _GOOGLES or b"http" not in (call.body or b""):
            return ()
        return addresses(request_of(call))

    def request(self, call: Call, account: ProviderAccount, upstream_model: str | None) -> UpstreamRequest:
        """Return the request for the model. Raises BadBody: it cannot be had there."""
        model = upstream_model or call.model or ""
        publishers = account.base_url.rstrip("/") + "/publishers"
        if _is_anthropics(model):
            request = _of_anthropic(call, model, publishers)
        else:
            request = _of_google(call, upstream_model, publishers)
        return attrs.evolve(request, headers=request.headers + _token(account))

    def models_request(self, account: ProviderAccount) -> UpstreamRequest:
        """Return the request that lists Google's models there; Anthropic's are listed nowhere."""
        found = _HOST.match(account.base_url)
        host = found[1] if found else account.base_url
        headers = (*LISTING_HEADERS, *_token(account))
        return UpstreamRequest(b"GET", f"{host}/v1beta1/publishers/google/models?pageSize=1000", headers, None)

    # What comes back.

    def answer(self, call: Call, account: ProviderAccount, upstream_model: str | None, max_event_bytes: int) -> Answer:
        """Return a fresh reader for the 2xx answer of this call."""
        if not _is_anthropics(upstream_model or call.model or ""):
            return _GEMINI.answer(call, account, upstream_model, max_event_bytes)
        if call.endpoint.wire != MESSAGES:
            return TranslatedAnswer(MESSAGES, call.endpoint.wire or "", frame_of(call, upstream_model, max_event_bytes))
        model = call.model if upstream_model not in {None, call.model} else None
        return MessagesAnswer(model=model, max_event_bytes=max_event_bytes)

    def failure(self, status: int, headers: Headers, body: bytes, state: BodyState) -> Failure:
        """Say what an error answer means: Google's own, or one of Anthropic's that passed through. Never raises."""
        read = read_anthropic_failure if b'"type":"error"' in body.replace(b" ", b"") else read_gemini_failure
        return read(status, headers, body, state)

    def models(self, body: bytes) -> tuple[str, ...]:
        """Return the names of the models in a listing. Raises AnswerFailed."""
        return tuple(name.rpartition("/")[2] for name in listing_of(body, "publisherModels", "name"))


def _is_anthropics(model: str) -> bool:
    return model.startswith("claude-")


def _of_anthropic(call: Call, model: str, publishers: str) -> UpstreamRequest:
    if call.endpoint.name == "models.count_tokens":
        raise refused("model", "The tokens of this model's requests cannot be counted by this API.")
    body, dropped = wrapped(call, model, _VERSION)
    action = "streamRawPredict" if call.stream else "rawPredict"
    url = f"{publishers}/anthropic/models/{_in_path(model)}:{action}"
    return UpstreamRequest(b"POST", url, translated_headers(call), encoded(body), dropped)


def _of_google(call: Call, model: str | None, publishers: str) -> UpstreamRequest:
    """Return what the Gemini API would be sent, addressed to where its models are here."""
    request = _GEMINI.request(call, ProviderAccount("https://gemini", ""), model)
    found = _BELOW_MODELS.fullmatch(request.url)
    assert found is not None, "each of these calls is one of a model"
    return attrs.evolve(request, url=f"{publishers}/google/models/{found[1]}")


def _token(account: ProviderAccount) -> Headers:
    return ((b"authorization", b"Bearer " + account.key.encode()),) if account.key else ()


def _in_path(model: str) -> str:
    """Return the name as it stands in a path; a version stands behind an `@`."""
    return re.sub(rb"[^A-Za-z0-9._~@-]", lambda found: b"%%%02X" % found[0][0], model.encode()).decode("ascii")
