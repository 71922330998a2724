"""What the arms of an experiment answer with, and whether they still can."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed, TidemillError
from tidemill_inference.background import background
from tidemill_inference.deployments.domain.configuration import Configuration, Sampling
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.experiments.domain.experiment import Experiment
from tidemill_inference.experiments.domain.plan import Arm
from tidemill_inference.experiments.domain.run import ExperimentRun, RunArm
from tidemill_inference.experiments.ports import Resolving, Searched
from tidemill_inference.prompts.domain.prompt import PromptVersion
from tidemill_inference.prompts.domain.references import Reference
from tidemill_inference.prompts.ports import ReadPrompts
from tidemill_inference.rollouts.ports import Candidates, Indexes


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Pins arms when a run starts, and finds those whose prompt, model or index version is gone."""

    resolve: Resolving
    prompts: ReadPrompts
    candidates: Candidates
    indexes: Indexes
    searched: Searched

    async def pinned(self, caller: Caller, experiment: Experiment, deployment: Deployment) -> Sequence[RunArm]:
        """Return the arms with what they answer with, the control first.

        Raises:
            InvalidInput: two of them are the same configuration, or a prompt takes other variables than the live one.
            ReferenceNotFound, ApprovalMissing, CandidateNotReady: what one of them names does not answer.
            DependencyUnavailable: an owner does not answer.

        """
        arms: list[RunArm] = []
        known: dict[str, str] = {}
        for arm in experiment.ordered:
            configuration = deployment.live if arm.control else await self._resolved(caller, arm, deployment)
            if configuration.prompt != deployment.live.prompt:
                at = f"experiment.arms[{experiment.names.index(arm.name)}].prompt"
                await self._check_variables(caller, configuration.prompt, live=deployment.live.prompt, field=at)
            if same := known.get(configuration.digest):
                text = f"{arm.name} answers with the same configuration as {same}: change one, or leave one out"
                raise InvalidInput.at(field="experiment.arms", text=text)
            known[configuration.digest] = arm.name
            arms.append(RunArm(name=arm.name, weight=arm.weight, configuration=configuration))
        return arms

    async def gone(self, run: ExperimentRun, *, project: str) -> Mapping[str, str]:
        """Return the arms beside the control that cannot answer any more, with the reason.

        Where an owner does not answer, nothing is known of it.
        """
        arms, control = run.active[1:], run.arms[0].configuration
        checks = [self._why_gone(background(project), arm.configuration, beside=control) for arm in arms]
        found = await asyncio.gather(*checks)
        return {arm.name: why for arm, why in zip(arms, found, strict=True) if why}

    async def _why_gone(self, caller: Caller, configuration: Configuration, *, beside: Configuration) -> str:
        try:
            await self._check(caller, configuration)
            if (retrieval := configuration.retrieval) and retrieval != beside.retrieval:
                await self.searched.check(caller, retrieval)
        except (NotFound, PreconditionFailed) as error:
            return error.message
        except TidemillError:
            return ""
        return ""

    async def _resolved(self, caller: Caller, arm: Arm, deployment: Deployment) -> Configuration:
        live = deployment.live
        spec = replace(
            deployment.spec,
            model=arm.model or live.model,
            prompt=arm.prompt or live.prompt,
            retrieval=arm.retrieval or live.retrieval,
            sampling=(arm.sampling or Sampling()).over(live.sampling),
            fallback=live.fallback,
            examples=live.examples,
        )
        configuration = await self.resolve(caller, spec, kept_model="" if arm.model else live.model, live=live)
        await self._check(caller, configuration)
        return configuration

    async def _check(self, caller: Caller, configuration: Configuration) -> None:
        await self._version(caller, configuration.prompt)
        await self.candidates.check(caller, configuration.model)
        if (retrieval := configuration.retrieval) and retrieval.index:
            await self.indexes.live(caller, retrieval.collection, retrieval.index)

    async def _check_variables(self, caller: Caller, prompt: str, *, live: str, field: str) -> None:
        """Refuse a prompt that cannot answer the requests that the live one answers."""
        ours, theirs = await self._version(caller, prompt), await self._version(caller, live)
        if ours.content.variables != theirs.content.variables:
            text = f"{prompt} takes other variables than {live}, so that requests fit one of them only: use another"
            raise InvalidInput.at(field=field, text=text)

    async def _version(self, caller: Caller, prompt: str) -> PromptVersion:
        reference = Reference.of_prompt(prompt)
        return (await self.prompts.get(caller.project, reference.name)).resolve(reference.pin)
