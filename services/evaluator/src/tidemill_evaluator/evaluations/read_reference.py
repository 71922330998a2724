"""Reads what a re-evaluation compares with: what the live variant answered when it passed its gate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied
from tidemill_evaluator.errors import NOT_COMPARABLE, NOT_LIVE, EvaluationNotFound, NoVerdict
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.ports import CaseName, CaseResults, Evaluations, Live, PartialResult
from tidemill_evaluator.suites.domain.cases import Case, CaseSet
from tidemill_evaluator.suites.ports import Cases

Asked = Sequence[tuple[str, Case]]


def refuse_not_live(evaluation: Evaluation, live: Live) -> None:
    """Check that the variant that is evaluated again is live still.

    Raises:
        NoVerdict: it is not.

    """
    comparing = evaluation.comparing
    answers_by = live.prompt if comparing.prompt else live.model
    if answers_by != comparing.candidate:
        message = f"{comparing.candidate} is not live any more: {comparing.deployment} answers by {answers_by}"
        raise NoVerdict(NOT_LIVE, message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The cases to ask; of a re-evaluation those it can compare, with the answers of the passed evaluation."""

    asked: Asked
    known: Mapping[CaseName, PartialResult] = field(default_factory=dict)
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReference:
    """Cases that changed since, or without an answer then, are left out and counted."""

    evaluations: Evaluations
    cases: Cases
    results: CaseResults

    async def __call__(self, evaluation: Evaluation, asked: Asked) -> Reference:
        """Return the cases to compare; all of them where it is no re-evaluation.

        Raises:
            NoVerdict: none is left, or what computed the metrics is of another version.

        """
        if not evaluation.comparing.reevaluates:
            return Reference(asked=asked)
        passed = await self._passed(evaluation)
        same = await self._unchanged(evaluation, passed, asked)
        kept = await self.results.read(evaluation.project, passed.id, list(same.values()))
        left = [each for each in asked if _answer(kept, same, each)]
        if not left:
            message = f"no case of {passed.id} is left to compare: its answers were removed, or all cases changed"
            raise NoVerdict(NOT_COMPARABLE, message)
        known = {CaseName(name, case.id): _as_baseline(kept[same[name, case.id]]) for name, case in left}
        return Reference(asked=left, known=known, left_out=len(asked) - len(left))

    async def _passed(self, evaluation: Evaluation) -> Evaluation:
        try:
            passed = await self.evaluations.get(evaluation.project, evaluation.comparing.reevaluates)
        except EvaluationNotFound as error:
            raise NoVerdict(NOT_COMPARABLE, f"evaluation {evaluation.comparing.reevaluates} is gone") from error
        for metric, version in evaluation.pins.items():
            if (then := passed.pins.get(metric, version)) != version:
                message = (
                    f"{metric} is by {version} now, and was by {then} in {passed.id}: scores of both do not compare"
                )
                raise NoVerdict(NOT_COMPARABLE, message)
        return passed

    async def _unchanged(
        self, evaluation: Evaluation, passed: Evaluation, asked: Asked
    ) -> Mapping[tuple[str, str], CaseName]:
        """Return what the cases that are as they were are called in the passed evaluation."""
        same: dict[tuple[str, str], CaseName] = {}
        for now in evaluation.case_sets:
            for then in passed.case_sets:
                if (now.suite, now.dataset) != (then.suite, then.dataset):
                    continue
                of_set = [case for name, case in asked if name == now.name]
                before = None if now.content == then.content else await self._read(evaluation.project, then)
                for case in of_set:
                    if before is None or _same(before.get(case.id), case):
                        same[now.name, case.id] = CaseName(then.name, case.id)
        return same

    async def _read(self, project: str, case_set: CaseSet) -> Mapping[str, Case]:
        try:
            return {case.id: case for case in await self.cases.read(project, case_set)}
        except (NotFound, InvalidInput, PermissionDenied) as error:
            message = f"the cases of {case_set.name} cannot be read: {error.message}"
            raise NoVerdict(NOT_COMPARABLE, message) from error


def _same(before: Case | None, case: Case) -> bool:
    """Whether a case asks the same, and compares with the same; labels decide neither."""
    return before is not None and replace(before, labels={}) == replace(case, labels={})


def _answer(
    kept: Mapping[CaseName, PartialResult], same: Mapping[tuple[str, str], CaseName], each: tuple[str, Case]
) -> bool:
    """Whether the candidate of the passed evaluation has answered the case."""
    name = same.get((each[0], each[1].id))
    found = kept.get(name) if name else None
    return bool(found and found.candidate and not found.candidate.failure)


def _as_baseline(kept: PartialResult) -> PartialResult:
    """Return what the candidate answered then as the baseline of now."""
    return replace(kept, baseline=kept.candidate or kept.baseline, candidate=None, passages=())
