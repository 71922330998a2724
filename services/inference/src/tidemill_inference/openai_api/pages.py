"""Lists as OpenAI's API has them: newest first, and `after` names the last one that was seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request

from tidemill_core.errors import InvalidInput
from tidemill_core.paging import MAX_PAGE_SIZE, Place, list_digest, token_after

Json = dict[str, Any]
_ORDERS = {"desc": "create_time desc", "asc": "create_time"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which page a request asks for."""

    limit: int
    after: str
    order_by: str

    @classmethod
    def of(cls, http: Request, *, default: int) -> "Asked":
        """Return what the query says.

        Raises:
            InvalidInput: names the parameter that cannot be.

        """
        given = http.query_params
        limit = given.get("limit", str(default))
        if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= MAX_PAGE_SIZE):
            raise InvalidInput.at(field="limit", text=f"is {limit[:20]!r}; use 1 to {MAX_PAGE_SIZE}")
        if (order := given.get("order", "desc")) not in _ORDERS:
            raise InvalidInput.at(field="order", text=f"is {order[:20]!r}; use asc or desc")
        return cls(limit=int(limit), after=given.get("after", ""), order_by=_ORDERS[order])

    @property
    def newest_first(self) -> bool:
        """Whether the newest come first."""
        return self.order_by == _ORDERS["desc"]

    def token(self, project: str, last: datetime, *, where: Mapping[str, str] | None = None) -> str:
        """Return the token of the page that follows what `after` names, which was created at `last`."""
        digest = list_digest(project, where or {}, show_deleted=False, newest_first=self.newest_first)
        return token_after(Place(last, self.after), digest=digest)


def listed(items: list[Json], *, more: bool) -> Json:
    """Return a page."""
    first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return {"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": more}
