"""What a training of loop.yaml searches for each new version of its dataset."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from tidemill_cli.loop.shapes import Declared, Duration


class SearchRange(Declared):
    """The numbers from low to high, whole ones where the setting is."""

    low: float
    high: float
    log: Annotated[bool, Field(description="draw by the logarithm, as for learning rates")] = False


Choices = Annotated[list[str | int | float | bool | list[str]], Field(min_length=2, max_length=32)]


class SearchBudget(Declared):
    """What all trials of one sweep together may take."""

    time: Duration | None = None
    cost: Annotated[float, Field(ge=0)] = 0.0
    price_per_hour: Annotated[float, Field(ge=0, description="what an hour of a trial costs; required with cost")] = 0.0


class Search(Declared):
    """A sweep for every new version of the dataset: trials with other settings; the best is trained in full."""

    search: Annotated[
        dict[str, SearchRange | Choices],
        Field(
            min_length=1, max_length=16, description="by args.NAME or lora.NAME: {low, high, log}, or a list of values"
        ),
    ]
    trials: Annotated[int, Field(ge=1)] = 12
    parallel: Annotated[int, Field(ge=1, le=16)] = 1
    held_out: Annotated[
        float, Field(ge=0.05, le=0.5, description="share of the train split that trials are measured on")
    ] = 0.2
    measurements: Annotated[int, Field(ge=1, le=50)] = 5
    keep_percent: Annotated[float, Field(ge=1, le=100, description="trials not among the best end early")] = 50.0
    startup_trials: Annotated[int, Field(ge=1, description="so many come to their end before others end early")] = 3
    warmup_measurements: Annotated[int, Field(ge=0, le=50)] = 0
    budget: SearchBudget = SearchBudget()
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0

    @model_validator(mode="after")
    def _has_a_price(self) -> Self:
        if self.budget.cost and not self.budget.price_per_hour:
            message = "budget: cost requires price_per_hour"
            raise ValueError(message)
        return self
