"""A plan: on each new version of a dataset, train this recipe on this base."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import cast

from tidemill_kit.core.aggregate import Aggregate, ObjectRef
from tidemill_kit.core.errors import InvalidInput, Violation
from tidemill_trainer.domain.base_facts import BaseFacts
from tidemill_trainer.domain.errors import PlanChanged, TrainingPlanNotFound
from tidemill_trainer.domain.model_rules import SLUG
from tidemill_trainer.domain.recipe import VOCABULARY, Recipe, recipe_of

DEFAULT_TIME = timedelta(hours=1)
SHORTEST_TIME = timedelta(seconds=1)
MIN_MEMORY_BYTES = 64 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """A version of a dataset and where its train part lies."""

    id: str
    """`dataset@number`."""
    train: ObjectRef
    examples: int

    @property
    def dataset(self) -> str:
        """The dataset's id."""
        return self.id.partition("@")[0]

    @property
    def number(self) -> int:
        """Its number: a newer version has a greater one."""
        return int(self.id.partition("@")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """What a run may take; 0 bytes mean what the service is set to.

    With `memory_auto` a run is fitted into what its machine has available, at most `memory_bytes`.
    """

    time: timedelta = DEFAULT_TIME
    memory_bytes: int = 0
    memory_auto: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """What a user says of a plan; lora and args as they were written."""

    dataset: str
    base: str
    method: str
    lora: Mapping[str, object] = field(default_factory=dict)
    args: Mapping[str, object] = field(default_factory=dict)
    limits: RunLimits = field(default_factory=RunLimits)
    paused: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        """The recipe with every default filled in."""
        return recipe_of(method=self.method, lora=self.lora, args=self.args)

    @property
    def target_modules(self) -> Sequence[str]:
        """The modules that LoRA is put on by name; none where it is put on all that are linear."""
        modules = self.recipe.lora["target_modules"]
        return [] if isinstance(modules, str) else [str(name) for name in cast("Sequence[str]", modules)]

    def recipe_on(self, facts: BaseFacts) -> Recipe:
        """The recipe for a base: a length that was not written is no more than what the base reads at once."""
        recipe, maximum = self.recipe, facts.context_tokens
        if "max_length" in self.args or not maximum or maximum >= int(str(recipe.args["max_length"])):
            return recipe
        return replace(recipe, args={**recipe.args, "max_length": maximum})

    def check(self, *, max_time: timedelta, max_memory_bytes: int) -> None:
        """Refuse what could never be trained.

        Raises:
            InvalidInput: names field, value and what is allowed.

        """
        if not SLUG.fullmatch(self.dataset):
            description = f"is {self.dataset[:80]!r}; it must be a dataset's id, such as helpdesk_sft"
            raise InvalidInput.of(Violation(field="plan.dataset", description=description))
        if not SHORTEST_TIME <= self.limits.time <= max_time:
            description = f"is {self.limits.time}; taken is {SHORTEST_TIME} to {max_time}"
            raise InvalidInput.of(Violation(field="plan.limits.time", description=description))
        memory = self.limits.memory_bytes
        if memory and not MIN_MEMORY_BYTES <= memory <= max_memory_bytes:
            description = (
                f"is {memory}; taken is 0 (for {max_memory_bytes}), or {MIN_MEMORY_BYTES} to {max_memory_bytes}"
            )
            raise InvalidInput.of(Violation(field="plan.limits.memory_bytes", description=description))
        for name in self.target_modules:
            if name.rpartition(".")[2] in VOCABULARY:
                description = f"names {name}, which is the base's vocabulary; name layers such as q_proj, or all-linear"
                raise InvalidInput.of(Violation(field="plan.lora.target_modules", description=description))


@dataclass(slots=True, kw_only=True)
class TrainingPlan(Aggregate):
    """Settings that each run copies when it is queued, so that a change concerns later runs only."""

    settings: PlanSettings
    deferred: DatasetVersion | None = None
    """The newest version that came while the plan was paused: it is trained when the plan goes on."""

    def configure(self, settings: PlanSettings, *, expected_version: int | None) -> None:
        """Take new settings; what is owed of another dataset is forgotten.

        Raises:
            PlanChanged: the plan is not at the save that the caller saw.

        """
        self._refuse_unless(expected_version)
        self.settings, self.labels = settings, dict(settings.labels)
        if self.deferred and self.deferred.dataset != settings.dataset:
            self.deferred = None

    def defer(self, version: DatasetVersion) -> None:
        """Remember a version of its dataset, unless it owes a newer one, to train once the plan is no longer paused."""
        if not self.settings.paused or version.dataset != self.settings.dataset:
            return
        if self.deferred is None or self.deferred.number < version.number:
            self.deferred = version

    def start_deferred(self, version: DatasetVersion) -> None:
        """Forget what it deferred, unless that is newer than this version, whose run is queued."""
        if self.deferred and self.deferred.dataset == version.dataset and self.deferred.number <= version.number:
            self.deferred = None

    def delete(self, *, expected_version: int | None) -> None:
        """Delete the plan; its runs and its model stay.

        Raises:
            TrainingPlanNotFound: it is not there, or not any more.
            PlanChanged: it is not at the save that the caller saw.

        """
        if self.deleted:
            raise TrainingPlanNotFound(self.id)
        self._refuse_unless(expected_version)
        self.deleted, self.deferred = True, None

    def _refuse_unless(self, expected_version: int | None) -> None:
        if expected_version is not None and expected_version != self.version:
            raise PlanChanged(self.id)
