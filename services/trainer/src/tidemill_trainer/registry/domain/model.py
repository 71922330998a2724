"""A model: the name under which versions are registered; it assigns their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.approvals import ApprovalPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWasDeleted(Event):
    """The model and all its versions were deleted."""


def version_id(model: str, number: int) -> str:
    """Return a version's id, unique in the project."""
    return f"{model}@{number}"


def split_reference(reference: str) -> tuple[str, int]:
    """Split `model@number`; the number is 0 for a bare `model`.

    Raises:
        ValueError: what follows the @ is not a number from 1 on.

    """
    model, at, number = reference.partition("@")
    if not at:
        return model, 0
    if not number.isascii() or not number.isdigit() or number.startswith("0"):
        message = f"{reference!r} is not `model` or `model@number`"
        raise ValueError(message)
    return model, int(number)


@dataclass(slots=True, kw_only=True)
class Model(Aggregate):
    """Numbers start at 1 and are never reused, not even when a deleted model's name is reused."""

    version_count: int = 0
    """The last assigned number, deleted versions included."""
    first_number: int = 1
    """The first number since the name was last reused; earlier versions are deleted."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Content key -> the number of its version."""
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    """Who has to agree to a version before it may serve."""

    @property
    def live_numbers(self) -> range:
        """Assigned and not deleted numbers, oldest first; a number may have no version yet."""
        return range(self.first_number, self.version_count + 1)

    def begin(self, key: str, *, alias: str = "", instead_of: int = 0) -> None:
        """Return the content's number, or assign the next one; `instead_of` is a failed version to replace.

        The alias (how the content was named, for example a branch) refers to that number from now on.
        """
        if self.deleted:
            self.deleted, self.numbers, self.first_number = False, {}, self.version_count + 1
            self.approval = ApprovalPolicy()
        if self.numbers.get(key, 0) in {0, instead_of}:
            self.version_count += 1
            self.numbers[key] = self.version_count
        if alias:
            self.numbers[alias] = self.numbers[key]

    def know(self, keys: Sequence[str], number: int) -> None:
        """Record the content key of a version, so that the same content is found again."""
        if not self.deleted and number in self.live_numbers:
            for key in keys:
                self.numbers.setdefault(key, number)

    def end(self, now: datetime) -> None:
        """Record that the model is deleted with all its versions."""
        self.pending.append(ModelWasDeleted(occurred_at=now))
