"""What a prompt test asks: cases of a suite, or questions of its own, of each of its variants."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tidemill_core.errors import Violation
from tidemill_core.resources import slug_violations
from tidemill_evaluator.evaluations.domain.asked_by import AS_DEPLOYED, PromptText, VariantSampling
from tidemill_evaluator.gates.domain.gate import CONFIDENCE
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.names import version_violation

MAX_NAME_LENGTH = 100
MAX_TEMPERATURE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GridLimits:
    """How large a test may be; each is a setting."""

    variants: int = 16
    cells: int = 2000
    """Cases times variants."""
    questions: int = 50
    """That a request brings."""
    characters: int = 200_000
    """Of the questions and unsaved prompts of a test: they are stored with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVariant:
    """A deployment's live configuration, with what is named here in place of its own."""

    name: str
    deployment: str
    prompt: str = ""
    """`prompt@version`."""
    unsaved: PromptText | None = None
    model: str = ""
    """`model@version`."""
    sampling: VariantSampling = AS_DEPLOYED


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The first variant is what the others are compared with."""

    variants: tuple[PromptVariant, ...]
    suite: str = ""
    max_cases: int = 0
    """Cases with the lowest sha256 of their ids; 0 means all."""
    cases: tuple[str, ...] = ()
    """Ids of the suite's cases, in place of a sample; empty means all."""
    questions: tuple[Case, ...] = ()
    """In place of a suite's."""
    metrics: tuple[str, ...] = ()
    """Beside those that are always computed."""
    confidence: float = CONFIDENCE

    @property
    def deployments(self) -> Sequence[str]:
        """Each once, in order."""
        return list(dict.fromkeys(each.deployment for each in self.variants))

    @property
    def without_texts(self) -> "Grid":
        """The same without questions; unsaved prompts are empty."""
        empty = PromptText(user="")
        variants = (replace(each, unsaved=empty if each.unsaved else None) for each in self.variants)
        return replace(self, questions=(), variants=tuple(variants))

    def number_of(self, size: int) -> int:
        """Return how many cases are asked, where the suite has so many."""
        if self.questions or self.cases:
            return len(self.questions or self.cases)
        return min(size, self.max_cases) if self.max_cases else size

    def violations(self, limits: Limits, size: GridLimits) -> Iterator[Violation]:
        """Yield what breaks a rule; texts are not repeated."""
        yield from self._of_cases(limits)
        if len(self.questions) > size.questions:
            yield Violation("questions", f"has {len(self.questions)} entries; the limit is {size.questions}")
        for number, case in enumerate(self.questions[: size.questions]):
            yield from _question_violations(case, f"questions[{number}]", limits)
        if not 1 <= len(self.variants) <= size.variants:
            yield Violation("variants", f"has {len(self.variants)} entries: send 1 to {size.variants}")
        for number, variant in enumerate(self.variants[: size.variants]):
            yield from _variant_violations(variant, f"variants[{number}]")
        yield from _repeats(self.variants[: size.variants])
        if (length := self._characters()) > size.characters:
            text = f"and unsaved prompts have {length} characters together; the limit is {size.characters}"
            yield Violation("questions", text)

    def _of_cases(self, limits: Limits) -> Iterator[Violation]:
        if bool(self.suite) is bool(self.questions):
            yield Violation("suite", "goes without questions: send one of both")
        elif self.suite:
            yield from slug_violations("suite", self.suite)
        if self.max_cases < 0:
            yield Violation("max_cases", f"is {self.max_cases}: send a number of cases, or 0 for all")
        if self.max_cases and (self.questions or self.cases):
            yield Violation("max_cases", "goes without questions and cases: leave it out")
        if self.cases and self.questions:
            yield Violation("cases", "are those of a suite: leave them out")
        if len(set(self.cases)) < len(self.cases):
            yield Violation("cases", "has an id twice: send each once")
        if (length := max(map(len, self.cases), default=0)) > limits.case_id_length:
            yield Violation("cases", f"has an id of {length} characters; the limit is {limits.case_id_length}")

    def _characters(self) -> int:
        prompts = sum(each.unsaved.characters for each in self.variants if each.unsaved)
        return prompts + sum(_length(each) for each in self.questions)


def _length(case: Case) -> int:
    turns = sum(len(turn.text) for turn in case.context.earlier)
    return len(case.question) + len(case.reference) + turns + len(str(dict(case.context.variables)))


def _question_violations(case: Case, where: str, limits: Limits) -> Iterator[Violation]:
    if not case.question.strip():
        yield Violation(f"{where}.question", "is empty")
    for name, value, limit in (
        ("question", case.question, limits.question_length),
        ("reference", case.reference, limits.reference_length),
    ):
        if len(value) > limit:
            yield Violation(f"{where}.{name}", f"has {len(value)} characters; the limit is {limit}")
    if (others := _length(case) - len(case.question) - len(case.reference)) > limits.context_length:
        text = f"has {others} characters together with the variables; the limit is {limits.context_length}"
        yield Violation(f"{where}.earlier", text)
    if len(case.context.principals) > limits.principals:
        text = f"has {len(case.context.principals)} entries; the limit is {limits.principals}"
        yield Violation(f"{where}.principals", text)


def _variant_violations(variant: PromptVariant, where: str) -> Iterator[Violation]:
    yield from slug_violations(f"{where}.deployment", variant.deployment)
    if not variant.name.isprintable() or len(variant.name) > MAX_NAME_LENGTH:
        text = f"has {len(variant.name)} characters: use at most {MAX_NAME_LENGTH}, without line breaks"
        yield Violation(f"{where}.name", text)
    for name, version in (("prompt", variant.prompt), ("model", variant.model)):
        if version and version_violation(version, ""):
            yield Violation(f"{where}.{name}", f"{version[:80]!r} is not a version: use `{name}@number`")
    if variant.unsaved and variant.prompt:
        yield Violation(f"{where}.unsaved", "goes without prompt: send one of both")
    if variant.unsaved and not variant.unsaved.user.strip():
        yield Violation(f"{where}.unsaved.user", "is required")
    yield from _sampling_violations(variant.sampling, f"{where}.sampling")


def _sampling_violations(sampling: VariantSampling, where: str) -> Iterator[Violation]:
    temperature, top_p, tokens = sampling.temperature, sampling.top_p, sampling.max_output_tokens
    if temperature is not None and not 0 <= temperature <= MAX_TEMPERATURE:
        yield Violation(f"{where}.temperature", f"is {temperature}; use 0 to {MAX_TEMPERATURE:g}")
    if top_p is not None and not 0 < top_p <= 1:
        yield Violation(f"{where}.top_p", f"is {top_p}; use above 0 and at most 1")
    if tokens is not None and tokens < 1:
        yield Violation(f"{where}.max_output_tokens", f"is {tokens}; use 1 or more")


def _repeats(variants: Sequence[PromptVariant]) -> Iterator[Violation]:
    """Yield variants that are the same as one before, and names that are taken."""
    seen, names = list[PromptVariant](), list[str]()
    for number, variant in enumerate(variants):
        if variant.name in names:
            yield Violation(f"variants[{number}].name", f"is that of variants[{names.index(variant.name)}]")
        names.append(variant.name)
        alike = replace(variant, name="")
        if alike in seen:
            yield Violation(f"variants[{number}]", f"is the same as variants[{seen.index(alike)}]: leave it out")
        seen.append(alike)
