"""Anchors in the object store, `<chain>/<number>-<hash>.json`: a listing says all, and a fork shows as a twin."""

import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from tidemill_core.application import Page, PageRequest
from tidemill_core.audit import Head, canonical
from tidemill_core.paging import Place, checked_size, list_digest, number_of, place_of, token_after
from tidemill_kit.store.objects import ObjectStore
from tidemill_monitor.audit.domain import INSTALLATION, Anchor

_KEY = re.compile(r"[^/]+/(\d{16})-([0-9a-f]{64})\.json")


class ObjectAnchors:
    """Implements `ports.Anchors`."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    async def put(self, chain: str, head: Head) -> None:
        """See `Anchors.put`."""
        key = f"{chain}/{head.seq:016}-{head.hash}.json"
        if await self._store.exists(self._bucket, key):
            return
        project = "" if chain == INSTALLATION else chain
        text = canonical({"hash": head.hash, "project": project, "seq": head.seq})
        await self._store.put(self._bucket, key, text.encode(), media_type="application/json")

    async def page(self, chain: str, page: PageRequest, *, end: int) -> Page[Anchor]:
        """See `Anchors.page`. Keys are listed forwards only: searched backwards, in steps that grow."""
        size, digest = checked_size(page), list_digest(chain, {"list": "anchors"}, show_deleted=False)
        before = place_of(page.token, digest=digest)
        found, first = deque[Anchor](maxlen=size + 1), _seq_of(before.id) if before else end
        if before is None:  # those of a longer chain than there is: what a chain that was cut off shows by
            found.extend([each async for each in self._anchors(chain, first=end + 1)])
        step = size
        while len(found) <= size and first >= 0:
            first, last = max(first - step, -1), first
            older = [each async for each in self._anchors(chain, first=first + 1, last=last)]
            found = deque([*_before(before, older), *found], maxlen=size + 1)
            step *= 2
        shown = [*found][-size:]
        more = len(found) > size
        token = token_after(Place(shown[0].create_time, _name(shown[0])), digest=digest) if more else ""
        return Page(items=shown, next_token=token)

    async def newest_before(self, chain: str, time: datetime, *, first: int) -> Anchor | None:
        """See `Anchors.newest_before`."""
        found = None
        async for each in self._anchors(chain, first=first):
            if each.create_time >= time:
                break
            found = each
        return found

    async def _anchors(self, chain: str, *, first: int = 0, last: int | None = None) -> AsyncIterator[Anchor]:
        """Yield a chain's anchors by number, which is the order in which they were written too."""
        async for each in self._store.scan(self._bucket, prefix=f"{chain}/", after=f"{chain}/{first:016}"):
            if key := _KEY.fullmatch(each.key):
                if last is not None and int(key[1]) > last:
                    return
                yield Anchor(seq=int(key[1]), hash=key[2], create_time=each.modified_at)


def _name(anchor: Anchor) -> str:
    return f"{anchor.seq:016}-{anchor.hash}"


def _seq_of(name: str) -> int:
    return number_of(name.partition("-")[0])


def _before(place: Place | None, anchors: Sequence[Anchor]) -> list[Anchor]:
    return [each for each in anchors if place is None or _name(each) < place.id]
