"""Write down that a correction may become an example, as the event of what was saved reports, at least once."""

from dataclasses import dataclass

from tidemill_feedback.application.ports import CurationStore, Enqueue, FeedbackStore, Ledger
from tidemill_feedback.domain.feedback import Feedback, FeedbackState
from tidemill_feedback.domain.ledger import CandidateExample
from tidemill_feedback.domain.reaction import CORRECTION
from tidemill_kit.core.application import PageRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCorrection:
    """Fills the ledger of every curation of the deployment, and notifies the worker. Repetitions change nothing."""

    feedback: FeedbackStore
    curations: CurationStore
    ledger: Ledger
    enqueue: Enqueue

    async def __call__(self, project: str, feedback_id: str) -> None:
        """Want the correction as it is now, if it counts; one that was withdrawn leaves the curations.

        A curation that is created after this reading lists the feedback later than that, so nothing is missed.
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
                if await self.ledger.upsert_desired(curation.ref, candidate):
                    self.enqueue(curation.ref)
            token = page.next_token
            if not token:
                return


def teaches(feedback: Feedback) -> bool:
    """Return whether a correction may become an example."""
    return feedback.state is FeedbackState.RECORDED and feedback.counts


def candidate_of(feedback: Feedback) -> CandidateExample:
    """Return what a curation keeps of a correction: no text."""
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
