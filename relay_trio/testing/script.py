"""Who gets which behaviour: the script of a fake upstream.

The law: the first that names one decides - what is queued for the next request, then the request's path prefix
(`/fault:drip-body;status=429/v1/...`), its header `x-fake-behaviour`, its model name, the table by path, and what applies
always. A behaviour sets in at its own stage, or as soon after it as the request is known to want it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

import attrs

from relay_trio.testing.conversation import Conversation, Fault, Misbehaviour, Nature, RecordedRequest, Stage
from relay_trio.testing.misbehaviours import find

Behaviour = str | Fault | Callable[[Conversation], Awaitable[None]]
"""A name with parameters, the same as a value, or a function of one's own."""

HEADER = "x-fake-behaviour"

MAX_QUEUED = 100_000
"""More scripted behaviours than the longest run of a test wants."""


@attrs.frozen
class Act:
    """A behaviour with its parameters, ready to be run."""

    fault: Fault
    misbehaviour: Misbehaviour

    @classmethod
    def of(cls, behaviour: Behaviour) -> Act:
        """Return the act for a behaviour, however it is written. Raises LookupError, ValueError."""
        if isinstance(behaviour, str):
            behaviour = Fault.parse(behaviour)
        if isinstance(behaviour, Fault):
            return cls(behaviour, find(behaviour.name))
        name = getattr(behaviour, "__name__", "own")
        return cls(Fault(name), Misbehaviour(name, Stage.REQUEST, Nature.WHOLE, behaviour))


@attrs.define(eq=False)
class Script:
    """What a fake upstream does. May be changed while it runs."""

    always: Behaviour = "answer"
    by_path: Mapping[str, Behaviour] = attrs.field(factory=dict)
    """Regular expressions on the path, in their order."""
    queue: deque[Act] = attrs.field(factory=deque, repr=False)

    def enqueue(self, *behaviours: Behaviour) -> None:
        """Let the next requests (or connections) get these behaviours, one each, in this order."""
        self.queue.extend(map(Act.of, behaviours))
        assert len(self.queue) <= MAX_QUEUED

    def for_connection(self) -> Act | None:
        """Return what happens to a new connection before its first request, if anything does."""
        if self.queue:
            return self.queue.popleft() if _is_early(self.queue[0]) else None
        act = Act.of(self.always)
        return act if _is_early(act) else None

    def take_queued(self) -> Act | None:
        """Take the behaviour that is queued for this request, if there is one."""
        return self.queue.popleft() if self.queue else None

    def for_request(self, request: RecordedRequest, queued: Act | None) -> Act:
        """Return what this request gets, as far as it is known by now."""
        if queued is not None:
            return queued
        return Act.of(self._named_by(request) or self._by_path(request) or self.always)

    def _named_by(self, request: RecordedRequest) -> str | None:
        if request.prefix:
            return request.prefix
        return request.get(HEADER) or _model_that_is_a_fault(request)

    def _by_path(self, request: RecordedRequest) -> Behaviour | None:
        return next((act for pattern, act in self.by_path.items() if re.search(pattern, request.path)), None)


def _is_early(act: Act) -> bool:
    return act.misbehaviour.stage <= Stage.CONNECTED


def _model_that_is_a_fault(request: RecordedRequest) -> str | None:
    if not request.complete or b"fault:" not in request.kept:
        return None
    model = request.asked().model
    return model if model.startswith("fault:") else None
