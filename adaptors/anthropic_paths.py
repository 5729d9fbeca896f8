"""The paths of the Anthropic API (https://docs.claude.com/en/api/overview), below the version prefix.

`/models` and `/files` are OpenAI's paths too: there the header `anthropic-version`, which every client of this API must
send, tells them apart.
"""

from __future__ import annotations

from typing import Final

from adaptors.paths import PathTable
from adaptors.values import BodyKind, Endpoint

DIALECT: Final = "anthropic"
MESSAGES: Final = "anthropic_messages"
JSON: Final = "anthropic_json"

_POST, _GET, _GET_DELETE = ("POST",), ("GET",), ("GET", "DELETE")

ANTHROPIC_ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("messages", _POST, "/messages", BodyKind.JSON, MESSAGES, model_required=True),
    Endpoint("messages.count_tokens", _POST, "/messages/count_tokens", BodyKind.JSON, JSON, model_required=True),
    Endpoint("messages.batches", _POST, "/messages/batches", BodyKind.JSON, JSON, "message_batch"),
    Endpoint("messages.batches.list", _GET, "/messages/batches", BodyKind.NONE),
    Endpoint("messages.batches.stored", _GET_DELETE, "/messages/batches/{id}", BodyKind.NONE, stored="message_batch"),
    Endpoint(
        "messages.batches.cancel", _POST, "/messages/batches/{id}/cancel", BodyKind.BY_TYPE, stored="message_batch"
    ),
    # answers in lines of JSON
    Endpoint("messages.batches.results", _GET, "/messages/batches/{id}/results", BodyKind.NONE, stored="message_batch"),
    Endpoint("complete", _POST, "/complete", BodyKind.JSON, model_required=True),  # the legacy form; read by no wire
    Endpoint("files", _POST, "/files", BodyKind.UPLOAD, JSON, "file"),
    Endpoint("files.list", _GET, "/files", BodyKind.NONE),
    Endpoint("files.stored", _GET_DELETE, "/files/{id}", BodyKind.NONE, stored="file"),
    Endpoint("files.content", _GET, "/files/{id}/content", BodyKind.NONE, stored="file"),
    Endpoint("models.list", _GET, "/models", BodyKind.NONE),
    Endpoint("models.stored", _GET, "/models/{id+}", BodyKind.NONE),
)

ANTHROPIC_PATHS: Final = PathTable(
    ANTHROPIC_ENDPOINTS,
    # the beta paths of anthropic-python 2.11, src/anthropic/resources
    {
        "agents": "agent",
        "deployment_runs": "deployment_run",
        "deployments": "deployment",
        "dreams": "dream",
        "environments": "environment",
        "memory_stores": "memory_store",
        "messages": None,
        "organizations": None,
        "sessions": "session",
        "skills": "skill",
        "tunnels": "tunnel",
        "user_profiles": "user_profile",
        "vaults": "vault",
    },
)

_OWN_ROOTS: Final = (b"/messages", b"/complete")


def is_anthropic(path: bytes, *, version_named: bool) -> bool:
    """Say whether a path (below the version prefix) is one of this API's: by itself, or because the client says so."""
    return path.startswith(_OWN_ROOTS) or (version_named and bool(ANTHROPIC_PATHS.allowed_methods(path)))
