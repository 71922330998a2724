"""What a metric of answers is, and what is scored."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from tidemill_evaluator.suites.domain.cases import Case

ROUGE_L = "rouge_l"
TOKEN_F1 = "token_f1"  # noqa: S105 - a metric
CITATION_VALID = "citation_valid"
OUTPUT_CHARS = "output_chars"
EXACT_MATCH = "exact_match"
LATENCY_S = "latency_s"
COST = "cost"
OUTPUT_TOKENS = "output_tokens"
JSON_VALID = "json_valid"
JSON_SCHEMA = "json_schema"
REFUSAL = "refusal"
LIX = "lix"
BLEU = "bleu"
CHRF = "chrf"
METEOR = "meteor"
CODE_RUNS = "code_runs"

Scored = float | None
"""None, or a number that is not finite: the answer has no value of the metric, which never counts as success."""


class Need(Enum):
    """What a case has to carry for a metric."""

    REFERENCE = "reference"
    EXPECTATION = "expectation"
    SCHEMA = "schema"
    CODE_TESTS = "code_tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What answers are compared by."""

    name: str
    source: str
    """What it computes, for people: the paper, the library, or who measured it."""
    needs: frozenset[Need] = frozenset()
    by_case: bool = False
    """Whether it is computed for each case that carries what it needs, also where no request asks for it."""
    less_is_better: bool = False
    bounded: bool = True
    """Whether all values are in [0, 1]."""
    unreliable: str = ""
    """The reason with which an evaluation ends where too many answered cases lack a value; "" where it does not end."""

    def applies_to(self, case: Case) -> bool:
        """Return whether a case carries what it needs."""
        return all(_carries(case, need) for need in self.needs)


def _carries(case: Case, need: Need) -> bool:
    match need:
        case Need.REFERENCE:
            return bool(case.reference.strip())
        case Need.EXPECTATION:
            return case.expect is not None
        case Need.SCHEMA:
            return case.schema is not None
        case Need.CODE_TESTS:
            return bool(case.code_tests.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswer:
    """One side's answer to a case, as a scorer sees it."""

    text: str
    inference: str = ""
    citation_valid: float | None = None
    """Share of its sentences that a passage supports; None without passages or sentences."""
    total_s: float = 0.0
    """How long it took without search; 0 where that is not known."""
    max_concurrent: int = 0
    """How many answers could be generated at the same time; 0 where that is not known."""
    output_tokens: int | None = None
    cost: float | None = None
    """In the currency of the installation; None where no price is declared."""
    passages: tuple[str, ...] = ()
    """What it was given, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both sides' answers to a case; None for a side that failed."""

    case: Case
    baseline: GivenAnswer | None
    candidate: GivenAnswer | None
    name: str = ""
    """Of the case in its evaluation, and of who works on it: ids of requests derive from it."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """The version that the evaluation has pinned of what computes a metric, by metric; see `MetricFamily.pin`."""


Scores = Mapping[str, Scored]
"""By metric. What is not in it was not asked for, or does not apply to the case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairScores:
    """Scores of both sides; none of a side that failed."""

    baseline: Scores = field(default_factory=dict)
    candidate: Scores = field(default_factory=dict)

    def __or__(self, other: "PairScores") -> "PairScores":
        """Return the scores of both."""
        return PairScores(baseline={**self.baseline, **other.baseline}, candidate={**self.candidate, **other.candidate})


def unknown(name: str, known: Collection[str]) -> str:
    """Return that a name is no metric, with the names that are."""
    return f"{name[:40]!r} is not a metric: use one of {', '.join(known)}"
