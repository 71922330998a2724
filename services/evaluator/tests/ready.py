"""An evaluator that is ready to evaluate a candidate."""

from services.evaluator.tests.fakes import Evaluator
from tidemill_core.errors import DependencyUnavailable
from tidemill_evaluator.gates.domain import Requirement

HELD_OUT = Requirement(dataset="sft", metric="rouge_l", at_least=3)
TRUTH = Requirement(suite="truth", metric="rouge_l", gain_above=-0.02)


async def ready(**settings: int) -> Evaluator:
    """Return an evaluator with suite, held-out split, gate, and a candidate with all answers right."""
    evaluator = Evaluator(**settings)  # type: ignore[arg-type] # attempts and at_once
    await evaluator.with_suite()
    await evaluator.with_held_out()
    await evaluator.with_gate(HELD_OUT, TRUTH)
    evaluator.candidate_is_right()
    evaluator.candidate_is_right(prefix="held out: ")
    await evaluator.register()
    return evaluator


def away() -> DependencyUnavailable:
    return DependencyUnavailable("no answer", dependency="inference")
