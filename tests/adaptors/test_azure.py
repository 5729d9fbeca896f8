"""Azure OpenAI: where a deployment is reached, with what key, and what its content filter adds to an answer."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from openai_streams import DONE, LIMIT, call, chunk, sse

from adaptors.anthropic_paths import ANTHROPIC_PATHS
from adaptors.azure import Azure
from adaptors.endpoints import match
from adaptors.failure import BodyState, FailureKind
from adaptors.protocol import FoundAccount, ReadsVariables
from adaptors.registry import BUILT_IN
from adaptors.values import Call, ProviderAccount

HOST = "https://my.openai.azure.com"
V1 = ProviderAccount(HOST, "az-key")
DATED = attrs.evolve(V1, options={"api_version": "2024-10-21"})
CHAT = call(body=b'{"model":"my-gpt"}', model="my-gpt", stream=False)


def url_of(came: Call, account: ProviderAccount, model: str | None = "my-gpt") -> str:
    return Azure().request(came, account, model).url


def asked(method: bytes, path: bytes, query: bytes = b"") -> Call:
    endpoint = match(method, path)
    assert endpoint is not None
    return Call(endpoint, "openai_chat", method, path, query, (), b'{"model":"my-gpt"}' if method == b"POST" else b"")


# Where


@pytest.mark.parametrize("base", [HOST, HOST + "/", HOST + "/openai", HOST + "/openai/v1", HOST + "/openai/v1/"])
def test_without_a_version_the_v1_api_is_asked(base: str) -> None:
    """However much of the address the channel says; the deployment stands in the body alone."""
    account = attrs.evolve(V1, base_url=base)
    assert url_of(CHAT, account) == f"{HOST}/openai/v1/chat/completions"
    assert url_of(call(path=b"/responses"), account) == f"{HOST}/openai/v1/responses"
    assert Azure().request(CHAT, account, "my-gpt").body is CHAT.body


def test_a_resource_may_lie_behind_a_gateway() -> None:
    """Whose path stays."""
    account = attrs.evolve(V1, base_url="https://apim.example/team-a/openai")
    assert url_of(CHAT, account) == "https://apim.example/team-a/openai/v1/chat/completions"


@pytest.mark.parametrize(
    ("method", "path", "below"),
    [
        (b"POST", b"/chat/completions", "/openai/deployments/my-gpt/chat/completions"),
        (b"POST", b"/embeddings", "/openai/deployments/my-gpt/embeddings"),
        (b"POST", b"/responses", "/openai/responses"),
        (b"GET", b"/responses/resp_1", "/openai/responses/resp_1"),
        (b"GET", b"/files", "/openai/files"),
    ],
)
def test_a_dated_version_has_its_models_below_their_deployments(method: bytes, path: bytes, below: str) -> None:
    """And everything else beside them."""
    assert url_of(asked(method, path), DATED) == f"{HOST}{below}?api-version=2024-10-21"


def test_the_version_is_the_channels() -> None:
    """The client's own wish for one does not go up beside it; other queries do."""
    came = asked(b"GET", b"/files", b"api-version=1&after=x")
    assert url_of(came, DATED) == f"{HOST}/openai/files?after=x&api-version=2024-10-21"
    preview = attrs.evolve(V1, options={"api_version": "preview"})
    assert url_of(CHAT, preview) == f"{HOST}/openai/v1/chat/completions?api-version=preview"
    mixed = attrs.evolve(DATED, base_url=HOST + "/openai/v1")
    assert url_of(CHAT, mixed) == f"{HOST}/openai/v1/chat/completions"


def test_a_mapped_model_is_the_name_of_the_deployment() -> None:
    """In the path, escaped where it must be, and in the body."""
    request = Azure().request(CHAT, DATED, "de/pl")
    assert request.url == f"{HOST}/openai/deployments/de%2Fpl/chat/completions?api-version=2024-10-21"
    assert request.body == b'{"model":"de/pl"}'


def test_a_translated_call_reaches_the_deployment_too() -> None:
    """An Anthropic client's, for one."""
    endpoint = ANTHROPIC_PATHS.match(b"POST", b"/messages")
    assert endpoint is not None
    body = {"model": "my-gpt", "max_tokens": 5, "messages": [{"role": "user", "content": "q"}]}
    came = Call(endpoint, "anthropic", b"POST", b"/messages", b"", (), json.dumps(body).encode(), model="my-gpt")
    request = Azure().request(came, DATED, "my-gpt")
    assert request.url == f"{HOST}/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    assert (b"api-key", b"az-key") in request.headers
    assert json.loads(request.body or b"")["max_completion_tokens"] == 5


# With what


def test_a_key_has_a_header_of_its_own() -> None:
    """A token of Entra ID goes as others do, and no key as none."""

    def authorization(key: str) -> list[tuple[bytes, bytes]]:
        headers = Azure().request(CHAT, attrs.evolve(V1, key=key), "my-gpt").headers
        return [field for field in headers if field[0] in {b"api-key", b"authorization"}]

    assert authorization("az-key") == [(b"api-key", b"az-key")]
    assert authorization("eyJ0.e30.x") == [(b"authorization", b"Bearer eyJ0.e30.x")]
    assert authorization("") == []


def test_the_variables_are_those_of_its_sdk() -> None:
    """Key, endpoint and version make a channel; a key alone says what is missing."""
    azure = BUILT_IN["azure"]
    assert isinstance(azure, ReadsVariables)
    found = azure.account_from(
        {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": HOST, "OPENAI_API_VERSION": "2024-10-21"}
    )
    assert found == FoundAccount("k", HOST, {"api_version": "2024-10-21"})
    assert azure.account_from({"AZURE_OPENAI_AD_TOKEN": "eyJ", "AZURE_OPENAI_ENDPOINT": HOST}) == FoundAccount(
        "eyJ", HOST
    )
    assert azure.account_from({"OPENAI_API_VERSION": "2024-10-21"}) is None
    with pytest.raises(ValueError, match=r"^AZURE_OPENAI_API_KEY: .* set AZURE_OPENAI_ENDPOINT too$"):
        azure.account_from({"AZURE_OPENAI_API_KEY": "k"})


def test_its_models_are_its_deployments() -> None:
    """Not what could be deployed."""
    request = Azure().models_request(DATED)
    assert request.url == f"{HOST}/openai/deployments?api-version=2023-03-15-preview"
    assert (b"api-key", b"az-key") in request.headers
    listing = {"data": [{"model": "gpt-4o", "status": "succeeded", "id": "my-gpt", "object": "deployment"}]}
    assert Azure().models(json.dumps(listing).encode()) == ("my-gpt",)


# What comes back: https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter-annotations

SAFE = {"hate": {"filtered": False, "severity": "safe"}}
PROMPT_FILTER: dict[str, Any] = {
    "choices": [],
    "created": 0,
    "id": "",
    "model": "",
    "object": "",
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}],
}
LATE_FILTER: dict[str, Any] = {
    "id": "",
    "object": "",
    "created": 0,
    "model": "",
    "choices": [
        {
            "index": 0,
            "finish_reason": None,
            "content_filter_results": SAFE,
            "content_filter_raw": [],
            "content_filter_offsets": {"check_offset": 44, "start_offset": 44, "end_offset": 198},
        }
    ],
    "usage": None,
}
STREAM = sse(
    PROMPT_FILTER,
    chunk({"role": "assistant", "content": ""}, content_filter_results={}),
    chunk({"content": "Hello"}),
    LATE_FILTER,
    chunk({}, "stop"),
    DONE,
)


def test_what_the_filter_says_passes() -> None:
    """The chunk without choices opens nothing: another attempt may still follow it. Every byte goes on."""
    answer = Azure().answer(attrs.evolve(CHAT, stream=True), DATED, "my-gpt", LIMIT)
    first = sse(PROMPT_FILTER)
    assert b"".join(answer.chunks(first)) == first
    assert not answer.content_seen
    rest = STREAM[len(first) :]
    assert b"".join(answer.chunks(rest)) == rest
    assert (answer.content_seen, answer.complete) == (True, True)


def test_a_client_of_another_format_gets_one_whole_message() -> None:
    """It begins with the first chunk that has an id; what the filter says is no part of it."""
    endpoint = ANTHROPIC_PATHS.match(b"POST", b"/messages")
    assert endpoint is not None
    came = Call(endpoint, "anthropic", b"POST", b"/messages", b"", (), b"{}", model="my-gpt", stream=True)
    answer = Azure().answer(came, DATED, "my-gpt", LIMIT)
    told = b"".join([*answer.chunks(STREAM), *answer.end()])
    events = [json.loads(line[6:]) for line in told.splitlines() if line.startswith(b"data: ")]
    assert [event["type"] for event in events] == [
        *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    assert events[0]["message"]["id"].endswith("chatcmpl-123")


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "retry_after"),
    [
        (400, {"error": {"message": "The response was filtered", "type": None, "param": "prompt",
                         "code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
         FailureKind.BAD_REQUEST, "content_filter", None),
        (401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key or wrong endpoint."}},
         FailureKind.UNAUTHORIZED, "401", None),
        (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}},
         FailureKind.NOT_FOUND, "DeploymentNotFound", None),
        (429, {"error": {"code": "429", "message": "Requests have exceeded the token rate limit."}},
         FailureKind.RATE_LIMITED, "429", 26.0),
        (429, {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 26 seconds."},
         FailureKind.RATE_LIMITED, None, 26.0),
    ],
)  # fmt: skip
def test_its_errors_are_understood(
    status: int, body: object, kind: FailureKind, code: str | None, retry_after: float | None
) -> None:
    """Its own and those of the gateway before it; the wait of a 429 stands in the header of its limits, in seconds."""
    headers = ((b"x-ratelimit-remaining-tokens", b"0"), (b"x-ratelimit-reset-tokens", b"26"))
    failure = Azure().failure(status, headers, json.dumps(body).encode(), BodyState.WHOLE)
    assert (failure.kind, failure.code, failure.retry_after) == (kind, code, retry_after)
