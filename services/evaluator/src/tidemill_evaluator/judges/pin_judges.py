"""Pins the judges of an evaluation: what judges must not change before it ends."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tidemill_core.application import Caller
from tidemill_core.errors import NotFound
from tidemill_evaluator.errors import (
    JUDGE_CHANGED,
    JUDGE_DISAGREES,
    JUDGE_DRIFTED,
    JUDGE_UNAVAILABLE,
    JUDGE_UNMEASURED,
    JUDGES_ITSELF,
    NoVerdict,
)
from tidemill_evaluator.judges.domain.judge import Judge
from tidemill_evaluator.judges.ports import JudgeDeployment, JudgeModels, Judges, PinnedJudge
from tidemill_evaluator.suites.domain.names import name_of

_KNOWN = 1000
NO_DEPLOYMENT = JudgeDeployment(configuration="", model="", deadline_s=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinJudges:
    """Reads judges and the configurations that judge: only both together are a version."""

    judges: Judges
    models: JudgeModels
    known: dict[tuple[str, str], JudgeDeployment] = field(default_factory=dict)
    """Deployments by project, as they were read last: they need not be read again for a version that has them."""

    async def __call__(
        self, caller: Caller, names: Collection[str], *, answering: Collection[str]
    ) -> Sequence[PinnedJudge]:
        """Return the judges, which may judge the answers of these models, given as `model@version`.

        Raises:
            NoVerdict: a judge or its deployment does not exist, or searches, or would judge itself.
            DependencyUnavailable: inference is unavailable.

        """
        panel = await self._panel(caller, names)
        for pinned in panel:
            for each in pinned.judging:
                _refuse_itself(each, answering)
        return panel

    async def gating(self, caller: Caller, names: Collection[str]) -> Sequence[PinnedJudge]:
        """Return the judges, which agree with people as far as they have to, in the version that they are.

        Raises:
            NoVerdict: one was not measured, or agrees too little.
            DependencyUnavailable: inference is unavailable.

        """
        panel = await self._panel(caller, names)
        for pinned in panel:
            refuse_disagreeing(pinned)
        return panel

    async def unchanged(self, caller: Caller, versions: Mapping[str, str]) -> Sequence[PinnedJudge]:
        """Return the judges, given by their versions.

        Raises:
            NoVerdict: one is another version by now, or gone.
            DependencyUnavailable: inference is unavailable.

        """
        panel = await self._panel(caller, versions, fresh=False)
        if any(versions[pinned.judge.id] != pinned.version for pinned in panel):
            panel = await self._panel(caller, versions)
        for pinned in panel:
            version = versions[pinned.judge.id]
            if version != pinned.version:
                message = f"judge {pinned.judge.id} was pinned as {version}, and is {pinned.version}"
                raise NoVerdict(JUDGE_CHANGED, message)
        return panel

    async def models_of(self, caller: Caller, names: Collection[str]) -> Collection[str]:
        """Return the models that judge, as `model@version`, the members of juries with them; none of those that cannot.

        Raises:
            DependencyUnavailable: inference is unavailable.

        """
        found = set[str]()
        for name in names:
            with suppress(NoVerdict):
                panel = await self._panel(caller, [name])
                found |= {each.deployment.model for pinned in panel for each in pinned.judging}
        return found

    async def _panel(self, caller: Caller, names: Collection[str], *, fresh: bool = True) -> Sequence[PinnedJudge]:
        known = await self.judges.get_many(caller.project, [*names])
        for name in names:
            if name not in known:
                message = f"judge {name} does not exist in this project: create it"
                raise NoVerdict(JUDGE_UNAVAILABLE, message)
        return [await self._jury(caller, known[name], fresh=fresh) for name in names]

    async def _jury(self, caller: Caller, judge: Judge, *, fresh: bool) -> PinnedJudge:
        if not judge.members:
            return await self._pinned(caller, judge, fresh=fresh)
        known = await self.judges.get_many(caller.project, [*judge.members])
        for name in judge.members:
            if name not in known or known[name].members or known[name].mode is not judge.mode:
                message = f"member {name} of jury {judge.id} is no judge of mode {judge.mode.name}: name another one"
                raise NoVerdict(JUDGE_UNAVAILABLE, message)
        members = [await self._pinned(caller, known[name], fresh=fresh) for name in judge.members]
        return PinnedJudge(judge=judge, deployment=NO_DEPLOYMENT, members=members)

    async def _pinned(self, caller: Caller, judge: Judge, *, fresh: bool) -> PinnedJudge:
        key = (caller.project, judge.deployment)
        if not fresh and key in self.known:
            return PinnedJudge(judge=judge, deployment=self.known[key])
        deployment = await self._deployment(caller, judge)
        self.known.pop(key, None)
        self.known[key] = deployment
        if len(self.known) > _KNOWN:
            del self.known[next(iter(self.known))]
        return PinnedJudge(judge=judge, deployment=deployment)

    async def _deployment(self, caller: Caller, judge: Judge) -> JudgeDeployment:
        try:
            deployment = await self.models.deployment(caller, judge.deployment)
        except NotFound as error:
            message = f"deployment {judge.deployment} of judge {judge.id} does not exist"
            raise NoVerdict(JUDGE_UNAVAILABLE, message) from error
        if deployment.searches:
            message = (
                f"deployment {judge.deployment} of judge {judge.id} searches {deployment.searches}: name one that "
                "searches nothing, since the judge would read what it finds"
            )
            raise NoVerdict(JUDGE_UNAVAILABLE, message)
        return deployment


def refuse_disagreeing(pinned: PinnedJudge) -> None:
    """Refuse a judge that may not gate.

    Raises:
        NoVerdict: it is not measured in this version, has drifted, or agrees too little with people.

    """
    judge, agreement = pinned.judge, pinned.judge.agreement
    what_to_do = f"`tidemill judges measure {judge.id} --queue QUEUE --field FIELD`"
    if agreement is None or agreement.version != pinned.version:
        measured = f"{agreement.version} was measured, and it is {pinned.version}" if agreement else "it never was"
        message = f"judge {judge.id} decides nothing before its agreement with people is measured: {measured}"
        raise NoVerdict(JUDGE_UNMEASURED, f"{message}; use {what_to_do}")
    if judge.drift is not None and judge.drift.drifted and judge.drift.version == pinned.version:
        raise NoVerdict(JUDGE_DRIFTED, judge.drift.explained(judge.id))
    if agreement.low < judge.required_agreement:
        message = (
            f"judge {judge.id} has an agreement of {agreement.value:.2f} with people, of which the lower bound is "
            f"{agreement.low:.2f} on {agreement.items} answers of {agreement.queue}; it needs "
            f"{judge.required_agreement:g}: better its rubric or name a better model, review more answers, or lower "
            f"min_agreement; then {what_to_do}"
        )
        raise NoVerdict(JUDGE_DISAGREES, message)


def judges_itself(pinned: PinnedJudge, answering: Collection[str]) -> bool:
    """Return whether a judge's own model gives the answers, of any version, and that was not declared."""
    model = name_of(pinned.deployment.model)
    return not pinned.judge.may_judge_itself and model in {name_of(each) for each in answering}


def _refuse_itself(pinned: PinnedJudge, answering: Collection[str]) -> None:
    if judges_itself(pinned, answering):
        model = name_of(pinned.deployment.model)
        message = (
            f"judge {pinned.judge.id} would judge answers of its own model, {model}: name a deployment with another "
            "model, or declare may_judge_itself"
        )
        raise NoVerdict(JUDGES_ITSELF, message)
