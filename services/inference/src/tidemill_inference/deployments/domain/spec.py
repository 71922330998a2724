"""What a user declares of a deployment."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from tidemill_core.errors import InvalidInput, Violation, named
from tidemill_core.resources import check_slug
from tidemill_inference.caching.domain.policy import CachePolicy
from tidemill_inference.conversations.domain.policy import ConversationPolicy
from tidemill_inference.deployments.domain.configuration import DEFAULT_SAMPLING, Retrieval, Sampling, SamplingLimits
from tidemill_inference.examples.domain.declared import Examples
from tidemill_inference.rollouts.domain.policy import RolloutPolicy
from tidemill_inference.routing.domain.policy import RoutingPolicy

DEFAULT_DEADLINE = timedelta(seconds=60)
MAX_DEADLINE = timedelta(minutes=15)
MAX_RECORD_DAYS = 3650
MAX_FALLBACKS = 5
ENGINES = ("transformers", "vllm")


class RecordMode(Enum):
    """What the record of an answer keeps, each mode more than the one before."""

    NONE = 1
    METADATA = 2
    FULL = 3


class PromptGoLive(Enum):
    """When a new version of a deployment's prompt answers."""

    WHEN_APPLIED = "when_applied"
    BY_ROLLOUT = "by_rollout"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """What the user declared; references are as written."""

    model: str
    prompt: str
    retrieval: Retrieval | None = None
    sampling: Sampling = field(default_factory=Sampling)
    fallback: tuple[str, ...] = ()
    deadline: timedelta = DEFAULT_DEADLINE
    record: RecordMode = RecordMode.FULL
    allow_sampling_override: bool = False
    follow: str = ""
    rollout_policy: RolloutPolicy | None = None
    record_days: int = 0
    """After so many days the records of its answers are removed; 0 keeps them."""
    conversation: ConversationPolicy | None = None
    routing: RoutingPolicy | None = None
    engine: str = ""
    """What runs models that have files, one of `ENGINES`; "" leaves it to the service."""
    cache: CachePolicy | None = None
    examples: Examples | None = None
    prompt_go_live: PromptGoLive = PromptGoLive.WHEN_APPLIED

    @property
    def followed_prompt(self) -> str:
        """The prompt whose versions rollouts promote; "" where applying the deployment changes them."""
        return self.prompt if self.prompt_go_live is PromptGoLive.BY_ROLLOUT else ""

    def check(self, limits: SamplingLimits = DEFAULT_SAMPLING) -> None:
        """Refuse what can never work, all of it at once.

        Raises:
            InvalidInput: names every field, its value and its limit.

        """
        found = self.sampling.violations("sampling", limits)
        found += [Violation(name, "is required") for name in ("model", "prompt") if not getattr(self, name)]
        found += _unknown_engine(self.engine)
        if not timedelta() < self.deadline <= MAX_DEADLINE:
            text = f"is {self.deadline.total_seconds():g} s; use more than 0 and at most {MAX_DEADLINE.seconds} s"
            found.append(Violation("deadline", text))
        if not 0 <= self.record_days <= MAX_RECORD_DAYS:
            text = f"is {self.record_days}; use 1 to {MAX_RECORD_DAYS} days, or 0 to keep the records"
            found.append(Violation("record_days", text))
        if len(self.fallback) > MAX_FALLBACKS:
            found.append(Violation("fallback", f"use at most {MAX_FALLBACKS} models"))
        if {"@", "/"} & {*self.followed_prompt}:
            text = "rollouts move it, so name a prompt of this project without a version"
            found.append(Violation("prompt", f"is {named(self.prompt)} with prompt_go_live BY_ROLLOUT: {text}"))
        for name in ("conversation", "retrieval", "rollout_policy", "routing", "cache", "examples"):
            if part := getattr(self, name):
                found += part.violations(name)
        found += self._contradictions()
        if found:
            raise InvalidInput.of(*found)
        if self.follow:
            check_slug("follow", self.follow)

    def _contradictions(self) -> list[Violation]:
        """Return what cannot stand beside something else."""
        text = f"needs full records: record is {self.record.name}"
        on_records = [name for name in ("conversation", "cache") if getattr(self, name)]
        found = [Violation(name, text) for name in on_records if self.record is not RecordMode.FULL]
        if self.follow and self.routing and self.routing.equal_models:
            text = f"stands beside follow: {self.follow}, whose versions are equal to no other model; use one of them"
            found.append(Violation("routing.equal_models", text))
        return found


def _unknown_engine(engine: str) -> list[Violation]:
    known = engine in ("", *ENGINES)
    text = f"is {named(engine)}; use {' or '.join(ENGINES)}, or leave it out"
    return [] if known else [Violation("engine", text)]
