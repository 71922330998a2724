"""Gets both sides' answers to a case, on the same passages, or each on those of its index version."""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

from tidemill_core.application import Caller, derived_id
from tidemill_evaluator.evaluations.ask_patiently import AskPatiently, Patience, Unanswered
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.results import OTHER_MODEL, CaseAnswer, CaseResult
from tidemill_evaluator.evaluations.ports import (
    Answer,
    CaseName,
    CaseResults,
    Evaluations,
    Inference,
    PartialResult,
    Passage,
    Question,
)
from tidemill_evaluator.evaluations.turns import Turns
from tidemill_evaluator.metrics.domain.metric import LATENCY_S, GivenAnswer, Pair, PairScores, Scores
from tidemill_evaluator.metrics.registry import ALWAYS, Registry
from tidemill_evaluator.suites.domain.cases import Case

OTHER_INDEX = "OTHER_INDEX"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Parameters of an evaluation that are the same for all its cases."""

    caller: Caller
    evaluation: Evaluation
    deadline_s: float
    turns: Turns

    def question(self, name: CaseName, case: Case, *, side: str, variant: str) -> Question:
        """Return the question that one side receives for a case."""
        end_user = "" if case.owner else case.end_user  # this project knows no users of others
        whose = [end_user] if end_user else []
        return Question(
            request_id=derived_id("evaluation", self.evaluation.id, side, name.case_set, name.case, *whose),
            deployment=self.evaluation.comparing.deployment,
            text=case.question,
            context=case.context,
            deadline_s=self.deadline_s,
            variant=variant,
            end_user=end_user,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedAnswers:
    """Each answer is stored as it arrives, under the lease's epoch, so a resume repeats no question.

    Request ids derive from the evaluation, the side and the case. A side that fails to answer has failed the case. If a
    shared dependency is unavailable or inference is overloaded, neither side has failed: the evaluation waits. A missed
    deadline on a slow machine is no failure of a side either.
    """

    inference: Inference
    evaluations: Evaluations
    results: CaseResults
    metrics: Registry
    patience: Patience

    async def baseline(self, asking: Asking, case_set: str, case: Case) -> PartialResult:
        """Get and store the baseline's answer to a case, with its passages for the candidate.

        Raises:
            NoVerdict: it came from another configuration, or index version, than the one compared with.
            DependencyUnavailable: inference, or what it needs for every model, is unavailable or overloaded.
            EvaluationLost: a later epoch has the evaluation, or it was ended.

        """
        name = CaseName(case_set, case.id)
        kept = await self._baseline(asking, name, case)
        await self._keep(asking, name, kept)
        return kept

    async def candidate(self, asking: Asking, case_set: str, case: Case, kept: PartialResult) -> CaseResult:
        """Return the result of a case, resuming from a stored partial result.

        Raises:
            DependencyUnavailable, EvaluationLost: as `baseline`.

        """
        name = CaseName(case_set, case.id)
        candidate, passages = await self._candidate(asking, name, case, kept)
        pair = Pair(
            case=case,
            baseline=_answered(kept.baseline, kept.passages),
            candidate=_answered(candidate, passages),
            name=derived_id(asking.evaluation.id, case_set, case.id, str(asking.evaluation.epoch)),
            pins=asking.evaluation.pins,
        )
        names = self.metrics.applying(asking.evaluation.metrics_on(case_set), case)
        scores = await self._scores(asking, names, pair, kept.baseline)
        baseline, candidate = (
            _scored(answer, of_side)
            for answer, of_side in ((kept.baseline, scores.baseline), (candidate, scores.candidate))
        )
        rested = kept.rests_on or ()  # of a baseline that is an answer of an earlier evaluation
        rests_on = sorted({*rested, *(each.name for each in (*kept.passages, *passages))}, key=astuple)
        # The passages' texts are not needed any more.
        known = kept.rests_on is not None or not asking.evaluation.comparing.reevaluates
        whole = _of_case(case, baseline=baseline, candidate=candidate)
        whole = replace(whole, rests_on=tuple(rests_on) if known else None)
        await self._keep(asking, name, whole)
        return CaseResult(case_set=case_set, case=case.id, baseline=baseline, candidate=candidate)

    async def _scores(self, asking: Asking, names: Sequence[str], pair: Pair, baseline: CaseAnswer) -> PairScores:
        """Return the scores of both sides; a re-evaluation's baseline has those that it had when it passed.

        A latency alone has a value by both sides' load.
        """
        if not asking.evaluation.comparing.reevaluates:
            return await self.metrics.scores(asking.caller, names, pair)
        alone = [name for name in names if name != LATENCY_S]
        stored = {name: baseline.scores.get(name) for name in alone if name in {*baseline.scores, *baseline.missing}}
        scores = PairScores(baseline=stored)
        scores |= await self.metrics.scores(asking.caller, alone, replace(pair, baseline=None))
        return scores | await self.metrics.scores(asking.caller, [name for name in names if name not in alone], pair)

    async def _keep(self, asking: Asking, name: CaseName, kept: PartialResult) -> None:
        """Store what is known of a case, unless the evaluation was ended meanwhile: its cases may be erased."""
        evaluation = asking.evaluation
        now = await self.evaluations.get(evaluation.project, evaluation.id)
        now.refuse_unless_claimed(evaluation.epoch)
        await self.results.keep(evaluation.project, evaluation.id, name, kept, epoch=evaluation.epoch)

    async def _baseline(self, asking: Asking, name: CaseName, case: Case) -> PartialResult:
        evaluation, variant = asking.evaluation, asking.evaluation.comparing.baseline
        answer = await self._answer(asking, asking.question(name, case, side="baseline", variant=variant))
        if isinstance(answer, CaseAnswer):
            return _of_case(case, baseline=answer)
        if not variant:
            evaluation.refuse_other(answer.configuration)
        if evaluation.comparing.index:
            evaluation.refuse_other_index(answer.index)
        side, passages = _side(answer, model=evaluation.baseline), tuple(answer.passages)
        return replace(_of_case(case, baseline=side), passages=passages)

    async def _candidate(
        self, asking: Asking, name: CaseName, case: Case, kept: PartialResult
    ) -> tuple[CaseAnswer, Sequence[Passage]]:
        """Get the candidate's answer on the baseline's passages; without them the candidate retrieves its own.

        An index version is a candidate by what is found in it, so it always does.
        """
        comparing = asking.evaluation.comparing
        variant = "" if comparing.reevaluates else comparing.model
        question = asking.question(name, case, side="candidate", variant=variant)
        if comparing.reevaluates:  # it answers as users are answered, on what is found now
            answer = await self._answer(asking, question)
            if isinstance(answer, Answer):
                asking.evaluation.refuse_other(answer.configuration)
        elif comparing.index:
            answer = await self._answer(asking, replace(question, index=comparing.index))
        else:
            prompt = comparing.candidate if comparing.prompt else ""
            answer = await self._answer(asking, replace(question, prompt=prompt, passages=kept.passages))
        if isinstance(answer, CaseAnswer):
            return answer, ()
        if comparing.index and answer.index != comparing.index:
            return CaseAnswer(inference=answer.inference, failure=OTHER_INDEX), ()
        return _side(answer, model=comparing.model or asking.evaluation.baseline), answer.passages

    async def _answer(self, asking: Asking, question: Question) -> Answer | CaseAnswer:
        """Return the answer, or the side's failure."""
        ask = AskPatiently(inference=self.inference, patience=self.patience)
        answer = await ask(asking.caller, question, turns=asking.turns, again=str(asking.evaluation.epoch))
        return CaseAnswer(failure=answer.reason, total_s=answer.total_s) if isinstance(answer, Unanswered) else answer


def _answered(answer: CaseAnswer, passages: Sequence[Passage]) -> GivenAnswer | None:
    """Return what scorers see of an answer; None of a failure."""
    if answer.failure:
        return None
    return GivenAnswer(
        text=answer.text,
        inference=answer.inference,
        citation_valid=answer.citation_valid,
        total_s=answer.total_s,
        max_concurrent=answer.max_concurrent,
        output_tokens=answer.output_tokens,
        cost=answer.cost,
        passages=tuple(each.text for each in passages),
    )


def _scored(answer: CaseAnswer, scores: Scores) -> CaseAnswer:
    """Return an answer with its scores; a failure has 0 by what is always computed."""
    if answer.failure:
        return replace(answer, scores=dict.fromkeys(ALWAYS, 0.0))
    known = {name: score for name, score in scores.items() if score is not None and math.isfinite(score)}
    return replace(answer, scores=known, missing=tuple(sorted(scores.keys() - known.keys())))


def _of_case(case: Case, *, baseline: CaseAnswer, candidate: CaseAnswer | None = None) -> PartialResult:
    """Return what is stored of a case, with whose it is."""
    return PartialResult(
        baseline=baseline,
        candidate=candidate,
        end_user=case.end_user,
        corrected_by=case.corrected_by,
        owner=case.owner,
    )


def _side(answer: Answer, *, model: str) -> CaseAnswer:
    """Return the side's answer; an answer by a fallback model is a failure."""
    if answer.model != model:
        return CaseAnswer(inference=answer.inference, failure=OTHER_MODEL)
    return CaseAnswer(
        inference=answer.inference,
        text=answer.text,
        citation_valid=answer.citation_valid,
        total_s=answer.total_s,
        max_concurrent=answer.max_concurrent,
        output_tokens=answer.output_tokens,
        cost=answer.cost,
    )
