"""Anchors in the object store, `<chain>/<number>-<hash>.json`: a listing says all, and a fork shows as a twin."""

import re
from collections.abc import Sequence
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
        found = self._store.scan(self._bucket, prefix=f"{chain}/")
        return [
            Anchor(seq=int(key[1]), hash=key[2], create_time=each.modified_at)
            async for each in found
            if (key := _KEY.fullmatch(each.key))
        ]

    async def newest_before(self, chain: str, time: datetime) -> Anchor | None:
        """See `Anchors.newest_before`."""
        return max((each for each in await self.list(chain) if each.create_time < time), key=_number, default=None)


def _number(anchor: Anchor) -> int:
    return anchor.seq
