"""What tests of rollouts ask of what a desk keeps."""

from services.inference.tests.fakes import ADA
from services.inference.tests.rollouts.rollout_fakes import RolloutHarness
from tidemill_core.application import PageRequest
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.rollouts.domain.step_counts import Outcome


def variant_of(inference: Inference) -> tuple[str, str]:
    assert inference.variant is not None
    return inference.variant.name, inference.variant.model


async def records(harness: RolloutHarness, purpose: Purpose) -> list[Inference]:
    page = await harness.harness.inferences.list(ADA.project, page=PageRequest(size=1000))
    return [each for each in page.items if each.purpose is purpose]


async def note(
    harness: RolloutHarness, variant: str, number: int, *, total_s: float = 1.0, failed: bool = False
) -> str:
    inference = f"{variant}{number}"
    outcome = Outcome(
        inference=inference,
        rollout=(await harness.rollout()).id,
        step=1,
        variant=variant,
        failed=failed,
        total_s=total_s,
    )
    await harness.outcomes.record(ADA.project, outcome)
    return inference
