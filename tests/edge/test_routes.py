"""The table of the relay's own paths, and what is said of paths that are nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand import Stand, error_of, open_stand

from relay_trio.edge.handlers.own import Own
from relay_trio.edge.routes import OWN_PATHS, own_path
from relay_trio.testing.fake_client import Response, request_bytes
from relay_trio.testing.oracle import Snapshot
from relay_trio.testing.relay import CLIENT_KEY


@pytest.mark.parametrize("own", OWN_PATHS, ids=lambda own: own.template)
def test_every_own_path_has_somebody_who_answers(own: object) -> None:
    """The table names methods that exist."""
    assert callable(getattr(Own, own.handler))  # type: ignore[attr-defined] # a row of the table


def test_an_own_path_is_found_with_the_id_in_it() -> None:
    """An id is one segment, and not nothing."""
    assert own_path("/livez")[0] is not None
    found, request_id = own_path("/debug/nurseries/req_1")
    assert found is not None
    assert (found.handler, request_id) == ("cancel", "req_1")


@pytest.mark.parametrize(
    "path", ["/", "", "/livez/", "/LIVEZ", "/debug/nurseries/", "/debug/nurseries/a/b", "/v1/models", "/debug", "livez"]
)
def test_other_paths_are_not_ours(path: str) -> None:
    """Also what looks nearly so."""
    assert own_path(path)[0] is None


# ---- Through the relay


pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


async def ask(stand: Stand, method: str, path: str, **headers: str) -> Response:
    """Ask with the client's key."""
    fields = [("authorization", f"Bearer {CLIENT_KEY}"), *((name.replace("_", "-"), headers[name]) for name in headers)]
    return await stand.ask(request_bytes(method, path, "relay.test", fields, b"" if method == "POST" else None))


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/chat/completionss", "/v1/chat/completions"),
        ("/v1/embedding", "/v1/embeddings"),
        ("/v1/model", "/v1/models"),
    ],
)
async def test_an_unknown_path_is_404_and_names_the_one_that_was_meant(tmp_path: Path, path: str, meant: str) -> None:
    """So that whoever mistyped sees it at once."""
    async with open_stand(tmp_path) as stand:
        response = await ask(stand, "POST", path)
        assert response.status == 404
        error = error_of(response)
        assert error["code"] == "unknown_path"
        assert error["message"].endswith(f"Did you mean {meant}?")
        assert (await stand.line())["outcome"] == "rejected"


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/wp-login.php", "/" + "x" * 5000, "/v2/chat"])
async def test_a_path_that_is_like_none_is_404(tmp_path: Path, path: str) -> None:
    """Without a guess, and without a long echo."""
    async with open_stand(tmp_path) as stand:
        response = await ask(stand, "GET", path)
        assert response.status == 404
        assert len(error_of(response)["message"]) < 300
        assert stand.upstream.request_count == 0


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/embeddings", {"POST"}),
        ("PUT", "/v1/chat/completions", {"GET", "POST"}),
        ("POST", "/v1/models", {"GET"}),
        ("POST", "/livez", {"GET", "HEAD"}),
        ("GET", "/debug/nurseries/req_1", {"DELETE"}),
    ],
)
async def test_a_wrong_method_is_405_and_names_the_right_ones(
    tmp_path: Path, method: str, path: str, allowed: set[str]
) -> None:
    """In `Allow`, as HTTP has it."""
    async with open_stand(tmp_path) as stand:
        response = await ask(stand, method, path)
        assert response.status == 405
        assert set((response.head.get("allow") or "").split(", ")) == allowed
        assert error_of(response)["code"] == "method_not_allowed"


# ---- Pages that call from a browser


CORS = 'cors_origins = ["https://app.example", "http://localhost:5173"]'
PREFLIGHT = {
    "access_control_request_method": "POST",
    "access_control_request_headers": "authorization,x-stainless-os",
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/files/file_1"])
async def test_a_preflight_needs_no_key(tmp_path: Path, path: str) -> None:
    """The browser sends none; it is told what the page may do."""
    async with open_stand(tmp_path, relay=CORS) as stand:
        fields = "origin: https://app.example\r\naccess-control-request-method: POST\r\n"
        fields += "access-control-request-headers: authorization,x-stainless-os\r\n"
        response = await stand.ask(f"OPTIONS {path} HTTP/1.1\r\nhost: x\r\n{fields}\r\n".encode())
        assert (response.status, response.body.data) == (204, b"")
        head = response.head
        assert head.get("content-length") is None
        assert head.get("access-control-allow-origin") == "https://app.example"
        assert head.get("access-control-allow-headers") == "authorization,x-stainless-os"
        assert "DELETE" in (head.get("access-control-allow-methods") or "")
        assert head.get("vary") == "origin"
        assert stand.upstream.request_count == 0


async def test_another_origin_is_allowed_nothing(tmp_path: Path) -> None:
    """Neither in the preflight nor in the answer."""
    async with open_stand(tmp_path, relay=CORS) as stand:
        for method in ("OPTIONS", "GET"):
            response = await ask(stand, method, "/v1/models", origin="https://evil.example", **PREFLIGHT)
            assert response.head.get("access-control-allow-origin") is None


@pytest.mark.parametrize(("path", "status"), [("/v1/models", 200), ("/v1/nothing", 404), ("/v1/embeddings", 405)])
async def test_answers_and_errors_can_be_read_by_the_page(tmp_path: Path, path: str, status: int) -> None:
    """An error without these headers is a riddle in the browser's console."""
    async with open_stand(tmp_path, relay='cors_origins = ["*"]') as stand:
        response = await ask(stand, "GET", path, origin="https://any.example")
        assert response.status == status
        assert response.head.get("access-control-allow-origin") == "*"
        assert response.head.get("access-control-expose-headers") == "*"


async def test_without_configured_origins_there_is_no_cors(tmp_path: Path) -> None:
    """OPTIONS is a method like any other then."""
    async with open_stand(tmp_path) as stand:
        response = await ask(stand, "OPTIONS", "/v1/chat/completions", origin="https://any.example", **PREFLIGHT)
        assert response.status == 405
        assert response.head.get("access-control-allow-origin") is None
