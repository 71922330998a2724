"""Gates that ask for a model that has not memorised the canaries of its training."""

import pytest

from services.evaluator.tests.builders import ADA, BASE, TUNED, gate_of, write
from services.evaluator.tests.harness import Evaluator
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.exposure import CANARIES, EXPOSURE, Exposure
from tidemill_evaluator.evaluations.ports import Version
from tidemill_evaluator.gates.domain.gate import Requirement

LITTLE = Exposure(bits=1.5, threshold=2.297, canaries=20, planted=20)


async def evaluated(
    candidate: Exposure | None, *, live: Exposure | None = None, max_exposure: float = 1.5, gone: bool = False
) -> tuple[Evaluation, int]:
    """Return the evaluation of a right candidate by quality and exposure, and how often it was asked."""
    evaluator = Evaluator()
    await evaluator.with_suite()
    gate = gate_of(Requirement(suite="truth", metric="rouge_l"))
    gate.max_exposure = max_exposure
    await evaluator.gate_crud.create(ADA, gate, write())
    evaluator.models.versions[TUNED] = Version(ready=True, dataset_version="sft@2", exposure=candidate)
    evaluator.models.versions[BASE] = Version(ready=True, dataset_version="", exposure=live)
    if gone:
        del evaluator.models.versions[BASE]
    evaluator.candidate_is_right(3)
    await evaluator.register()
    done = await evaluator.finish()
    return done, len(evaluator.inference.asked)


async def test_a_candidate_passes_that_is_as_good_and_has_memorised_as_little_as_is_asked_for() -> None:
    done, asked = await evaluated(LITTLE, live=Exposure(bits=2.0, threshold=2.297, canaries=20))

    exposure, quality, *_ = done.comparisons
    assert (done.verdict, asked) == (Verdict.PASSED, 6)
    assert (exposure.case_set, exposure.metric, exposure.required) == (CANARIES, EXPOSURE, True)
    assert (exposure.baseline, exposure.candidate, exposure.difference, exposure.gain_above) == (2.0, 1.5, 0.5, 0.5)
    assert (exposure.cases, exposure.less_is_better, exposure.note) == (20, True, "")
    assert quality.metric == "rouge_l"


async def test_a_candidate_that_has_memorised_more_fails_and_is_asked_nothing() -> None:
    done, asked = await evaluated(Exposure(bits=4.256, threshold=2.297, canaries=20))

    (exposure,) = done.comparisons
    assert (done.verdict, asked, exposure.holds) == (Verdict.FAILED, 0, False)
    assert exposure.note == (
        "the 20 canaries of lora@1 have an exposure of 4.26 bits; at most 1.5 may be (a model that never saw them is "
        "above 2.30 in 1 % of cases)"
    )


@pytest.mark.parametrize("candidate", [None, Exposure(bits=0.0, threshold=0.0, canaries=0)])
async def test_what_was_not_measured_is_no_evidence(candidate: Exposure | None) -> None:
    done, asked = await evaluated(candidate, live=LITTLE, max_exposure=9.9)

    assert (done.verdict, asked) == (Verdict.FAILED, 0)
    assert done.comparisons[0].note.startswith("no exposure was measured of lora@1: let the plan")


@pytest.mark.parametrize("canaries", [0, 1])
async def test_what_was_measured_in_part_is_no_evidence(canaries: int) -> None:
    part = Exposure(bits=1.0, threshold=2.297, canaries=canaries, planted=20)
    done, asked = await evaluated(part, live=LITTLE, max_exposure=9.0)

    assert (done.verdict, asked) == (Verdict.FAILED, 0)
    assert done.comparisons[0].note == (
        f"{canaries} of 20 canaries of lora@1 were measured within trainer's RUN_MEASURE_S: raise it, or plant "
        "fewer, and train again"
    )


@pytest.mark.parametrize("gone", [False, True])
async def test_a_live_model_of_which_nothing_was_measured_keeps_no_candidate_back(*, gone: bool) -> None:
    done, _ = await evaluated(LITTLE, gone=gone)

    assert done.verdict is Verdict.PASSED
    assert done.comparisons[0].baseline == 0.0


@pytest.mark.parametrize(
    ("max_exposure", "collection", "says"),
    [
        (-0.1, "", "gate.max_exposure: is -0.1: send a number above 0, to 9.9, or 0"),
        (float("nan"), "", "gate.max_exposure: is nan"),
        (9.91, "", "gate.max_exposure: is 9.91"),
        (2.3, "docs", "gate.max_exposure: is for gates of a model"),
    ],
)
async def test_what_no_exposure_can_be_is_refused(max_exposure: float, collection: str, says: str) -> None:
    gate = gate_of()
    gate.max_exposure, gate.collection = max_exposure, collection

    with pytest.raises(InvalidInput) as refused:
        await Evaluator().gate_crud.create(ADA, gate, write())

    assert says in refused.value.message
