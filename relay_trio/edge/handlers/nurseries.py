"""The tree of live requests: request -> attempt -> phase, with the await stacks of their tasks if asked for.

No values of variables are shown, so no prompt, no answer and no key.
"""

from __future__ import annotations

from typing import Any

from relay_trio.scopes.census import await_stack
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.scopes.request_scope import RequestScope

Json = dict[str, Any]


def tree(registry: NurseryRegistry, *, pid: int, stacks: bool) -> list[Json]:
    """Return what this worker's live requests are doing, the oldest first."""
    return [_branch(scope, pid, stacks=stacks) for scope in registry]


def _branch(scope: RequestScope, pid: int, *, stacks: bool) -> Json:
    branch: Json = {
        "id": scope.id,
        "name": scope.name,
        "worker": pid,
        "method": scope.method,
        "path": scope.path,
        "key": scope.key,
        "age_s": round(scope.age, 3),
        "left_s": round(scope.time_left, 3),
        "attempt": scope.attempt,
        "channel": scope.channel,
        "phase": scope.clock.current,
        "bytes_in": scope.bytes_in,
        "bytes_out": scope.bytes_out,
        "cancelled_for": scope.cancelled_for,
        "helpers": sorted(task.name for task in scope.helpers),
    }
    if stacks:
        tasks = [task for task in (scope.task, *scope.helpers) if task is not None]
        branch["stacks"] = {task.name: await_stack(task) for task in tasks}
    return {name: value for name, value in branch.items() if value is not None}


def as_text(branches: list[Json]) -> str:
    """Return the tree as indented lines, for eyes."""
    lines = [f"{len(branches)} live nurseries"]
    for branch in branches:
        lines.append(
            f"{branch['name']} {branch['id']}  {branch['method']} {branch['path']}  key {branch.get('key', '-')}"
        )
        lines.append(
            f"  age {branch['age_s']} s, {branch['left_s']} s left, in {branch['bytes_in']} out {branch['bytes_out']}"
        )
        lines.append(f"  attempt {branch['attempt']} on {branch.get('channel', '-')}")
        lines.append(f"    phase {branch['phase']}")
        for name, stack in branch.get("stacks", {}).items():
            lines.append(f"    task {name}")
            lines.extend(f"      {line}" for line in stack)
    return "\n".join(lines) + "\n"
