"""Record that a reaction may become an example, when its event is consumed."""

from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_core.resources import list_all
from tidemill_feedback.curations.domain.ledger import CandidateExample
from tidemill_feedback.curations.ports import CurationStore, Enqueue, Ledger
from tidemill_feedback.reactions.domain.reaction import TEACHING
from tidemill_feedback.reactions.ports import FeedbackStore


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCorrection:
    """Adds a row to each curation of the deployment that takes the metric, and enqueues it. Idempotent."""

    feedback: FeedbackStore
    curations: CurationStore
    ledger: Ledger
    enqueue: Enqueue

    async def __call__(self, caller: Caller, feedback_id: str) -> None:
        """Add the current version of the reaction if it counts, else exclude its rows.

        A curation that is created concurrently lists existing feedback afterwards, so none is missed.
        """
        found = (await self.feedback.get_many(caller.project, [feedback_id])).get(feedback_id)
        if found is None or found.metric not in TEACHING:
            return
        if not found.teaches:
            await self.ledger.exclude(found.id, seq=found.seq)
            return
        candidate = CandidateExample.of(found)
        async for curation in list_all(self.curations, caller.project, where={"rule.deployment": found.deployment}):
            takes = found.metric in curation.rule.feedback
            if takes and await self.ledger.upsert_correction(curation.ref, candidate):
                self.enqueue(curation.ref)
