"""A name under which versions are registered: it gives out their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tidemill_kit.core.aggregate import Aggregate, Event
from tidemill_trainer.domain.errors import ModelChanged, ModelNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWasDeleted(Event):
    """The model and all its versions are gone."""


def version_id(model: str, number: int) -> str:
    """Return a version's id, unique in the project."""
    return f"{model}@{number}"


def split_reference(reference: str) -> tuple[str, int]:
    """Return model and number of `model@number`, and number 0 for a bare `model`.

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
    """Numbers are given out from 1 and never twice, not even when a deleted model's name is taken up again."""

    version_count: int = 0
    """Versions begun, the deleted ones too: the last number given out."""
    first_number: int = 1
    """The first number since the name was last taken up; what came before is gone."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Content key -> the version that was begun for it."""

    @property
    def live_numbers(self) -> range:
        """Numbers given out and not gone, oldest first; a number may have no version yet."""
        return range(self.first_number, self.version_count + 1)

    def begin(self, key: str, *, alias: str = "", instead_of: int = 0) -> None:
        """Give the content a number unless it has one; `instead_of` names a failed version that does not count.

        The alias means that number too from now on: it is how the content was named, a branch for example.
        """
        if self.deleted:
            self.deleted, self.numbers, self.first_number = False, {}, self.version_count + 1
        if self.numbers.get(key, 0) in {0, instead_of}:
            self.version_count += 1
            self.numbers[key] = self.version_count
        if alias:
            self.numbers[alias] = self.numbers[key]

    def know(self, keys: Sequence[str], number: int) -> None:
        """Remember what a version turned out to hold, so that the same content is found again."""
        if not self.deleted and number in self.live_numbers:
            for key in keys:
                self.numbers.setdefault(key, number)

    def delete(self, *, now: datetime, expected_version: int | None) -> None:
        """Delete the model with all its versions.

        Raises:
            ModelNotFound: it is not there, or not any more.
            ModelChanged: it is not at the save that the caller saw.

        """
        if self.deleted or self.version == 0:
            raise ModelNotFound(self.id)
        if expected_version is not None and expected_version != self.version:
            raise ModelChanged(self.id)
        self.deleted = True
        self.pending.append(ModelWasDeleted(occurred_at=now))
