"""The relay's own paths: is it alive, is it ready, how does it fare, what is it doing.

They go through the same pipeline as everything else, so a monitoring request is itself one live nursery while it looks.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs
import msgspec
import trio

from adaptors.values import Header
from relay_trio.accounts.keys import presented_key
from relay_trio.edge.handlers.health import Vitals, merged
from relay_trio.edge.handlers.nurseries import as_text, tree
from relay_trio.errors import BadRequest, Ended, RelayError, Unauthorized
from relay_trio.relay.exchange import Exchange
from relay_trio.scopes.nursery import NurseryRegistry
from relay_trio.settings.model import VARIABLES
from relay_trio.settings.secret import Secret
from relay_trio.settings.shown import setting_rows

Json = dict[str, Any]

_JSON: list[Header] = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_TEXT: list[Header] = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
_encode = msgspec.json.Encoder().encode


class Gone(RelayError):
    """A path of the ancestor's that has another name here."""

    status = 410
    type = "invalid_request_error"
    code = "gone"
    outcome = Ended.REJECTED


class Numbers(Protocol):
    """The numbers for Prometheus (`meter.Sampler`)."""

    async def sample(self) -> None:
        """Bring this worker's numbers up to now."""
        ...

    async def page(self) -> tuple[bytes, str]:
        """Return the page of all workers, with this one's numbers of now, and its content type."""
        ...


@attrs.frozen(eq=False)
class Own:
    """Answers the relay's own paths. `ask` puts a question to all sibling workers; with one worker there are none."""

    vitals: Vitals
    numbers: Numbers
    ask: Callable[[Json], Awaitable[list[Json]]]
    wait_for_restart: Callable[[], list[str]]
    """Returns the settings that a reload has changed and that only a restart brings into force."""

    async def answer_sibling(self, question: Json) -> Json:
        """Answer what another worker asks."""
        match question:
            case {"ask": "health"}:
                return await self.vitals.snapshot()
            case {"ask": "numbers"}:
                await self.numbers.sample()
                return {"sampled": True}
            case {"ask": "watched"}:
                return await self.vitals.watched()
            case {"ask": "nurseries", "stacks": bool(stacks)}:
                return {"nurseries": tree(self.vitals.registry, pid=self.vitals.pid, stacks=stacks)}
            case {"ask": "cancel", "id": str(request_id)}:
                return {"cancelled": _cancel(self.vitals.registry, request_id)}
        return {"unknown": True}

    async def health(self, exchange: Exchange, _: str) -> None:
        """Answer with the health of all workers. The status is 200 whatever it says: balancers ask /readyz."""
        others = await self.ask({"ask": "health"})
        known = [other for other in others if "balance" in other]
        await _send_json(exchange, 200, merged(await self.vitals.snapshot(), known))

    async def alive(self, exchange: Exchange, _: str) -> None:
        """Answer that the event loop turns."""
        await _send_json(exchange, 200, {"status": "alive"})

    async def ready(self, exchange: Exchange, _: str) -> None:
        """Answer whether new requests are taken: 503 while draining."""
        if self.vitals.drain.draining:
            await _send_json(exchange, 503, {"status": "draining"}, [(b"retry-after", b"1")])
        else:
            await _send_json(exchange, 200, {"status": "ready"})

    async def metrics(self, exchange: Exchange, _: str) -> None:
        """Answer with the numbers for Prometheus. Needs RELAY_METRICS_KEY, if one is set."""
        key = self.vitals.catalog.current.settings.metrics_key
        if key is not None:
            _need(key, exchange, "RELAY_METRICS_KEY")
        await self.ask({"ask": "numbers"})  # so that the page is of this moment for all of them
        page, content_type = await self.numbers.page()
        await exchange.answer(200, [(b"content-type", content_type.encode("ascii"))], page)

    async def settings(self, exchange: Exchange, _: str) -> None:
        """Answer with the settings in force, and where each came from. Needs RELAY_ADMIN_KEY."""
        self._admin(exchange)
        settings = self.vitals.catalog.current.settings
        body = {
            "settings": {
                name: {"value": value, "setting": VARIABLES.get(name), "source": source}
                for name, value, source in setting_rows(settings)
            },
            "channels": {channel.name: {"limits": dict(channel.limits)} for channel in settings.channels},
            "demo": settings.demo,
            "wait_for_restart": self.wait_for_restart(),
        }
        await _send_json(exchange, 200, body)

    async def nurseries(self, exchange: Exchange, _: str) -> None:
        """Answer with the tree of live requests of all workers. Needs RELAY_ADMIN_KEY."""
        self._admin(exchange)
        stacks = b"stacks=1" in exchange.request.query.split(b"&")
        branches = tree(self.vitals.registry, pid=self.vitals.pid, stacks=stacks)
        for other in await self.ask({"ask": "nurseries", "stacks": stacks}):
            branches.extend(other.get("nurseries", []))
        if b"text/plain" in exchange.request.fields.get(b"accept", b""):
            await exchange.answer(200, _TEXT, as_text(branches).encode())
        else:
            await _send_json(exchange, 200, {"count": len(branches), "nurseries": branches})

    async def cancel(self, exchange: Exchange, request_id: str) -> None:
        """Cancel one live request, in whichever worker it lives. Needs RELAY_ADMIN_KEY."""
        self._admin(exchange)
        found = _cancel(self.vitals.registry, request_id)
        if not found:
            answers = await self.ask({"ask": "cancel", "id": request_id})
            found = any(answer.get("cancelled") for answer in answers)
        if not found:
            raise BadRequest("No live request has this id.", status=404, code="no_such_request")
        await _send_json(exchange, 200, {"cancelled": request_id})

    async def goroutines(self, _exchange: Exchange, _: str) -> None:
        """Say where the ancestor's goroutine profile went."""
        await trio.lowlevel.checkpoint()
        raise Gone("There are no goroutines here; see GET /debug/nurseries?stacks=1 (with RELAY_ADMIN_KEY).")

    def _admin(self, exchange: Exchange) -> None:
        key = self.vitals.catalog.current.settings.admin_key
        if key is None:
            raise BadRequest("This path is closed: RELAY_ADMIN_KEY is not set.", status=404, code="admin_closed")
        _need(key, exchange, "RELAY_ADMIN_KEY")


def _need(key: Secret, exchange: Exchange, name: str) -> None:
    presented, _ = presented_key(exchange.request.headers, b"")
    if presented is None or not hmac.compare_digest(presented, key.reveal().encode()):
        raise Unauthorized(
            f"This path needs the key of {name}, as `Authorization: Bearer <key>`.", code="admin_key_needed"
        )


def _cancel(registry: NurseryRegistry, request_id: str) -> bool:
    scope = registry.find(request_id)
    if scope is None:
        return False
    scope.cancel(Ended.CANCELLED_BY_OPERATOR)
    return True


async def _send_json(exchange: Exchange, status: int, body: Json, headers: list[Header] | None = None) -> None:
    await exchange.answer(status, [*_JSON, *(headers or [])], _encode(body) + b"\n")
