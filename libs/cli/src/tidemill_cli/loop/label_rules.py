"""The label rules of a dataset in loop.yaml: by which labels of review queues examples are taken."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import Field, FiniteFloat, StrictBool, StrictStr, model_validator

from tidemill.ingest.v1.dataset_pb2 import LabelRule
from tidemill_cli.loop.problems import Document, Problem, nearest
from tidemill_cli.loop.review_queues import ReviewField, ReviewQueue
from tidemill_cli.loop.shapes import Declared

MAX_RULES = 20
_SLUG = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
QueueField = Annotated[str, Field(pattern=f"^{_SLUG}\\.{_SLUG}$", description="QUEUE.FIELD of the section reviews")]


class Between(Declared):
    """Bounds of a number, both included."""

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None

    def has(self, other: "Between") -> bool:
        """Return whether all that is within the other bounds is within these."""
        low = self.min is None or (other.min is not None and self.min <= other.min)
        return low and (self.max is None or (other.max is not None and other.max <= self.max))

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min is None and self.max is None:
            message = "set min, max or both"
            raise ValueError(message)
        if self.min is not None and self.max is not None and self.min > self.max:
            message = f"min is {self.min:g}, above max, which is {self.max:g}"
            raise ValueError(message)
        return self


LabelValues = Annotated[list[StrictBool | StrictStr], Field(min_length=1, max_length=100)] | Between
Rules = dict[QueueField, LabelValues]


class Labels(Declared):
    """Takes examples by what reviewers agreed on of them."""

    require: Annotated[Rules, Field(description="takes only examples with one of these labels")] = Field(
        default_factory=dict
    )
    exclude: Annotated[Rules, Field(description="leaves out examples with one of these labels")] = Field(
        default_factory=dict
    )


def label_rules(part: Labels) -> Iterator[LabelRule]:
    """Yield the messages of rules."""
    for rules, exclude in ((part.require, False), (part.exclude, True)):
        for name, values in rules.items():
            queue, _, field = name.partition(".")
            if isinstance(values, Between):
                yield LabelRule(queue=queue, field=field, min=values.min, max=values.max, exclude=exclude)
            else:
                yield LabelRule(queue=queue, field=field, values=[*map(_text_of, values)], exclude=exclude)


def rule_problems(
    document: Document, datasets: Mapping[str, Labels], reviews: Mapping[str, ReviewQueue]
) -> Iterator[Problem]:
    """Yield rules about what no review queue of the file has, and rules that contradict each other."""
    for name, part in datasets.items():
        for kind, rules in (("require", part.require), ("exclude", part.exclude)):
            for rule, values in rules.items():
                if problem := _problem(rule, values, reviews):
                    yield document.problem(("datasets", name, "labels", kind, rule), problem)
        for rule in part.require.keys() & part.exclude.keys():
            if both := _contradiction(part.require[rule], part.exclude[rule]):
                message = f"is required with {both}, too: keep one of both"
                yield document.problem(("datasets", name, "labels", "exclude", rule), message)
        if (count := len(part.require) + len(part.exclude)) > MAX_RULES:
            yield document.problem(("datasets", name, "labels"), f"has {count} rules, and {MAX_RULES} is the limit")


def _contradiction(required: LabelValues, excluded: LabelValues) -> str:
    """Return what both are about; "" where something is left to take."""
    if isinstance(required, Between) or isinstance(excluded, Between):
        bounds = isinstance(required, Between) and isinstance(excluded, Between) and excluded.has(required)
        return "every value that it takes" if bounds else ""
    return next((each for each in map(_text_of, required) if each in {*map(_text_of, excluded)}), "")


def _problem(rule: str, values: LabelValues, reviews: Mapping[str, ReviewQueue]) -> str:
    queue, _, name = rule.partition(".")
    if queue not in reviews:
        return f"there is no review {queue!r} in this file{nearest(queue, [*reviews])}"
    field = reviews[queue].fields.get(name)
    if field is None:
        return f"review {queue} has no field {name!r}{nearest(name, [*reviews[queue].fields])}"
    return _misfit(name, field, values)


def _misfit(name: str, field: ReviewField, values: LabelValues) -> str:
    if not isinstance(values, Between) and len({*map(_text_of, values)}) < len(values):
        return f"{name} has a value twice: name each once"
    if field.kind == "text":
        return f"{name} is a text: use a category, a boolean or a number"
    if (field.kind == "number") != isinstance(values, Between):
        use = "{min: ..., max: ...}" if field.kind == "number" else "a list of values"
        return f"{name} is a {field.kind}: use {use}"
    if isinstance(values, Between):
        return ""
    allowed = ["true", "false"] if field.kind == "boolean" else field.choices
    unknown = [each for each in map(_text_of, values) if each not in allowed]
    return f"{name} has no value {unknown[0]!r}{nearest(unknown[0], allowed)}" if unknown else ""


def _text_of(value: bool | str) -> str:  # noqa: FBT001 - a value of YAML
    return str(value).lower() if isinstance(value, bool) else value
