"""Run the candidate on a copy of a live request; the answer is recorded but not returned."""

from dataclasses import dataclass, replace

from tidemill_core.application import Request, derived_id
from tidemill_inference.background import background
from tidemill_inference.generation.answer import AnswerQuestion
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.outcome import AnswerOutcome
from tidemill_inference.generation.domain.question import Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerShadow:
    """The copy is asked on the same passages, unless the candidate is the index version that finds its own.

    Its request id comes from the live inference, so it is asked once.
    """

    answer: AnswerQuestion

    async def __call__(self, live: AnswerOutcome) -> Inference:
        """Return the candidate's answer.

        Raises:
            NoActiveRollout: the shadow step is over.
            TidemillError: as any answer.

        """
        inference, rollout = live.inference, live.chosen.rollout
        question = replace(
            live.question,
            purpose=Purpose.SHADOW,
            passages=None if live.chosen.searches_anew else tuple(inference.passages),
            rollout=rollout,
            variant="",
            conversation="",
            store=False if live.question.store is False else None,  # no client could name the copy
        )
        request = Request.of(derived_id("shadow", rollout, inference.id), inference.request_digest.encode())
        return await self.answer.whole(background(inference.project), question, request=request)
