"""Use case: evaluate again what a gate has let go live, when that is due."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.application import Caller, Clock, PageRequest, Request, ResourceKey
from tidemill_core.errors import AlreadyExists, NotFound
from tidemill_evaluator.errors import NOT_COMPARABLE, EvaluationNotFound, GateNotFound
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Comparing, Evaluation
from tidemill_evaluator.evaluations.domain.job import UNFINISHED
from tidemill_evaluator.evaluations.ports import Enqueue, Evaluations, Inference, Prompts
from tidemill_evaluator.gates.domain.gate import Gate, Requirement
from tidemill_evaluator.gates.ports import Gates
from tidemill_evaluator.suites.domain.names import name_of, number_of

_LATEST = PageRequest(size=100, newest_first=True)

PassedOver = Callable[[ResourceKey, str], None]
"""Reports that the re-evaluation of a gate was passed over, and why."""
PairwiseMetrics = Callable[[Caller, Collection[str]], Awaitable[Sequence[str]]]
"""Returns which of these metrics compare two answers, whose scores of other evaluations say nothing here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReevaluation:
    """The id of a re-evaluation derives from its gate and from when it was due, so that one time starts one.

    At most one of a gate runs at a time. Where nothing can be compared, the time is passed over.
    """

    evaluations: Evaluations
    gates: Gates
    inference: Inference
    prompts: Prompts
    pairwise: PairwiseMetrics
    enqueue: Enqueue
    passed_over: PassedOver
    min_interval: timedelta
    """After which one that is to see a change of a provider is tried again, where another one runs still."""
    clock: Clock

    async def __call__(self, caller: Caller, gate_id: str) -> None:
        """Queue the re-evaluation of a gate that is due, and set the next time.

        Raises:
            DependencyUnavailable: inference does not answer.

        """
        try:
            gate, now = await self.gates.get(caller.project, gate_id), self.clock.now()
        except GateNotFound:
            return  # deleted meanwhile
        due = gate.reevaluation_due
        if due is None or due > now or gate.paused:
            return
        last = await self._last(gate)
        if last and last.state in UNFINISHED and gate.provider_changed:  # it may have asked before the change
            await self._update(gate, lambda g: g.postpone_reevaluation(due, now + self.min_interval))
            return
        queued = await self._queue(caller, gate, due, last)
        seen = gate.provider_changed
        await self._update(gate, lambda g: g.reevaluated(due, now, evaluation=queued, seen_change=seen))

    async def _update(self, gate: Gate, change: Callable[[Gate], None]) -> None:
        with suppress(GateNotFound):  # deleted meanwhile
            await self.gates.update(gate.project, gate.id, change, request=Request.internal())

    async def _queue(self, caller: Caller, gate: Gate, due: datetime, last: Evaluation | None) -> str:
        """Return the id of what was queued, "" where nothing was."""
        if last and last.state in UNFINISHED:
            return self._pass_over(gate, f"{last.id} runs still")
        candidate = await self._live(caller, gate)
        if name_of(candidate) != gate.follows:
            return self._pass_over(gate, "no version of its candidates is live")
        passed = await self._passed(caller, gate, candidate, last)
        if passed is None:
            return self._pass_over(gate, "what is live has not passed it")
        require = await self._required(caller, gate)
        if not require:
            return self._pass_over(gate, "it requires nothing but judges that compare two answers")
        evaluation = Evaluation.queued(
            gate.project,
            Comparing.again(gate, passed, require),
            origin=f"{gate.id}/reevaluation:{due.isoformat()}",
            dataset_version=passed.dataset_version,
        )
        with suppress(AlreadyExists):  # this process, or an earlier one, stopped before it set the next time
            await self.evaluations.add(evaluation, request=Request(id=evaluation.id, digest=evaluation.id))
        self.enqueue(ResourceKey(project=gate.project, id=evaluation.id))
        return evaluation.id

    async def _last(self, gate: Gate) -> Evaluation | None:
        if not gate.last_reevaluation:
            return None
        with suppress(EvaluationNotFound):
            return await self.evaluations.get(gate.project, gate.last_reevaluation)
        return None

    async def _live(self, caller: Caller, gate: Gate) -> str:
        """Return what is live of what the gate follows, "" without a deployment."""
        try:
            live = await self.inference.live(caller, gate.deployment)
        except NotFound:
            return ""
        return live.prompt if gate.candidate_prompt else live.model

    async def _passed(self, caller: Caller, gate: Gate, candidate: str, last: Evaluation | None) -> Evaluation | None:
        """Return the evaluation that the live variant passed there: that of the last re-evaluation, or the newest."""
        digest = await self._digest(caller, candidate) if gate.candidate_prompt else ""
        if last and last.candidate == candidate and last.reason != NOT_COMPARABLE:
            with suppress(EvaluationNotFound):
                passed = await self.evaluations.get(gate.project, last.comparing.reevaluates)
                if passed.is_of(gate, prompt_digest=digest):
                    return passed
        where = {"gate": gate.id, "candidate": candidate, "verdict": Verdict.PASSED.value}
        page = await self.evaluations.list(gate.project, page=_LATEST, where=where)
        return next((each for each in page.items if each.is_of(gate, prompt_digest=digest)), None)

    async def _digest(self, caller: Caller, candidate: str) -> str:
        """Return the digest of a prompt's version, "" where it is gone."""
        try:
            versions = await self.prompts.prompt(caller, name_of(candidate))
        except NotFound:
            return ""
        return versions.digests.get(number_of(candidate), "")

    async def _required(self, caller: Caller, gate: Gate) -> tuple[Requirement, ...]:
        pairwise = await self.pairwise(caller, [each.metric for each in gate.require])
        return tuple(each for each in gate.require if each.metric not in pairwise)

    def _pass_over(self, gate: Gate, why: str) -> str:
        self.passed_over(ResourceKey(project=gate.project, id=gate.id), why)
        return ""
