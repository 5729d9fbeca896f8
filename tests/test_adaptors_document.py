"""docs/adaptors.md is enough to write an adaptor from: its package is installed, as it stands there, and serves requests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from serving import KEY, Running, ask, environment, served

from adaptors.openai import OpenAICompatible
from adaptors.protocol import Adaptor, Answer
from adaptors.registry import BUILT_IN
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.fake_client import Response, connect
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream
from relay_trio.testing.http_text import Headers

pytestmark = [pytest.mark.anyio, pytest.mark.real_clock]

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "adaptors.md").read_text(encoding="utf-8")
PARROT_KEY = "sk-the-parrots-own-0123456789"
WORDS = ("Polly", " wants", " a", " cracker")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    return [block for marked, block in fenced if marked == language]


def install(directory: Path) -> Path:
    """Install the document's package into a directory, as an installer would: its module, and what it says of itself."""
    project = tomllib.loads(blocks("toml")[0])["project"]
    module = "relay_parrot"
    (directory / f"{module}.py").write_text("\n".join(blocks("python")))
    about = directory / f"{module}-{project['version']}.dist-info"
    about.mkdir()
    about.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"].items()
    lines = [line for group, names in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in names.items()))]
    about.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")
    return directory


async def parrot(conversation: Conversation) -> None:
    """Answer as Parrot does."""
    if conversation.request.get("x-parrot-key") != PARROT_KEY:
        await give(conversation, {"sorry": "Who is there?"}, 401)
    elif conversation.request.path == "/birds":
        await give(conversation, {"birds": ["parrot-grey", "parrot-blue"]})
    elif conversation.request.json()["model"] == "parrot-sulking":
        await give(conversation, {"sorry": "Not now."}, 429, ((b"retry-after", b"9"),))
    elif conversation.request.json()["aloud"]:
        said = [{"word": word} for word in WORDS] + [{"over": True, "heard": 3, "spoken": 4}]
        if conversation.request.json()["model"] == "parrot-flown":
            said.pop()
        body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in said)
        await conversation.send_in_place(200, ((b"content-type", b"text/event-stream"),), body)
    else:
        await give(conversation, {"says": "".join(WORDS), "heard": 3, "spoken": 4})


async def give(conversation: Conversation, value: object, status: int = 200, headers: Headers = ()) -> None:
    body = json.dumps(value).encode()
    await conversation.send_in_place(status, ((b"content-type", b"application/json"), *headers), body)


@attrs.frozen
class Aviary:
    """A relay with the document's package installed, before Parrot's provider."""

    relay: Running
    upstream: FakeUpstream

    async def ask(self, path: str, **fields: Any) -> Response:
        return await self.relay.ask("POST", path, KEY, {"model": "parrot-grey", **fields})


@pytest.fixture
async def aviary(tmp_path: Path) -> AsyncIterator[Aviary]:
    packages = tmp_path / "site"
    packages.mkdir()
    install(packages)
    async with open_fake_upstream(parrot) as upstream:
        channel = blocks("toml")[1].replace("http://127.0.0.1:9000", upstream.url)
        (tmp_path / "relay.toml").write_text(channel)
        variables = {
            "PYTHONPATH": f"{ROOT}:{packages}" if sys.platform != "win32" else f"{ROOT};{packages}",
            "PARROT_KEY": PARROT_KEY,
            "RELAY_API_KEYS": KEY,
        }
        async with served(tmp_path, variables=variables) as relay:
            yield Aviary(relay, upstream)


QUESTION = [{"role": "user", "content": "one two three"}]


async def test_its_package_serves_clients_of_every_format(aviary: Aviary) -> None:
    """Whole and streamed; what went up is Parrot's, and what was left out is named."""
    chat = await aviary.ask("/v1/chat/completions", messages=QUESTION, temperature=0.5)
    assert chat.json()["choices"][0]["message"]["content"] == "".join(WORDS)
    assert chat.json()["usage"]["total_tokens"] == 7
    assert chat.head.get("x-relay-dropped") == "temperature"
    sent = {"model": "parrot-grey", "turns": [{"who": "user", "says": "one two three"}], "aloud": False}
    assert aviary.upstream.requests[-1].json() == sent
    messages = await aviary.ask("/v1/messages", messages=QUESTION, max_tokens=9)
    assert messages.json()["content"] == [{"type": "text", "text": "".join(WORDS)}]
    responses = await aviary.ask("/v1/responses", input="one two three")
    assert responses.json()["output"][0]["content"][0]["text"] == "".join(WORDS)
    path = "/v1beta/models/parrot-grey:streamGenerateContent?alt=sse"
    async with connect(await aviary.relay.address()) as client:
        headers = [("x-goog-api-key", KEY)]
        body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "one"}]}]}).encode()
        await client.request("POST", path, headers, body)
        await client.read_head()
        events = [json.loads(data) for data in (await client.read_events()).data]
    told = [part["text"] for event in events for part in event["candidates"][0].get("content", {}).get("parts", ())]
    assert "".join(told) == "".join(WORDS)


async def test_its_errors_reach_the_client(aviary: Aviary) -> None:
    """In the client's format, with the provider's words and advice; a stream that merely stops is an error."""
    refused = await aviary.ask("/v1/chat/completions", messages=QUESTION, model="parrot-sulking")
    assert (refused.status, refused.json()["error"]["message"]) == (429, "Not now.")
    assert refused.head.get("retry-after") == "9"
    tools = [{"type": "function", "function": {"name": "f"}}]
    cannot = await aviary.ask("/v1/chat/completions", messages=QUESTION, tools=tools)
    assert (cannot.status, cannot.json()["error"]["param"]) == (400, "tools")
    flown = await aviary.ask("/v1/chat/completions", messages=QUESTION, model="parrot-flown", stream=True)
    assert b"[DONE]" not in flown.body.data
    assert b"before the answer was complete" in flown.body.data


async def test_its_models_are_listed(aviary: Aviary) -> None:
    """Because the channel lists none itself."""
    async with connect(await aviary.relay.address()) as client:
        listing = (await ask(client, "GET", "/v1/models", KEY)).json()
    assert [model["id"] for model in listing["data"]] == ["parrot-grey", "parrot-blue"]


# The types, the pieces, and what the page says beside


def test_its_code_is_typed(tmp_path: Path) -> None:
    """Strictly, against the contract."""
    install(tmp_path)
    check = "from adaptors.protocol import Adaptor\nfrom relay_parrot import ACME, Parrot\nA: tuple[Adaptor, ...] = (ACME, Parrot())\n"
    (tmp_path / "check.py").write_text(check)
    path = f"{ROOT}:{tmp_path}" if sys.platform != "win32" else f"{ROOT};{tmp_path}"
    words = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "check.py"]
    found = subprocess.run(
        words, cwd=tmp_path, env=environment({"MYPYPATH": path}), capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(install(tmp_path)))
    import relay_parrot  # type: ignore[import-not-found]  # noqa: PLC0415 - it is there for this test only

    yield relay_parrot
    del sys.modules["relay_parrot"]


def test_the_row_is_one(package: Any) -> None:
    """And the page names each column of it."""
    assert isinstance(package.ACME, OpenAICompatible)
    table = DOCUMENT.partition("## A row")[2].partition("## The contract")[0]
    told = {
        name for cell in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert told == {field.name for field in attrs.fields(OpenAICompatible)}


def test_the_page_tells_the_whole_contract() -> None:
    """Each part of it that an adaptor must have, and each method of an answer."""
    parts = [name for contract in (Adaptor, Answer) for name in vars(contract) if not name.startswith("_")]
    parts += list(Answer.__annotations__)
    unsaid = {"sequence", "stored_id", "usage"}
    """What an answer knows for the relay's own books; whoever writes one from scratch finds it in the contract."""
    assert [name for name in parts if name not in DOCUMENT and name not in unsaid] == []
    assert "parrot" not in BUILT_IN
