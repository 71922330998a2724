"""Record that a correction may become an example, when its event is consumed."""

from dataclasses import dataclass

from tidemill_core.application import PageRequest
from tidemill_feedback.curations.domain.ledger import CandidateExample
from tidemill_feedback.reactions.domain.feedback import Feedback, FeedbackState
from tidemill_feedback.reactions.domain.reaction import CORRECTION
from tidemill_feedback.reactions.ports import CurationStore, Enqueue, FeedbackStore, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCorrection:
    """Adds a row to each curation of the deployment and enqueues it. Idempotent."""

    feedback: FeedbackStore
    curations: CurationStore
    ledger: Ledger
    enqueue: Enqueue

    async def __call__(self, project: str, feedback_id: str) -> None:
        """Add the current version of the correction if it counts, else remove its rows.

        A curation that is created concurrently lists existing feedback afterwards, so none is missed.
        """
        found = (await self.feedback.get_many(project, [feedback_id])).get(feedback_id)
        if found is None or found.metric != CORRECTION:
            return
        if not teaches(found):
            await self.ledger.forget([found.id])
            return
        token, candidate = "", candidate_of(found)
        while True:
            page = await self.curations.list(
                project,
                page=PageRequest(size=1000, token=token),
                where={"rule.deployment": found.deployment},
            )
            for curation in page.items:
                if await self.ledger.upsert_correction(curation.ref, candidate):
                    self.enqueue(curation.ref)
            token = page.next_token
            if not token:
                return


def teaches(feedback: Feedback) -> bool:
    """Return whether a correction may become an example."""
    return feedback.state is FeedbackState.RECORDED and feedback.counts


def candidate_of(feedback: Feedback) -> CandidateExample:
    """Return a correction's reference without its text."""
    assert feedback.current is not None  # noqa: S101 - recorded feedback has something given
    return CandidateExample(
        feedback=feedback.id,
        seq=feedback.seq,
        inference=feedback.inference,
        deployment=feedback.deployment,
        end_user=feedback.end_user,
        observe_time=feedback.current.observe_time,
        rater=feedback.rater,
    )
