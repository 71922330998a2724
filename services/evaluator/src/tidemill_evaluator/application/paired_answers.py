"""Ask one case of both sides, on the same passages."""

import asyncio
from dataclasses import dataclass, replace

from tidemill_evaluator.application.ports import (
    Answer,
    CaseName,
    CaseResults,
    Inference,
    PartialResult,
    Question,
    Scores,
)
from tidemill_evaluator.application.turns import NotInTime, Turns
from tidemill_evaluator.domain.cases import NOT_IN_TIME, TEXT_NOT_KEPT, Case, CaseAnswer, CaseResult
from tidemill_evaluator.domain.errors import BASELINE_CHANGED, NoVerdict
from tidemill_evaluator.domain.evaluation import Evaluation
from tidemill_evaluator.domain.metrics import scores_of
from tidemill_kit.core.application import derived_id
from tidemill_kit.core.errors import Conflict, DependencyUnavailable, RateLimited, TidemillError

OTHER_MODEL = "OTHER_MODEL"
_OUT_OF_CAPACITY = frozenset({"memory", "disk"})
_SHARED = _OUT_OF_CAPACITY | {
    "inference",
    "server",
    "rag",
    "qdrant",
    "vectors",
    "trainer",
    "ingest",
    "mongodb",
    "s3",
    "kafka",
}
"""Dependencies of both sides alike, as inference names them; the others are a model's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a case is asked where the service does not answer, and the pause before the second time.

    One that does not answer in time is asked more often: each time fewer others are asked beside it, in the end none.
    """

    attempts: int = 3
    pause_s: float = 1.0
    attempts_in_time: int = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What is the same for every case of an evaluation in the hands of one worker."""

    evaluation: Evaluation
    epoch: int
    deadline_s: float
    turns: Turns

    def question(self, name: CaseName, case: Case, *, side: str, variant: str) -> Question:
        """Return a case as one side is asked it."""
        return Question(
            request_id=derived_id("evaluation", self.evaluation.id, side, name.case_set, name.case),
            deployment=self.evaluation.comparing.deployment,
            text=case.question,
            context=case.context,
            deadline_s=self.deadline_s,
            variant=variant,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedAnswers:
    """Each side's answer is kept as it comes, under the lease's epoch, so that a resume asks nothing twice.

    Request ids derive from the evaluation, the side and the case. A side that fails to answer has failed the case; but
    while something is away that both sides need, or inference has no space, nobody has: the evaluation waits. Nor has
    anybody where the machine was too slow for the deadline.
    """

    inference: Inference
    results: CaseResults
    scores: Scores
    patience: Patience

    async def baseline(self, asking: Asking, case_set: str, case: Case) -> PartialResult:
        """Return the baseline's answer to one case, which is kept, with the passages for the candidate.

        Raises:
            NoVerdict: it came from another configuration than the one compared with.
            DependencyUnavailable: inference, or what it needs for every model, does not answer or has no space.
            EvaluationLost: a later epoch has the evaluation.

        """
        name, evaluation = CaseName(case_set, case.id), asking.evaluation
        kept = await self._baseline(asking, name, case)
        await self.results.keep(evaluation.project, evaluation.id, name, kept, epoch=asking.epoch)
        return kept

    async def candidate(self, asking: Asking, case_set: str, case: Case, kept: PartialResult) -> CaseResult:
        """Return the result of one case, going on with what was kept of it.

        Raises:
            DependencyUnavailable, EvaluationLost: as `baseline`.

        """
        name, evaluation = CaseName(case_set, case.id), asking.evaluation
        candidate = await self._candidate(asking, name, case, kept)
        texts = [kept.baseline.text, candidate.text]
        rouge_l = await self.scores.rouge_l(case.reference, texts)
        baseline, candidate = (
            replace(answer, scores=scores_of(case.reference, answer, rouge_l=score))
            for answer, score in zip((kept.baseline, candidate), rouge_l, strict=True)
        )
        whole = PartialResult(
            baseline=baseline, candidate=candidate
        )  # without the passages, which nobody needs any more
        await self.results.keep(evaluation.project, evaluation.id, name, whole, epoch=asking.epoch)
        return CaseResult(case_set=case_set, case=case.id, baseline=baseline, candidate=candidate)

    async def _baseline(self, asking: Asking, name: CaseName, case: Case) -> PartialResult:
        evaluation, variant = asking.evaluation, asking.evaluation.comparing.baseline
        answer = await self._answer(asking, asking.question(name, case, side="baseline", variant=variant))
        if isinstance(answer, CaseAnswer):
            return PartialResult(baseline=answer)
        if not variant and answer.configuration != evaluation.baseline_configuration:
            raise baseline_changed(evaluation)
        return PartialResult(baseline=_side(answer, model=evaluation.baseline), passages=tuple(answer.passages))

    async def _candidate(self, asking: Asking, name: CaseName, case: Case, kept: PartialResult) -> CaseAnswer:
        """Ask the candidate on the baseline's passages; where the baseline failed, it searches itself."""
        variant = asking.evaluation.candidate
        question = asking.question(name, case, side="candidate", variant=variant)
        answer = await self._answer(asking, replace(question, passages=kept.passages))
        return answer if isinstance(answer, CaseAnswer) else _side(answer, model=variant)

    async def _answer(self, asking: Asking, question: Question) -> Answer | CaseAnswer:
        """Return the answer, or how the side failed.

        An answer that was not kept here, and that inference reports again from its record, has lost its passages'
        texts: it is asked anew, once in each life of a worker.
        """
        answer = await self._patiently(asking, question)
        if isinstance(answer, Answer) and not answer.whole:
            again = replace(question, request_id=derived_id(question.request_id, "again", str(asking.epoch)))
            answer = await self._patiently(asking, again)
        if isinstance(answer, Answer) and not answer.whole:
            return CaseAnswer(failure=TEXT_NOT_KEPT)
        return answer

    async def _patiently(self, asking: Asking, question: Question) -> Answer | CaseAnswer:
        attempts = late = 0
        while True:
            try:
                async with asking.turns.take() as turn:
                    answer = await self.inference.ask(asking.evaluation.project, question)
                return replace(answer, max_concurrent=turn.max_concurrent)
            except NotInTime as error:
                late += 1
                if late >= self.patience.attempts_in_time:
                    _refuse_shared(error.cause)
                    return CaseAnswer(failure=NOT_IN_TIME)
            except (DependencyUnavailable, RateLimited, Conflict) as error:
                attempts += 1
                if attempts >= self.patience.attempts:
                    _refuse_shared(error)
                    await self.inference.live(asking.evaluation.project, question.deployment)  # raises where it is away
                    return CaseAnswer(failure=error.reason)
                waited = error.retry_after_s if isinstance(error, RateLimited) else 0.0
                await asyncio.sleep(max(waited, self.patience.pause_s * 2 ** (attempts - 1)))
            except TidemillError as error:
                return CaseAnswer(failure=error.reason)


def baseline_changed(evaluation: Evaluation) -> NoVerdict:
    """Return the error for a deployment whose live configuration is another than at the start."""
    message = f"what is live in {evaluation.comparing.deployment} has changed since the comparison began"
    return NoVerdict(BASELINE_CHANGED, message)


def _refuse_shared(error: TidemillError) -> None:
    """Raise where the model that was asked is not at fault."""
    if isinstance(error, RateLimited):
        raise DependencyUnavailable(error.message, dependency="inference") from error
    if isinstance(error, DependencyUnavailable) and error.dependency in _SHARED:
        raise error


def _side(answer: Answer, *, model: str) -> CaseAnswer:
    """Return the side's answer; a fallback that stepped in answers for nobody."""
    if answer.model != model:
        return CaseAnswer(inference=answer.inference, failure=OTHER_MODEL)
    return CaseAnswer(
        inference=answer.inference,
        text=answer.text,
        citation_valid=answer.citation_valid,
        total_s=answer.total_s,
        max_concurrent=answer.max_concurrent,
    )
