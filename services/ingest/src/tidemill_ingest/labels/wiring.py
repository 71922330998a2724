"""Labels, put together."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from tidemill_ingest.documents.ports import Documents
from tidemill_ingest.feature import Wired
from tidemill_ingest.labels.events import ReviewedItems
from tidemill_ingest.labels.keep_labels import KeepLabels
from tidemill_ingest.labels.mongo import COLLECTION
from tidemill_ingest.labels.ports import Labels
from tidemill_ingest.projects import Projects
from tidemill_ingest.settings import IngestSettings
from tidemill_kit.erasure.documents import documents as documents_step
from tidemill_kit.erasure.steps import Scope, Step, Target
from tidemill_kit.service.backend import Backend


@dataclass(frozen=True, slots=True)
class KnownErasures:
    """Implements `ports.Erased`."""

    backend: Backend
    projects: Projects

    async def documents(self, project: str, document: str, /) -> datetime | None:
        """See `Erased.documents`."""
        return await self.projects.erased_until(project, document)

    async def people(self, project: str, people: Collection[str], /) -> Mapping[str, datetime]:
        """See `Erased.people`."""
        return await self.backend.erased.end_users(project, people)


def wire_labels(
    backend: Backend, settings: IngestSettings, *, labels: Labels, documents: Documents, projects: Projects
) -> Wired:
    """Put the consumer of reviews together, and what is erased of labels."""
    keep = KeepLabels(labels=labels, documents=documents, erased=KnownErasures(backend, projects))

    async def of_document(target: Target) -> int:
        return await labels.erase_document(target.project, target.subject)

    async def of_person(target: Target) -> int:
        return await labels.forget_person(target.project, target.subject)

    return Wired(
        consumers=[ReviewedItems(keep=keep).subscription(settings.review_topics)],
        erasures={
            Scope.PROJECT: [documents_step("labels", backend.database[COLLECTION])],
            Scope.DOCUMENT: [Step(kind="labels", erase=of_document)],
            Scope.END_USER: [Step(kind="names of reviewers", erase=of_person)],
        },
    )
