"""What the documents say is so: their commands, their configuration, their sample answers, their tables, their paths."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from documents import ROOT, anchors, blocks, document, first_column, section
from serving import KEY, served
from stand import STREAM, UNARY, open_stand

from adaptors import registry
from relay_trio import errors
from relay_trio.cli.main import _COMMANDS, main
from relay_trio.edge.routes import OWN_PATHS
from relay_trio.relay.record import Record
from relay_trio.settings.model import VARIABLES, Limits
from relay_trio.settings.sources import COMMAND_VARIABLES
from relay_trio.testing.fake_client import FakeClient, connect

pytestmark = pytest.mark.anyio

README = document("README.md")
OPERATIONS = document("docs/operations.md")
DOCUMENTS = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "bench" / "README.md"))

Json = Any


def shape_of(value: Json) -> Json:
    """Return the names and types in a JSON value. Of a list one element stands for all."""
    if isinstance(value, dict):
        return {name: shape_of(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape_of(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


# The two commands


@pytest.mark.parametrize(
    ("heading", "installs", "runs"),
    [
        ("Start it", "-e .", ".venv/bin/relay-trio serve"),
        ("Run the tests", "-e '.[dev]'", ".venv/bin/python -m pytest"),
    ],
)
def test_one_line_does_all_the_set_up(heading: str, installs: str, runs: str) -> None:
    """From a clone on a machine that has Python: each of the two commands makes its environment and uses it."""
    (line,) = blocks(section(README, heading), "sh")[0].splitlines()
    assert line == f"python3 -m venv .venv && .venv/bin/pip install -q {installs} && {runs}"


# The first answer


@pytest.mark.real_clock
async def test_the_first_curl_answers_as_shown(tmp_path: Path) -> None:
    """The lines that `serve` prints, the request that they paste, and the events that come back, word for word."""
    printed, answered = blocks(section(README, "Start it"), "")[:2]
    async with served(tmp_path) as relay:
        key = (await relay.printed(r"this run only: (\S+)$"))[1]
        await relay.printed(r"^Try: .*$")
        host, port = await relay.address()
        known = re.search(r"sk-[0-9a-f]+", printed)
        assert known is not None
        assert relay.errors == printed.replace(known[0], key).replace("127.0.0.1:3000", f"{host}:{port}")
        async with connect((host, port)) as client:
            stream = await _paste(client, printed, key)
    shown = [line.removeprefix("data: ") for line in answered.splitlines() if line.startswith("data: ")]
    assert shown[:-1] == stream[: len(shown) - 1]
    assert shown[-1] == stream[-1] == "[DONE]"


async def _paste(client: FakeClient, printed: str, key: str) -> list[str]:
    """Do what the printed curl line does; return the data of its events."""
    line = re.search(r"curl -N http://[^/]+(\S+) .* -d '(.+)'$", printed, re.MULTILINE)
    assert line is not None
    await client.post_json(line[1], json.loads(line[2]), key)
    await client.read_head()
    return (await client.read_events()).data


# The configuration


def test_the_example_is_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check-config` takes the README's relay.toml as it stands, given the secrets that it refers to."""
    (example,) = blocks(section(README, "Configure it"), "toml")
    secret = tmp_path / "openai_2"
    secret.write_text("sk-of-the-provider-2")
    (tmp_path / "relay.toml").write_text(example.replace("/run/secrets/openai_2", str(secret)))
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_KEY_1", "sk-of-the-provider-1")
    monkeypatch.setenv("HK_PROXY", "http://proxy.example:3128")
    assert main(["check-config", "--offline"]) == 0, capsys.readouterr().err
    assert "openai-main" in capsys.readouterr().out


def test_every_provider_is_named_with_its_variable() -> None:
    """The table of providers is the table of adaptors: a name and the variables that are read without a file."""
    rows = {name: row for row in section(README, "Providers").splitlines() for name in first_column(row)[:1]}
    adaptors = registry.load()
    assert set(rows) == set(adaptors)
    for name, adaptor in adaptors.items():
        for variable in (adaptor.key_variable, adaptor.base_url_variable):
            assert not variable or f"`{variable}`" in rows[name]


# What it says of itself


@pytest.mark.real_clock
async def test_the_sample_answers_are_what_it_says(tmp_path: Path) -> None:
    """Health and log line in the README have the fields, and the kinds of values, that a real run has."""
    health, line = (json.loads(block) for block in blocks(section(README, "Watch it"), "json"))
    async with served(tmp_path, variables={"RELAY_API_KEYS": KEY}) as relay:
        async with connect(await relay.address()) as client:
            await client.post_json("/v1/chat/completions", {"model": "demo", "messages": []}, KEY)
            await client.read_response()
        assert shape_of(await relay.json("/api/monitor/health")) == shape_of(health)
        finished = await relay.line("request_finished")
        assert shape_of(finished) == shape_of(line)
        assert list(finished) == list(line)


async def test_the_sample_error_is_what_it_says(tmp_path: Path) -> None:
    """The clock's error in the README, word for word but for the id, after 900 virtual seconds."""
    (sample,) = (json.loads(block) for block in blocks(section(README, "When something fails"), "json"))
    async with open_stand(tmp_path, "silent-before-head") as stand:
        response = await stand.ask(UNARY)
    error = response.json()
    error["error"]["request_id"] = sample["error"]["request_id"]
    assert error == sample


async def test_the_sample_error_event_is_what_it_says(tmp_path: Path) -> None:
    """In a stream the same clock comes as an event, after which nothing says that the answer is complete."""
    async with open_stand(tmp_path, "silent-mid-body") as stand, connect(stand.address) as client:
        await client.send(STREAM)
        await client.read_head()
        stream = await client.read_events()
    assert set(json.loads(stream.data[-1])) == {"error"}
    assert "[DONE]" not in stream.data
    assert stream.end.value == "truncated"


def test_every_status_of_ours_is_told() -> None:
    """The table of statuses has each that a class of ours answers with."""
    told = {
        int(status) for status in re.findall(r"\b[45]\d\d\b", "\n".join(_rows(section(README, "When something fails"))))
    }
    ours = {kind.status for kind in _kinds(errors.RelayError)} - {500}
    assert ours <= told


def _kinds(kind: type[errors.RelayError]) -> Iterator[type[errors.RelayError]]:
    yield kind
    for inner in kind.__subclasses__():
        if inner.__module__.startswith("relay_trio."):
            yield from _kinds(inner)


def _rows(text: str) -> list[str]:
    return [row.split(" | ")[0] for row in text.splitlines() if row.startswith("| ")]


def test_every_path_of_its_own_is_told() -> None:
    """The table of monitoring paths is the table of routes; the ancestor's path, which is gone, has its own sentence."""
    told = section(README, "Watch it")
    assert [own.template for own in OWN_PATHS if f" {own.template}" not in told.replace("?stacks=1", "")] == []


def test_every_command_is_told() -> None:
    """The table of commands is the command line's own, and the operators' page speaks of each that looks at something."""
    told = {name.removeprefix("relay-trio ").split()[0] for name in first_column(section(README, "The command line"))
            if name.startswith("relay-trio ")}  # fmt: skip
    assert told == set(_COMMANDS)
    looking = set(_COMMANDS) - {"serve", "check-config", "keys"}
    assert [name for name in looking if f"`relay-trio {name}" not in OPERATIONS] == []


# What operators read


def test_every_log_event_is_told() -> None:
    """The table of log events has each that the source gives to a logger, and none that the source does not know."""
    told = set(first_column(section(OPERATIONS, "Log")))
    assert _logged() - told == set()
    assert told - {node.value for node in _source() if isinstance(node, ast.Constant)} == set()


def _source() -> Iterator[ast.AST]:
    """Yield every node of the product's source."""
    for path in (ROOT / "relay_trio").rglob("*.py"):
        if "testing" not in path.parts:
            yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def _logged() -> set[str]:
    """Return the events of `log.info("event", ...)` and its like, whatever the logger is called there."""
    levels = {"debug", "info", "warning", "error", "critical", "exception"}
    return {
        node.args[0].value
        for node in _source()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in levels
        if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    }


def test_every_field_of_a_finished_request_is_told() -> None:
    """The fields of `request_finished`, its outcomes, and the fields of health are all explained."""
    source = ast.parse((ROOT / "relay_trio" / "relay" / "record.py").read_text(encoding="utf-8"))
    (fields,) = [
        node for node in ast.walk(source) if isinstance(node, ast.FunctionDef) and node.name == Record.fields.__name__
    ]
    names = {
        key.value
        for node in ast.walk(fields)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    told = set(re.findall(r"`([^`]+)`", section(OPERATIONS, "Log")))
    assert names - told == {"event"}, "which is the name of the line"
    assert {outcome.value for outcome in errors.Ended} - told == set()
    health = json.loads(blocks(section(README, "Watch it"), "json")[0])
    assert [name for name in health if f"`{name}" not in section(OPERATIONS, "Health")] == []


def test_every_clock_is_told() -> None:
    """The table of clocks has each limit that can be set."""
    told = section(OPERATIONS, "Clocks")
    missing = [
        VARIABLES[f"limits.{field.name}"]
        for field in attrs.fields(Limits)
        if f"`{VARIABLES[f'limits.{field.name}']}`" not in told
    ]
    assert missing == []


# What the documents point at


@pytest.mark.parametrize("place", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_exists(place: Path) -> None:
    """Its links and the headings that they lead to, the paths in it that look like ours, and its RELAY_ variables."""
    text = place.read_text(encoding="utf-8")
    links = [link.partition("#")[::2] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [path for path, _ in links if path and not (place.parent / path).exists()] == []
    led_to = {heading: place.parent / path if path else place for path, heading in links if heading}
    assert [name for name, led in led_to.items() if name not in anchors(led.read_text(encoding="utf-8"))] == []
    named = re.findall(r"`((?:adaptors|relay_trio|tests|docs|bench|deploy|\.ci)/[\w./-]*)", text)
    assert [path for path in named if not (ROOT / path).exists()] == []
    general = {"RELAY_CONFIG", "RELAY_HOST", "RELAY_PORT", "RELAY_API_KEYS", "RELAY_PROXY", *COMMAND_VARIABLES}
    # RELAY_PROXY is one-api's: that it is refused here, tests/test_operations.py sees to
    known = {*VARIABLES.values(), *general}
    assert set(re.findall(r"\bRELAY_[A-Z_]+\b", text)) <= known


def test_decisions_are_short() -> None:
    """Each is a page that says what was decided and why."""
    for path in (ROOT / "docs" / "decisions").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert "**Decision.**" in text
        assert "**Why" in text
        assert len(text) < 4000, path
