"""What docs/operations.md tells is so: its checklists can be typed, its symptoms are ours, and what moves does as it says."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import attrs
import pytest
import trio
from documents import ROOT, blocks, document, named, rows, section, without_blocks
from serving import ADMIN_KEY, KEY, Running, ask, environment, served, stream_request
from stand import PROVIDER_KEY, open_stand

from adaptors import registry
from relay_trio import errors
from relay_trio.assembly import slots_by_descriptors
from relay_trio.cli.main import main
from relay_trio.edge.incoming import Refusal
from relay_trio.scopes.phase import PHASE_NAMES, Limit, limit_reached
from relay_trio.settings.digests import digest_of, format_digest
from relay_trio.settings.load import ConfigurationErrors, load
from relay_trio.settings.model import VARIABLES, Limits, Settings, Watchdog
from relay_trio.testing.fake_client import connect
from relay_trio.testing.relay import CLIENT_KEY

pytestmark = pytest.mark.anyio

OPERATIONS = document("docs/operations.md")
ANCESTOR = section(OPERATIONS, "Moving from the ancestor")
ONE_API = section(OPERATIONS, "Moving from one-api")


# The checklists


@pytest.mark.real_clock
@pytest.mark.skipif(sys.platform == "win32", reason="a shell as POSIX has it")
async def test_the_checklists_can_be_typed(tmp_path: Path) -> None:
    """Each line of the first hour, day and week does what its list says, on a relay that serves the demo."""
    lists = [block.splitlines() for block in blocks(section(OPERATIONS, _DAYS), "sh")]
    assert sum(map(len, lists)) >= 12
    clocks = {"RELAY_TIMEOUT": "5", "RELAY_CONNECT_TIMEOUT": "1", "RELAY_HEADER_TIMEOUT": "1"}
    variables = {"RELAY_API_KEYS": KEY, "RELAY_ADMIN_KEY": ADMIN_KEY, "MY_KEY": KEY, **clocks}
    async with served(tmp_path, variables=variables) as relay:
        host, port = await relay.address()
        async with connect((host, port)) as client:
            await client.send(stream_request())
            await client.read_head()
            await client.read_events()
        typed = {**variables, "RELAY_LISTEN": f"{host}:{port}", "PATH": _with_command(tmp_path)}
        for lines in lists:
            _write_log(tmp_path, relay)
            async with trio.open_nursery() as nursery:  # most of the time they wait for clocks
                for line in lines:
                    nursery.start_soon(_type, line.replace("127.0.0.1:3000", f"{host}:{port}"), tmp_path, typed)
    assert (tmp_path / "first-day.json").exists()


_DAYS = "The first day, the first week, and after"


def _with_command(directory: Path) -> str:
    """Return a PATH on which `relay-trio` is this tree's."""
    command = directory / "bin" / "relay-trio"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m relay_trio "$@"\n')
    command.chmod(0o755)
    return f"{command.parent}{os.pathsep}{os.environ['PATH']}"


def _write_log(directory: Path, relay: Running) -> None:
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in relay.lines)
    (directory / "relay.jsonl").write_text(text)


async def _type(line: str, directory: Path, variables: dict[str, str]) -> str:
    """Do a line as a shell does; return what it printed. A count of nothing is no failure."""
    hurried = line.replace("--every 30", "--every 0.1")
    done = await trio.run_process(
        ["sh", "-c", hurried],
        cwd=directory,
        env=environment(variables),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    told = done.stdout.decode()
    assert done.returncode == 0 or (told.strip() == "0" and "grep -c" in line), (line, told, done.stderr.decode())
    assert told or '"event":"attempt_failed"' in line or '"outcome":"deadline_exceeded"' in line, line
    return told


COMMANDS = sorted(
    {
        line
        for name in ("README.md", "docs/operations.md")
        for line in (
            *(code for code in named(without_blocks(document(name))) if code.startswith("relay-trio ")),
            *(line for block in blocks(document(name), "sh") for line in block.splitlines()),
        )
        if line.startswith("relay-trio ")
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_spelled_right(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every `relay-trio ...` in the documents, up to a redirection or a pipe, is one that the command line takes."""
    words = shlex.split(re.split(r"[>|]", line)[0])[1:]
    assert main([*words, "--help"]) == 0, capsys.readouterr().err
    known = capsys.readouterr().out
    assert [word for word in words if word.startswith("--") and word not in known] == []


# Symptoms


def test_every_error_of_ours_is_a_symptom() -> None:
    """Each code that a client may be told is in the tables of symptoms, and each code there is one of ours."""
    told = {name for row in rows(section(OPERATIONS, "Troubleshooting")) for name in named(row[0])}
    codes = _codes()
    assert codes - told == set()
    constants = {node.value for node in _source() if isinstance(node, ast.Constant)}
    words = {name for name in told if re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", name)}
    assert words - codes - constants == set()


def _codes() -> set[str]:
    """Return the codes of the error classes, of the clocks, and those that are given where something is raised."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RelayError)]
    classes = {kind.code for kind in kinds} - {None}
    clocks = {limit_reached(phase, Limit(1.0, "a test")).code for phase in PHASE_NAMES}
    given = {
        keyword.value.value
        for node in _source()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id != "Failure"
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    refused = {
        node.args[1].value
        for node in _source()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == Refusal.__name__
        if len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
    }
    return {str(code) for code in (*classes, *clocks, *given, *refused)}


@functools.cache
def _source() -> tuple[ast.AST, ...]:
    """Return every node of the product's source, but for the demo's, which is a provider."""
    paths = [path for package in ("relay_trio", "adaptors") for path in (ROOT / package).rglob("*.py")]
    ours = [path for path in paths if "testing" not in path.parts and path.name != "demo.py"]
    return tuple(node for path in ours for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def test_there_are_symptoms_enough() -> None:
    """Whoever looks for help finds a table row: what is seen, what to look at, what to do."""
    symptoms = rows(section(OPERATIONS, "Troubleshooting"))
    assert len(symptoms) >= 20
    assert all(all(row) for row in symptoms)


def test_events_and_metrics_are_spelled_right() -> None:
    """What the pages tell to look for in the log, and on /metrics, is written there."""
    constants = {node.value for node in _source() if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    events = {event for event in re.findall(r'"event":"([^"]+)"', OPERATIONS) if event.isidentifier()}
    assert len(events) >= 5
    assert events - constants == set()
    metrics = {
        name for code in named(without_blocks(OPERATIONS)) for name in re.findall(r"\brelay_(?!trio)[a-z_]+", code)
    }
    assert len(metrics) > 2
    assert {name.removesuffix("_total") for name in metrics} - constants == set()


# Sizes


def test_the_sizes_are_those_that_were_measured() -> None:
    """What is said of CPU, and the ratios, lie near the last page of figures: a new page wants new words."""
    figures = rows(document("bench/FIGURES.md"))
    cpu_us = {work: _cpu_of(figures, work) for work in ("W1", "W2")}
    said = rows(section(OPERATIONS, "Sizing"))
    for (work, measured), row in zip(cpu_us.items(), said, strict=True):
        own, plain, proxy = (_number(cell) for cell in row[1:])
        assert own == pytest.approx(measured["relay"], rel=0.25), work
        assert plain == pytest.approx(measured["naive"] / measured["relay"], rel=0.25), work
        assert 1 / proxy == pytest.approx(measured["nginx"] / measured["relay"], rel=0.25), work


def _cpu_of(figures: list[list[str]], work: str) -> dict[str, float]:
    """Return the CPU of each gateway for W1 or W2: the tables come in that order, and their last column is a ratio."""
    found: list[dict[str, float]] = []
    for row in figures:
        if row[0] == "direct" and len(row) > 5:
            found.append({})
        elif found and row[0] in {"relay", "naive", "nginx"} and len(row) > 5 and row[0] not in found[-1]:
            found[-1][row[0]] = float(re.sub(r"\(.*", "", row[2]).replace(",", ""))
    return found[("W1", "W2").index(work)]


_WORDS = {"half": 2, "fifth": 5, "tenth": 10, "twenty-fifth": 25, "twentieth": 20}


def _number(cell: str) -> float:
    digits = re.search(r"\d+", cell)
    return float(digits[0]) if digits else float(next(_WORDS[word] for word in cell.split() if word in _WORDS))


def test_the_sums_of_descriptors_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many streams a limit allows, as the relay reckons it."""
    said = section(OPERATIONS, "Sizing")
    for limit, streams in ((20_000, "9,900"), (65_536, "32,668")):
        monkeypatch.setattr("relay_trio.assembly.descriptor_limit", lambda limit=limit: limit)
        assert f"{slots_by_descriptors():,}" == streams
        assert streams in said


# Moving


def _variables(text: str) -> list[tuple[str, str]]:
    return [(name, row[1]) for row in rows(text) if len(row) == 3 for name in named(row[0]) if name.isupper()]


@pytest.mark.parametrize(("variable", "told"), [*_variables(ANCESTOR), *_variables(ONE_API)])
def test_what_becomes_of_their_variables(variable: str, told: str) -> None:
    """Each variable of the ancestor's and one-api's is read, refused or not read, as the tables say."""
    assert _what_becomes_of(variable, "900") == told
    if variable == "RELAY_TIMEOUT":
        assert _what_becomes_of(variable, "0") == "refused"


def _what_becomes_of(variable: str, value: str) -> str:
    def loaded(environ: dict[str, str]) -> Settings:
        providers = tuple(registry.load().values())
        return load({"RELAY_API_KEYS": KEY, **environ}, None, lambda _: "", providers=providers)

    try:
        settings = loaded({variable: value})
    except ConfigurationErrors as refused:
        return "refused" if refused.problems[0].startswith(variable) else f"{refused}"
    if variable in settings.sources.values():
        return "read"
    assert settings == loaded({})
    return "not read"


def _addresses(text: str) -> list[tuple[str, str, int]]:
    found = [(row[0].strip("`").partition(" "), row[1]) for row in rows(text) if len(row) == 3]
    return [(method, path, int(status)) for (method, _, path), status in found if status.isdecimal()]


ADDRESSES = [*_addresses(ANCESTOR), *_addresses(ONE_API)]


@pytest.mark.parametrize(("method", "path", "status"), ADDRESSES, ids=str)
async def test_what_their_addresses_answer(tmp_path: Path, method: str, path: str, status: int) -> None:
    """Each address of the ancestor's and one-api's answers with the status that the tables name."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        body = {"model": "fake-small", "messages": []} if method == "POST" else None
        response = await ask(client, method, path, CLIENT_KEY, body)
        assert response.status == status
        assert PROVIDER_KEY not in str(response)


def test_the_ancestors_constants_are_our_defaults() -> None:
    """The time-outs that its repair wrote into the source, and its two thresholds."""
    limits = Limits()
    assert (limits.connect, limits.total, limits.headers, limits.pool_idle, limits.quick) == (10, 900, None, 90, 120)
    watchdog = Watchdog()
    assert (watchdog.interval, watchdog.warn, watchdog.error) == (30, 2000, 5000)
    for field in ("connect", "headers", "pool_idle", "quick"):
        assert f"`{VARIABLES[f'limits.{field}']}`" in ANCESTOR


@pytest.mark.real_clock
@pytest.mark.skipif(shutil.which("b2sum") is None, reason="no b2sum here")
async def test_a_token_becomes_a_digest(tmp_path: Path) -> None:
    """The line that turns a token into what `[[keys]]` holds."""
    (line,) = blocks(ONE_API, "sh")
    token = re.search(r'"(.+)"', line)
    assert token is not None
    told = await _type(line.strip(), tmp_path, {})
    assert f"blake2b:{told.split()[0]}" == format_digest(digest_of(token[1]))


def test_fields_of_the_ancestors_health_are_here() -> None:
    """The names that its scripts read from the health, less the one that is told to be missing."""
    health = json.loads(blocks(section(document("README.md"), "Watch it"), "json")[0])
    assert {"status", "goroutines"} <= set(health)
    assert set(health["memory"]) >= {"alloc_mb", "sys_mb", "num_gc"}
    assert "total_alloc_mb" not in health["memory"]
    assert attrs.fields(Limits).total.default == 900
