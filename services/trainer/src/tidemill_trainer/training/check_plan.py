"""Validates a plan before it is stored or a run of it is queued."""

from asyncio import to_thread
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, PreconditionFailed, Violation
from tidemill_trainer.errors import (
    BaseNotTrainable,
    JudgeRefused,
    RecipeNotForBase,
    RewardModelRefused,
    TeacherRefused,
    listed,
)
from tidemill_trainer.registry.domain.base_facts import BaseFacts
from tidemill_trainer.registry.domain.model_version import ModelVersion, VersionState
from tidemill_trainer.registry.domain.reward_model import tokenizer_digest
from tidemill_trainer.registry.domain.sources import OpenAiSource
from tidemill_trainer.training.domain.guidance import Guidance, PinnedJudge
from tidemill_trainer.training.domain.plan import PlanSettings
from tidemill_trainer.training.domain.rewards import JudgeReward, Reward, judge_of
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.domain.vocabulary import DEFAULT_LIMITS, VocabularyLimits
from tidemill_trainer.training.ports import Judges, References


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPlan:
    """Checks recipe, limits and base. The base is resolved and checked again when a run is queued.

    Recipes are checked off the event loop: a JSON Schema of their rewards may take half a second.
    """

    references: References
    judges: Judges
    max_time: timedelta
    max_memory_bytes: int
    max_processes: int = 1
    vocabulary: VocabularyLimits = DEFAULT_LIMITS
    max_judge_calls: int = 20_000

    async def __call__(self, project: str, plan_id: str, settings: PlanSettings) -> None:
        """Return if a run of the plan could start.

        Raises:
            InvalidInput: names field, value and what is allowed.
            ModelNotFound: names the models that exist.
            ModelVersionNotFound: names the versions that exist.
            BaseNotTrainable: the base is no set of full weights, or not ready.
            RecipeNotForBase: the recipe asks for what the base does not have.
            RewardModelRefused, TeacherRefused, JudgeRefused: as `guidance`.

        """
        await to_thread(
            settings.check,
            max_time=self.max_time,
            max_memory_bytes=self.max_memory_bytes,
            max_processes=self.max_processes,
            vocabulary=self.vocabulary,
        )
        base = await self.base_of(project, settings)
        await self.guidance(project, settings, base, trained=plan_id)
        if base.model == plan_id:
            description = (
                f"is {settings.base!r}; it must differ from {plan_id}, the model whose versions the plan registers"
            )
            raise InvalidInput.at(field="plan.base", text=description)

    async def base_of(self, project: str, settings: PlanSettings) -> ModelVersion:
        """Resolve a plan's base and check that the plan's recipe can be trained on it.

        Raises:
            RecipeNotForBase: names what the base does not have, and what it has.
            BaseNotTrainable: it has no chat template, or another project shares it and all its weights are trained.
            Others: as `base`.

        """
        base = await self.base(project, settings.base)
        facts = base.facts
        if facts.chat_template is False:
            raise BaseNotTrainable(base.id, why="it has no chat template")
        if base.project != project and settings.recipe.makes_full_weights:
            why = (
                f"it belongs to project {base.project}, which shares it for use, and full weights trained from it "
                "would be a copy of its weights: train an adapter (use_peft: true, no added_tokens), or do it there"
            )
            raise BaseNotTrainable(base.id, why=why)
        if violations := await to_thread(_not_for, base.id, facts, settings):
            raise RecipeNotForBase.of(*violations)
        return base

    async def guidance(self, project: str, settings: PlanSettings, base: ModelVersion, *, trained: str) -> Guidance:
        """Return the rewards and the teacher of a plan on a base, each model as `model@version`; as `guidance_of`.

        Raises:
            RewardModelRefused, TeacherRefused, JudgeRefused: as `guidance_of`.
            ModelNotFound, ModelVersionNotFound: names those that exist.

        """
        if not settings.rewards and not settings.teacher:
            return Guidance()
        given = Guidance(rewards=settings.rewards, teacher=settings.teacher)
        recipe = await to_thread(settings.recipe_on, base.facts)
        return await self.guidance_of(project, given, base, args=recipe.args, trained=trained)

    async def guidance_of(
        self, project: str, given: Guidance, base: ModelVersion, *, args: Mapping[str, object], trained: str
    ) -> Guidance:
        """Return what a run on a base is guided by, each model as `model@version`, with the authors of these models.

        `trained` is the model whose next version the run makes: no judge of that model rewards its answers.

        Raises:
            RewardModelRefused: it is none, is not ready, or scores tokens of another tokenizer than the base's.
            TeacherRefused: it has no weights here, or those are of another tokenizer, or of fewer tokens of context.
            JudgeRefused: it may not decide, or would judge answers of its own model.
            DependencyUnavailable: evaluator does not answer.
            ModelNotFound, ModelVersionNotFound: names those that exist.

        """
        found, authors, teacher, judge = list[Reward](), list[str](), given.teacher, None
        for index, each in enumerate(given.rewards):
            if each.judge:
                judge = await self._judge(project, index, each.judge, base, trained=trained)
            if not each.reward_model:
                found.append(each)
                continue
            version = await self._reward_model(project, index, each.reward_model, base)
            found.append(replace(each, reward_model=version.id))
            authors += version.authors
        if teacher:
            version = await self._teacher(project, teacher, base, max_length=int(str(args["max_length"])))
            teacher = version.id
            authors += version.authors
        return Guidance(rewards=tuple(found), teacher=teacher, authors=tuple(authors), judge=judge)

    def within_calls(self, run: TrainingRun) -> TrainingRun:
        """Return a run whose judge may be called as often as it is estimated to be.

        Raises:
            InvalidInput: names the estimate and the limit.

        """
        rewards = run.recipe.rewards
        judge = judge_of(rewards)
        limit = (judge.max_calls if judge else 0) or self.max_judge_calls
        if (calls := run.estimated_judge_calls) > limit:
            text = (
                f"is {limit}, and a run on {run.dataset.examples} examples calls models up to {calls} times for its "
                f"judge: raise it in the plan (the service allows {self.max_judge_calls}), or use fewer "
                "num_generations, steps or epochs, and start a new run"
            )
            place = next(index for index, each in enumerate(rewards) if each.judge)
            raise InvalidInput.at(field=f"plan.rewards[{place}].judge.max_calls", text=text)
        return run

    async def _judge(
        self, project: str, index: int, judge: JudgeReward, base: ModelVersion, *, trained: str
    ) -> PinnedJudge:
        field = f"plan.rewards[{index}].judge"
        if judge.max_calls > self.max_judge_calls:
            text = f"is {judge.max_calls}; the limit is {self.max_judge_calls} (TRAINER_JUDGE_MAX_CALLS)"
            raise InvalidInput.at(field=f"{field}.max_calls", text=text)
        try:
            caller = Caller.of_service(project, "trainer")
            return await self.judges.pin(caller, judge.id, model=base.id, trained=trained)
        except PreconditionFailed as error:
            raise JudgeRefused(field, error) from error

    async def _teacher(self, project: str, reference: str, base: ModelVersion, *, max_length: int) -> ModelVersion:
        version = await self.references.version(project, reference, field="plan.teacher")
        if version.state is not VersionState.READY:
            raise TeacherRefused(version.id, why=f"it is {version.state.value}")
        if version.id == base.id:
            raise TeacherRefused(
                version.id, why="it is the base itself, which says the same already: use another model"
            )
        if isinstance(version.source, OpenAiSource):
            raise TeacherRefused(version.id, why="it is a remote model, without weights in this registry")
        if version.reward_model:
            raise TeacherRefused(version.id, why="it is a reward model, which scores answers and generates none")
        whole = version
        if version.base:
            shared = await self.references.base_of(project, version)
            whole = shared or await self.references.version(project, version.base, field="plan.teacher")
        if whole.facts.quantized:
            raise TeacherRefused(version.id, why="its weights are quantized: use what it was derived from")
        if tokenizer_digest(whole.manifest.files) != tokenizer_digest(base.manifest.files):
            why = f"its tokenizer is not that of {base.id}: it would say other tokens, so use models with one tokenizer"
            raise TeacherRefused(version.id, why=why)
        if whole.facts.context_tokens and whole.facts.context_tokens < max_length:
            why = f"its context is {whole.facts.context_tokens} tokens, and args.max_length is {max_length}: lower that"
            raise TeacherRefused(version.id, why=why)
        return version

    async def _reward_model(self, project: str, index: int, reference: str, base: ModelVersion) -> ModelVersion:
        field = f"plan.rewards[{index}].reward_model"
        version = await self.references.version(project, reference, field=field)
        if version.reward_model is None or version.state is not VersionState.READY:
            raise RewardModelRefused(version.id, field=field, why="it is no reward model: train one by method reward")
        if version.reward_model.tokenizer_sha256 != tokenizer_digest(base.manifest.files):
            why = f"its tokenizer is that of {version.base}, and not that of {base.id}: train one on {base.id}"
            raise RewardModelRefused(version.id, field=field, why=why)
        return version

    async def base(self, project: str, reference: str) -> ModelVersion:
        """Resolve a base reference; raises as `__call__`."""
        version = await self.references.version(project, reference, field="plan.base")
        if version.state is not VersionState.READY:
            raise BaseNotTrainable(version.id, why=f"it is {version.state.value}")
        if isinstance(version.source, OpenAiSource):
            raise BaseNotTrainable(version.id, why="it is a remote model, without weights in this registry")
        if version.base:
            raise BaseNotTrainable(version.id, why=f"it is an adapter on {version.base}: use that base")
        if version.facts.quantized:
            raise BaseNotTrainable(version.id, why="its weights are quantized: use what it was derived from")
        return version


def _not_for(base: str, facts: BaseFacts, settings: PlanSettings) -> Sequence[Violation]:
    return [*_unknown_modules(settings, base, facts), *_too_long(settings, base, facts)]


def _unknown_modules(settings: PlanSettings, base: str, facts: BaseFacts) -> Iterator[Violation]:
    missing = [name for name in settings.target_modules if not facts.has(name)]
    if missing:
        there = listed(facts.names) or "none"
        description = f"names {listed(missing)}, which {base} does not have; it has {there}; or use all-linear"
        yield Violation("plan.lora.target_modules", description)


def _too_long(settings: PlanSettings, base: str, facts: BaseFacts) -> Iterator[Violation]:
    """Check an explicit max_length; the default is lowered to the base's context."""
    length, maximum = settings.recipe.args["max_length"], facts.context_tokens
    if "max_length" in settings.args and maximum and int(str(length)) > maximum:
        description = f"is {length}; the context of {base} is {maximum} tokens: use 8 to {maximum}"
        yield Violation("plan.args.max_length", description)
