"""The metrics `judge:NAME`: both sides' answers to a case, scored by judges."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, derived_id
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.errors import JUDGE_UNRELIABLE, JudgeNotFound
from tidemill_evaluator.judges.ask_judge import AskJudge
from tidemill_evaluator.judges.domain.form import Material
from tidemill_evaluator.judges.domain.judge import PREFIX, JudgeMode, is_position_bias, judge_in, position_bias_of
from tidemill_evaluator.judges.pin_judges import PinJudges, refuse_disagreeing
from tidemill_evaluator.judges.ports import Judges, PinnedJudge
from tidemill_evaluator.judges.watch_drift import WatchDrift
from tidemill_evaluator.metrics.domain.metric import GivenAnswer, Metric, Pair, PairScores, Scored
from tidemill_evaluator.suites.domain.cases import Case

EVEN = 0.5
"""The baseline's score of a pair: the candidate's is above it where it is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeMetrics:
    """Implements `MetricFamily`. Both sides are judged by the same version, and neither is named to it.

    Where the judge does not judge one side, both have no value: that is the failure of neither.
    """

    judges: Judges
    pins: PinJudges
    ask: AskJudge
    watch_drift: WatchDrift

    @property
    def names(self) -> Sequence[str]:
        """See `KnownMetrics.names`."""
        return [f"{PREFIX}NAME"]

    def find(self, name: str) -> Metric | None:
        """See `KnownMetrics.find`."""
        if is_position_bias(name):
            source = "share of pairs of which a judge preferred another answer in the other order"
            return Metric(name=name, source=source, less_is_better=True)
        if judge_in(name):
            source = "a judge of the project: a model that scores answers by a rubric"
            return Metric(name=name, source=source, unreliable=JUDGE_UNRELIABLE)
        return None

    async def comparing(self, caller: Caller, metrics: Collection[str]) -> Sequence[str]:
        """Return which of these metrics are of judges that compare two answers."""
        names = {judge_in(name): name for name in metrics if judge_in(name)}
        known = await self.judges.get_many(caller.project, list(names)) if names else {}
        return [name for judge, name in names.items() if judge in known and known[judge].mode is JudgeMode.PAIRWISE]

    async def models_of(self, caller: Caller, metrics: Collection[str]) -> Collection[str]:
        """Return the models of the judges among these metrics, as `model@version`; none of those that cannot judge.

        Raises:
            DependencyUnavailable: inference is unavailable.

        """
        return await self.pins.models_of(caller, [judge for judge in map(judge_in, metrics) if judge])

    async def check(self, caller: Caller, names: Collection[str], *, gating: bool) -> None:
        """Refuse judges that the project does not have, and to gate those that agree too little with people.

        Raises:
            InvalidInput: the position bias of a judge is asked for, which is shown beside its scores.
            JudgeNotFound: naming it.
            NoVerdict: the judge is not measured, or agrees too little.
            DependencyUnavailable: inference is unavailable.

        """
        for name in filter(is_position_bias, names):
            text = f"is {name!r}, which is computed beside the scores of a pairwise judge: name the judge's metric"
            raise InvalidInput.at(field="metric", text=text)
        known = await self.judges.get_many(caller.project, [judge_in(name) for name in names])
        for name in names:
            if judge_in(name) not in known:
                raise JudgeNotFound(judge_in(name))
        if gating:
            await self.pins.gating(caller, [judge_in(name) for name in names])

    async def pin(
        self, caller: Caller, names: Collection[str], *, answering: Collection[str], gating: bool
    ) -> Mapping[str, str]:
        """See `MetricFamily.pin`: the versions of the judges.

        Raises:
            NoVerdict: a judge cannot judge these models.
            DependencyUnavailable: inference is unavailable.

        """
        judges = [judge_in(name) for name in names]
        panel = await self.pins(caller, judges, answering=answering)
        if gating:
            for each in panel:
                refuse_disagreeing(each)
            for each in panel:
                await self.watch_drift(caller, each)
        return {each.judge.metric: each.version for each in panel}

    async def scores(self, caller: Caller, names: Collection[str], pair: Pair) -> PairScores:
        """See `MetricFamily.scores`.

        Raises:
            NoVerdict: a judge is gone, or another version than the pinned one.
            DependencyUnavailable, RateLimited: inference is unavailable or overloaded.

        """
        found = PairScores()
        for pinned in await self.pins.unchanged(caller, {judge_in(name): pair.pins[name] for name in names}):
            name = derived_id(pair.name, pinned.version)
            if pinned.judge.mode is JudgeMode.PAIRWISE:
                found |= await self._of_pair(caller, pinned, pair, name=name)
            else:
                found |= await self._of_points(caller, pinned, pair, name=name)
        return found

    async def _of_points(self, caller: Caller, pinned: PinnedJudge, pair: Pair, *, name: str) -> PairScores:
        metric = pinned.judge.metric
        scores = dict[str, Scored]()
        for side, answered in (("baseline", pair.baseline), ("candidate", pair.candidate)):
            if answered is not None:
                material = _material(pair.case, answered)
                scores[side] = await self.ask.points(caller, pinned, material, name=derived_id(name, side))
        if None in scores.values():
            scores = dict.fromkeys(scores, None)
        return PairScores(**{side: {metric: score} for side, score in scores.items()})

    async def _of_pair(self, caller: Caller, pinned: PinnedJudge, pair: Pair, *, name: str) -> PairScores:
        metric, bias = pinned.judge.metric, position_bias_of(pinned.judge.id)
        if pair.baseline is None or pair.candidate is None:
            sides = {side: {metric: EVEN} for side in ("baseline", "candidate") if getattr(pair, side)}
            return PairScores(**sides)
        candidate, baseline = _material(pair.case, pair.candidate), _material(pair.case, pair.baseline)
        found = await self.ask.preference(caller, pinned, candidate, baseline, name=name)
        if found is None:
            return PairScores(baseline={metric: None}, candidate={metric: None})
        return PairScores(
            baseline={metric: EVEN, bias: 0.0},
            candidate={metric: found.score, bias: float(not found.consistent)},
        )


def _material(case: Case, answered: GivenAnswer) -> Material:
    return Material(
        question=case.question,
        answer=answered.text,
        earlier=[(turn.role.value, turn.text) for turn in case.context.earlier],
        reference=case.reference,
        passages=answered.passages,
    )
