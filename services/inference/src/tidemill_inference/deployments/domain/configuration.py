"""What answers, and how: steps with their retrieval, sampling and models, named by their digest."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from tidemill_core.errors import InvalidInput, Violation
from tidemill_inference.examples.domain.declared import Examples

DEFAULT_TOP_K = 3
MAX_TOP_K = 100
DEFAULT_QUERY_TURNS = 3
MAX_QUERY_TURNS = 10
MAX_QUERY_VARIANTS = 5
MAX_COLLECTIONS = 10
MAX_TEMPERATURE = 2.0
MAX_PENALTY = 2.0
MAX_BIAS = 100.0
_UNSAID: tuple[object, ...] = (None, (), {})
_OBSERVING = frozenset({"logprobs", "top_logprobs"})
"""What is asked about an answer, and does not change it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """Where passages come from; `index` 0 follows the collection's live index version."""

    collection: str
    top_k: int = DEFAULT_TOP_K
    index: int = 0
    metadata_filter: Mapping[str, object] = field(default_factory=dict)
    min_score: float = 0.0
    """Passages below it are left out."""
    query_turns: int = DEFAULT_QUERY_TURNS
    """How many of the last user messages are searched with; 1 is the last one alone."""
    rewrite: str = ""
    """The model that rewrites the question with what was said before it."""
    other_collections: tuple[str, ...] = ()
    """Searched beside `collection`, of which alone `index` is."""
    query_variants: int = 0
    """How many other wordings of the question the model of `rewrite` writes."""

    @property
    def collections(self) -> tuple[str, ...]:
        """Return the names of all collections."""
        return (self.collection, *self.other_collections)

    @property
    def named(self) -> str:
        """Return the collections as a text names them."""
        return f"collection{'s' if self.other_collections else ''} {', '.join(self.collections)}"

    def violations(self, path: str) -> list[Violation]:
        """Return what is out of bounds."""
        bounds = (
            ("top_k", 1 <= self.top_k <= MAX_TOP_K, f"use 0 (for {DEFAULT_TOP_K}) to {MAX_TOP_K}"),
            ("index", self.index >= 0, "use 0 to follow the live index, or an index version's number"),
            ("min_score", 0 <= self.min_score <= 1, "use 0 (for all passages) to 1"),
            (
                "query_turns",
                1 <= self.query_turns <= MAX_QUERY_TURNS,
                f"use 0 (for {DEFAULT_QUERY_TURNS}) to {MAX_QUERY_TURNS}",
            ),
            ("query_variants", 0 <= self.query_variants <= MAX_QUERY_VARIANTS, f"use 0 to {MAX_QUERY_VARIANTS}"),
            ("query_variants", not self.query_variants or bool(self.rewrite), "name the model of `rewrite` with it"),
            (
                "other_collections",
                len(set(self.collections)) == len(self.collections) <= MAX_COLLECTIONS,
                f"name up to {MAX_COLLECTIONS - 1}, each once, and not `collection`",
            ),
        )
        return [
            Violation(f"{path}.{name}", f"is {getattr(self, name)}; {allowed}")
            for name, fits, allowed in bounds
            if not fits
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingLimits:
    """How much sampling may ask for; each is a setting: `stops` is INFERENCE_QUESTION_MAX_STOPS."""

    stops: int = 4
    stop_characters: int = 200
    biased_tokens: int = 1024
    top_logprobs: int = 20


DEFAULT_SAMPLING = SamplingLimits()
SAMPLING_BOUNDS = SamplingLimits(stops=64, stop_characters=4096, biased_tokens=1024, top_logprobs=20)
"""What settings may say at most; OpenAI's API, and vLLM by default, have no more log probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen; None leaves it to the engine's default."""

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """What is added to the logits of tokens, by their ids in the model's vocabulary."""
    logprobs: bool | None = None
    """Whether the log probabilities of the tokens are returned."""
    top_logprobs: int | None = None
    """Of how many tokens in each place, beside the one that stands there."""

    def over(self, default: "Sampling") -> "Sampling":
        """Return this sampling with `default` where it says nothing."""
        said = {each.name: value for each in fields(self) if (value := getattr(self, each.name)) not in _UNSAID}
        return replace(default, **said)

    def overrides(self, own: "Sampling") -> list[str]:
        """Return the names of what asks for something else than `own`; a lower limit of tokens does not."""
        said = [each.name for each in fields(self) if getattr(self, each.name) not in _UNSAID]
        others = [name for name in said if name not in _OBSERVING and not self._agrees(name, own)]
        lower = own.max_output_tokens is None or (self.max_output_tokens or 0) < own.max_output_tokens
        return [name for name in others if not (name == "max_output_tokens" and lower)]

    def changes(self, own: "Sampling") -> list[str]:
        """Return the names of what makes another answer than `own`."""
        return [each.name for each in fields(self) if each.name not in _OBSERVING and not self._agrees(each.name, own)]

    def says(self, name: str) -> bool:
        """Whether it asks for something there."""
        return getattr(self, name) not in _UNSAID

    def _agrees(self, name: str, own: "Sampling") -> bool:
        mine, theirs = getattr(self, name), getattr(own, name)
        return bool(mine == theirs or (name in {"presence_penalty", "frequency_penalty"} and not mine and not theirs))

    def without(self, names: Sequence[str]) -> "Sampling":
        """Return it without what these say."""
        kept = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in names}
        return Sampling(**kept)

    def violations(self, path: str, limits: SamplingLimits = DEFAULT_SAMPLING) -> list[Violation]:
        """Return what is out of bounds."""
        top = limits.top_logprobs
        bounds = {
            "temperature": (self.temperature, 0 <= (self.temperature or 0) <= MAX_TEMPERATURE, "0 to 2"),
            "top_p": (self.top_p, self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1"),
            "max_output_tokens": (
                self.max_output_tokens,
                self.max_output_tokens is None or self.max_output_tokens > 0,
                "1 or more",
            ),
            "presence_penalty": (self.presence_penalty, _is_penalty(self.presence_penalty), "-2 to 2"),
            "frequency_penalty": (self.frequency_penalty, _is_penalty(self.frequency_penalty), "-2 to 2"),
            "top_logprobs": (self.top_logprobs, 0 <= (self.top_logprobs or 0) <= top, f"0 to {top}"),
        }
        found = [
            Violation(f"{path}.{name}", f"is {value}; use {allowed}")
            for name, (value, fits, allowed) in bounds.items()
            if not fits
        ]
        longest = limits.stop_characters
        if len(self.stop) > limits.stops or any(not 0 < len(stop) <= longest for stop in self.stop):
            text = f"use at most {limits.stops} texts of 1 to {longest} characters"
            found.append(Violation(f"{path}.stop", text))
        if self.top_logprobs and not self.logprobs:
            found.append(Violation(f"{path}.top_logprobs", "goes with logprobs: true only"))
        return found + self._wrong_biases(f"{path}.logit_bias", limits.biased_tokens)

    def _wrong_biases(self, path: str, most: int) -> list[Violation]:
        if len(self.logit_bias) > most:
            return [Violation(path, f"has {len(self.logit_bias)} tokens; use at most {most}")]
        return [
            Violation(f"{path}[{token}]", f"is {bias}; use -100 to 100, for a token's id of 0 or more")
            for token, bias in self.logit_bias.items()
            if token < 0 or not -MAX_BIAS <= bias <= MAX_BIAS
        ][:1]


def _is_penalty(value: float | None) -> bool:
    return -MAX_PENALTY <= (value or 0) <= MAX_PENALTY


_ADDED: Mapping[str, Mapping[str, object]] = {
    "retrieval": {
        "min_score": 0.0,
        "query_turns": DEFAULT_QUERY_TURNS,
        "rewrite": "",
        "other_collections": (),
        "query_variants": 0,
    },
    "sampling": {
        "presence_penalty": None,
        "frequency_penalty": None,
        "logit_bias": {},
        "logprobs": None,
        "top_logprobs": None,
    },
}
"""Fields that old configurations are without, and what stands for them there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStep:
    """Answers the question by a prompt and a model, on passages."""

    model: str
    prompt: str
    retrieval: Retrieval | None
    sampling: Sampling
    fallback: tuple[str, ...] = ()
    examples: Examples | None = None


Step = AnswerStep
"""Every kind of step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What answers: steps in order, with every reference resolved (`model@version`, `prompt@version`).

    The last one answers; what is asked of the configuration itself is asked of that one.
    """

    steps: tuple[Step, ...]

    @classmethod
    def of(  # noqa: PLR0913 - the fields of the step
        cls,
        *,
        model: str,
        prompt: str,
        retrieval: Retrieval | None,
        sampling: Sampling,
        fallback: tuple[str, ...] = (),
        examples: Examples | None = None,
    ) -> "Configuration":
        """Return the configuration of one answer step."""
        step = AnswerStep(
            model=model,
            prompt=prompt,
            retrieval=retrieval,
            sampling=sampling,
            fallback=fallback,
            examples=examples,
        )
        return cls(steps=(step,))

    @property
    def answer(self) -> AnswerStep:
        """The step that answers."""
        return self.steps[-1]

    @property
    def model(self) -> str:
        """The model that answers."""
        return self.answer.model

    @property
    def prompt(self) -> str:
        """Its prompt."""
        return self.answer.prompt

    @property
    def retrieval(self) -> Retrieval | None:
        """What is searched for it."""
        return self.answer.retrieval

    @property
    def sampling(self) -> Sampling:
        """How its tokens are chosen."""
        return self.answer.sampling

    @property
    def fallback(self) -> tuple[str, ...]:
        """The models that answer in its place."""
        return self.answer.fallback

    @property
    def examples(self) -> Examples | None:
        """What stands before questions."""
        return self.answer.examples

    def with_answer(self, **changes: object) -> "Configuration":
        """Return the configuration with another answer step."""
        changed = replace(self.answer, **changes)  # type: ignore[arg-type] # of any field
        return Configuration(steps=(*self.steps[:-1], changed))

    def with_index(self, index: int) -> "Configuration":
        """Return the configuration with another index version that it searches, 0 for the live one.

        Raises:
            InvalidInput: it searches nothing.

        """
        if self.retrieval is None:
            raise InvalidInput.at(
                field="index", text=f"is {index}; the deployment searches no collection: leave it out"
            )
        return self.with_answer(retrieval=replace(self.retrieval, index=index))

    @property
    def digest(self) -> str:
        """The configuration's name: equal configurations have equal ones, in every deployment.

        One step is named as configurations were before they had steps. What was added to them later counts only where
        it is not as it was before.
        """
        named = [_named(step) for step in self.steps]
        return hashlib.sha256(json.dumps(named[0] if len(named) == 1 else named, sort_keys=True).encode()).hexdigest()


def _named(step: Step) -> dict[str, Any]:
    named = asdict(step)
    if named["examples"] is None:
        del named["examples"]
    else:
        named["examples"]["by"] = named["examples"]["by"].value
    for part, added in _ADDED.items():
        inside = named[part]
        for each, before in added.items() if inside else ():
            if inside[each] == before:
                del inside[each]
    return named
