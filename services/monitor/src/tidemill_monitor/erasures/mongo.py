"""How erasures are stored, and found by what they wait for."""

from collections.abc import Sequence
from datetime import datetime

from tidemill_kit.mapping import DocumentCodec, Form
from tidemill_kit.store.aggregates import FOR_READING, decoded
from tidemill_kit.store.mongo import Collection, Document, translated
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_monitor.erasures.domain.erasure import Erasure
from tidemill_monitor.erasures.messages import erasure_payload

ERASURES = DocumentCodec(
    Erasure,
    {
        Erasure: Form(
            derived={
                "certifiable": lambda erasure: erasure.certifiable,
                "pending": lambda erasure: not erasure.completed,
            }
        )
    },
    event=erasure_payload,
)
_PENDING: Document = {"state.pending": True}
_CERTIFIABLE: Document = {"state.certifiable": True}
_DELETING: Document = {"state.state": "deleting"}


class MongoDueErasures:
    """Implements `ports.DueErasures` on the aggregates' collection."""

    def __init__(self, erasures: Collection) -> None:
        self._erasures = erasures

    async def ensure_indexes(self) -> None:
        """Create the index of the few that are pending."""
        with translated():
            await self._erasures.create_index(
                [("state.pending", 1), ("state.due_time", 1)], partialFilterExpression=_PENDING
            )

    async def pending_before(self, moment: datetime, *, limit: int) -> Sequence[Erasure]:
        """See `DueErasures.pending_before`."""
        query = {**_PENDING, "state.due_time": {"$lt": moment}}
        with translated():
            found = await self._erasures.find(query, FOR_READING).sort("state.due_time", 1).limit(limit).to_list(None)
        return [decoded(ERASURES, each) for each in found]


def certifiable_erasures(erasures: Collection) -> PendingDocuments:
    """Find the erasures that all services have reported."""
    return PendingDocuments(erasures, _CERTIFIABLE, index="state.certifiable", partialFilterExpression=_CERTIFIABLE)


def deleting_projects(projects: Collection) -> PendingDocuments:
    """Find the projects whose data is to be erased."""
    return PendingDocuments(projects, _DELETING, index="state.state", partialFilterExpression=_DELETING)
