"""What generated answers are rewarded for: a model, a judge, or checks of a fixed list; no code of a project is run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import re2
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from tidemill_core.errors import Violation
from tidemill_core.resources import slug_violations

MAX_REWARDS = 8
MAX_WEIGHT = 100.0
MAX_PATTERN = 500
MAX_PATTERN_BYTES = 1024**2
MAX_SCHEMA_BYTES = 8192
MAX_SCHEMA_DEPTH = 32
_MAX_SHOWN = 200
_REMEMBERED = 256
"""Schemas whose check is not repeated: a plan's recipe is asked for several times."""
_REFUSED_KEYWORDS = (
    *("$ref", "$dynamicRef", "$recursiveRef", "pattern", "patternProperties"),
    *("unevaluatedProperties", "unevaluatedItems"),
)
"""Keywords of JSON Schema that lead elsewhere, whose patterns run without a bound, or whose time doubles by level."""
_SCHEMAS_BY_NAME = frozenset({"properties", "$defs", "dependentSchemas"})
"""Keywords whose keys are names of the project, not keywords."""
_VALUES = frozenset({"const", "enum", "default", "examples", "required", "dependentRequired"})
"""Keywords below which nothing is a keyword."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthBounds:
    """How many characters an answer may have; 0 is no bound."""

    min_characters: int = 0
    max_characters: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReward:
    """A judge of the evaluator, and how many calls of models a run may make for it; 0 is the service's limit."""

    id: str = ""
    max_calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """One thing that is rewarded, of exactly one kind. Checks and judges give 0 to 1; a reward model any number."""

    weight: float = 1.0
    reward_model: str = ""
    """`model` or `model@version`; of a run `model@version`."""
    pattern: str = ""
    """RE2: 1 where it is found in the answer."""
    length: LengthBounds | None = None
    """1 within the bounds."""
    json_schema: str = ""
    """JSON Schema, draft 2020-12: 1 where the answer is JSON that is valid by it."""
    rouge_l: bool = False
    """ROUGE-L of the answer to that of the example."""
    citation: bool = False
    """1 where the answer has a marker of a passage: [1]."""
    judge: JudgeReward | None = None
    """What a judge scores it; an answer that it does not judge has no reward."""

    @property
    def kind(self) -> str:
        """Its kind, "" where it has none or several."""
        given = [each.name for each in fields(self) if each.name != "weight" and getattr(self, each.name)]
        return given[0] if len(given) == 1 else ""

    @property
    def settings(self) -> Mapping[str, object]:
        """What it was declared as."""
        value = getattr(self, self.kind)
        is_plain = not isinstance(value, LengthBounds | JudgeReward)
        return {self.kind: value if is_plain else asdict(value), "weight": self.weight}


def compiled(pattern: str) -> Any:  # noqa: ANN401 - of re2, which has no types
    """Return a pattern that runs in linear time; raises re2.error."""
    options = re2.Options()
    options.max_mem, options.log_errors = MAX_PATTERN_BYTES, False
    return re2.compile(pattern, options=options)


def reward_violations(rewards: Sequence[Reward], *, generates: bool) -> Iterator[Violation]:
    """Yield what is wrong with the rewards of a method, which needs them exactly if it generates answers."""
    if not generates:
        if rewards:
            yield Violation("plan.rewards", "are of grpo alone: the other methods learn from examples")
        return
    if not 0 < len(rewards) <= MAX_REWARDS:
        yield Violation("plan.rewards", f"are {len(rewards)}; grpo needs 1 to {MAX_REWARDS}")
    if len(judges := [each.judge.id for each in rewards if each.judge]) > 1:
        text = f"name {len(judges)} judges; the limit is 1: name a jury, whose members are judges"
        yield Violation("plan.rewards", text)
    for index, reward in enumerate(rewards):
        if why := _wrong_with(reward):
            yield Violation(f"plan.rewards[{index}]", why)
        if reward.judge:
            yield from _judge_violations(reward.judge, field=f"plan.rewards[{index}].judge")


def _judge_violations(judge: JudgeReward, *, field: str) -> Iterator[Violation]:
    yield from slug_violations(f"{field}.id", judge.id)
    if judge.max_calls < 0:
        text = f"is {judge.max_calls}; allowed: 1 or more, or 0 for what the service allows"
        yield Violation(f"{field}.max_calls", text)


def _wrong_with(reward: Reward) -> str:
    if not reward.kind:
        return "must have exactly one of reward_model, pattern, length, json_schema, rouge_l, citation, judge"
    if not 0 < reward.weight <= MAX_WEIGHT:
        return f"weight is {reward.weight}; allowed: above 0, to {MAX_WEIGHT:g}"
    if "/" in reward.reward_model:
        return f"reward_model is {reward.reward_model[:MAX_PATTERN]!r}; it must be one of this project"
    if reward.pattern:
        return _wrong_pattern(reward.pattern)
    if reward.length:
        return _wrong_bounds(reward.length)
    return _wrong_schema(reward.json_schema) if reward.json_schema else ""


def _wrong_pattern(pattern: str) -> str:
    if len(pattern) > MAX_PATTERN:
        return f"pattern has {len(pattern)} characters; the limit is {MAX_PATTERN}"
    try:
        compiled(pattern)
    except re2.error:
        return "pattern is none that RE2 takes: it has no look-around and no back-references"
    return ""


def _wrong_bounds(bounds: LengthBounds) -> str:
    low, high = bounds.min_characters, bounds.max_characters
    if low < 0 or high < 0 or (low == high == 0) or (high and low > high):
        return f"length is {low} to {high} characters; give a max_characters, a min_characters, or both in order"
    return ""


@lru_cache(maxsize=_REMEMBERED)
def _wrong_schema(text: str) -> str:
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        return f"json_schema has {len(text.encode())} bytes; the limit is {MAX_SCHEMA_BYTES}"
    try:
        schema = read_json(text)
    except (ValueError, RecursionError):
        return "json_schema is not JSON"
    if not isinstance(schema, dict):
        return "json_schema is not a JSON object"
    if why := _wrong_keywords(schema):
        return why
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"json_schema is no JSON Schema at {error.json_path[:_MAX_SHOWN]}"
    return ""


def _wrong_keywords(schema: Mapping[str, object]) -> str:
    todo: list[tuple[object, int, str]] = [(schema, 0, "")]
    while todo:
        value, depth, below = todo.pop()
        if depth > MAX_SCHEMA_DEPTH:
            return f"json_schema is deeper than {MAX_SCHEMA_DEPTH} levels"
        if isinstance(value, dict):
            are_keywords = below not in _SCHEMAS_BY_NAME | _VALUES
            for keyword in _REFUSED_KEYWORDS if are_keywords else ():
                if keyword in value:
                    return f"json_schema has {keyword}, which is not supported here"
            inside = below if below in _VALUES else ""
            todo += [(each, depth + 1, key if are_keywords else inside) for key, each in value.items()]
        elif isinstance(value, list):
            todo += [(each, depth + 1, below if below in _VALUES else "") for each in value]
    return ""


def read_json(text: str) -> object:
    """Return what a JSON text says; raises ValueError for NaN and Infinity, too, and RecursionError."""
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> object:
    message = f"{name} is not JSON"
    raise ValueError(message)


def check_names(rewards: Sequence[Reward]) -> Sequence[str]:
    """Return what their curves are named by: the kind, numbered where several are of it."""
    kinds = [reward.kind for reward in rewards]
    return [
        f"{kind}_{kinds[:index].count(kind) + 1}" if kinds.count(kind) > 1 else kind for index, kind in enumerate(kinds)
    ]


def judge_of(rewards: Sequence[Reward]) -> JudgeReward | None:
    """Return the judge among the rewards, None where there is none."""
    return next((each.judge for each in rewards if each.judge), None)
