"""Documents of three subjects, and one that is about something else."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from services.rag.tests.fakes import Rag
from tidemill_core.application import Caller
from tidemill_kit.workers.bounded_processes import Shares
from tidemill_rag.topics.clustering import clusters_of
from tidemill_rag.topics.describe_topics import DescribeTopics
from tidemill_rag.topics.domain import Asked, Clusters, Sampled, Topics
from tidemill_rag.topics.ports import ComputeClusters
from tidemill_rag.topics.sampling import SampleDocuments

SUBJECTS = {
    "vpn": "vpn tunnel gateway token reconnect",
    "pay": "salary payslip bonus pension taxes",
    "food": "canteen menu lunch kitchen vegetarian",
}
NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)


@dataclass
class InPlace:
    """Implements `ports.ComputeClusters` here, and keeps what it was given."""

    given: list[Sampled] = field(default_factory=list)

    async def __call__(self, project: str, documents: Sequence[Sampled], *, count: int) -> Clusters:
        assert project
        self.given = list(documents)
        return clusters_of(b"".join(each.vector for each in documents), [each.text for each in documents], count)


@dataclass(kw_only=True)
class Described:
    """A collection `handbook` over `cms`, and what describes its topics."""

    rag: Rag = field(default_factory=Rag)
    max_documents: int = 200
    compute: ComputeClusters = field(default_factory=InPlace)
    places: Shares = field(default_factory=lambda: Shares(1, waiting=1, what="topics"))

    @property
    def describe(self) -> DescribeTopics:
        rag = self.rag
        sample = SampleDocuments(ledger=rag.ledger, vectors=rag.vectors, max_documents=self.max_documents)
        return DescribeTopics(
            collections=rag.collections, ledger=rag.ledger, sample=sample, compute=self.compute, places=self.places
        )

    async def __call__(self, **asked: Any) -> Topics:  # noqa: ANN401 - fields of Asked
        return await self.describe(Caller(project="acme"), Asked(collection="handbook", **asked))

    async def fill(self, per_subject: int = 12, *, readers: tuple[str, ...] = (), source: str = "cms") -> None:
        """Put documents of each subject, a day after one another, and index them."""
        for subject, words in SUBJECTS.items():
            for number in range(per_subject):
                text = f"please note {words} item{number}"
                await self.put(f"{source}-{subject}-{number:02}", text, readers, day=number)
        await self.rag.work()

    async def put(self, document: str, text: str, readers: tuple[str, ...] = (), *, day: int = 0) -> None:
        """Put a document whose version came so many days before noon of the 15th."""
        source = document.partition("-")[0]
        desired = self.rag.ingest.put(
            document,
            text,
            title=f"About {document}",
            readers=readers,
            source=source,
            version_time=NOON - timedelta(days=day),
        )
        await self.rag.consume(desired)


async def described(per_subject: int = 12) -> Described:
    """Return a collection with so many documents of each subject."""
    harness = Described()
    await harness.rag.handbook()
    await harness.fill(per_subject)
    return harness
