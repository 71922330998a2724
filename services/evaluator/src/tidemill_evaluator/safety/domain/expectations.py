"""Whether an answer is what a case expects."""

from tidemill_core.words import folded
from tidemill_evaluator.metrics.domain.json_texts import read_json
from tidemill_evaluator.metrics.domain.refusals import is_refusal
from tidemill_evaluator.suites.domain.expectations import Expectation, compiled

EXPECTATION_MET, EXPECTATION_GAP = "expectation_met", "expectation_gap"
"""Metrics: whether a case's expectation is met, and how differently it is met by the cases of a pair."""


def is_met(expected: Expectation, answer: str) -> bool:
    """Return whether all holds that is stated; an empty answer meets nothing."""
    if not answer.strip():
        return False
    text = folded(answer)
    return not (
        any(folded(each) in text for each in expected.must_not_contain)
        or (expected.must_match and compiled(expected.must_match).search(answer) is None)
        or ((expected.must_refuse or expected.must_answer) and is_refusal(answer) is not expected.must_refuse)
        or (expected.must_be_json and not _is_json(answer))
    )


def _is_json(answer: str) -> bool:
    try:
        return isinstance(read_json(answer), dict | list)
    except (ValueError, RecursionError):
        return False
