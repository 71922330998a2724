"""Runs an evaluation; a worker may be killed at any point and another one resumes."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tidemill_core.application import Caller, Clock, Request, Requeue
from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied
from tidemill_evaluator.errors import (
    BASELINE_CHANGED,
    COLLECTION_CHANGED,
    COLLECTION_UNAVAILABLE,
    DATA_ERASED,
    DEPLOYMENT_UNAVAILABLE,
    JUDGE_CHANGED,
    NO_CASES,
    OF_JUDGES,
    PASSING,
    CasesErased,
    EvaluationLost,
    EvaluationNotFound,
    NoVerdict,
    first_of,
    waits_for,
)
from tidemill_evaluator.evaluations.collect_cases import CollectCases
from tidemill_evaluator.evaluations.compare_prompts import ComparePrompts, refuse_other_prompt
from tidemill_evaluator.evaluations.compare_slices import CompareSlices
from tidemill_evaluator.evaluations.compare_versions import CompareVersions
from tidemill_evaluator.evaluations.compute_verdict import ComputeVerdict
from tidemill_evaluator.evaluations.domain.clusters import Traits, TraitsByCase, numbered
from tidemill_evaluator.evaluations.domain.comparison import Comparison, Latencies, latencies_of
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.gaps import with_gaps
from tidemill_evaluator.evaluations.domain.job import UNFINISHED, State
from tidemill_evaluator.evaluations.domain.results import CaseResult
from tidemill_evaluator.evaluations.domain.slices import NO_SLICES, ComparedSlices, slices_of
from tidemill_evaluator.evaluations.paired_answers import Asking, PairedAnswers
from tidemill_evaluator.evaluations.ports import (
    CaseName,
    CaseResults,
    Evaluations,
    Inference,
    Levels,
    Live,
    PartialResult,
    RetrievalComparisons,
)
from tidemill_evaluator.evaluations.read_reference import ReadReference, Reference, refuse_not_live
from tidemill_evaluator.evaluations.triggers import EvaluationTriggers
from tidemill_evaluator.evaluations.turns import NewTurns
from tidemill_evaluator.gates.domain.dependence import DEFAULT
from tidemill_evaluator.metrics.registry import Registry
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.ports import Cases

Asked = Sequence[tuple[str, Case]]

SOON = Requeue(after=timedelta(seconds=1), keep_lease=True)
"""For what this service itself does meanwhile: the comparison of searches. A lease that is kept is no write each time.
"""
IN_TURN = 64
"""Batch of cases whose baselines are generated before their candidates: alternating models is faster than mixing
them.
"""


@dataclass(slots=True, kw_only=True)
class EvaluationProgress:
    """Progress of this worker in an evaluation."""

    began: datetime
    ahead: int
    """Answers to generate, of both sides."""
    asked: int = 0
    results: list[CaseResult] = field(default_factory=list)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def remaining_s(self, now: datetime) -> float | None:
        """Estimate the remaining time from the pace so far; None before the first answer."""
        return (now - self.began).total_seconds() / self.asked * (self.ahead - self.asked) if self.asked else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvaluation:
    """Emits EvaluationHasStarted, then EvaluationHasCompleted or EvaluationHasFailed.

    One worker at a time holds the lease, and writes of an earlier epoch are refused. Baseline and cases are pinned
    first; answers are stored as they arrive.
    """

    evaluations: Evaluations
    inference: Inference
    cases: Cases
    results: CaseResults
    gather: CollectCases
    levels: Levels
    ask: PairedAnswers
    metrics: Registry
    compute_verdict: ComputeVerdict
    compare_slices: CompareSlices
    compare_versions: CompareVersions
    compare_prompts: ComparePrompts
    reference: ReadReference
    retrieval: RetrievalComparisons
    triggers: EvaluationTriggers
    max_concurrent: asyncio.Semaphore
    """Cases in flight in this process, over all its evaluations."""
    turns: NewTurns
    clock: Clock

    async def __call__(self, caller: Caller, evaluation_id: str, *, epoch: int) -> Requeue | None:
        """Run the evaluation under a lease with this epoch; `Requeue` means that it waits for another service."""
        try:
            return await self._run(caller, evaluation_id, epoch)
        except EvaluationNotFound:
            return None
        except EvaluationLost:  # it is finished or cancelled, or another worker has it
            await self._stop_searches(caller, evaluation_id)
            return None

    async def _run(self, caller: Caller, evaluation_id: str, epoch: int) -> Requeue | None:
        evaluation = await self.evaluations.update(
            caller.project, evaluation_id, lambda e: e.claim(epoch), request=Request.internal()
        )
        try:
            return await self._compare(caller, evaluation)
        except PASSING as passing:
            message = waits_for(passing)
            await self._write(evaluation, lambda e: e.wait(message, epoch=epoch))
            return Requeue()
        except NoVerdict as none:
            await self._fail(caller, evaluation, none)
        return None

    async def _stop_searches(self, caller: Caller, evaluation_id: str) -> None:
        """Cancel what compares the searches of an evaluation that ended while this worker started it."""
        with suppress(EvaluationNotFound):
            evaluation = await self.evaluations.get(caller.project, evaluation_id)
            if evaluation.comparing.collection and evaluation.state not in UNFINISHED:
                await self.retrieval.stop(caller, evaluation)

    async def _compare(self, caller: Caller, evaluation: Evaluation) -> Requeue | None:
        live = await self._live(caller, evaluation)
        if evaluation.state is State.QUEUED:
            evaluation = await self._begin(caller, evaluation, live)
        evaluation.refuse_other(live.digest)
        known = await self.compare_versions(caller, evaluation)
        if not all(each.holds for each in known):  # nothing has to be asked
            await self._complete(evaluation, known)
            return None
        searches = list[Comparison]()
        if evaluation.comparing.collection:
            evaluation = await self._with_searches(caller, evaluation)
            compared = await self.retrieval.result(caller, evaluation)
            if compared is None:
                return SOON
            evaluation = await self._with_baseline_index(evaluation, compared.baseline_index)
            searches.append(compared.comparison)
            if not compared.comparison.holds:  # nothing has to be asked
                await self._complete(evaluation, searches)
                return None
        results, reference = await self._answers(caller, evaluation, live)
        numbers = await self._counted(caller, evaluation, live)
        traits = await asyncio.to_thread(_traits, reference.asked, evaluation)
        results = await asyncio.to_thread(with_gaps, results, traits)
        comparisons = await self.compute_verdict(evaluation, results, traits, numbers)
        slices = await self.compare_slices(evaluation, results, traits, numbers)
        await self._complete(
            evaluation,
            [*known, *searches, *comparisons],
            slices=slices,
            latencies=latencies_of(results),
            numbers=numbers,
            left_out=reference.left_out,
        )
        return None

    async def _with_searches(self, caller: Caller, evaluation: Evaluation) -> Evaluation:
        """Return it with what compares the searches, which is started once."""
        if evaluation.retrieval_evaluation:
            return evaluation
        started, epoch = await self.retrieval.started(caller, evaluation), evaluation.epoch
        return await self._write(evaluation, lambda e: e.compare_retrieval(started, epoch=epoch))

    async def _with_baseline_index(self, evaluation: Evaluation, index: int) -> Evaluation:
        """Return it with the index version that the baseline has to answer from."""
        if evaluation.baseline_index == index:
            return evaluation
        epoch = evaluation.epoch
        return await self._write(evaluation, lambda e: e.record_baseline_index(index, epoch=epoch))

    async def _answers(
        self, caller: Caller, evaluation: Evaluation, live: Live
    ) -> tuple[Sequence[CaseResult], Reference]:
        """Return enough results for a verdict, and what was asked."""
        reference = await self.reference(evaluation, await self._asked(evaluation))
        asked = reference.asked
        await self.compare_prompts.check(caller, evaluation, [case for _, case in asked])
        names = [CaseName(case_set, case.id) for case_set, case in asked]
        known = {**reference.known, **await self.results.read(evaluation.project, evaluation.id, names)}
        turns = self.turns(live.deadline_s, steady=evaluation.compares_times)
        asking = Asking(caller=caller, evaluation=evaluation, deadline_s=live.deadline_s, turns=turns)
        results = await self._ask_all(asking, asked, known)
        evaluation.refuse_other((await self._live(caller, evaluation)).digest)
        await self.compare_prompts.check_newest(caller, evaluation)
        if evaluation.comparing.collection:
            await self.retrieval.check_unchanged(caller, evaluation)
        self.compute_verdict.refuse_unanswered(evaluation, results)
        return results, reference

    async def _counted(self, caller: Caller, evaluation: Evaluation, live: Live) -> Mapping[str, int]:
        """Count the candidate of an evaluation that comes to a verdict; return its number on each set of cases.

        One by hand counts, since people look at it, but is not corrected. Index versions are built, not chosen by
        cases: they are not counted.
        """
        comparing = evaluation.comparing
        if comparing.collection or comparing.reevaluates or comparing.counted_as == live.model:
            return {}
        current = await self.evaluations.get(evaluation.project, evaluation.id)
        current.refuse_unless_claimed(evaluation.epoch)  # one that was cancelled takes no number
        numbers = await self.levels(
            caller,
            baseline=live.model,
            candidate=comparing.counted_as,
            case_sets=[each.name for each in evaluation.case_sets],
        )
        return numbers if comparing.gate else {}

    async def _complete(  # noqa: PLR0913 - all of it is known at once
        self,
        evaluation: Evaluation,
        comparisons: Sequence[Comparison],
        *,
        slices: ComparedSlices = NO_SLICES,
        latencies: Latencies | None = None,
        numbers: Mapping[str, int] | None = None,
        left_out: int = 0,
    ) -> None:
        now, epoch = self.clock.now(), evaluation.epoch
        await self._write(
            evaluation,
            lambda e: e.complete(
                comparisons,
                slices=slices,
                latencies=latencies,
                numbers=numbers,
                left_out=left_out,
                now=now,
                epoch=epoch,
            ),
        )

    async def _begin(self, caller: Caller, evaluation: Evaluation, live: Live) -> Evaluation:
        gathered = await self.gather(caller, evaluation, live_model=live.model)
        comparing, now = evaluation.comparing, self.clock.now()
        baseline = comparing.baseline or live.model
        pins = await self.metrics.pin(
            caller,
            [*(each.metric for each in comparing.require), *comparing.metrics],
            answering=[baseline, comparing.model or baseline],
            gating=bool(comparing.gate),
        )
        return await self._write(
            evaluation,
            lambda e: e.begin(
                baseline=baseline,
                baseline_configuration=live.digest,
                baseline_prompt=live.prompt if comparing.prompt else "",
                dataset_version=gathered.dataset_version,
                case_sets=gathered.case_sets,
                pins=pins,
                now=now,
                epoch=evaluation.epoch,
            ),
        )

    async def _asked(self, evaluation: Evaluation) -> Asked:
        """Return every case with its set; missing or invalid cases raise NoVerdict.

        Where cases that it began with were erased, its answers are to other cases than those left.
        """
        asked = list[tuple[str, Case]]()
        for case_set in evaluation.case_sets:
            try:
                cases = await self.cases.read(evaluation.project, case_set)
            except (NotFound, InvalidInput, PermissionDenied) as error:
                if isinstance(error, CasesErased):
                    message = f"cases of {case_set.name} were erased since the evaluation started"
                    raise NoVerdict(DATA_ERASED, message) from error
                message = f"the cases of {case_set.name} cannot be read: {error.message}"
                raise NoVerdict(NO_CASES, message) from error
            asked += [(case_set.name, case) for case in cases]
        return asked

    async def _ask_all(
        self, asking: Asking, asked: Asked, known: Mapping[CaseName, PartialResult]
    ) -> Sequence[CaseResult]:
        results = [
            result
            for case_name, kept in known.items()
            if (result := kept.result(case_name.case_set, case_name.case)) is not None
        ]
        done = {(result.case_set, result.case) for result in results}
        todo = [(case_set, case) for case_set, case in asked if (case_set, case.id) not in done]
        firsts = sum(CaseName(case_set, case.id) not in known for case_set, case in todo)
        progress = EvaluationProgress(began=self.clock.now(), ahead=len(todo) + firsts, results=results)

        async def baseline(case_set: str, case: Case) -> PartialResult:
            async with self.max_concurrent:
                if kept := known.get(CaseName(case_set, case.id)):
                    return kept
                kept = await self.ask.baseline(asking, case_set, case)
            progress.asked += 1
            await self._report(asking.evaluation, progress)
            return kept

        async def candidate(case_set: str, case: Case, first: asyncio.Task[PartialResult]) -> None:
            async with self.max_concurrent:  # in order, so that the baseline precedes the candidate
                kept = await first
                result = await self.ask.candidate(asking, case_set, case, kept)
            progress.results.append(result)
            if not result.answered:
                self.compute_verdict.refuse_undecided(asking.evaluation, progress.results)
            elif result.baseline.missing or result.candidate.missing:
                self.compute_verdict.refuse_unreliable(asking.evaluation, progress.results)
            progress.asked += 1
            await self._report(asking.evaluation, progress)

        await self._report(asking.evaluation, progress)
        try:
            async with asyncio.TaskGroup() as group:
                for start in range(0, len(todo), IN_TURN):
                    turn = todo[start : start + IN_TURN]
                    first = [group.create_task(baseline(*each)) for each in turn]
                    for each, task in zip(turn, first, strict=True):
                        group.create_task(candidate(*each, task))
        except ExceptionGroup as failures:
            raise first_of(failures) from failures
        return sorted(progress.results, key=lambda result: (result.case_set, result.case))

    async def _report(self, evaluation: Evaluation, progress: EvaluationProgress) -> None:
        async with progress.writing:
            answered, remaining_s = len(progress.results), progress.remaining_s(self.clock.now())
            await self._write(
                evaluation, lambda e: e.progress(answered, remaining_s=remaining_s, epoch=evaluation.epoch)
            )

    async def _fail(self, caller: Caller, evaluation: Evaluation, none: NoVerdict) -> None:
        """End without a verdict; where what it compares with has changed, the next attempt is queued first."""
        message = none.message
        retried = none.reason in {BASELINE_CHANGED, COLLECTION_CHANGED, DATA_ERASED, JUDGE_CHANGED}
        if retried and not evaluation.comparing.reevaluates:
            again = await self.triggers.again(caller, evaluation)
            message += "; the next attempt is queued" if again else "; start another evaluation"
        elif none.reason in OF_JUDGES:
            message += "; then start another evaluation"
        now, epoch = self.clock.now(), evaluation.epoch
        await self._write(evaluation, lambda e: e.fail(reason=none.reason, message=message, now=now, epoch=epoch))
        if evaluation.comparing.collection:
            await self.retrieval.stop(caller, evaluation)

    async def _live(self, caller: Caller, evaluation: Evaluation) -> Live:
        deployment, collection = evaluation.comparing.deployment, evaluation.comparing.collection
        try:
            live = await self.inference.live(caller, deployment)
        except NotFound as error:
            message = f"deployment {deployment} does not exist"
            raise NoVerdict(DEPLOYMENT_UNAVAILABLE, message) from error
        if collection and (live.collection != collection or live.index):
            searched = (
                f"index version {live.index} of {live.collection}" if live.index else live.collection or "nothing"
            )
            message = f"deployment {deployment} searches {searched}, and not what is live of {collection}"
            raise NoVerdict(COLLECTION_UNAVAILABLE, message)
        (refuse_not_live if evaluation.comparing.reevaluates else refuse_other_prompt)(evaluation, live)
        return live

    async def _write(self, evaluation: Evaluation, change: Callable[[Evaluation], None]) -> Evaluation:
        return await self.evaluations.update(evaluation.project, evaluation.id, change, request=Request.internal())


def _traits(asked: Asked, evaluation: Evaluation) -> TraitsByCase:
    by_set = defaultdict[str, list[Case]](list)
    for name, case in asked:
        by_set[name].append(case)
    found: dict[tuple[str, str], Traits] = {}
    for case_set in evaluation.case_sets:
        cases = by_set[case_set.name]
        slices = slices_of(cases, held_out=bool(case_set.dataset))
        traits = numbered(cases, evaluation.comparing.cluster_by or DEFAULT)
        found |= {(case_set.name, case): replace(traits[case], slices=slices[case]) for case in traits}
    return found
