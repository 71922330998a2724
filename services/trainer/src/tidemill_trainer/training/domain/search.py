"""What is searched for better settings, and how: of a sweep, or of a plan whose dataset versions start sweeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from tidemill_trainer.training.domain.methods import METHODS, Setting, Value

DEFAULT_TRIALS, DEFAULT_HELD_OUT, DEFAULT_MEASUREMENTS = 12, 0.2, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The numbers from low to high."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One setting, `args.<name>` or `lora.<name>`, with a range or choices."""

    setting: str
    range: Range | None = None
    choices: tuple[object, ...] = ()

    @property
    def part(self) -> str:
        """Return `args` or `lora`."""
        return self.setting.partition(".")[0]

    @property
    def name(self) -> str:
        """The setting's name in its part."""
        return self.setting.partition(".")[2]

    def known(self, method: str) -> Setting | None:
        """Return what the method says of the setting, None where it has none of this name."""
        parts: Mapping[str, Mapping[str, Setting]] = {"args": METHODS[method].args, "lora": METHODS[method].lora}
        return parts.get(self.part, {}).get(self.name)

    def is_whole(self, method: str) -> bool:
        """Return whether it is of whole numbers."""
        known = self.known(method)
        return known is not None and isinstance(known.default, int)

    def value(self, number: float, *, method: str) -> object:
        """Return the setting's value at a number of a point."""
        if self.choices:
            return self.choices[int(number)]
        return int(number) if self.is_whole(method) else number

    def number(self, value: Value) -> float | None:
        """Return the number of a point where the setting has this value, None where there is none."""
        if self.range is None:
            equal = (index for index, choice in enumerate(self.choices) if plain(choice) == plain(value))
            return next(equal, None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if self.range.low <= value <= self.range.high else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """When a trial ends early: while it is not among the best `keep_percent` of those that came to their end."""

    keep_percent: float = 50.0
    startup_trials: int = 3
    warmup_measurements: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bounds of what all trials together compute; None and 0 are no limit."""

    time: timedelta | None = None
    cost: float = 0.0
    price_per_hour: float = 0.0

    def cost_of(self, seconds: float) -> float:
        """Return what so much computing costs."""
        return seconds / 3600 * self.price_per_hour

    def is_spent(self, seconds: float) -> bool:
        """Return whether so much computing ends it."""
        return (self.time is not None and seconds >= self.time.total_seconds()) or (
            0 < self.cost <= self.cost_of(seconds)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A space of settings, and how many points of it are tried in what way."""

    space: tuple[Dimension, ...]
    max_trials: int = DEFAULT_TRIALS
    max_parallel: int = 1
    held_out: float = DEFAULT_HELD_OUT
    measurements: int = DEFAULT_MEASUREMENTS
    pruning: Pruning = field(default_factory=Pruning)
    budget: Budget = field(default_factory=Budget)
    seed: int = 0


def plain(value: object) -> object:
    """Return a value so that equal settings are equal: lists as tuples, whole numbers as they are."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(plain, value))
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
