"""Use case: start an evaluation on request."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, Request, derived_id
from tidemill_core.errors import AlreadyExists, InvalidInput, RequestIdReused, Violation
from tidemill_evaluator.errors import CandidateNotReady, SuiteNotFound
from tidemill_evaluator.evaluations.domain.evaluation import Comparing, Evaluation
from tidemill_evaluator.evaluations.ports import Enqueue, EvaluationName, Evaluations, Gates, Inference, Models, Suites
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.names import name_of, slug_violation, version_violation


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCommand:
    """With a gate, or with deployment and suites; an empty baseline is the live model."""

    candidate: str
    request: Request
    gate: str = ""
    deployment: str = ""
    suites: Sequence[str] = ()
    baseline: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartEvaluation:
    """The id derives from the request id, so a repeated request starts nothing. Works for paused gates too."""

    evaluations: Evaluations
    gates: Gates
    suites: Suites
    models: Models
    inference: Inference
    limits: Limits
    enqueue: Enqueue

    async def __call__(self, caller: Caller, command: StartCommand) -> Evaluation:
        """Return the evaluation, QUEUED.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            GateNotFound, SuiteNotFound, NotFound: of gate, suites, deployment and versions, the one that is missing.
            CandidateNotReady: the candidate cannot be loaded.

        """
        self._check(command)
        comparing = await self._comparing(caller.project, command)
        await self._check_existence(caller.project, comparing)
        origin = derived_id(caller.project, "StartEvaluation", command.request.id)
        evaluation = queued(caller.project, comparing, origin=origin, asked_by=command.request.digest)
        if command.validate_only:
            return evaluation
        saved = await self._add(evaluation, command.request)
        self.enqueue(EvaluationName(project=saved.project, evaluation=saved.id))
        return saved

    async def _add(self, evaluation: Evaluation, request: Request) -> Evaluation:
        try:
            return await self.evaluations.add(evaluation, request=request)
        except AlreadyExists:  # the aggregate's request log has expired
            stored = await self.evaluations.get(evaluation.project, evaluation.id)
            if stored.asked_by != request.digest:
                raise RequestIdReused(request.id) from None
            return stored

    def _check(self, command: StartCommand) -> None:
        violations = version_violation(command.candidate, "candidate")
        if command.gate:
            for name in ("deployment", "suites", "baseline"):
                if getattr(command, name):
                    text = "is defined by the gate: omit it or the gate"
                    violations.append(Violation(field=name, description=text))
        else:
            violations += slug_violation(command.deployment, "deployment")
            if not 1 <= len(command.suites) <= self.limits.suites_by_hand:
                text = f"has {len(command.suites)} suites: send 1 to {self.limits.suites_by_hand}, or a gate"
                violations.append(Violation(field="suites", description=text))
            if command.baseline:
                violations += version_violation(command.baseline, "baseline")
        if violations:
            raise InvalidInput.of(*violations)

    async def _comparing(self, project: str, command: StartCommand) -> Comparing:
        if not command.gate:
            return Comparing(
                deployment=command.deployment,
                candidate=command.candidate,
                suites=tuple(dict.fromkeys(command.suites)),
                baseline=command.baseline,
            )
        gate = await self.gates.get(project, command.gate)
        if name_of(command.candidate) != gate.candidate:
            text = f"{command.candidate} is not a version of {gate.candidate}, the candidate of gate {gate.id}"
            raise InvalidInput.of(Violation(field="candidate", description=text))
        return Comparing(
            gate=gate.id,
            deployment=gate.deployment,
            candidate=command.candidate,
            require=gate.require,
            confidence=gate.confidence,
        )

    async def _check_existence(self, project: str, comparing: Comparing) -> None:
        known = await self.suites.get_many(project, comparing.required_suites)
        for suite in comparing.required_suites:
            if suite not in known:
                raise SuiteNotFound(suite)
        for version in filter(None, (comparing.candidate, comparing.baseline)):
            if not (await self.models.version(project, version)).ready:
                raise CandidateNotReady(version)
        await self.inference.live(project, comparing.deployment)


def queued(  # noqa: PLR0913 - all of it is known at once, and fixed from then on
    project: str,
    comparing: Comparing,
    *,
    origin: str,
    attempt: int = 1,
    asked_by: str = "",
    dataset_version: str = "",
) -> Evaluation:
    """Return a new evaluation; its id derives from its cause and the attempt."""
    return Evaluation(
        id=derived_id(project, "evaluation", origin, str(attempt)),
        project=project,
        comparing=comparing,
        gate=comparing.gate,
        candidate=comparing.candidate,
        origin=origin,
        attempt=attempt,
        asked_by=asked_by,
        dataset_version=dataset_version,
    )
