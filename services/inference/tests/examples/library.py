"""A dataset whose examples stand before questions, with what stands in for ingest, rag and MongoDB around it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from services.inference.tests.fakes import ADA, question
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Requeue, ResourceKey
from tidemill_core.errors import NotFound, TidemillError
from tidemill_inference.examples.choose import ChooseExamples
from tidemill_inference.examples.domain.declared import Examples
from tidemill_inference.examples.domain.example_set import Example, ExampleSet, SetState, set_id_of
from tidemill_inference.examples.load import EraseExamples, LoadExamples, RemoveExamples
from tidemill_inference.examples.ports import Chosen, Found, Nearest, TrainPart
from tidemill_testkit.clocks import NOON, FixedClock

DECLARED = Examples(dataset="helpdesk_sft@3", embedding="minilm@1", min_similarity=0.2)
CHECK_EVERY = timedelta(minutes=1)
KEPT_FOR = timedelta(days=30)
"""As rag has it."""


def example(number: int, text: str, **changes: object) -> Example:
    asked = Example(id=f"e{number}", question=text, answer=f"answer {number}", author="bob", observed_at=NOON)
    return replace(asked, **changes)  # type: ignore[arg-type] # the test says what it changes


EXAMPLES = (
    example(1, "how do I reset my vpn password"),
    example(2, "how do I reset my mail password"),
    example(3, "where can I park a bicycle", asked_by="cleo", documents=("d1",)),
)


@dataclass
class InMemorySets:
    """Implements `ports.ExampleSets`."""

    kept: dict[tuple[str, str], ExampleSet] = field(default_factory=dict)

    async def get(self, project: str, set_id: str) -> ExampleSet | None:
        return self.kept.get((project, set_id))

    async def add(self, fresh: ExampleSet) -> None:
        self.kept.setdefault((fresh.project, fresh.id), fresh)

    async def count(self, project: str, *, limit: int) -> int:
        return min(limit, sum(of == project for of, _ in self.kept))

    async def save(self, changed: ExampleSet) -> bool:
        at = (changed.project, changed.id)
        if at in self.kept:
            self.kept[at] = replace(changed, used_at=self.kept[at].used_at)
        return at in self.kept

    async def use(self, project: str, set_id: str, *, now: datetime) -> None:
        if kept := self.kept.get((project, set_id)):
            self.kept[project, set_id] = replace(kept, used_at=max(now, kept.used_at))

    async def remove(self, project: str, set_id: str) -> None:
        self.kept.pop((project, set_id), None)


@dataclass(frozen=True)
class Row:
    """A stored example."""

    example: Example
    part: str
    renew_at: datetime


@dataclass
class InMemoryExamples:
    """Implements `ports.StoredExamples`: rows by project, set and id."""

    rows: dict[tuple[str, str, str], Row] = field(default_factory=dict)

    async def put(self, of: ExampleSet, examples: Sequence[Example], *, part: str) -> None:
        for each in examples:
            at = (of.project, of.id, each.id)
            renew_at = self.rows[at].renew_at if at in self.rows else NOON - timedelta(days=999)
            self.rows[at] = Row(each, part, renew_at)

    async def get(self, of: ExampleSet, ids: Sequence[str]) -> Sequence[Example]:
        return [each for each in self._shown(of) if each.id in ids]

    async def by_chance(
        self, of: ExampleSet, *, principals: frozenset[str], start: int, limit: int
    ) -> Sequence[Example]:
        shown = [each for each in self._shown(of) if principals.issuperset(each.principals)]
        ordered = sorted(shown, key=lambda each: each.order)
        after = [each for each in ordered if each.order >= start]
        return [*after, *(each for each in ordered if each.order < start)][:limit]

    async def without_vector(self, of: ExampleSet, *, now: datetime, limit: int) -> Sequence[Example]:
        due = sorted((row for row in self._of(of) if row.renew_at <= now), key=lambda row: row.renew_at)
        return [row.example for row in due][:limit]

    async def embedded(self, of: ExampleSet, example: str, *, renew_at: datetime) -> bool:
        at = (of.project, of.id, example)
        if at in self.rows:
            self.rows[at] = replace(self.rows[at], renew_at=renew_at)
        return at in self.rows

    async def others(self, of: ExampleSet, *, part: str, limit: int) -> Sequence[str]:
        return [row.example.id for row in self._of(of) if row.part != part][:limit]

    async def of_end_user(self, project: str, end_user: str, *, limit: int) -> Sequence[Found]:
        return self._places(project, lambda each: end_user in each.people)[:limit]

    async def of_document(self, project: str, document: str, *, limit: int) -> Sequence[Found]:
        return self._places(project, lambda each: document in each.documents)[:limit]

    async def remove(self, project: str, set_id: str, ids: Sequence[str]) -> None:
        for each in ids:
            self.rows.pop((project, set_id, each), None)

    def _of(self, of: ExampleSet) -> list[Row]:
        return [row for (project, set_id, _), row in self.rows.items() if (project, set_id) == (of.project, of.id)]

    def _shown(self, of: ExampleSet) -> list[Example]:
        return [row.example for row in self._of(of) if row.part == of.part]

    def _places(self, project: str, chosen) -> list[Found]:  # type: ignore[no-untyped-def] # noqa: ANN001
        found = ((at, row) for at, row in self.rows.items() if at[0] == project and chosen(row.example))
        return [Found(set_id=set_id, example=name) for (_, set_id, name), _row in found]


@dataclass
class WordVectors:
    """Implements `ports.QuestionVectors`: questions are alike by the share of words that they have in common."""

    kept: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """Scope and question by project and id."""
    down: TidemillError | None = None
    cannot_embed: frozenset[str] = frozenset()
    puts: int = 0

    async def nearest(
        self, caller: Caller, of: ExampleSet, *, question: str, min_similarity: float, limit: int
    ) -> Sequence[Nearest]:
        self._check()
        found = [
            Nearest(text_id=text_id, similarity=overlap(text, question))
            for (project, text_id), (scope, text) in self.kept.items()
            if (project, scope) == (caller.project, of.scope)
        ]
        alike = [each for each in found if each.similarity >= min_similarity]
        return sorted(alike, key=lambda each: -each.similarity)[:limit]

    async def put(self, caller: Caller, of: ExampleSet, example: Example, *, expire_time: datetime) -> datetime | None:
        self._check()
        self.puts += 1
        if example.id in self.cannot_embed:
            return None
        self.kept[caller.project, of.text_id(example.id)] = (of.scope, example.question)
        return min(expire_time, NOON + KEPT_FOR)

    async def remove(self, caller: Caller, text_ids: Sequence[str]) -> None:
        self._check()
        for each in text_ids:
            self.kept.pop((caller.project, each), None)

    async def check(self, caller: Caller, embedding: str) -> None:
        assert caller.project
        assert embedding
        self._check()

    def _check(self) -> None:
        if self.down:
            raise self.down


@dataclass
class Versions:
    """Implements `ports.DatasetVersions`: one version of one dataset, as it is now."""

    examples: tuple[Example, ...] = EXAMPLES
    part: str = "acme/helpdesk_sft/one"
    missing_approvals: int = 0
    gone: bool = False
    reads: int = 0

    async def train_part(self, caller: Caller, version: str) -> TrainPart:
        if self.gone or caller.project != ADA.project or version.partition("@")[0] != "helpdesk_sft":
            message = f"there is no dataset version {version}"
            raise NotFound(message)
        content = ObjectRef(bucket="datasets", key=self.part, size=1, sha256="one")
        return TrainPart(
            version="helpdesk_sft@3",
            content=content,
            examples=len(self.examples),
            missing_approvals=self.missing_approvals,
        )

    async def read(self, part: TrainPart) -> Sequence[Example]:
        assert part.content.key == self.part
        self.reads += 1
        return self.examples


@dataclass
class Erased:
    """Implements `ports.ErasedSubjects`."""

    until: dict[str, datetime] = field(default_factory=dict)

    async def __call__(self, _project: str, subjects: Collection[str], /) -> Mapping[str, datetime]:
        return {each: self.until[each] for each in subjects if each in self.until}


class Library:
    """Sets and examples of a project, and what can be done with them."""

    def __init__(self, *examples: Example) -> None:
        self.clock = FixedClock()
        self.sets, self.examples, self.vectors = InMemorySets(), InMemoryExamples(), WordVectors()
        self.versions = Versions(examples=examples or EXAMPLES)
        self.people, self.documents = Erased(), Erased()
        self.enqueued: list[ResourceKey] = []
        remove = RemoveExamples(examples=self.examples, vectors=self.vectors)
        self.erase = EraseExamples(examples=self.examples, remove=remove)
        self.load = LoadExamples(
            sets=self.sets,
            examples=self.examples,
            versions=self.versions,
            vectors=self.vectors,
            remove=remove,
            erased_people=self.people,
            erased_documents=self.documents,
            clock=self.clock,
            check_every=CHECK_EVERY,
            unused_for=timedelta(days=7),
        )
        self.choose = ChooseExamples(
            sets=self.sets,
            examples=self.examples,
            vectors=self.vectors,
            clock=self.clock,
            enqueue=self.enqueued.append,
            timeout_s=1.0,
        )

    async def loads(self, declared: Examples = DECLARED) -> Requeue | None:
        """Work on the set until nothing is left to do."""
        await self.choose.request(ADA.project, declared)
        while turn := await self.load(self.key(declared), 1):
            assert turn.after == timedelta(0)
        return turn

    async def chosen(self, text: str, declared: Examples = DECLARED, **changes: object) -> Chosen:
        return await self.choose(ADA, declared, question(text, **changes))

    async def ids(self, text: str, declared: Examples = DECLARED, **changes: object) -> list[str]:
        return [each.example.id for each in (await self.chosen(text, declared, **changes)).examples]

    def key(self, declared: Examples = DECLARED) -> ResourceKey:
        return ResourceKey(project=ADA.project, id=set_id_of(ADA.project, declared))

    @property
    def only_set(self) -> ExampleSet:
        (found,) = self.sets.kept.values()
        return found

    @property
    def state(self) -> SetState:
        return self.only_set.state


def overlap(a: str, b: str) -> float:
    one, other = set(a.lower().split()), set(b.lower().split())
    return len(one & other) / len(one | other)
