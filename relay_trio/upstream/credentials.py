"""Tokens that clouds lend for an hour: borrowed by one service task, in a thread, and kept until they are nearly over.

No request waits for the thread itself, which cannot be cancelled: it waits for an event, under its own limit, and only where
there is no token at all. A token that will soon be over is borrowed anew while it still serves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import attrs
import httpx
import trio

from adaptors.protocol import Adaptor, BorrowsTokens
from adaptors.values import Lender, ProviderAccount
from relay_trio.errors import UpstreamFailed

_EARLY_S: Final = 300.0
"""So long before its end a token is borrowed anew; Google's own libraries begin 225 s before."""
_LENDER_S: Final = 30.0
"""A lender that does not answer by then is given up."""
_FORGIVEN_AFTER_S: Final = 5.0
"""So long after a failure the lender is not asked again: a thousand requests are one question."""
_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
MAX_THREADS: Final = 8
"""A thread that was given up holds its place until it ends. Of places of their own, so that lenders which hang never take
those of others: names are looked up in the same threads."""
MAX_WAITING: Final = 64
"""Lenders that wait to be asked: no configuration has so many accounts of this kind."""


class NotLent(Exception):
    """No token was lent; the text says why, for whoever operates the relay."""


@attrs.frozen
class Token:
    """A token, and for how many seconds from now it is good."""

    text: str = attrs.field(repr=False)
    lifetime_s: float


@attrs.frozen
class _Kept:
    text: str = attrs.field(repr=False)
    until: float
    """On trio's clock."""


class Log(Protocol):
    """As far as it is used."""

    def warning(self, event: str, **fields: object) -> object:
        """Say what an operator should look at."""


class Tokens:
    """The tokens of one process. `run` is its service task."""

    def __init__(self, log: Log, borrow: Callable[[Lender], Token] | None = None) -> None:
        """Make the keeper; `borrow` may block, and is called in a thread."""
        self._log = log
        self._borrow = borrow or borrow_token
        self._kept: dict[Lender, _Kept] = {}
        self._failed: dict[Lender, float] = {}
        self._asked: dict[Lender, trio.Event] = {}
        self._places = trio.CapacityLimiter(MAX_THREADS)
        self._send_lender, self._receive_lender = trio.open_memory_channel[Lender](MAX_WAITING)

    async def account(self, adaptor: Adaptor, account: ProviderAccount) -> ProviderAccount:
        """Return the account with a token as its key, where the adaptor wants one. Raises UpstreamFailed."""
        lender = lender_of(adaptor, account)
        return account if lender is None else attrs.evolve(account, key=await self._token(lender))

    async def _token(self, lender: Lender) -> str:
        now = trio.current_time()
        kept = self._kept.get(lender)
        left_s = -math.inf if kept is None else kept.until - now
        if left_s <= _EARLY_S:
            asked = self._ask(lender)
            if left_s <= 0:
                await asked.wait()
                kept = self._kept.get(lender)
        if kept is None or kept.until <= trio.current_time():
            raise UpstreamFailed(
                "The provider's cloud lent the relay no token.", code="upstream_token_not_lent", phase="connect"
            )
        return kept.text

    def _ask(self, lender: Lender) -> trio.Event:
        """Have the lender asked, unless it is being asked or has just failed; return what tells that this is over."""
        asked = self._asked.get(lender)
        if asked is not None:
            return asked
        asked = trio.Event()
        if self._failed.get(lender, -math.inf) > trio.current_time() - _FORGIVEN_AFTER_S:
            asked.set()
            return asked
        try:
            self._send_lender.send_nowait(lender)
        except trio.WouldBlock:
            asked.set()
            return asked
        self._asked[lender] = asked
        return asked

    async def run(self) -> None:
        """Ask lenders, one after the other, until cancelled."""
        async for lender in self._receive_lender:
            try:
                token = await borrowed(lender, self._borrow, self._places)
                self._kept[lender] = _Kept(token.text, trio.current_time() + token.lifetime_s)
                self._failed.pop(lender, None)
            except NotLent as error:
                self._failed[lender] = trio.current_time()
                self._log.warning("token_not_lent", lender=lender.kind, why=str(error))
            finally:
                self._asked.pop(lender).set()


def lender_of(adaptor: Adaptor, account: ProviderAccount) -> Lender | None:
    """Return who lends the adaptor a token for this account, if it wants one."""
    return adaptor.lender(account) if isinstance(adaptor, BorrowsTokens) else None


async def borrowed(
    lender: Lender, borrow: Callable[[Lender], Token] | None = None, places: trio.CapacityLimiter | None = None
) -> Token:
    """Borrow in a thread, which is left behind where it does not answer in time. Raises NotLent.

    `places` are those of the process, where it asks again and again.
    """
    with trio.move_on_after(_LENDER_S):
        ask = partial(borrow or borrow_token, lender)
        return await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=places)
    raise NotLent(f"no answer within {_LENDER_S:g} s")


# Google


def borrow_token(lender: Lender) -> Token:
    """Ask for a token, and wait for it. Raises NotLent."""
    try:
        credentials = _credentials(lender.source)
        with httpx.Client(timeout=_LENDER_S) as client:
            credentials.refresh(_Asking(client))
    except NotLent:
        raise
    except ImportError as error:
        raise NotLent("google-auth is missing; pip install 'relay-trio[vertex]'") from error
    except Exception as error:  # what a library of many lenders raises is as many kinds
        raise NotLent(f"{type(error).__name__}: {error}"[:500]) from error
    return Token(str(credentials.token), _lifetime_s(credentials))


def _credentials(source: str) -> Any:
    """Return the credentials in a file, by what it says that it is, or those of this machine."""
    import google.auth  # noqa: PLC0415 - an extra; and its import takes a tenth of a second
    from google.auth import identity_pool  # noqa: PLC0415
    from google.oauth2 import credentials, service_account  # noqa: PLC0415

    if not source:
        return google.auth.default(scopes=_SCOPES)[0]
    with Path(source).expanduser().open("rb") as file:
        described = json.loads(file.read(_FILE_BYTES))
    if not isinstance(described, dict):
        raise NotLent(f"{source} holds no credentials")
    kinds: dict[str, Any] = {
        "service_account": service_account.Credentials.from_service_account_info,
        "authorized_user": credentials.Credentials.from_authorized_user_info,
        "external_account": identity_pool.Credentials.from_info,
    }
    kind = described.get("type")
    if kind not in kinds:
        raise NotLent(f"{source} holds credentials of a kind that is not known here ({kind})")
    return kinds[kind](described, scopes=_SCOPES)


_FILE_BYTES: Final = 1024 * 1024
"""Credentials are a few KiB, and so are the answers that lend a token."""
_UNKNOWN_LIFETIME_S: Final = 600.0


def _lifetime_s(credentials: Any) -> float:
    """Return for how long the token is good. What the credentials say is a moment of the wall's clock, as their library has it."""
    from google.auth import _helpers  # noqa: PLC0415 - see above

    clock: Any = _helpers  # it has no types
    if credentials.expiry is None:
        return _UNKNOWN_LIFETIME_S
    return float((credentials.expiry - clock.utcnow()).total_seconds())


@attrs.frozen
class _Answer:
    """What google.auth reads of an answer (google.auth.transport.Response)."""

    status: int
    headers: Any
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class _Asking:
    """How google.auth asks (google.auth.transport.Request): by httpx, which is here already."""

    client: httpx.Client

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Any = None,
        timeout: float | None = None,
        **_: object,
    ) -> _Answer:
        """Ask, and return the whole answer. Raises google.auth's own error, by which it knows what to try again."""
        from google.auth import exceptions  # noqa: PLC0415 - see above

        errors: Any = exceptions
        try:
            limit_s = timeout or _LENDER_S
            with self.client.stream(method, url, content=body, headers=headers, timeout=limit_s) as answer:
                return _Answer(answer.status_code, answer.headers, _whole(answer))
        except httpx.HTTPError as error:
            raise errors.TransportError(str(error)) from error


def _whole(answer: httpx.Response) -> bytes:
    """Return the body. Raises NotLent, and Cancelled in a thread that was given up.

    A limit of httpx's is one of each read: a body that drips would keep the thread for ever.
    """
    body = bytearray()
    for piece in answer.iter_bytes():
        trio.from_thread.check_cancelled()
        body += piece
        if len(body) > _FILE_BYTES:
            raise NotLent(f"{answer.url.host} sends an answer without end")
    return bytes(body)
