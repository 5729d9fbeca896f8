"""From a call to the request that one provider gets: with the time, the files and the token that its adaptor wants for it.

Most adaptors want none of these, and say so by lacking the method (`adaptors.protocol`): their request is made on the spot.
What is fetched for one attempt serves the next.
"""

from __future__ import annotations

import attrs

from adaptors.bodies import BadBody
from adaptors.protocol import Adaptor, at_moment
from adaptors.values import Call, Fetched, ProviderAccount, UpstreamRequest
from relay_trio.channels.selection import Candidate
from relay_trio.errors import CallNotExpressible
from relay_trio.relay.admission import Reservation
from relay_trio.relay.services import RelayServices
from relay_trio.scopes.phase import Limit, PhaseClock
from relay_trio.upstream.fetch import FetchRules, NotFetched

MAX_FETCHES = 20
"""Files that one request may point to: as many pictures as the APIs allow in a conversation that is no archive."""


def request_on_the_spot(call: Call, candidate: Candidate, model: str | None) -> UpstreamRequest:
    """Return the request of an adaptor that wants nothing first. Raises CallNotExpressible."""
    try:
        return candidate.channel.adaptor.request(call, candidate.key.account, model)
    except BadBody as error:
        raise _not_expressible(error) from error


@attrs.frozen(eq=False)
class Preparation:
    """What all attempts of one call have ready."""

    services: RelayServices
    clock: PhaseClock
    reservation: Reservation
    fetched: dict[str, Fetched] = attrs.field(factory=dict)
    """By their addresses, at most MAX_FETCHES."""

    async def request(self, call: Call, candidate: Candidate, model: str | None) -> UpstreamRequest:
        """Return the request, with what must be had for it first. Raises CallNotExpressible, LimitReached, UpstreamFailed."""
        adaptor = at_moment(candidate.channel.adaptor, self.services.utc_now())
        wants = getattr(adaptor, "wants", None)  # protocol.WantsFetched
        try:
            if wants is not None and (urls := wants(call)):
                await self._fetch(urls, candidate)
                call = attrs.evolve(call, fetched=self.fetched)
            return adaptor.request(call, await self._account(adaptor, candidate), model)
        except BadBody as error:
            raise _not_expressible(error) from error

    async def _account(self, adaptor: Adaptor, candidate: Candidate) -> ProviderAccount:
        """Return the account, with a token where a cloud lends one."""
        account = candidate.key.account
        if not hasattr(adaptor, "lender"):  # protocol.BorrowsTokens
            return account
        with self.clock.limited("connect", candidate.channel.route.connect):
            return await self.services.tokens.account(adaptor, account)

    async def _fetch(self, urls: tuple[str, ...], candidate: Candidate) -> None:
        """Fetch what the call points to, one after the other under the quick limit."""
        settings = self.services.catalog.current.settings
        if settings.fetch_max_bytes is None:
            return  # the provider may know what to do with an address, or its adaptor says that it does not
        if len(urls) > MAX_FETCHES:
            raise _not_fetched(f"it points to {len(urls)} files, and the relay fetches {MAX_FETCHES} at most")
        limits = settings.limits
        rules = FetchRules(
            settings.fetch_max_bytes, settings.fetch_networks, Limit(limits.connect, "RELAY_CONNECT_TIMEOUT")
        )
        quick = candidate.channel.clocks.quick or Limit(limits.quick, "RELAY_QUICK_TIMEOUT")
        with self.clock.limited("fetch", quick):
            for number, url in enumerate(urls, start=1):
                if url not in self.fetched:
                    await self._fetch_one(number, url, rules)

    async def _fetch_one(self, number: int, url: str, rules: FetchRules) -> None:
        try:
            self.fetched[url] = await self.services.fetcher.fetch(url, rules, self._hold)
        except NotFetched as error:
            raise _not_fetched(f"of the files that it points to, number {number}: {error}") from error

    async def _hold(self, size: int) -> None:
        await self.reservation.grow(size, self.clock)


def _not_fetched(why: str) -> BadBody:
    """Return the refusal; the address itself may hold a secret, and is not repeated."""
    message = f"This model's provider takes no addresses, and the request could not be filled in: {why}."
    return BadBody(message, param="messages", code="url_not_fetched")


def _not_expressible(error: BadBody) -> CallNotExpressible:
    return CallNotExpressible(error.message, param=error.param, code=error.code)
