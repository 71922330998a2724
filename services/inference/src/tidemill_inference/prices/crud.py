"""Use cases: create, get, list, update and delete prices."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest
from tidemill_core.resources import Write, copy_fields
from tidemill_inference.prices.domain.price import Price
from tidemill_inference.prices.ports import Changed, Prices

CHANGEABLE: Final = frozenset({"model", "rates", "labels"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceCrud:
    """Prices emit no events; what was priced by one keeps the version that it names."""

    prices: Prices
    clock: Clock
    changed: Changed

    async def get(self, caller: Caller, price_id: str) -> Price:
        """Return a price."""
        return await self.prices.get(caller.project, price_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Price]:
        """Return a page."""
        return await self.prices.list(caller.project, page=page)

    async def create(self, caller: Caller, price: Price, write: Write) -> Price:
        """Return the new price.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            AlreadyExists: the id is taken.

        """
        price.check()
        now = self.clock.now()
        restore = resources.restored(price, CHANGEABLE)

        def begin(stored: Price) -> None:
            restore(stored)
            stored.revise(now=now)

        fresh = replace(price, project=caller.project)
        return self._changed(await resources.create(self.prices, fresh, write, begin=begin), write)

    async def update(self, caller: Caller, given: Price, paths: AbstractSet[str], write: Write) -> Price:
        """Return the updated price; changed rates are its next version.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            PriceNotFound: there is none.
            Conflict: it changed since the etag.

        """
        now = self.clock.now()

        def change(price: Price) -> None:
            copy_fields(given, price, paths)
            price.check()
            price.revise(now=now)

        return self._changed(await resources.update(self.prices, caller.project, given.id, change, write), write)

    async def delete(self, caller: Caller, price_id: str, write: Write) -> Price:
        """Return the deleted price; its id may be taken again, and goes on counting versions.

        Raises:
            PriceNotFound: there is none.
            Conflict: it changed since the etag.

        """
        return self._changed(await resources.delete(self.prices, caller.project, price_id, write), write)

    def _changed(self, price: Price, write: Write) -> Price:
        if not write.validate_only:
            self.changed(price.project)
        return price
