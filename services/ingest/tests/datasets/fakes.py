"""Datasets with stores in memory: the same use cases and the same objects, nothing on a network."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from services.ingest.tests.datasets.examples import FEEDBACK, offer_of, stored
from services.ingest.tests.fakes import ACME, Ingest
from services.ingest.tests.labelled import LabelsHere
from tidemill.feedback.v1.curation_pb2 import Example as ExampleMessage
from tidemill_core.application import Caller, Request, ResourceKey
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.resources import Write
from tidemill_ingest.datasets import mongo
from tidemill_ingest.datasets.approve_version import ApproveVersion
from tidemill_ingest.datasets.crud import ManageDatasets
from tidemill_ingest.datasets.domain.dataset import Dataset
from tidemill_ingest.datasets.domain.division import Minimum
from tidemill_ingest.datasets.domain.label_rules import FieldKind, LabelRule, QueueField
from tidemill_ingest.datasets.domain.version import DatasetVersion
from tidemill_ingest.datasets.erase_examples import EraseExamples
from tidemill_ingest.datasets.erasures import Erasures
from tidemill_ingest.datasets.events import Curations
from tidemill_ingest.datasets.objects import DatasetParts, FeedbackBatches
from tidemill_ingest.datasets.offer_examples import OfferExamples
from tidemill_ingest.datasets.publish_versions import PublishVersions
from tidemill_ingest.datasets.read_versions import ReadVersions
from tidemill_ingest.datasets.readers import Readers
from tidemill_ingest.datasets.sweep import SweepDatasets
from tidemill_ingest.errors import DatasetNotFound
from tidemill_ingest.limits import COMMON_FROM, Limits
from tidemill_testkit.leases import InMemoryLeases
from tidemill_testkit.stores import InMemoryAggregates

DATASETS = "tidemill-ingest-datasets"
NAME = ResourceKey(project="acme", id="helpdesk_sft")


@dataclass
class GroupsInMemory:
    """Does what `MongoGroups` does: both pass tests/datasets/test_groups.py."""

    stored: dict[tuple[ResourceKey, str], tuple[bool, str]] = field(default_factory=dict)
    read: int = 0
    """How many groups were read."""

    async def assigned(self, name: ResourceKey, groups: Sequence[str], *, but_by: str = "") -> Mapping[str, bool]:
        found = {group: self.stored[name, group] for group in groups if (name, group) in self.stored}
        self.read += len(found)
        return {group: held_out for group, (held_out, offer) in found.items() if not but_by or offer != but_by}

    async def assign(self, name: ResourceKey, groups: Mapping[str, bool], *, offer: str) -> bool:
        for group, held_out in groups.items():
            self.stored.setdefault((name, group), (held_out, offer))
        return all(self.stored[name, group][0] == held_out for group, held_out in groups.items())

    def held_out(self) -> set[str]:
        return {group for (_, group), (held_out, _) in self.stored.items() if held_out}


@dataclass
class QueuesHere:
    """Implements `ports.ReviewQueues`: the project acme has the queue quality, until it is gone."""

    gone: bool = False
    away: bool = False

    async def fields(self, caller: Caller, queue: str) -> Mapping[str, QueueField] | None:
        if self.away:
            message = "feedback does not answer"
            raise DependencyUnavailable(message, dependency="feedback")
        if self.gone or (caller.project, queue) != ("acme", "quality"):
            return None
        return {
            "verdict": QueueField(kind=FieldKind.CATEGORY, choices=("good", "bad")),
            "ok": QueueField(kind=FieldKind.BOOLEAN),
            "score": QueueField(kind=FieldKind.NUMBER),
            "better": QueueField(kind=FieldKind.TEXT),
        }


@dataclass
class Datasets:
    """Everything that an entry point calls, on the stores of ingest."""

    limits: Limits = field(default_factory=Limits)
    ingest: Ingest = field(default_factory=Ingest)
    minimum: Minimum = field(default_factory=lambda: Minimum(train=3, held_out=1))
    enqueued: int = 0

    def __post_init__(self) -> None:
        self.erased_until: dict[str, datetime] = {}
        self.clock, self.objects = self.ingest.clock, self.ingest.objects
        for bucket in (FEEDBACK, DATASETS):
            self.objects.buckets[bucket] = {}
        self.datasets = InMemoryAggregates[Dataset](codec=mongo.DATASETS, missing=DatasetNotFound, clock=self.clock)
        self.batches = FeedbackBatches(self.objects, FEEDBACK, limits=self.limits)
        self.parts = DatasetParts(self.objects, DATASETS)
        self.groups = GroupsInMemory()
        self.leases = InMemoryLeases()
        self.queues, self.labels = QueuesHere(), LabelsHere()
        self.managing = ManageDatasets(datasets=self.datasets, queues=self.queues, clock=self.clock)
        self.approving = ApproveVersion(datasets=self.datasets, clock=self.clock)
        self.reading = ReadVersions(
            datasets=self.datasets,
            parts=self.parts,
            limits=self.limits,
            restricted=Readers(documents=self.ingest.documents),
        )
        self.offering = OfferExamples(
            datasets=self.datasets, batches=self.batches, limits=self.limits, clock=self.clock, enqueue=self._enqueue
        )
        self.curations = Curations(offering=self.offering)
        self.publishing = PublishVersions(
            datasets=self.datasets,
            batches=self.batches,
            masking=self.ingest.preparation,
            parts=self.parts,
            groups=self.groups,
            erasures=Erasures(documents=self.ingest.documents, users=self._erased),
            labels=self.labels,
            queues=self.queues,
            minimum=self.minimum,
            common_from=COMMON_FROM,
            kept_versions=self.limits.kept_dataset_versions,
            clock=self.clock,
            projects=self.ingest.projects,
        )
        self.sweeping = SweepDatasets(
            datasets=self.datasets,
            parts=self.parts,
            clock=self.clock,
            deleted_after=timedelta(days=1),
            unreferenced_after=timedelta(days=1),
            projects=self.ingest.projects,
            labels=self.labels,
        )
        self.erasing = EraseExamples(datasets=self.datasets, parts=self.parts, leases=self.leases)

    async def _erased(self, _: str, end_users: Collection[str]) -> Mapping[str, datetime]:
        return {each: moment for each, moment in self.erased_until.items() if each in end_users}

    async def publish(self, name: ResourceKey, publishing: PublishVersions | None = None) -> bool:
        """Do what a worker does that gets the lease, and return whether it was done."""
        async with self.leases.held(name.key) as lease:
            return lease is not None and await (publishing or self.publishing)(name, epoch=lease.epoch) is None

    async def sweep(self, sweeping: SweepDatasets | None = None) -> int:
        """Do what the controller of the sweep does, and return how many objects went."""
        deleted = 0
        for name in (await self.parts.pending("", without=frozenset())).items:
            async with self.leases.held(name.key) as lease:
                deleted += 0 if lease is None else await (sweeping or self.sweeping)(name, epoch=lease.epoch)
        return deleted

    async def declared(self, *, share: float = 0.3, rules: tuple[LabelRule, ...] = ()) -> "Datasets":
        dataset = Dataset(id=NAME.id, project=NAME.project, held_out_share=share, label_rules=rules)
        await self.managing.create(ACME, dataset, Write(request=Request.internal()))
        return self

    async def deleted(self) -> None:
        await self.managing.delete(ACME, NAME.id, Write(request=Request.internal()))

    async def offered(self, messages: Sequence[ExampleMessage], *, seq: int = 1, authors: tuple[str, ...] = ()) -> None:
        """Offer the examples, and leave them to a worker."""
        offer = replace(offer_of(await stored(self.objects, messages), seq=seq), authors=authors)
        await self.offering(ACME, NAME.id, offer, request=Request(id=offer.id, digest=""))

    async def turned(
        self, messages: Sequence[ExampleMessage], *, seq: int = 1, authors: tuple[str, ...] = ()
    ) -> Dataset:
        """Offer the examples, let a worker do its work, and return the dataset."""
        await self.offered(messages, seq=seq, authors=authors)
        assert await self.publish(NAME)
        return await self.dataset()

    async def dataset(self) -> Dataset:
        return await self.managing.get(ACME, NAME.id)

    async def newest(self) -> DatasetVersion:
        return await self.reading.version(ACME, NAME.id)

    def stored(self) -> list[str]:
        """Return the keys of all objects of datasets."""
        return sorted(self.objects.buckets[DATASETS])

    def _enqueue(self, _: ResourceKey) -> None:
        self.enqueued += 1
