"""A derivation: a version of a model that is made of another version, without training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.errors import Violation
from tidemill_core.resources import label_violations, refuse, slug_violations
from tidemill_trainer.derivations.errors import (
    DerivationFinished,
    DerivationLost,
    DerivationUnfinished,
    NotDerivable,
)
from tidemill_trainer.derivations.methods import Merge, Method, described, method_violations
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.domain.sources import DerivedSource


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivationHasEnded(Event):
    """The derivation succeeded, failed or was cancelled."""


class DerivationState(Enum):
    """SUCCEEDED, FAILED and CANCELLED are final."""

    QUEUED = "queued"
    RUNNING = "running"
    REGISTERING = "registering"
    """Its files are stored, and its version is being saved; it cannot be cancelled."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


IN_WORK = frozenset({DerivationState.QUEUED, DerivationState.RUNNING, DerivationState.REGISTERING})
CANCELLABLE = frozenset({DerivationState.QUEUED, DerivationState.RUNNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivationSource:
    """The version that a derivation is made of."""

    version: str
    """`model@number`."""
    base: str = ""
    """`model@number` of an adapter's base; "" for full weights."""
    dataset_version: str = ""
    """What it was trained on; "" for an imported one."""
    authors: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The model of the version."""
        return self.version.partition("@")[0]


@dataclass(slots=True, kw_only=True)
class Derivation(Aggregate):
    """A derivation; source, model and method are fixed when it is created.

    Every write of a worker carries the epoch of the derivation's lease; a write of an earlier epoch, or for one that
    has ended, raises DerivationLost.
    """

    source: DerivationSource
    model: str
    method: Method
    state: DerivationState = DerivationState.QUEUED
    reason: str = ""
    message: str = "waits for a worker"
    model_version: str = ""
    source_bytes: int = 0
    weight_bytes: int = 0
    requester: str = ""
    attempt: int = 0
    fruitless: int = 0
    """Attempts that did not end by waiting: the only trace of a worker that the derivation crashes."""
    epoch: int = 0
    start_time: datetime | None = None
    finish_time: datetime | None = None

    @property
    def authors(self) -> tuple[str, ...]:
        """The requester, and the authors of what it is made of: none of them may approve a rollout of what it makes."""
        own = (self.requester,) if self.requester else ()
        return tuple(dict.fromkeys((*self.source.authors, *own)))

    @property
    def made_from(self) -> DerivedSource:
        """Return the source of the version that it makes."""
        return DerivedSource(
            derivation=self.id,
            source_version=self.source.version,
            method=self.method.name,
            dataset_version=self.source.dataset_version,
        )

    def check(self) -> None:
        """Check what a caller chose.

        Raises:
            InvalidInput: names every field that breaks its rule.

        """
        refuse(self._violations())

    def claim(self, epoch: int, *, now: datetime) -> None:
        """Assign it to the worker with this lease epoch; one that is REGISTERING keeps its state.

        Raises:
            DerivationLost: a later epoch has it, or it has ended.

        """
        if epoch < self.epoch or self.state not in IN_WORK or self.deleted:
            raise DerivationLost(self.id)
        self.epoch, self.message = epoch, ""
        self.state = DerivationState.RUNNING if self.state is DerivationState.QUEUED else self.state
        self.attempt += 1
        self.fruitless += 1
        self.start_time = self.start_time or now

    def wait(self, message: str, *, epoch: int) -> None:
        """Record what it waits for; the attempt does not count as a lost worker."""
        self.refuse_unless_claimed(epoch)
        self.message, self.fruitless = message, max(0, self.fruitless - 1)

    def say(self, message: str, *, epoch: int) -> None:
        """Record what its attempt, which goes on, waits for."""
        self.refuse_unless_claimed(epoch)
        self.message = message

    def compute(self, *, epoch: int) -> None:
        """Compute again: no version was saved, and it may be cancelled again."""
        self.refuse_unless_claimed(epoch)
        self.state = DerivationState.RUNNING

    def register(self, *, epoch: int) -> None:
        """Start saving the version; from here on it cannot be cancelled."""
        self.refuse_unless_claimed(epoch)
        self.state, self.message = DerivationState.REGISTERING, ""

    def succeed(self, model_version: str, *, source_bytes: int, weight_bytes: int, now: datetime, epoch: int) -> None:
        """Record the registered version."""
        self.refuse_unless_claimed(epoch)
        self.model_version, self.source_bytes, self.weight_bytes = model_version, source_bytes, weight_bytes
        self._end(DerivationState.SUCCEEDED, now=now)

    def fail(self, *, reason: str, message: str, now: datetime, epoch: int) -> None:
        """Fail it."""
        self.refuse_unless_claimed(epoch)
        self._end(DerivationState.FAILED, now=now, reason=reason, message=message)

    def cancel(self, *, now: datetime, message: str = "cancelled by a user") -> None:
        """Cancel it; no effect if it is already cancelled.

        Raises:
            DerivationFinished: it is registering, or has ended.

        """
        if self.state is DerivationState.CANCELLED:
            return
        if self.state not in CANCELLABLE:
            raise DerivationFinished(self.id, state=self.state.value)
        self._end(DerivationState.CANCELLED, now=now, reason="CANCELLED", message=message)

    def refuse_unfinished(self) -> None:
        """Check that it may be deleted.

        Raises:
            DerivationUnfinished: it has not ended.

        """
        if self.state in IN_WORK:
            raise DerivationUnfinished(self.id)

    def refuse_unless_claimed(self, epoch: int) -> None:
        """Check that the worker with this epoch owns it.

        Raises:
            DerivationLost: another epoch owns it, or it has ended.

        """
        claimed = {DerivationState.RUNNING, DerivationState.REGISTERING}
        if epoch != self.epoch or self.state not in claimed or self.deleted:
            raise DerivationLost(self.id)

    def _end(self, state: DerivationState, *, now: datetime, reason: str = "", message: str = "") -> None:
        self.state, self.reason, self.message, self.finish_time = state, reason, message, now
        self.pending.append(DerivationHasEnded(occurred_at=now))

    def _violations(self) -> Iterator[Violation]:
        yield from slug_violations("derivation.model", self.model)
        yield from label_violations("derivation.labels", self.labels)
        if self.model == self.source.model:
            text = f"is {self.model!r}, the model of {self.source.version}: name another one, with a gate of its own"
            yield Violation("derivation.model", text)
        if isinstance(self.method, Merge) and not self.source.base:
            text = f"{self.source.version} is no adapter: there is nothing to merge; use quantize"
            yield Violation("derivation.merge", text)
        yield from method_violations(self.method)


def refuse_shared(project: str, version: ModelVersion, *, base: ModelVersion | None = None) -> None:
    """Check that all of the weights are the project's own: what is made of others would be a copy that it keeps.

    Raises:
        NotDerivable: another project shares the version, or its base.

    """
    for each, what in ((version, "it"), (base, f"its base {base.id if base else ''}")):
        if each and each.project != project:
            why = (
                f"{what} belongs to project {each.project}, which shares it for use, and what is made of it would be a "
                "copy of its weights: derive a version there, and share that"
            )
            raise NotDerivable(version.id, why=why)


def derivation_card(derivation: Derivation, *, facts: Sequence[tuple[str, str]]) -> str:
    """Return the card (Markdown) of what a derivation makes, with facts such as versions of libraries."""
    source, base = derivation.source, derivation.source.base
    rows = [
        ("Made of", f"`{source.version}`" + (f", an adapter on `{base}`" if base else "")),
        ("Dataset version", f"`{source.dataset_version}`" if source.dataset_version else "none: it was imported"),
        ("Derivation", f"`{derivation.id}`"),
        ("Method", f"`{derivation.method.name}`"),
        *facts,
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""# {derivation.model}

{described(derivation.method)}

| | |
|---|---|
{table}

## Licence

The licence of {f"`{base}`" if base else "its source"} applies; users must check it, and the rights in the examples.
"""
