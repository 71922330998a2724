"""What a sweep searches: settings of a recipe, each with a range or some choices."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

from tidemill_core.errors import InvalidInput, Violation
from tidemill_core.resources import refuse
from tidemill_trainer.training.domain.methods import METHODS, Setting
from tidemill_trainer.training.domain.plan import PlanSettings
from tidemill_trainer.training.domain.processes import undivided
from tidemill_trainer.training.domain.search import Dimension, Range, plain

Point: TypeAlias = tuple[float, ...]
"""A number for each dimension: of a range the value, of choices the index."""

MAX_DIMENSIONS = 16
MIN_CHOICES, MAX_CHOICES = 2, 32
MAX_COUNTED = 100_000
LONGEST_NAME = 64
LONGEST_SHOWN = 40
NOT_COMPARABLE = (
    "max_length",
    "beta",
    "loss_type",
    "loss_weights",
    "desirable_weight",
    "undesirable_weight",
    "center_rewards_coefficient",
    "lmbda",
    "max_new_tokens",
)
"""Settings that change what the loss is, or on which examples: trials with different ones cannot be compared by it."""
NOT_SEARCHED = ("seed", "logging_steps", "task_type", "bias")
"""Settings that make no model better."""

OF_A_STEP = ("args.per_device_train_batch_size", "args.gradient_accumulation_steps")
"""Settings that several processes divide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Dimensions over the recipe that a plan's settings describe."""

    start: PlanSettings
    dimensions: tuple[Dimension, ...]

    def settings(self, point: Point) -> Mapping[str, object]:
        """Return the values at a point by setting."""
        method = self.start.method
        return {
            dimension.setting: dimension.value(number, method=method)
            for dimension, number in zip(self.dimensions, point, strict=True)
        }

    def at(self, point: Point) -> PlanSettings:
        """Return the plan's settings at a point."""
        return _with(self.start, self.settings(point))

    @property
    def size(self) -> float:
        """The number of its points, infinite where a range is of fractions."""
        return math.prod(len(numbers) if numbers else math.inf for numbers in self._numbers())

    def untried(self, tried: Collection[Point]) -> Point | None:
        """Return the first point that was not tried, None where there is none, or more than can be counted through."""
        if self.size > MAX_COUNTED:
            return None
        return next((point for point in product(*self._numbers()) if point not in tried), None)

    def _numbers(self) -> Iterator[Sequence[float]]:
        """Yield the numbers of each dimension; none of a range of fractions."""
        for each in self.dimensions:
            if each.range is None:
                yield [float(index) for index in range(len(each.choices))]
            elif each.is_whole(self.start.method):
                yield range(int(each.range.low), int(each.range.high) + 1)
            else:
                yield ()

    def start_point(self) -> Point | None:
        """Return the point of the plan's own settings, None where the space has it not."""
        recipe = self.start.recipe
        parts = {"args": recipe.args, "lora": recipe.lora}
        numbers = [each.number(parts[each.part][each.name]) for each in self.dimensions]
        known = [number for number in numbers if number is not None]
        return tuple(map(float, known)) if len(known) == len(numbers) else None

    def check(self) -> None:
        """Check every dimension, that the recipe takes all of each range, and the recipe at its ends and each choice.

        Of a plan with several processes also that these can divide every step.

        Raises:
            InvalidInput: names field, value and what is allowed.

        """
        refuse(self._violations())
        refuse(self._violations_of_steps())

    def _violations(self) -> Iterator[Violation]:
        if not 1 <= len(self.dimensions) <= MAX_DIMENSIONS:
            yield Violation("sweep.space", f"has {len(self.dimensions)} settings; send 1 to {MAX_DIMENSIONS}")
        names = [dimension.setting for dimension in self.dimensions]
        for place, dimension in enumerate(self.dimensions[:MAX_DIMENSIONS]):
            field = f"sweep.space[{place}]"
            if dimension.setting in names[:place]:
                yield Violation(
                    f"{field}.setting", f"{dimension.setting[:LONGEST_NAME]!r} is there twice: send it once"
                )
                continue
            found = [*_own_violations(dimension, field, self.start.method)]
            yield from found or self._violations_of_values(dimension, field)

    def _violations_of_values(self, dimension: Dimension, field: str) -> Iterator[Violation]:
        values = dimension.choices
        if dimension.range:
            ends = (dimension.range.low, dimension.range.high)
            values = tuple(dimension.value(end, method=self.start.method) for end in ends)
        for value in values:
            changed = _with(self.start, {dimension.setting: value})
            try:
                _ = changed.recipe
            except InvalidInput as refused:
                yield from (Violation(field, f"{dimension.setting} {each.description}") for each in refused.violations)
                return

    def _violations_of_steps(self) -> Iterator[Violation]:
        """Yield the first rows of a step that the plan's processes cannot divide, of all that trials may have."""
        places = [place for place, each in enumerate(self.dimensions) if each.setting in OF_A_STEP]
        if self.start.processes == 1 or not places:
            return
        names = [self.dimensions[place].setting for place in places]
        for values in product(*(_of_a_step(self.dimensions[place]) for place in places)):
            changed = _with(self.start, dict(zip(names, values, strict=True)))
            if (why := undivided(changed.processes, changed.recipe)) is not None:
                yield Violation(f"sweep.space[{places[0]}]", f"has trials of {changed.processes} processes, and {why}")
                return


def _of_a_step(dimension: Dimension) -> Sequence[object]:
    """Return the values to check: of a range two that follow each other, of which no number divides both."""
    return (dimension.range.low, dimension.range.low + 1) if dimension.range else dimension.choices


def _own_violations(dimension: Dimension, field: str, method: str) -> Iterator[Violation]:
    known = dimension.known(method)
    if known is None:
        there = ", ".join(f"args.{name}" for name in sorted(METHODS[method].args))
        text = f"{dimension.setting[:LONGEST_NAME]!r} is no setting of {method}: use lora.r, lora.lora_alpha or {there}"
        yield Violation(f"{field}.setting", text)
    elif dimension.name in NOT_COMPARABLE:
        text = f"{dimension.setting} changes what the loss measures, and trials are compared by it: set it in the plan"
        yield Violation(f"{field}.setting", text)
    elif dimension.name in NOT_SEARCHED:
        yield Violation(f"{field}.setting", f"{dimension.setting} is not searched: set it in the plan")
    elif (dimension.range is None) == (not dimension.choices):
        yield Violation(field, "send either range or choices")
    elif dimension.range:
        yield from _range_violations(dimension, dimension.range, f"{field}.range", known)
    elif not MIN_CHOICES <= len(dimension.choices) <= MAX_CHOICES:
        text = f"has {len(dimension.choices)} values; send {MIN_CHOICES} to {MAX_CHOICES}"
        yield Violation(f"{field}.choices", text)
    elif len({repr(plain(choice)) for choice in dimension.choices}) < len(dimension.choices):
        yield Violation(f"{field}.choices", "has a value twice: send each once")


def _range_violations(dimension: Dimension, found: Range, field: str, known: Setting) -> Iterator[Violation]:
    if isinstance(known.default, bool) or not isinstance(known.default, int | float):
        yield Violation(field, f"is of numbers, and the setting is {known.allowed}: send choices")
    elif not (math.isfinite(found.low) and math.isfinite(found.high) and found.low < found.high):
        yield Violation(field, f"is {found.low:g} to {found.high:g}: low must be below high")
    elif found.log and found.low <= 0:
        yield Violation(f"{field}.low", f"is {found.low:g}: with log it must be above 0")
    elif isinstance(known.default, int) and (found.low % 1 or found.high % 1):
        yield Violation(field, f"is {found.low:g} to {found.high:g}: the setting is {known.allowed}")
    elif known.within:
        low, high = known.within
        outside = next((end for end in (found.low, found.high) if not low <= end <= high), None)
        if outside is not None:
            text = f"{dimension.setting} is {outside:g}; all of a range must be from {low:g} to {high:g}"
            yield Violation(field, text)


def _with(settings: PlanSettings, values: Mapping[str, object]) -> PlanSettings:
    lora = {name.removeprefix("lora."): value for name, value in values.items() if name.startswith("lora.")}
    args = {name.removeprefix("args."): value for name, value in values.items() if name.startswith("args.")}
    return replace(settings, lora={**settings.lora, **lora}, args={**settings.args, **args})
