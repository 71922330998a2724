"""What a training of loop.yaml searches for each new version of its dataset."""

from math import isfinite
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from tidemill_cli.loop.shapes import Declared, Duration

Finite = Annotated[float, Field(allow_inf_nan=False)]
MAX_TRIALS = 500
"""More, no trainer can be set to allow."""


class SearchRange(Declared):
    """The numbers from low to high, whole ones where the setting is."""

    low: Finite
    high: Finite
    log: Annotated[bool, Field(description="draw by the logarithm, as for learning rates")] = False

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.low > self.high:
            message = f"low is {self.low:g}, above high, {self.high:g}"
            raise ValueError(message)
        return self


def _in_reach(values: list[Any]) -> list[Any]:
    """Refuse numbers that no double holds, which a sweep's are."""
    for value in values:
        try:
            reached = not isinstance(value, int | float) or isfinite(value)
        except OverflowError:
            reached = False
        if not reached:
            message = (
                "has a number beyond 1.7e308, or .nan: choices are finite numbers, texts, true, false or lists of texts"
            )
            raise ValueError(message)
    return values


Choices = Annotated[
    list[str | int | float | bool | list[str]], Field(min_length=2, max_length=32), AfterValidator(_in_reach)
]


class SearchBudget(Declared):
    """What all trials of one sweep together may take."""

    time: Duration | None = None
    cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    price_per_hour: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="what an hour of a trial costs; required with cost")
    ] = 0.0


class TrainingSweep(Declared):
    """A sweep for every new version of the dataset: trials with other settings; the best is trained in full."""

    search: Annotated[
        dict[str, SearchRange | Choices],
        Field(
            min_length=1, max_length=16, description="by args.NAME or lora.NAME: {low, high, log}, or a list of values"
        ),
    ]
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] = 12
    parallel: Annotated[int, Field(ge=1, le=16)] = 1
    held_out: Annotated[
        float, Field(ge=0.05, le=0.5, description="share of the train split that trials are measured on")
    ] = 0.2
    measurements: Annotated[int, Field(ge=1, le=50)] = 5
    keep_percent: Annotated[float, Field(ge=1, le=100, description="trials not among the best end early")] = 50.0
    startup_trials: Annotated[
        int, Field(ge=1, le=MAX_TRIALS, description="so many come to their end before others end early")
    ] = 3
    warmup_measurements: Annotated[int, Field(ge=0, le=50)] = 0
    budget: SearchBudget = SearchBudget()
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0

    @model_validator(mode="after")
    def _has_a_price(self) -> Self:
        if self.budget.cost and not self.budget.price_per_hour:
            message = "budget: cost requires price_per_hour"
            raise ValueError(message)
        return self
