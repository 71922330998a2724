"""Anchors in the object store, `<chain>/<number>-<hash>.json`: a listing says all, and a fork shows as a twin."""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from tidemill_core.audit import Head, canonical
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

    async def list(self, chain: str) -> Sequence[Anchor]:
        """See `Anchors.list`."""
        return [each async for each in self._anchors(chain)]

    async def newest_before(self, chain: str, time: datetime, *, first: int) -> Anchor | None:
        """See `Anchors.newest_before`."""
        found = None
        async for each in self._anchors(chain, first=first):
            if each.create_time >= time:
                break
            found = each
        return found

    async def _anchors(self, chain: str, *, first: int = 0) -> AsyncIterator[Anchor]:
        """Yield a chain's anchors by number, which is the order in which they were written too."""
        async for each in self._store.scan(self._bucket, prefix=f"{chain}/", after=f"{chain}/{first:016}"):
            if key := _KEY.fullmatch(each.key):
                yield Anchor(seq=int(key[1]), hash=key[2], create_time=each.modified_at)
