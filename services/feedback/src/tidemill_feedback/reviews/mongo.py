"""How review queues and items are stored, and which queues sample a deployment."""

import time
from collections.abc import Callable, Sequence

from cachetools import TTLCache

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import Page
from tidemill_core.resources import list_all
from tidemill_feedback.reviews.domain.item import ReviewItem
from tidemill_feedback.reviews.domain.queue import EndedQueue, ReviewQueue, ended_of, key_of
from tidemill_feedback.reviews.messages import item_payload
from tidemill_feedback.reviews.ports import OpenItems, ReviewQueueStore
from tidemill_kit.mapping import DocumentCodec, Form
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection, Document, translated
from tidemill_kit.workers.pending import page_of_documents

QUEUE_LISTS = (("spec.sampling.deployment",),)
ITEM_LISTS = (("queue_key",), ("queue_key", "state"))
_MAX_KEPT = 1000
_DROPPING: Document = {"state.dropping": True}
_PAGE = 1000


def _without_labels(_: Aggregate, state: Document) -> Document:
    return state | {"spec": {name: value for name, value in state["spec"].items() if name != "labels"}}


def _with_labels(state: Document, identity: Identity, _: int) -> Document:
    return state | {"spec": state["spec"] | {"labels": dict(identity.labels)}}


QUEUES = DocumentCodec(
    ReviewQueue,
    on_write=_without_labels,  # labels are where those of every aggregate are
    on_read=_with_labels,
)
ITEMS = DocumentCodec(
    ReviewItem,
    {
        ReviewItem: Form(
            derived={
                "queue_key": lambda item: key_of(item.queue, item.incarnation),
                "gold": lambda item: item.gold,
                "free_at": lambda item: item.free_at,
                "seen_by": lambda item: list(item.seen_by),
                "claimed_by": lambda item: list(item.claimed_by),
                "named": lambda item: list(item.named),
            }
        )
    },
    event=item_payload,
)


class RecentSampledQueues:
    """Implements `ports.SampledQueues`: asked for every answer, it reads a deployment's queues once in a while."""

    def __init__(
        self, queues: ReviewQueueStore, *, max_age_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._queues = queues
        self._recent: TTLCache[tuple[str, str], Sequence[ReviewQueue]] = TTLCache(
            _MAX_KEPT, ttl=max_age_s, timer=monotonic
        )

    async def of(self, project: str, deployment: str) -> Sequence[ReviewQueue]:
        """See `SampledQueues.of`."""
        if (found := self._recent.get((project, deployment))) is None:
            where = {"spec.sampling.deployment": deployment}
            found = [each async for each in list_all(self._queues, project, where=where)]
            self._recent[project, deployment] = found
        return found


class RecentlyFull:
    """Implements `ports.OpenItems`: asked for every answer, it counts a full queue once in a while."""

    def __init__(self, find: OpenItems, *, max_age_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._find = find
        self._full: TTLCache[tuple[str, str, str], int] = TTLCache(_MAX_KEPT, ttl=max_age_s, timer=monotonic)

    async def open(self, project: str, key: str, *, limit: int, stratum: str = "") -> int:
        """See `OpenItems.open`."""
        counted = project, key, stratum
        if self._full.get(counted, 0) >= limit:
            return limit
        found = await self._find.open(project, key, limit=limit, stratum=stratum)
        if found >= limit:
            self._full[counted] = found
        return found


class MongoEndedQueues:
    """Finds deleted queues that may have items left: a `controller.Pending`."""

    def __init__(self, queues: Collection) -> None:
        self._queues = queues

    async def ensure_indexes(self) -> None:
        """Create the index that finds them; idempotent."""
        with translated():
            await self._queues.create_index([("state.dropping", 1)], partialFilterExpression=_DROPPING)

    async def __call__(self, token: str, /, *, without: frozenset[str]) -> Page[EndedQueue]:
        """See `controller.Pending`."""
        query: Document = {**_DROPPING, "project": {"$nin": sorted(without)}}
        fields = ["project", "id", "deleted", "state.incarnations"]
        page = await page_of_documents(self._queues, query, token, fields=fields, size=_PAGE)
        return Page(items=[*map(_ended, page.items)], next_token=page.next_token)


def _ended(found: Document) -> EndedQueue:
    until = ended_of(found["state"]["incarnations"], deleted=found["deleted"])
    return EndedQueue(found["project"], found["id"], until)
