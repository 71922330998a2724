"""Reviews on stores in memory."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.feedback.tests.builders import write
from tidemill_core.application import Caller
from tidemill_core.resources import Write
from tidemill_core.rights import REVIEW_FEEDBACK
from tidemill_feedback.errors import InferenceUnanswered, InferenceUnknown, ReviewItemNotFound, ReviewQueueNotFound
from tidemill_feedback.reviews.add_items import AddItems, GivenItem
from tidemill_feedback.reviews.claim_item import Claimed, ClaimItem, ReleaseItem
from tidemill_feedback.reviews.crud import ReviewQueueCrud
from tidemill_feedback.reviews.domain.agreement import Units
from tidemill_feedback.reviews.domain.item import (
    ItemState,
    Review,
    ReviewItem,
    ReviewItemWasRemoved,
    ReviewItemWasResolved,
    Subject,
    SubjectKind,
)
from tidemill_feedback.reviews.domain.labels import Label, LabelField, LabelKind, Value
from tidemill_feedback.reviews.domain.queue import (
    EndedQueue,
    QueueSpec,
    ReviewQueue,
    ReviewSampling,
    SamplingStrategy,
    key_of,
)
from tidemill_feedback.reviews.domain.sampling import RecordedAnswer
from tidemill_feedback.reviews.drop_items import DropItems
from tidemill_feedback.reviews.erase_items import EraseItems
from tidemill_feedback.reviews.mongo import ITEMS, QUEUES, RecentSampledQueues
from tidemill_feedback.reviews.ports import ItemCounts
from tidemill_feedback.reviews.report_queue import ReportQueue
from tidemill_feedback.reviews.sample_answers import SampleAnswers
from tidemill_feedback.reviews.store_item import StoreItem
from tidemill_feedback.reviews.submit_review import AdjudicateItem, SubmitReview
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.stores import InMemoryAggregates

OPERATOR = Caller(project="acme", subject="user:olga", roles=frozenset({"operator"}))
FIELDS = (
    LabelField(name="correct", kind=LabelKind.BOOLEAN, required=True),
    LabelField(name="tone", kind=LabelKind.CATEGORY, choices=("friendly", "rude")),
    LabelField(name="score", kind=LabelKind.NUMBER, min=1, max=5, tolerance=1),
    LabelField(name="better", kind=LabelKind.TEXT, max_chars=40),
)
KINDS = {each.name: each.kind for each in FIELDS}


def reviewer(name: str, *, project: str = "acme") -> Caller:
    """Return a person with the right to review."""
    permissions = frozenset({REVIEW_FEEDBACK})
    return Caller(project=project, subject=f"user:{name}", roles=frozenset({"contributor"}), permissions=permissions)


def labels(**values: Value) -> tuple[Label, ...]:
    return tuple(Label(field=name, kind=KINDS[name], value=value) for name, value in values.items())


def spec(**fields: object) -> QueueSpec:
    return QueueSpec(**{"fields": FIELDS, **fields})  # type: ignore[arg-type]  # names of fields


def sampling(strategy: SamplingStrategy = SamplingStrategy.NEWEST, **fields: object) -> ReviewSampling:
    return ReviewSampling(deployment="helpdesk", strategy=strategy, **fields)  # type: ignore[arg-type]  # ditto


def about(inference: str) -> GivenItem:
    return GivenItem(subject=Subject(kind=SubjectKind.INFERENCE, id=inference))


def answered(inference: str = "i1", **fields: object) -> RecordedAnswer:
    known: dict[str, object] = {
        "deployment": "helpdesk",
        "end_user": "u1",
        "documents": ("d1",),
        "stratum": "c1",
        "support": 1.0,
        "finish_reason": "stop",
        "answered_at": NOON,
    }
    return RecordedAnswer(inference=inference, **(known | fields))  # type: ignore[arg-type]  # ditto


class FakeAnswers:
    """The inference service, with the answers that a test adds."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], RecordedAnswer | None] = {}

    def put(self, inference: str, **fields: object) -> None:
        self.answers["acme", inference] = answered(inference, **fields)

    def ask(self, inference: str) -> None:
        """Add one that is not answered yet."""
        self.answers["acme", inference] = None

    async def read(self, caller: Caller, inference: str) -> RecordedAnswer:
        if (caller.project, inference) not in self.answers:
            raise InferenceUnknown(inference)
        if (found := self.answers[caller.project, inference]) is None:
            raise InferenceUnanswered(inference)
        return found


class InMemoryItems:
    """Does what `MongoItems` does: both pass test_stores.py."""

    def __init__(self, items: InMemoryAggregates[ReviewItem]) -> None:
        self._items = items

    async def claimed(self, project: str, key: str, reviewer: str) -> Sequence[str]:
        return [each.id for each in self._open(project, key) if reviewer in each.claimed_by]

    async def free(  # noqa: PLR0913 - as the port has it
        self, project: str, key: str, reviewer: str, *, start: float, gold: bool, now: datetime, limit: int
    ) -> Sequence[str]:
        found = [
            each
            for each in self._open(project, key)
            if each.gold == gold
            and reviewer not in (*each.seen_by, each.end_user)
            and each.free_at is not None
            and each.free_at <= now
        ]
        found.sort(key=lambda each: (each.place < start, each.place))
        return [each.id for each in found[:limit]]

    async def open(self, project: str, key: str, *, limit: int, stratum: str = "") -> int:
        found = [each for each in self._open(project, key) if not each.gold and stratum in ("", each.stratum)]
        return min(limit, len(found))

    async def counts(self, project: str, key: str) -> ItemCounts:
        found = [each for each in self._of(project) if key_of(each.queue, each.incarnation) == key]
        states = (ItemState.OPEN, ItemState.RESOLVED, ItemState.DISPUTED)
        by_state = {state: sum(each.state is state and not each.gold for each in found) for state in states}
        return ItemCounts(by_state=by_state, gold=sum(each.gold for each in found))

    async def of_end_user(self, project: str, end_user: str, *, limit: int) -> Sequence[str]:
        return [each.id for each in self._of(project) if each.end_user == end_user][:limit]

    async def of_document(self, project: str, document: str, *, limit: int) -> Sequence[str]:
        return [each.id for each in self._of(project) if document in each.documents][:limit]

    async def naming(self, project: str, reviewer: str, *, limit: int) -> Sequence[str]:
        return [each.id for each in self._of(project) if reviewer in each.named][:limit]

    async def old(self, project: str, *, before: datetime, limit: int) -> Sequence[str]:
        found = [each for each in self._of(project) if each.update_time and each.update_time < before]
        return [each.id for each in found][:limit]

    async def resolved(self, ended: EndedQueue) -> Sequence[str]:
        return [each.id for each in self._ended(ended) if each.state is ItemState.RESOLVED]

    async def drop(self, ended: EndedQueue) -> int:
        found = [each for each in self._ended(ended) if each.state is not ItemState.RESOLVED]
        for each in found:
            self._items.remove(each.project, each.id)
        return len(found)

    def _of(self, project: str) -> Sequence[ReviewItem]:
        return [each for each in self._items.all() if each.project == project and not each.deleted]

    def _ended(self, ended: EndedQueue) -> Sequence[ReviewItem]:
        of_queue = (each for each in self._items.all() if (each.project, each.queue) == (ended.project, ended.queue))
        return [each for each in of_queue if each.incarnation <= ended.until]

    def _open(self, project: str, key: str) -> Sequence[ReviewItem]:
        found = (each for each in self._of(project) if key_of(each.queue, each.incarnation) == key)
        return [each for each in found if each.state is ItemState.OPEN]


class NoKappa:
    """Knows no coefficient: NLTK takes a second to load."""

    def cohen(self, _: Units) -> float | None:
        return None

    def fleiss(self, _: Units, *, raters: int) -> float | None:
        del raters
        return None


@dataclass(kw_only=True)
class ReviewsHarness:
    """Everything that wiring.py puts together, on fakes."""

    clock: FixedClock = field(default_factory=FixedClock)
    drawn: float = 1.0
    """The next random number: a gold item comes below the queue's share."""
    erased_until: dict[str, datetime] = field(default_factory=dict)
    """By end user or document."""

    def __post_init__(self) -> None:
        self.queues: InMemoryAggregates[ReviewQueue] = InMemoryAggregates(
            codec=QUEUES, missing=ReviewQueueNotFound, clock=self.clock
        )
        self.items: InMemoryAggregates[ReviewItem] = InMemoryAggregates(
            codec=ITEMS, missing=ReviewItemNotFound, clock=self.clock
        )
        self.find, self.answers = InMemoryItems(self.items), FakeAnswers()
        self.ended: list[EndedQueue] = []
        queues, items, find, clock = self.queues, self.items, self.find, self.clock
        self.crud = ReviewQueueCrud(queues=queues, items=items, enqueue=self.ended.append)
        self.store = StoreItem(queues=queues, items=items, erased=self._erased)
        self.add = AddItems(queues=queues, items=items, find=find, store=self.store, answers=self.answers, clock=clock)
        self.claim = ClaimItem(queues=queues, items=items, find=find, clock=clock, draw=lambda: self.drawn)
        self.submit = SubmitReview(queues=queues, items=items, clock=clock)
        self.release = ReleaseItem(items=items, clock=clock)
        self.adjudicate = AdjudicateItem(queues=queues, items=items, clock=clock)
        self.report = ReportQueue(queues=queues, items=items, find=find, kappa=NoKappa(), max_items=100)
        self.sampled = RecentSampledQueues(queues, max_age_s=0)
        self.sample = SampleAnswers(queues=self.sampled, find=find, store=self.store, answers=self.answers)
        self.erase = EraseItems(items=items, find=find, clock=clock)
        self.drop = DropItems(queues=queues, items=items, find=find, clock=clock)

    async def _erased(self, _: str, end_user: str, documents: Collection[str]) -> datetime | None:
        named = {end_user, *documents}
        return max((moment for each, moment in self.erased_until.items() if each in named), default=None)

    async def open_queue(self, **fields: object) -> ReviewQueue:
        """Create the queue answers."""
        return await self.crud.create(OPERATOR, "answers", spec(**fields), write())

    async def give(self, *inferences: str, **fields: object) -> Sequence[ReviewItem]:
        """Add answers to the queue."""
        for each in inferences:
            self.answers.put(each, **fields)
        return await self.add(OPERATOR, "answers", [about(each) for each in inferences], write())

    async def next(self, name: str, how: Write | None = None) -> Claimed | None:
        """Claim the next item for a reviewer."""
        return await self.claim(reviewer(name), "answers", how or write())

    async def review(self, name: str, **values: Value) -> Review:
        """Claim the next item and review it."""
        claimed = await self.next(name)
        assert claimed is not None
        return await self.submit(reviewer(name), claimed.item.id, claimed.claim.id, labels(**values), write())

    async def item(self, item_id: str) -> ReviewItem:
        return await self.items.get("acme", item_id)

    def pass_time(self, **by: float) -> None:
        self.clock.advance(timedelta(**by))

    @property
    def removed(self) -> int:
        """How many items whose labels counted were reported as removed."""
        return sum(isinstance(event, ReviewItemWasRemoved) for event in self.items.published)

    @property
    def resolved(self) -> list[ReviewItemWasResolved]:
        return [event for event in self.items.published if isinstance(event, ReviewItemWasResolved)]


def by_reviewer(item: ReviewItem) -> Mapping[str, Mapping[str, Value]]:
    return {each.reviewer: {label.field: label.value for label in each.labels} for each in item.reviews}
