"""Azure OpenAI: OpenAI's wires under a resource's own address, where the models are deployments with names of their own.

The address is the resource's endpoint, as its own SDK has it (`https://NAME.openai.azure.com`); what stands behind it in
the portal's examples (`/openai`, `/openai/v1/`) may stand there too. Without `api_version` among the channel's options the
paths are those of the v1 API, which knows a deployment by the body's `model`
(https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle). With a dated one they are those of before it: what a
model answers lies below `/openai/deployments/NAME`, all else below `/openai`. Either way a client's `model` is the name
of a deployment, unless the channel maps it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from adaptors.endpoints import normalise
from adaptors.openai import CHAT, RESPONSES, OpenAICompatible
from adaptors.paths import tidied
from adaptors.protocol import FoundAccount
from adaptors.translation.formats import is_translated
from adaptors.translation.retelling import is_retold
from adaptors.values import Call, Headers, ProviderAccount, UpstreamRequest

# openai-python, src/openai/lib/azure.py: what a deployment answers itself
_OF_DEPLOYMENTS: Final = frozenset(
    {
        *(b"/completions", b"/chat/completions", b"/embeddings", b"/images/generations", b"/images/edits"),
        *(b"/audio/transcriptions", b"/audio/translations", b"/audio/speech"),
    }
)

_ENDPOINT = re.compile(r"(.*?)(?:/openai)?(/v1)?/*")
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}(?:-preview)?")
_VERSION_ASKED = re.compile(rb"(?:^|&)api-version=[^&]*")

_LISTS_DEPLOYMENTS: Final = "2023-03-15-preview"
"""The last version of the API of a resource that lists its deployments; since then Azure's management lists them."""

_KEY, _TOKEN = "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"
_ENDPOINT_VARIABLE, _VERSION = "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION"


@attrs.frozen
class Azure(OpenAICompatible):
    """A resource at Azure. The variables are those of openai-python, src/openai/lib/azure.py."""

    name: str = "azure"
    default_base_url: str = ""
    key_variable: str = _KEY
    base_url_variable: str = _ENDPOINT_VARIABLE
    dialects: tuple[str, ...] = (CHAT, RESPONSES)
    limit_field: str = "max_completion_tokens"
    effort_models: str = r"(?:^|[/_-])(?:o[1-9]|gpt-?[5-9]|gpt-oss)"
    variables: tuple[str, ...] = (_KEY, _TOKEN, _ENDPOINT_VARIABLE, _VERSION)

    @property
    def options(self) -> Mapping[str, tuple[str, ...]]:
        """The options of its channels."""
        return {**super().options, "api_version": ()}

    def account_from(self, values: Mapping[str, str]) -> FoundAccount | None:
        """Return the account that the variables describe. Raises ValueError: a key without an endpoint."""
        key, endpoint = values.get(_TOKEN) or values.get(_KEY), values.get(_ENDPOINT_VARIABLE)
        if key is None:
            return None
        if endpoint is None:
            named = _TOKEN if _TOKEN in values else _KEY
            raise ValueError(f"{named}: azure has no address of its own; set {_ENDPOINT_VARIABLE} too")
        version = {"api_version": values[_VERSION]} if _VERSION in values else {}
        return FoundAccount(key, endpoint, version)

    def request(self, call: Call, account: ProviderAccount, upstream_model: str | None) -> UpstreamRequest:
        """Return the request, addressed to the deployment. Raises BadBody: a model that cannot be renamed."""
        if is_retold(call, "openai_json"):  # what it is retold as comes here again
            return super().request(call, account, upstream_model)
        translates = is_translated(call, self.spoken(account))
        path = self.translated_path(account).encode() if translates else tidied(normalise(call.path))
        deployment = upstream_model if path in _OF_DEPLOYMENTS else None
        version = _api_version(account)
        call = attrs.evolve(call, query=_VERSION_ASKED.sub(b"", call.query).lstrip(b"&"))
        placed = attrs.evolve(account, base_url=_address(account, deployment))
        request = super().request(call, placed, upstream_model)
        return request if version is None else attrs.evolve(request, url=_with_version(request.url, version))

    def authorization(self, account: ProviderAccount) -> Headers:
        """Return the key; a token of Microsoft Entra ID, which is a JWT, stands in another header."""
        if account.key.startswith("eyJ"):
            return super().authorization(account)
        return ((b"api-key", account.key.encode()),) if account.key else ()

    def models_request(self, account: ProviderAccount) -> UpstreamRequest:
        """Return the request that lists the deployments: the v1 API lists what could be deployed."""
        placed = attrs.evolve(account, base_url=_endpoint(account) + "/openai")
        request = super().models_request(placed)
        url = f"{placed.base_url}/deployments?api-version={_LISTS_DEPLOYMENTS}"
        return attrs.evolve(request, url=url)


def _endpoint(account: ProviderAccount) -> str:
    found = _ENDPOINT.fullmatch(account.base_url)
    return found[1] if found else account.base_url


def _is_v1(account: ProviderAccount) -> bool:
    found = _ENDPOINT.fullmatch(account.base_url)
    return bool(found and found[2]) or not _DATED.fullmatch(account.options.get("api_version", ""))


def _api_version(account: ProviderAccount) -> str | None:
    """Return what goes into the query; the v1 API wants nothing, and takes `preview`."""
    version = account.options.get("api_version")
    return None if version is not None and _is_v1(account) and _DATED.fullmatch(version) else version


def _address(account: ProviderAccount, deployment: str | None) -> str:
    if _is_v1(account):
        return _endpoint(account) + "/openai/v1"
    below = "" if deployment is None else "/deployments/" + _in_path(deployment)
    return f"{_endpoint(account)}/openai{below}"


def _in_path(name: str) -> str:
    """Return the name as it stands in a path; names of deployments are letters, digits, `-`, `_` and `.`."""
    return re.sub(rb"[^A-Za-z0-9._~-]", lambda found: b"%%%02X" % found[0][0], name.encode()).decode("ascii")


def _with_version(url: str, version: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}api-version={_in_path(version)}"
