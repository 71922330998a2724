"""The machines of a cluster that train one recipe together."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tidemill_core.errors import Violation
from tidemill_trainer.training.domain.methods import METHODS
from tidemill_trainer.training.domain.plan import MIN_MEMORY_BYTES
from tidemill_trainer.training.domain.processes import undivided
from tidemill_trainer.training.domain.recipe import Recipe

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")
_QUOTED = 80
DEFAULT_CPUS, MAX_CPUS = 4, 1024
MAX_MEMORY_BYTES = 2**50


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What a manifest takes of a cluster; 0 and "" stand for the defaults."""

    nodes: int
    processes_per_node: int = 1
    cpus_per_node: int = DEFAULT_CPUS
    memory_bytes_per_node: int = 0
    gpus: bool = False
    image: str = ""
    namespace: str = "default"
    secret: str
    volume_claim: str

    @property
    def processes(self) -> int:
        """All of them."""
        return self.nodes * self.processes_per_node

    def violations(self, recipe: Recipe, *, max_processes: int) -> Iterator[Violation]:
        """Yield what is wrong with it, or why its processes cannot divide a step of a recipe."""
        yield from self._wrong_sizes(max_processes)
        for field, value, form, words in (
            ("namespace", self.namespace, _LABEL, "a name of at most 63 lower-case letters, digits and hyphens"),
            ("secret", self.secret, _SUBDOMAIN, "the name of the Secret with the store's credentials"),
            ("volume_claim", self.volume_claim, _SUBDOMAIN, "the name of a PersistentVolumeClaim"),
            ("image", self.image, _IMAGE, "the name of an image, such as registry.example/tidemill-trainer:1.2"),
        ):
            if not form.fullmatch(value):
                yield Violation(field, f"is {value[:_QUOTED]!r}; it must be {words}")
        yield from _not_carried(recipe)
        if self.processes > 0 and (why := undivided(self.processes, recipe)) is not None:
            yield Violation("nodes", f"times processes_per_node is {self.processes}; {why}")

    def _wrong_sizes(self, max_processes: int) -> Iterator[Violation]:
        for field, value, most in (
            ("nodes", self.nodes, max_processes),
            ("processes_per_node", self.processes_per_node, max_processes),
            ("cpus_per_node", self.cpus_per_node, MAX_CPUS),
        ):
            if not 1 <= value <= most:
                yield Violation(field, f"is {value}; it must be 1 to {most}")
        if self.processes > max_processes:
            text = f"is {self.nodes}; times processes_per_node it must be at most {max_processes}"
            yield Violation("nodes", f"{text} (TRAINER_MANIFEST_MAX_PROCESSES)")
        if not MIN_MEMORY_BYTES <= self.memory_bytes_per_node <= MAX_MEMORY_BYTES:
            text = f"is {self.memory_bytes_per_node}; it must be {MIN_MEMORY_BYTES} to {MAX_MEMORY_BYTES}"
            yield Violation("memory_bytes_per_node", text)


def _not_carried(recipe: Recipe) -> Iterator[Violation]:
    """Yield what of a recipe pods would leave out: a teacher, rewards, other splits, what is measured."""
    method, instead = METHODS[recipe.method], "have the service train it (tidemill training start)"
    if not method.divides:
        what = "a teacher" if method.has_teacher else "rewards for what it generates"
        yield Violation("plan.method", f"is {recipe.method}, which needs {what}; a manifest has none: {instead}")
    if method.makes_reward_model:
        text = f"is {recipe.method}, which is measured on held-out pairs; a manifest has none of them: {instead}"
        yield Violation("plan.method", text)
    if recipe.memorisation:
        text = "is set, and pods plant and measure nothing: leave it out of the plan whose manifest this is, or "
        yield Violation("plan.memorisation", text + instead)
