"""Use case: start an evaluation on request."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, Request, ResourceKey, derived_id
from tidemill_core.errors import AlreadyExists, InvalidInput, RequestIdReused, Violation
from tidemill_core.resources import slug_violations
from tidemill_evaluator.errors import CandidateNotReady, SuiteNotFound
from tidemill_evaluator.evaluations.domain.evaluation import Comparing, Evaluation
from tidemill_evaluator.evaluations.ports import Enqueue, Evaluations, Inference, Models, Prompts
from tidemill_evaluator.gates.ports import Gates
from tidemill_evaluator.metrics.domain.metric import unknown
from tidemill_evaluator.metrics.registry import Registry
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.names import name_of, number_of, version_violation
from tidemill_evaluator.suites.ports import Suites


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCommand:
    """With a gate, or with deployment and suites; an empty baseline is the live model."""

    request: Request
    candidate: str = ""
    candidate_prompt: str = ""
    """In place of `candidate`, without a gate: a prompt's version, compared with the live one by the live model."""
    gate: str = ""
    deployment: str = ""
    suites: Sequence[str] = ()
    baseline: str = ""
    metrics: Sequence[str] = ()
    """Beside what is always computed."""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartEvaluation:
    """The id derives from the request id, so a repeated request starts nothing. Works for paused gates too."""

    evaluations: Evaluations
    gates: Gates
    suites: Suites
    models: Models
    inference: Inference
    prompts: Prompts
    metrics: Registry
    limits: Limits
    enqueue: Enqueue

    async def __call__(self, caller: Caller, command: StartCommand) -> Evaluation:
        """Return the evaluation, QUEUED.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            GateNotFound, SuiteNotFound, NotFound: of gate, suites, deployment and versions, the one that is missing.
            CandidateNotReady: the candidate cannot be loaded.
            PreconditionFailed: the project cannot use a metric.

        """
        self._check(command)
        comparing = await self._comparing(caller.project, command)
        asked = [*comparing.metrics, *(each.metric for each in comparing.require)]
        await self.metrics.check(caller, asked, gating=bool(comparing.gate))
        await self._check_existence(caller, comparing)
        origin = derived_id(caller.project, "StartEvaluation", command.request.id)
        evaluation = Evaluation.queued(
            caller.project,
            comparing,
            origin=origin,
            asked_by=command.request.digest,
            requester=caller.proven_subject,
        )
        if command.validate_only:
            return evaluation
        saved = await self._add(evaluation, command.request)
        self.enqueue(ResourceKey(project=saved.project, id=saved.id))
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
        of_prompt = bool(command.candidate_prompt)
        named, field = (command.candidate_prompt, "candidate_prompt") if of_prompt else (command.candidate, "candidate")
        violations = version_violation(named, field)
        if of_prompt and command.candidate:
            violations.append(Violation(field, "stands in place of candidate: omit one of them"))
        if of_prompt and command.baseline:
            violations.append(Violation("baseline", "is the live version of the prompt: omit it"))
        if command.gate:
            for name in ("deployment", "suites", "baseline", "metrics", "candidate_prompt"):
                if getattr(command, name):
                    violations.append(Violation(name, "is defined by the gate: omit it or the gate"))
        else:
            violations += slug_violations("deployment", command.deployment)
            if not 1 <= len(command.suites) <= self.limits.suites_by_hand:
                text = f"has {len(command.suites)} suites: send 1 to {self.limits.suites_by_hand}, or a gate"
                violations.append(Violation("suites", text))
            if command.baseline:
                violations += version_violation(command.baseline, "baseline")
        if len(command.metrics) > self.limits.metrics_by_hand:
            text = f"has {len(command.metrics)} metrics; the limit is {self.limits.metrics_by_hand}"
            violations.append(Violation("metrics", text))
        violations += [
            Violation("metrics", unknown(name, self.metrics.names))
            for name in command.metrics[: self.limits.metrics_by_hand]
            if self.metrics.find(name) is None
        ]
        if violations:
            raise InvalidInput.of(*violations)

    async def _comparing(self, project: str, command: StartCommand) -> Comparing:
        if not command.gate:
            return Comparing(
                deployment=command.deployment,
                candidate=command.candidate or command.candidate_prompt,
                prompt=name_of(command.candidate_prompt),
                suites=tuple(dict.fromkeys(command.suites)),
                baseline=command.baseline,
                metrics=tuple(dict.fromkeys(command.metrics)),
            )
        gate = await self.gates.get(project, command.gate)
        if name_of(command.candidate) != gate.follows:
            text = f"{command.candidate} is not a version of {gate.follows}, the candidate of gate {gate.id}"
            raise InvalidInput.at(field="candidate", text=text)
        return Comparing.of(gate, command.candidate)

    async def _check_existence(self, caller: Caller, comparing: Comparing) -> None:
        required = [*comparing.required_suites, *([comparing.retrieval.suite] if comparing.retrieval else [])]
        known = await self.suites.get_many(caller.project, required)
        for suite in required:
            if suite not in known:
                raise SuiteNotFound(suite)
        for version in filter(None, (comparing.model, comparing.baseline)):
            if not (await self.models.version(caller, version)).ready:
                raise CandidateNotReady(version)
        if comparing.prompt:
            versions = await self.prompts.prompt(caller, comparing.prompt)
            if number_of(comparing.candidate) not in versions.variables:
                raise CandidateNotReady(comparing.candidate)
        await self.inference.live(caller, comparing.deployment)
