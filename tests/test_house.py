"""The house rules that can be read off the sources: what bounds, closes and names things stays where it belongs.

Each exception stands in a table with its reason, so that a new one is a decision that somebody writes down.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("adaptors", "relay_trio") for path in (ROOT / package).rglob("*.py"))


@attrs.frozen
class Module:
    """One source file, read."""

    name: str
    tree: ast.Module

    def walk(self) -> Iterator[ast.AST]:
        return ast.walk(self.tree)


def _product() -> Iterator[Module]:
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("relay_trio/testing/"):
            yield Module(name, ast.parse(path.read_text(encoding="utf-8")))


PRODUCT = list(_product())


def found(look: Callable[[ast.AST], bool]) -> dict[str, int]:
    """Return how often each module has what is looked for."""
    counts = {module.name: sum(map(look, module.walk())) for module in PRODUCT}
    return {name: count for name, count in counts.items() if count}


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for an expression that says so; for others what can be said, after a dot."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def calls(*names: str) -> Callable[[ast.AST], bool]:
    """Return what finds a call by the end of its dotted name: `open_nursery` finds `trio.open_nursery()`."""
    return lambda node: (
        isinstance(node, ast.Call) and any(f".{dotted(node.func)}".endswith(f".{name}") for name in names)
    )


def imports(*names: str) -> Callable[[ast.AST], bool]:
    """Return what finds an import of a module."""

    def look(node: ast.AST) -> bool:
        if isinstance(node, ast.Import):
            return any(alias.name.partition(".")[0] in names or alias.name in names for alias in node.names)
        return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in names

    return look


# Structured concurrency


NURSERIES = {
    "relay_trio/assembly.py": "the services of a process, under hypercorn's lifespan",
    "relay_trio/cli/doctor.py": "channels are looked at side by side, each step under its limit",
    "relay_trio/cli/doctor_way.py": "all addresses of a name are tried at once, under the connect limit",
    "relay_trio/cli/monitor.py": "the live view: one task looks, one takes keys, one waits for a signal",
    "relay_trio/cli/reach.py": "check-config asks all providers at once, under one limit",
    "relay_trio/cli/test_timeout.py": "clocks that only wait are tried side by side, each under its deadline",
    "relay_trio/edge/server.py": "the process: signals, the drain, hypercorn",
    "relay_trio/edge/siblings.py": "questions between workers, each under a limit of a second or two",
    "relay_trio/edge/supervisor.py": "the supervisor's seats; it serves no request",
    "relay_trio/scopes/request_scope.py": "the request: counted, named, under a deadline",
}


def test_nurseries_are_opened_where_they_are_known() -> None:
    """A nursery that serves a request is a RequestScope; the few others are the process's own, and listed."""
    assert set(found(calls("open_nursery"))) == set(NURSERIES)


def test_the_only_shield_is_bounded() -> None:
    """Who needs a shield takes `shielded`, which has a bound: a shield without one is how a request outlives its end."""

    def shields(node: ast.AST) -> bool:
        by_keyword = isinstance(node, ast.Call) and any(keyword.arg == "shield" for keyword in node.keywords)
        by_attribute = isinstance(node, ast.Attribute) and node.attr == "shield" and isinstance(node.ctx, ast.Store)
        return by_keyword or by_attribute or calls("cancel_shielded_checkpoint")(node)

    assert found(shields) == {"relay_trio/scopes/shielded.py": 1}


SWALLOWED_ON_PURPOSE = {
    "relay_trio/relay/pipeline.py": "the error door: it raises Cancelled again, and tells everything else to the client",
    "relay_trio/edge/server.py": "takes the application's SystemExit out of hypercorn's group, and raises the rest",
}


def test_cancelled_is_never_swallowed() -> None:
    """Whoever catches BaseException raises it again as the last thing; `except:` says it without saying so."""

    def swallows(node: ast.AST) -> bool:
        if not isinstance(node, ast.ExceptHandler):
            return False
        caught = "" if node.type is None else ast.unparse(node.type)
        last = node.body[-1]
        raised_again = isinstance(last, ast.Raise) and last.exc is None
        return (node.type is None or "BaseException" in caught or "Cancelled" in caught) and not raised_again

    assert set(found(swallows)) == set(SWALLOWED_ON_PURPOSE)
    suppressed = calls("suppress")
    everything = found(lambda node: suppressed(node) and "BaseException" in ast.unparse(node))
    assert everything == {}


def test_every_cancel_says_why() -> None:
    """The reason stands in trio's Cancelled, in the log, and in the head of whoever looks for the cause."""
    cancels = calls("cancel")
    assert found(lambda node: cancels(node) and isinstance(node, ast.Call) and not (node.args or node.keywords)) == {}


def test_no_async_generator_but_as_a_context_manager() -> None:
    """A generator that is left half run keeps what it opened until the collector comes: the ancestor's way to die."""

    def generates(node: ast.AST) -> bool:
        if not isinstance(node, ast.AsyncFunctionDef):
            return False
        managed = any(dotted(decorator).endswith("asynccontextmanager") for decorator in node.decorator_list)
        own = [inner for statement in node.body for inner in _own_nodes(statement)]
        return not managed and any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in own)

    assert found(generates) == {}


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and those in it, without what belongs to functions defined in it."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _own_nodes(child)


LOW_LEVEL = {
    "relay_trio/sockets.py": {"checkpoint", "wait_readable", "wait_writable", "wait_task_rescheduled", "reschedule",
                              "current_task", "notify_closing", "Abort", "Task"},
    "relay_trio/scopes/census.py": {"current_root_task", "current_statistics", "Task"},
    "relay_trio/scopes/phase.py": {"current_clock"},
    "relay_trio/scopes/request_scope.py": {"current_task", "Task"},
    "relay_trio/demo.py": {"checkpoint"},
    "relay_trio/edge/handlers/own.py": {"checkpoint"},
    "relay_trio/edge/succession.py": {"open_process"},
    "relay_trio/edge/supervisor.py": {"open_process"},
    "relay_trio/edge/worker_seat.py": {"wait_readable"},
}  # fmt: skip
"""trio.lowlevel is where its guarantees are made, so they can be broken there. The hub needs it; the census reads the task
tree; the clock, a checkpoint and a process have no other name; the link to the supervisor is waited on once, and never sent to."""


def test_low_level_trio_stays_in_its_place() -> None:
    """What schedules tasks by hand is in the hub alone."""
    used: dict[str, set[str]] = {}
    for module in PRODUCT:
        for node in module.walk():
            if isinstance(node, ast.Attribute) and dotted(node.value) == "trio.lowlevel":
                used.setdefault(module.name, set()).add(node.attr)
    assert used == LOW_LEVEL


def test_what_trio_cannot_bound_is_not_used() -> None:
    """No system tasks, no blocking sleep, no second event loop; and no line splitting that cuts JSON at U+2028."""
    forbidden = calls("spawn_system_task", "time.sleep", "aiter_lines", "iter_lines")
    assert found(forbidden) == {}
    assert found(imports("asyncio", "requests", "anyio")) == {}


# Threads, clocks, chance


THREADS = {
    "relay_trio/assembly.py": "reads a changed configuration, which takes a while with thousands of keys",
    "relay_trio/telemetry/log_writer.py": "carries log lines to a descriptor that may block",
    "relay_trio/background/alerts/mail.py": "speaks SMTP by the standard library; cut off by its socket when its time is over",
    "relay_trio/edge/meter.py": "renders the page of metrics, milliseconds of pure CPU",
    "relay_trio/upstream/credentials.py": "a cloud's library asks for a token; requests wait for an event, under their limit",
}


def test_threads_are_outside_the_request_path() -> None:
    """A thread cannot be cancelled, and a virtual clock jumps while one works: so no request waits for one."""
    assert set(found(calls("threading.Thread", "to_thread.run_sync", "start_thread_soon"))) == set(THREADS)


WALL_CLOCKS = {
    "relay_trio/assembly.py": "the Date header, keys that expire, `created` in lists of models: handed down as values",
    "relay_trio/cli/alert_test.py": "the time that a message says, and that DingTalk and Feishu want signed",
    "relay_trio/cli/check_baseline.py": "when a baseline was recorded, for whoever reads it later",
    "relay_trio/cli/doctor_clock.py": "this machine's clock is what is looked at",
    "relay_trio/cli/keys.py": "a key that would be expired on the day it is made",
    "relay_trio/cli/monitor.py": "the time of day in its lines, and since when a relay does not answer",
    "relay_trio/cli/reach.py": "the time that some providers want signed, when they are asked for their models",
    "relay_trio/cli/selftest.py": "how long it took, beside the clock that jumps",
    "relay_trio/cli/serve.py": "how long the start took, also before there is a trio clock",
    "relay_trio/telemetry/json_line.py": "the timestamp of a line",
}
CHANCE = {
    "relay_trio/assembly.py": "weights of channels, request ids: handed down as functions",
    "relay_trio/cli/configuration.py": "the key of a run that has none",
    "relay_trio/cli/keys.py": "a new key",
    "relay_trio/cli/startup.py": "the key of a run that has none, again at a reload",
}


def test_time_comes_from_trio() -> None:
    """Deadlines are trio's clock: another clock beside it would make a test of fifteen minutes take fifteen minutes."""
    now = calls("datetime.now", "datetime.utcnow", "datetime.today", "date.today")
    by_name = imports("time")
    assert set(found(lambda node: by_name(node) or now(node))) == set(WALL_CLOCKS)


def test_chance_is_handed_down() -> None:
    """Who needs a random number gets a function: the same request takes the same way in every run of a test."""
    by_name, taken = imports("random", "secrets", "uuid"), calls("urandom")
    assert set(found(lambda node: by_name(node) or taken(node))) == set(CHANCE)


# Bounds


UNBOUNDED = {
    "adaptors/translation/messages_answer.py": "open blocks of an answer: all they hold is bounded by RELAY_MAX_EVENT_BYTES",
    "relay_trio/edge/incoming.py": "pieces and pipelined requests: one read (64 KiB) at a time, the next after they are taken",
    "relay_trio/telemetry/log_writer.py": "bounded by its bytes (RELAY_LOG_BUFFER_BYTES), not by its lines; its bell rings once",
    "relay_trio/upstream/pool.py": "idle connections: at most as many as there were requests at once, gone after 90 s",
}


def test_every_queue_has_a_bound() -> None:
    """A deque says its length; a memory channel is given a number; who needs neither says what bounds it."""

    def unbounded(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return isinstance(node, ast.keyword) and node.arg == "factory" and dotted(node.value).endswith("deque")
        if calls("deque")(node):
            return not any(keyword.arg == "maxlen" for keyword in node.keywords)
        infinite = calls("open_memory_channel")(node) and not isinstance(node.args[0], ast.Constant | ast.Name)
        return infinite or calls("SimpleQueue", "Queue", "LifoQueue", "PriorityQueue")(node)

    assert set(found(unbounded)) == set(UNBOUNDED)


def test_nobody_writes_past_the_log() -> None:
    """The standard library's logging is heard, never spoken to; only a command line prints."""
    assert set(found(imports("logging"))) <= {"relay_trio/telemetry/log.py"}
    printing = found(calls("print", "sys.stdout.write", "sys.stderr.write"))
    assert [name for name in printing if not name.startswith(("relay_trio/cli/", "relay_trio/settings/table"))] == []


ENDING = {
    "relay_trio/edge/server.py": "a second signal: at once",
    "relay_trio/asgi.py": "a configuration that is wrong, under plain hypercorn",
    "relay_trio/cli/main.py": "the exit status of a command",
    "relay_trio/__main__.py": "the exit status of a command",
}


def test_few_may_end_the_process() -> None:
    """What serves other people's requests does not decide that the process is over."""
    assert set(found(calls("sys.exit", "os._exit", "os.abort"))) == set(ENDING)


@pytest.mark.parametrize(
    "table", [NURSERIES, SWALLOWED_ON_PURPOSE, LOW_LEVEL, THREADS, WALL_CLOCKS, CHANCE, UNBOUNDED, ENDING]
)
def test_the_tables_speak_of_files_that_exist(table: dict[str, object]) -> None:
    """A reason for a file that is gone is no reason."""
    assert [name for name in table if not (ROOT / name).is_file()] == []
