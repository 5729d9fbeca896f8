"""Promises of `relay-trio serve` as a process: how it starts, what it prints, how it reloads, drains and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from serving import ADMIN_KEY, HYPERCORN, KEY, ROOT, SERVE, Running, ask, environment, served, stream_request, text_of

from relay_trio.settings.digests import digest_of
from relay_trio.testing.certificates import server_files
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.fake_client import FakeClient, Response, connect
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.real_clock,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes as POSIX has them"),
]


# The first day


async def test_the_demo_answers_with_nothing_configured(tmp_path: Path) -> None:
    """One command serves: it prints a key and a line to paste, the line works, and the key is in no log line."""
    async with served(tmp_path) as relay:
        key = (await relay.printed(r"^Client key, for this run only: (sk-\S+)$"))[1]
        await relay.printed(r"^DEMO: ")
        pasted = (await relay.printed(r"^Try: curl -N (.+)$"))[1]
        host, port = await relay.address()
        assert f"http://{host}:{port}/v1/chat/completions" in pasted
        assert key in pasted
        body = re.search(r"-d '(.+)'$", pasted)
        assert body is not None
        async with connect((host, port)) as client:
            await client.post_json("/v1/chat/completions", json.loads(body[1]), key)
            assert (await client.read_head()).get("content-type") == "text/event-stream; charset=utf-8"
            stream = await client.read_events()
        assert stream.data[-1] == "[DONE]"
        assert text_of(stream.data).startswith("This is the demo provider of relay_trio")
        assert len(stream.data) > 10
        line = await relay.line("request_finished")
        assert (line["outcome"], line["status"], line["left_open"], line["key"]) == ("completed", 200, 0, "this-run")
        assert await relay.end() == 0
    assert key not in json.dumps(relay.lines)


async def test_the_demo_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    """Other paths, and values that no provider reads, are an error of its own kind: no fault of the relay's."""
    async with served(tmp_path, variables={"RELAY_API_KEYS": KEY}) as relay:
        listed = await relay.ask("GET", "/v1/chat/completions", KEY)
        wrong = await relay.ask("POST", "/v1/chat/completions", KEY, {**UNARY, "stream_options": 3})
        assert (listed.status, listed.json()["error"]["code"]) == (404, "demo_only")
        assert (wrong.status, wrong.json()["error"]["code"]) == (400, "invalid_type")
        assert relay.all("request_crashed") == []


async def test_the_start_is_told_in_lines(tmp_path: Path) -> None:
    """Version, limits and their sources, descriptors, the seam, the address, the health's path, the grace of a stop."""
    async with served(tmp_path, variables={"RELAY_TIMEOUT": "600", "RELAY_API_KEYS": KEY}) as relay:
        ready = await relay.line("ready")
        host, port = await relay.address()
        assert ready["listening"] == [f"{host}:{port}"]
        assert ready["ready_ms"] > 0
        events = [line["event"] for line in relay.lines]
        assert events[0] == "starting"
        assert relay.all("limits")[0]["total"] == "600 (RELAY_TIMEOUT)"
        assert relay.all("descriptors")[0]["streams_per_worker"] > 0
        assert "TCPServer -> ClientConnection" in relay.all("seam_installed")[0]["seam"]
        assert relay.all("stop_grace")[0]["stop_grace_s"] == 600 + 60 + 10
        assert "monitoring endpoints enabled at /api/monitor/health" in events
        assert await relay.end() == 0
    assert relay.errors.startswith("relay_trio "), "the demo is told of; the key is the operator's own, so not printed"
    assert KEY not in relay.errors + json.dumps(relay.lines)


async def test_plain_hypercorn_serves_the_same(tmp_path: Path) -> None:
    """`hypercorn -k trio relay_trio.asgi:app`: the same answers, the same log, the same guarantees at the seam."""
    async with served(tmp_path, HYPERCORN, {"RELAY_API_KEYS": KEY}) as relay:
        address = await relay.address()
        assert "TCPServer -> ClientConnection" in (await relay.line("seam_installed"))["seam"]
        async with connect(address) as client:
            await client.send(stream_request())
            await client.read_head()
            stream = await client.read_events()
        assert stream.data[-1] == "[DONE]"
        assert (await relay.ask("GET", "/v1/models")).status == 401
        async with connect(address) as client:
            await client.send(stream_request())
            await client.read_head()
            await client.read_event()
        line = await relay.line("request_finished", status=499)
        assert line["outcome"] == "client_disconnected"
        assert (await relay.json("/api/monitor/health"))["status"] == "ok"
        assert await relay.end() == 0
        assert relay.all("request_finished", outcome="completed", status=200)


async def test_a_port_that_is_taken_is_told_and_status_2(tmp_path: Path) -> None:
    """The sentence names who has the port, and the next free one, in the variable that would take it."""
    async with served(tmp_path) as relay:
        host, port = await relay.address()
        words = ("-m", "relay_trio", "serve", "--listen", f"{host}:{port}")
        second = await _run_to_the_end(tmp_path, words)
        assert (second.returncode, second.stdout) == (2, "")
        found = re.fullmatch(
            rf"relay-trio: {host}:{port} is in use by pid {relay.process.pid}; RELAY_PORT=(\d+)\?\n", second.stderr
        )
        assert found is not None, second.stderr


async def test_a_wrong_configuration_starts_nothing(tmp_path: Path) -> None:
    """Every problem a line, status 2, no log line, under `serve` and under plain hypercorn."""
    variables = {"RELAY_TIMEOUT": "0", "RELAY_PROT": "3000"}
    for words in (SERVE, HYPERCORN):
        done = await _run_to_the_end(tmp_path, words, variables)
        assert done.stdout == ""
        assert "RELAY_TIMEOUT=0: no unlimited here" in done.stderr
        assert "RELAY_PROT: no such setting; did you mean RELAY_PORT?" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.returncode == 2 or words is HYPERCORN  # what hypercorn makes of its worker's 2 is its own


async def _run_to_the_end(
    directory: Path, words: tuple[str, ...], variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = await trio.run_process(
        [sys.executable, *words],
        cwd=directory,
        env=environment(variables or {}),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    return subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("tls", [False, True])
async def test_the_containers_health_check_says_how_it_is(tmp_path: Path, *, tls: bool) -> None:
    """`deploy/health.py` ends with 0 while the relay answers, in clear text or over TLS, and with another status after."""
    chain, key = server_files()
    variables = {"RELAY_API_KEYS": KEY, **({"RELAY_TLS_CERT": str(chain), "RELAY_TLS_KEY": str(key)} if tls else {})}
    async with served(tmp_path, variables=variables) as relay:
        _, port = await relay.address()
        check = (str(ROOT / "deploy" / "health.py"),)
        variables["RELAY_PORT"] = str(port)
        assert (await _run_to_the_end(tmp_path, check, variables)).returncode == 0
        assert await relay.end() == 0
        assert (await _run_to_the_end(tmp_path, check, variables)).returncode != 0


# Going down


class Held:
    """An answer that stops after its first words until the test lets it go on."""

    def __init__(self) -> None:
        self.begun = trio.Event()
        self.go_on = trio.Event()

    async def __call__(self, conversation: Conversation) -> None:
        await conversation.send_head()
        first, *rest = conversation.answer.pieces
        await conversation.send_piece(first)
        await conversation.send_piece(rest[0])
        self.begun.set()
        await self.go_on.wait()
        await conversation.send_pieces(*rest[1:])
        await conversation.send_end()


def provider(upstream: FakeUpstream) -> dict[str, str]:
    """Return the variables that make this provider ours."""
    return {
        "OPENAI_API_KEY": "sk-of-the-provider-0123456789",
        "OPENAI_BASE_URL": upstream.base_url(),
        "RELAY_API_KEYS": KEY,
        "RELAY_ADMIN_KEY": ADMIN_KEY,
    }


async def _open_stream(client: FakeClient, held: Held) -> None:
    await client.send(stream_request(model="fake-small"))
    await client.read_head()
    await held.begun.wait()


def _is_refused_for_the_drain(response: Response) -> bool:
    error = response.json()["error"]
    assert error["code"] == "relay_draining"
    assert response.head.get("retry-after") == "1"
    assert response.head.get("connection") == "close"
    return response.status == 503


async def test_sigterm_lets_live_streams_end(tmp_path: Path) -> None:
    """Not ready, no new requests, monitoring answers; the live stream goes on to its end, and the status is 0."""
    held = Held()
    async with (
        open_fake_upstream(held) as upstream,
        served(tmp_path, variables=provider(upstream)) as relay,
        connect(await relay.address()) as client,
    ):
        await _open_stream(client, held)
        assert (await relay.ask("GET", "/readyz")).status == 200
        relay.tell("SIGTERM")
        await relay.line("drain_started", live=1)
        assert (await relay.ask("GET", "/readyz")).status == 503
        assert (await relay.ask("GET", "/livez")).status == 200
        refused = await relay.ask("POST", "/v1/chat/completions", KEY, {"model": "fake-small", "messages": []})
        assert _is_refused_for_the_drain(refused)
        assert _is_refused_for_the_drain(await relay.ask("GET", "/v1/models", KEY))
        health = await relay.json("/api/monitor/health")
        assert health["status"] == "draining"
        assert health["reasons"] == ["going down: live requests go on, new ones are refused"]
        held.go_on.set()
        stream = await client.read_events()
        assert stream.data[-1] == "[DONE]"
        assert await relay.process.wait() == 0
        await relay.line("drain_ended", cut=0)


async def test_a_drain_that_takes_too_long_cuts_with_an_error_event(tmp_path: Path) -> None:
    """After RELAY_DRAIN_TIMEOUT the rest is ended, each told so in its stream, and the status says it: 1."""
    held = Held()
    async with (
        open_fake_upstream(held) as upstream,
        served(tmp_path, variables={**provider(upstream), "RELAY_DRAIN_TIMEOUT": "0.2"}) as relay,
        connect(await relay.address()) as client,
    ):
        await _open_stream(client, held)
        relay.tell("SIGTERM")
        stream = await client.read_events()
        assert "[DONE]" not in stream.data
        assert json.loads(stream.data[-1])["error"]["code"] == "relay_drained"
        assert stream.end.value == "truncated"
        assert await relay.process.wait() == 1
        assert (await relay.line("drain_ended"))["cut"] == 1
        assert (await relay.line("request_finished", outcome="drained"))["left_open"] == 0


@pytest.mark.parametrize("second", ["SIGTERM", "SIGINT"])
async def test_a_second_signal_ends_at_once(tmp_path: Path, second: str) -> None:
    """Whoever says it twice means now: status 1, whatever is live."""
    held = Held()
    async with (
        open_fake_upstream(held) as upstream,
        served(tmp_path, variables=provider(upstream)) as relay,
        connect(await relay.address()) as client,
    ):
        await _open_stream(client, held)
        relay.tell("SIGTERM")
        await relay.line("drain_started")
        assert await relay.end(second) == 1
        await relay.line("server_ended_at_once", signal=second)


async def test_a_stalled_client_holds_no_drain(tmp_path: Path) -> None:
    """A client that has stopped reading is cut like any other, and the process ends."""
    async with (
        open_fake_upstream("endless-body") as upstream,
        served(tmp_path, variables={**provider(upstream), "RELAY_DRAIN_TIMEOUT": "0.2"}) as relay,
        connect(await relay.address(), receive_buffer=4096) as client,
    ):
        await client.send(stream_request(model="fake-small"))
        await client.read_head()
        assert await relay.end() == 1
        assert (await relay.line("drain_ended"))["cut"] == 1


# Reloading


def _configuration(*clients: str, wrong: str = "") -> str:
    tables = [f'[[keys]]\nname = "{name}"\ndigest = "blake2b:{digest_of(f"sk-{name}").hex()}"\n' for name in clients]
    return "\n".join([wrong, *tables])


@pytest.mark.parametrize("told_by", ["the file", "SIGHUP"])
async def test_a_reload_changes_what_new_requests_see(tmp_path: Path, told_by: str) -> None:
    """A removed key gets 401, a new one 200, whether the file's change is seen or a signal tells of it."""
    path = tmp_path / "relay.toml"
    path.write_text(_configuration("ann", "bob"))
    async with served(tmp_path) as relay:
        assert (await relay.ask("GET", "/v1/models", "sk-ann")).status == 200
        path.write_text(_configuration("bob", "cleo"))
        if told_by == "SIGHUP":
            relay.tell("SIGHUP")
        assert (await relay.line("configuration_loaded"))["keys"] == 2
        statuses = [(await relay.ask("GET", "/v1/models", key)).status for key in ("sk-ann", "sk-bob", "sk-cleo")]
        assert statuses == [401, 200, 200]
        assert await relay.end() == 0


async def test_a_bad_file_changes_nothing_and_is_reported(tmp_path: Path) -> None:
    """What was right goes on; the log has every problem with its line."""
    path = tmp_path / "relay.toml"
    path.write_text(_configuration("ann"))
    async with served(tmp_path) as relay:
        await relay.line("ready")
        path.write_text(_configuration("bob", wrong="[relay]\nmax_quue = 3\n[relay.limits]\ntotal = 0"))
        problems = (await relay.line("configuration_rejected"))["problems"]
        assert any(problem.startswith("relay.toml:2") and "max_queue" in problem for problem in problems)
        assert any(problem.startswith("relay.toml:4") for problem in problems)
        assert (await relay.ask("GET", "/v1/models", "sk-ann")).status == 200
        assert (await relay.ask("GET", "/v1/models", "sk-bob")).status == 401
        assert await relay.end() == 0


# Several workers


WORKERS = {"RELAY_WORKERS": "2", "RELAY_API_KEYS": KEY, "RELAY_ADMIN_KEY": ADMIN_KEY}


async def _requests_counted(relay: Running) -> float:
    page = (await relay.ask("GET", "/metrics")).body.data.decode()
    counts = re.findall(r'^relay_requests_total\{[^}]*channel="demo"[^}]*\} (\S+)$', page, re.MULTILINE)
    return sum(map(float, counts))


async def test_two_workers_answer_as_one(tmp_path: Path) -> None:
    """Health, the tree of nurseries and metrics speak for both, whichever is asked, and find nothing astray."""
    async with served(tmp_path, variables=WORKERS) as relay:
        pids = {(await relay.line("ready", number))["pid"] for number in (1, 2)}
        async with connect(await relay.address()) as client:
            await client.send(stream_request())
            await client.read_head()
            for _ in range(8):  # enough for both to be asked, some of them from outside
                health = await relay.json("/api/monitor/health")
                assert {worker["pid"] for worker in health["workers"]} == pids
                assert health["reasons"] == []
                assert health["status"] == "ok"
                tree = await relay.json("/debug/nurseries", ADMIN_KEY)
                (live,) = [branch for branch in tree["nurseries"] if branch["name"] == "request"]
                assert live["worker"] in pids
            cancelled = await relay.ask("DELETE", f"/debug/nurseries/{live['id']}", ADMIN_KEY)
            assert cancelled.status == 200
            stream = await client.read_events()
            assert json.loads(stream.data[-1])["error"]["code"] == "cancelled_by_operator"
        assert await relay.end() == 0


async def test_a_killed_worker_is_healed_and_forgets_no_count(tmp_path: Path) -> None:
    """Another one takes its place; what it had counted stays in the metrics."""
    async with served(tmp_path, variables=WORKERS) as relay:
        first = (await relay.line("worker_ready"))["worker_pid"]
        await relay.line("worker_ready", 2)
        for _ in range(6):
            assert (await relay.ask("POST", "/v1/chat/completions", KEY, UNARY)).status == 200
        before = await _requests_counted(relay)
        assert before == 6
        os.kill(first, signal.SIGKILL)
        assert (await relay.line("worker_died"))["signal"] == "SIGKILL"
        await relay.line("worker_ready", 3)
        assert await _requests_counted(relay) == before
        assert (await relay.ask("POST", "/v1/chat/completions", KEY, UNARY)).status == 200
        assert await _requests_counted(relay) == before + 1
        assert len((await relay.json("/api/monitor/health"))["workers"]) == 2
        assert await relay.end() == 0


UNARY = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}


async def test_sigterm_drains_all_workers(tmp_path: Path) -> None:
    """Streams that live in both of them end in peace, and the supervisor's status says so."""
    held = [Held(), Held(), Held(), Held()]
    async with open_fake_upstream("answer") as upstream, trio.open_nursery() as nursery:
        upstream.script.enqueue(*held)
        async with served(tmp_path, variables={**provider(upstream), **WORKERS}) as relay:
            address = await relay.address()
            for number in (1, 2):
                await relay.line("ready", number)
            ends: list[str] = []

            async def stream(one: Held) -> None:
                async with connect(address) as client:
                    await _open_stream(client, one)
                    ends.append((await client.read_events()).data[-1])

            for one in held:
                nursery.start_soon(stream, one)
                await one.begun.wait()
            relay.tell("SIGTERM")
            for number in (1, 2):
                await relay.line("drain_started", number)
            for one in held:
                one.go_on.set()
            assert await relay.process.wait() == 0
            finished = [line["finished"] for line in relay.all("drain_ended")]
            assert (len(finished), sum(finished)) == (2, 4)
    assert ends == ["[DONE]"] * 4


async def test_no_worker_outlives_its_supervisor(tmp_path: Path) -> None:
    """A supervisor that is killed leaves nobody behind who holds the port: its workers drain and go."""
    async with served(tmp_path, variables=WORKERS) as relay:
        address = await relay.address()
        for number in (1, 2):
            await relay.line("ready", number)
        async with connect(address) as first, connect(address) as second:
            for client in (first, second):
                assert (await ask(client, "GET", "/livez")).status == 200
            relay.process.kill()
            for client in (first, second):
                await client.wait_closed()


# The log that nobody reads


async def test_an_unread_stdout_delays_no_request(tmp_path: Path) -> None:
    """The pipe is full and stays full: requests are answered all the same, and what is dropped is counted."""
    variables = {
        "RELAY_API_KEYS": KEY,
        "RELAY_LOG_BUFFER_BYTES": "64KiB",
        "RELAY_LOG_LEVEL": "debug",
        "RELAY_PORT": "0",
    }
    async with served(tmp_path, variables=variables, unread=True) as relay:
        url = (await relay.printed(r"^relay_trio \S+ on http://(\S+):(\d+)$")).groups()
        async with connect((url[0], int(url[1]))) as client:
            dropped = 0
            for _ in range(2000):
                response = await ask(client, "GET", "/api/monitor/health", None)
                dropped = response.json()["log"]["dropped"]
                if dropped:
                    break
            assert dropped > 0
            assert (await ask(client, "POST", "/v1/chat/completions", KEY, UNARY)).status == 200
        assert await relay.end() == 0


async def test_a_closed_stdout_ends_nothing(tmp_path: Path) -> None:
    """The reader of the log has died: requests are answered, the process ends with 0 when it is told to."""
    async with served(tmp_path, variables={"RELAY_API_KEYS": KEY}) as relay:
        address = await relay.address()
        assert relay.process.stdout is not None
        await relay.process.stdout.aclose()
        async with connect(address) as client:
            for _ in range(3):
                assert (await ask(client, "POST", "/v1/chat/completions", KEY, UNARY)).status == 200
        assert await relay.end() == 0


# Elsewhere than on Linux


PORTABLE = """
import os, select, sys, types
import trio  # which needs one of epoll, kqueue and Windows, and keeps what it has
sys.modules["select"] = types.ModuleType("select")
vars(sys.modules["select"]).update({name: value for name, value in vars(select).items() if name != "epoll"})
vars(os).pop("fork", None)
sys.modules["resource"] = None
from relay_trio.cli.main import main
from relay_trio.sockets import PortableHub, open_hub
assert isinstance(open_hub(), PortableHub)
sys.exit(main(sys.argv[1:]))
"""
"""Takes away what Windows lacks, before anything of ours is imported."""


async def test_it_serves_without_epoll_fork_and_resource(tmp_path: Path) -> None:
    """The portable path of the same interfaces: streams, disconnects, health."""
    words = ("-c", PORTABLE, "serve", "--listen", "127.0.0.1:0")
    async with served(tmp_path, words, {"RELAY_API_KEYS": KEY}) as relay:
        address = await relay.address()
        async with connect(address) as client:
            await client.send(stream_request())
            await client.read_head()
            assert (await client.read_events()).data[-1] == "[DONE]"
        async with connect(address) as client:
            await client.send(stream_request())
            await client.read_head()
        assert (await relay.line("request_finished", status=499))["outcome"] == "client_disconnected"
        health = await relay.json("/api/monitor/health")
        assert health["fds"]["limit"] is None
        assert await relay.end() == 0
