"""Use case: measure how far a judge agrees with people, on the resolved items of a review queue."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Request, Requeue, ResourceKey
from tidemill_core.errors import Conflict, InvalidInput, TidemillError
from tidemill_core.resources import Write
from tidemill_evaluator.errors import (
    JUDGE_CHANGED,
    JUDGE_UNAVAILABLE,
    JUDGE_UNRELIABLE,
    PASSING,
    TOO_FEW_LABELS,
    JudgeNotFound,
    MeasurementLost,
    NoVerdict,
    first_of,
    waits_for,
)
from tidemill_evaluator.judges.ask_judge import AskJudge
from tidemill_evaluator.judges.domain.agreement import (
    CONFIDENCE,
    MAX_UNJUDGED,
    THRESHOLD,
    JudgeAgreement,
    Labelled,
    disagreements,
    kappa_of,
)
from tidemill_evaluator.judges.domain.drift import fixed_cases
from tidemill_evaluator.judges.domain.judge import Judge, JudgeInput, JudgeMode
from tidemill_evaluator.judges.pin_judges import PinJudges, judges_itself
from tidemill_evaluator.judges.ports import (
    DisagreementIntervals,
    EnqueueJudge,
    JudgedItem,
    JudgedItems,
    Judges,
    LabelledItem,
    Measured,
    PinnedJudge,
    Records,
    ReviewField,
    ReviewQueues,
)

T = TypeVar("T")
_REPORTED = 10
"""Judgements between two reports of progress."""
MIN_ITEMS = 10
"""Answers that both have judged, for an agreement to be stated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartMeasurement:
    """Checks judge, queue and field; a worker does the rest."""

    judges: Judges
    queues: ReviewQueues
    enqueue: EnqueueJudge

    async def __call__(self, caller: Caller, judge_id: str, *, queue: str, field: str, write: Write) -> Judge:
        """Return the judge, whose measurement is RUNNING.

        Raises:
            InvalidInput: the queue or the field does not exist, or cannot measure this judge.
            JudgeNotFound: there is none.
            JudgeBusy: a measurement is under way.
            DependencyUnavailable: feedback is unavailable.

        """
        judge = await self.judges.get(caller.project, judge_id)
        _refuse_unmeasurable(judge)
        _checked(await self.queues.fields(caller, queue), queue=queue, field=field)

        def begin(judge: Judge) -> None:
            _refuse_unmeasurable(judge)
            judge.begin_measurement(queue=queue, field=field)

        begun = await resources.update(self.judges, caller.project, judge_id, begin, write)
        if not write.validate_only:
            self.enqueue(ResourceKey(project=caller.project, id=judge_id))
        return begun


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What one worker does of a measurement."""

    caller: Caller
    pinned: PinnedJudge
    measured: Measured
    epoch: int

    def name_of(self, item: str) -> str:
        return f"{self.measured.version}/{self.measured.measurement}/{item}/{self.epoch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureJudge:
    """Each judgement is stored as it arrives, so that a worker that resumes asks none twice."""

    judges: Judges
    pins: PinJudges
    ask: AskJudge
    queues: ReviewQueues
    records: Records
    judged: JudgedItems
    intervals: DisagreementIntervals
    max_items: int
    drift_cases: int
    """Answers that are judged twice, so that it is known how far the judge repeats itself."""
    clock: Clock

    async def __call__(self, caller: Caller, judge_id: str, *, epoch: int) -> Requeue | None:
        """Measure under a lease with this epoch; `Requeue` means that it waits for another service."""
        try:
            return await self._run(caller, judge_id, epoch)
        except (JudgeNotFound, MeasurementLost):
            return None  # it has ended, or another worker has it

    async def _run(self, caller: Caller, judge_id: str, epoch: int) -> Requeue | None:
        judge = await self._write(caller, judge_id, lambda each: each.claim_measurement(epoch))
        try:
            agreement = await self._measure(caller, judge, epoch)
        except PASSING as passing:
            message = waits_for(passing)
            await self._write(caller, judge_id, lambda each: each.report_measurement(epoch, message=message))
            return Requeue()
        except (JudgeNotFound, Conflict):
            raise
        except TidemillError as error:  # repeated, it would fail again
            reason, why = error.reason, error.message
            await self._write(caller, judge_id, lambda each: each.fail_measurement(epoch, reason=reason, message=why))
        else:
            await self._write(caller, judge_id, lambda each: each.complete_measurement(epoch, agreement))
        return None

    async def _measure(self, caller: Caller, judge: Judge, epoch: int) -> JudgeAgreement:
        assert judge.measurement is not None  # noqa: S101 - it is claimed
        queue, field = judge.measurement.queue, judge.measurement.field
        (pinned,) = await self.pins(caller, [judge.id], answering=[])
        if pinned.judge.number != judge.number:
            message = f"judge {judge.id} changed when its measurement began: measure it again"
            raise NoVerdict(JUDGE_CHANGED, message)
        if any(JudgeInput.PASSAGES in each.judge.reads for each in pinned.judging):
            message = f"a member of jury {judge.id} reads PASSAGES: records of answers do not keep their texts"
            raise NoVerdict(JUDGE_UNAVAILABLE, message)
        try:
            of = _checked(await self.queues.fields(caller, queue), queue=queue, field=field)
        except InvalidInput as error:
            raise NoVerdict(TOO_FEW_LABELS, error.message) from error
        items = await self.queues.labelled(caller, queue, of, limit=self.max_items)
        number, completed = judge.measurement.number, judge.measurement.completed
        measured = Measured(judge=judge.id, version=pinned.version, measurement=number)
        run = _Run(caller=caller, pinned=pinned, measured=measured, epoch=epoch)
        await self.judged.forget_others(caller.project, judge.id, measurements=[number, completed])
        known = await self.judged.read(caller.project, measured)
        found = await self._judge_all(run, items, known)
        await self._judge_again(run, found)
        return await self._agreement(pinned, of, found, queue=queue)

    async def _judge_all(
        self, run: _Run, items: Sequence[LabelledItem], known: Mapping[str, JudgedItem]
    ) -> Sequence[JudgedItem]:
        done = [replace(known[item.id], label=item.label) for item in items if item.id in known]
        reporting = asyncio.Lock()

        async def judge(item: LabelledItem) -> None:
            record = await self.records.read(run.caller, item.inference)
            if record is None or any(judges_itself(each, [record.model]) for each in run.pinned.judging):
                return  # erased, recorded without all texts, or by its own model, whose answers it does not judge
            score = await self.ask.points(run.caller, run.pinned, record.material, name=run.name_of(item.id))
            judged = JudgedItem(
                item=item.id, inference=item.inference, end_user=record.end_user, label=item.label, score=score
            )
            await self._keep(run, judged)
            done.append(judged)
            if not len(done) % _REPORTED:
                async with reporting:
                    await self._report(run, judged=len(done), items=len(items))

        await self._report(run, judged=len(done), items=len(items))
        await _at_once(judge, [item for item in items if item.id not in known])
        await self._report(run, judged=len(done), items=len(items))
        return done

    async def _judge_again(self, run: _Run, found: Sequence[JudgedItem]) -> None:
        """Have some judged once more; they are what drift is measured by."""
        scored = {each.item: each for each in found if each.score is not None}
        fixed = [scored[name] for name in fixed_cases(scored, self.drift_cases)]

        async def judge(item: JudgedItem) -> None:
            record = await self.records.read(run.caller, item.inference)
            if record is None:
                return
            name = f"{run.name_of(item.item)}/again"
            score = await self.ask.points(run.caller, run.pinned, record.material, name=name)
            await self._keep(run, replace(item, again=score))

        await _at_once(judge, [each for each in fixed if each.again is None])

    async def _keep(self, run: _Run, judged: JudgedItem) -> None:
        current = await self.judges.get(run.caller.project, run.measured.judge)
        current.measuring(run.epoch)  # an erasure ends it
        await self.judged.keep(run.caller.project, run.measured, judged)

    async def _agreement(
        self, pinned: PinnedJudge, field: ReviewField, found: Sequence[JudgedItem], *, queue: str
    ) -> JudgeAgreement:
        scored = [Labelled(each.label, each.score) for each in found if each.score is not None]
        if field.boolean:
            scored = [Labelled(each.label, float(each.score >= THRESHOLD)) for each in scored]
        unjudged = len(found) - len(scored)
        if unjudged > MAX_UNJUDGED * len(found):
            message = f"the judge did not judge {unjudged} of {len(found)} answers; the limit is {MAX_UNJUDGED:.0%}"
            raise NoVerdict(JUDGE_UNRELIABLE, f"{message}: use a model that answers in JSON and in time")
        if len(scored) < MIN_ITEMS:
            message = (
                f"of the latest resolved answers of queue {queue}, {len(scored)} with {field.name} have their texts, "
                f"are in no conversation and not by the judge's own model; at least {MIN_ITEMS} are needed: review more"
            )
            raise NoVerdict(TOO_FEW_LABELS, message)
        bounds = await self.intervals.of_mean(disagreements(scored), confidence=CONFIDENCE, bounded=True)
        kappa = kappa_of(scored, low=bounds.low, high=bounds.high)
        if kappa is None:
            message = f"all labels of {field.name} and all scores are alike: review answers that differ"
            raise NoVerdict(TOO_FEW_LABELS, message)
        return JudgeAgreement(
            queue=queue,
            field=field.name,
            measure="cohen_kappa" if field.boolean else "weighted_kappa",
            value=kappa.value,
            low=kappa.low,
            high=kappa.high,
            items=len(scored),
            unjudged=unjudged,
            version=pinned.version,
            measure_time=self.clock.now(),
        )

    async def _report(self, run: _Run, *, judged: int, items: int) -> None:
        def report(judge: Judge) -> None:
            judge.report_measurement(run.epoch, judged=judged, items=items)

        await self._write(run.caller, run.measured.judge, report)

    async def _write(self, caller: Caller, judge_id: str, change: Callable[[Judge], None]) -> Judge:
        return await self.judges.update(caller.project, judge_id, change, request=Request.internal())


async def _at_once(work: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    """Do the work of all items, eight at once; what fails ends it."""
    places = asyncio.Semaphore(8)

    async def placed(item: T) -> None:
        async with places:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(placed(item))
    except ExceptionGroup as failures:
        raise first_of(failures) from failures


def _refuse_unmeasurable(judge: Judge) -> None:
    if judge.mode is JudgeMode.PAIRWISE:
        text = f"is {judge.id}, which is PAIRWISE, and people review one answer each: measure a POINTWISE judge"
        raise InvalidInput.at(field="id", text=text)
    if JudgeInput.PASSAGES in judge.reads:
        text = f"is {judge.id}, which reads PASSAGES: records of answers do not keep their texts"
        raise InvalidInput.at(field="id", text=text)


def _checked(fields: Mapping[str, ReviewField] | None, *, queue: str, field: str) -> ReviewField:
    """Return the field of a queue.

    Raises:
        InvalidInput: it cannot measure a judge.

    """
    if fields is None:
        raise InvalidInput.at(field="queue", text=f"is {queue[:80]!r}: there is no such review queue")
    if field not in fields:
        usable = ", ".join(sorted(fields)) or "none"
        text = f"is {field[:80]!r}: use a boolean of {queue}, or a number with min and max: {usable}"
        raise InvalidInput.at(field="field", text=text)
    return fields[field]
