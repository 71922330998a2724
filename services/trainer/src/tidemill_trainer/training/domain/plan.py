"""A training plan: trains a recipe on a base for each new version of a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import cast

from tidemill_core.aggregate import Aggregate, ObjectRef
from tidemill_core.approvals import MAX_AUTHORS, with_author
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import check_labels, name_violations, refuse
from tidemill_trainer.registry.domain.base_facts import VOCABULARY, BaseFacts
from tidemill_trainer.training.domain.memorisation import MemorisationCheck, check_violations
from tidemill_trainer.training.domain.processes import process_violations
from tidemill_trainer.training.domain.recipe import Recipe, recipe_of
from tidemill_trainer.training.domain.rewards import Reward
from tidemill_trainer.training.domain.search import Search
from tidemill_trainer.training.domain.vocabulary import DEFAULT_LIMITS, VocabularyLimits, vocabulary_violations

DEFAULT_TIME = timedelta(hours=1)
SHORTEST_TIME = timedelta(seconds=1)
MIN_MEMORY_BYTES = 64 * 1024**2
MAX_PRIORITY = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """A dataset version and the location of its train split."""

    id: str
    """`dataset@number`; of another project that shares it `project/dataset@number`."""
    train: ObjectRef
    examples: int

    @property
    def dataset(self) -> str:
        """The dataset's id."""
        return self.id.partition("@")[0]

    @property
    def number(self) -> int:
        """Version number, increasing."""
        return int(self.id.partition("@")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """Limits of a run; 0 bytes means the service's default.

    With `memory_auto` the run is fitted into the available memory, at most `memory_bytes`.
    """

    time: timedelta = DEFAULT_TIME
    memory_bytes: int = 0
    memory_auto: bool = False


def check_priority(field_name: str, value: int) -> None:
    """Check a priority.

    Raises:
        InvalidInput: it is out of range.

    """
    if abs(value) > MAX_PRIORITY:
        description = f"is {value}; it must be -{MAX_PRIORITY} to {MAX_PRIORITY}"
        raise InvalidInput.at(field=field_name, text=description)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """A plan's settings as the user wrote them."""

    dataset: str
    base: str
    method: str
    lora: Mapping[str, object] = field(default_factory=dict)
    args: Mapping[str, object] = field(default_factory=dict)
    rewards: tuple[Reward, ...] = ()
    limits: RunLimits = field(default_factory=RunLimits)
    paused: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    sweep: Search | None = None
    """What new dataset versions search, in place of one run with the settings as they are."""
    teacher: str = ""
    """The model that is learnt from, where the method has one."""
    priority: int = 0
    """Of the project's runs, those of the highest are first."""
    processes: int = 1
    """How many compute a run together."""
    memorisation: MemorisationCheck | None = None
    """What runs plant to measure what they memorise, and how."""
    use_peft: bool = True
    """Whether runs train an adapter, in place of all weights of the base."""
    added_tokens: tuple[str, ...] = ()
    """Texts that become tokens of the vocabulary."""

    @property
    def recipe(self) -> Recipe:
        """The recipe with every default filled in."""
        recipe = recipe_of(
            method=self.method,
            lora=self.lora,
            args=self.args,
            use_peft=self.use_peft,
            rewards=self.rewards,
            teacher=self.teacher,
        )
        return replace(recipe, memorisation=self.memorisation, added_tokens=self.added_tokens)

    @property
    def target_modules(self) -> Sequence[str]:
        """Modules named for LoRA; empty for all linear modules."""
        modules = self.recipe.lora.get("target_modules", "all-linear")
        return [] if isinstance(modules, str) else [str(name) for name in cast("Sequence[str]", modules)]

    def recipe_on(self, facts: BaseFacts) -> Recipe:
        """The recipe for a base: a default max_length is lowered to the base's context."""
        recipe, maximum = self.recipe, facts.context_tokens
        if "max_length" in self.args or not maximum or maximum >= int(str(recipe.args["max_length"])):
            return recipe
        return replace(recipe, args={**recipe.args, "max_length": maximum})

    def check(
        self,
        *,
        max_time: timedelta,
        max_memory_bytes: int,
        max_processes: int,
        vocabulary: VocabularyLimits = DEFAULT_LIMITS,
    ) -> None:
        """Check dataset, labels, limits, processes, what is planted, added tokens, and target modules.

        Raises:
            InvalidInput: names field, value and what is allowed.

        """
        refuse(name_violations("plan.dataset", self.dataset))
        check_labels("plan.labels", self.labels)
        if not SHORTEST_TIME <= self.limits.time <= max_time:
            description = f"is {self.limits.time}; it must be {SHORTEST_TIME} to {max_time}"
            raise InvalidInput.at(field="plan.limits.time", text=description)
        memory = self.limits.memory_bytes
        if memory and not MIN_MEMORY_BYTES <= memory <= max_memory_bytes:
            description = (
                f"is {memory}; it must be 0 (for {max_memory_bytes}), or {MIN_MEMORY_BYTES} to {max_memory_bytes}"
            )
            raise InvalidInput.at(field="plan.limits.memory_bytes", text=description)
        check_priority("plan.priority", self.priority)
        if self.memorisation:
            refuse(check_violations(self.memorisation, method=self.method, use_peft=self.use_peft))
        refuse(vocabulary_violations(self.added_tokens, method=self.method, limits=vocabulary))
        refuse(process_violations(self.processes, self.recipe, maximum=max_processes))
        for name in self.target_modules:
            if name.rpartition(".")[2] in VOCABULARY:
                description = f"names {name}, part of the base's vocabulary; use layers such as q_proj, or all-linear"
                raise InvalidInput.at(field="plan.lora.target_modules", text=description)


@dataclass(slots=True, kw_only=True)
class TrainingPlan(Aggregate):
    """A plan. Runs copy its settings when they are queued, so a change applies to later runs only."""

    settings: PlanSettings
    deferred: DatasetVersion | None = None
    """The newest version published while the plan was paused; trained when it is resumed."""
    authors: tuple[str, ...] = ()
    """The subjects that created it or changed what its runs do."""

    def write(self, subject: str) -> None:
        """Record an author, unless the subject is not known; of very many the last are kept."""
        self.authors = with_author(self.authors, subject)[-MAX_AUTHORS:]

    def configure(self, settings: PlanSettings) -> None:
        """Apply new settings; a deferred version of another dataset is dropped.

        Raises:
            InvalidInput: its labels change, and are too many or too long.

        """
        if settings.labels != self.settings.labels:
            check_labels("plan.labels", settings.labels)
        self.settings, self.labels = settings, dict(settings.labels)
        if self.deferred and self.deferred.dataset != settings.dataset:
            self.deferred = None

    def defer(self, version: DatasetVersion) -> None:
        """If paused, store a version of its dataset as deferred, unless a newer one is."""
        if not self.settings.paused or version.dataset != self.settings.dataset:
            return
        if self.deferred is None or self.deferred.number < version.number:
            self.deferred = version

    def start_deferred(self, version: DatasetVersion) -> None:
        """Clear the deferred version unless it is newer than this version, whose run is queued."""
        if self.deferred and self.deferred.dataset == version.dataset and self.deferred.number <= version.number:
            self.deferred = None

    def forget_deferred(self) -> None:
        """Start no run for what was published during a pause."""
        self.deferred = None
