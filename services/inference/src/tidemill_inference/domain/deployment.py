"""The name that products call, and what answers under it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import Enum

from tidemill_kit.domain import Aggregate, Event
from tidemill_kit.errors import InvalidInput, Violation

DEFAULT_DEADLINE = timedelta(seconds=60)
MAX_DEADLINE = timedelta(minutes=15)
DEFAULT_TOP_K = 3
MAX_TOP_K = 100
MAX_STOPS = 4
MAX_STOP_LENGTH = 200
MAX_TEMPERATURE = 2.0
MAX_FALLBACKS = 5


class RecordMode(Enum):
    """What the record of an answer keeps, each mode more than the one before."""

    NONE = 1
    METADATA = 2
    FULL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """Where passages come from; `index` 0 follows the collection's live index version."""

    collection: str
    top_k: int = DEFAULT_TOP_K
    index: int = 0
    metadata_filter: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen; None leaves it to the engine's default."""

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def over(self, default: "Sampling") -> "Sampling":
        """Return this sampling with `default` where it says nothing."""
        said = {each.name: value for each in fields(self) if (value := getattr(self, each.name)) not in (None, ())}
        return replace(default, **said)

    def violations(self, path: str) -> list[Violation]:
        """Return what is out of bounds."""
        bounds = {
            "temperature": (self.temperature, 0 <= (self.temperature or 0) <= MAX_TEMPERATURE, "0 to 2"),
            "top_p": (self.top_p, self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1"),
            "max_output_tokens": (
                self.max_output_tokens,
                self.max_output_tokens is None or self.max_output_tokens > 0,
                "1 or more",
            ),
        }
        found = [
            Violation(field=f"{path}.{name}", description=f"is {value}; take {allowed}")
            for name, (value, fits, allowed) in bounds.items()
            if not fits
        ]
        if len(self.stop) > MAX_STOPS or any(not 0 < len(stop) <= MAX_STOP_LENGTH for stop in self.stop):
            text = f"take at most {MAX_STOPS} texts of 1 to {MAX_STOP_LENGTH} characters"
            found.append(Violation(field=f"{path}.stop", description=text))
        return found


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

    def check(self) -> None:
        """Refuse what can never work, all of it at once.

        Raises:
            InvalidInput: names every field, its value and its limit.

        """
        found = self.sampling.violations("sampling")
        found += [
            Violation(field=name, description="is required") for name in ("model", "prompt") if not getattr(self, name)
        ]
        if not timedelta() < self.deadline <= MAX_DEADLINE:
            text = f"is {self.deadline.total_seconds():g} s; take more than 0 and at most {MAX_DEADLINE.seconds} s"
            found.append(Violation(field="deadline", description=text))
        if len(self.fallback) > MAX_FALLBACKS:
            found.append(Violation(field="fallback", description=f"take at most {MAX_FALLBACKS} models"))
        if self.retrieval and not 1 <= self.retrieval.top_k <= MAX_TOP_K:
            text = f"is {self.retrieval.top_k}; take 0 (for {DEFAULT_TOP_K}) to {MAX_TOP_K}"
            found.append(Violation(field="retrieval.top_k", description=text))
        if self.retrieval and self.retrieval.index < 0:
            text = f"is {self.retrieval.index}; take 0 to follow the live index, or an index version's number"
            found.append(Violation(field="retrieval.index", description=text))
        if found:
            raise InvalidInput.of(*found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What answers, with every reference resolved: `model@version`, `prompt@version`."""

    model: str
    prompt: str
    retrieval: Retrieval | None
    sampling: Sampling
    fallback: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The configuration's name: equal configurations have equal ones, in every deployment."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentWasConfigured(Event):
    """Another configuration answers from now on; `replaced` is the digest of the one before."""

    configuration: Configuration
    replaced: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentWasDeleted(Event):
    """Nothing answers under the name any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenConfiguration:
    """A configuration, and the part that it plays for one request."""

    variant: str
    configuration: Configuration


@dataclass(slots=True, kw_only=True)
class Deployment(Aggregate):
    """A declared spec and the configuration that answers now."""

    spec: DeploymentSpec
    live: Configuration

    def configure(self, spec: DeploymentSpec, live: Configuration, *, now: datetime) -> None:
        """Take a new spec with its references resolved; only another configuration is an event."""
        replaced = self.live.digest
        self.spec, self.live = spec, live
        if live.digest != replaced:
            self._configured(replaced=replaced, now=now)

    def announce(self, *, now: datetime) -> None:
        """Say that a new deployment answers."""
        self._configured(replaced="", now=now)

    def delete(self, *, now: datetime) -> None:
        """Stop answering."""
        self.deleted = True
        self.pending.append(DeploymentWasDeleted(occurred_at=now))

    def choose(self) -> ChosenConfiguration:
        """Return what answers one request. A rollout will assign candidates here, and nowhere else."""
        return ChosenConfiguration(variant="live", configuration=self.live)

    def _configured(self, *, replaced: str, now: datetime) -> None:
        self.pending.append(DeploymentWasConfigured(occurred_at=now, configuration=self.live, replaced=replaced))
