"""Size limits of evaluator."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Lengths are in characters."""

    cases: int = 2000
    """Of one suite."""
    evaluation_cases: int = 5000
    """Of one evaluation, over all its sets of cases."""
    part_bytes: int = 64 * 1024 * 1024
    """Of one held-out part."""
    question_length: int = 8000
    reference_length: int = 8000
    context_length: int = 32_000
    """Total of earlier turns and variables of a question."""
    principals: int = 100
    """Reader groups of one case."""
    schema_length: int = 16_000
    """Of a case's JSON Schema."""
    code_tests_length: int = 16_000
    """Of a case's tests of code."""
    judgements: int = 1000
    """Of one case."""
    expectation_length: int = 2000
    """Of one case: its pattern and texts together."""
    case_id_length: int = 128
    requirements: int = 20
    suites_by_hand: int = 10
    metrics_by_hand: int = 20
