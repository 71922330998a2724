"""Gates that ask for a smaller model."""

import pytest

from services.evaluator.tests.builders import ADA, BASE, TUNED, gate_of, write
from services.evaluator.tests.harness import Evaluator
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.weights import WEIGHTS, WEIGHTS_BYTES
from tidemill_evaluator.evaluations.ports import Version
from tidemill_evaluator.gates.domain.gate import Requirement


async def evaluated(baseline: Version | None, candidate: Version, *, max_size_ratio: float) -> tuple[Evaluation, int]:
    """Return the evaluation of a candidate that is right, by a gate on quality and size, and how often it was asked."""
    evaluator = Evaluator()
    await evaluator.with_suite()
    gate = gate_of(Requirement(suite="truth", metric="rouge_l"))
    gate.max_size_ratio = max_size_ratio
    await evaluator.gate_crud.create(ADA, gate, write())
    evaluator.models.versions[TUNED] = candidate
    evaluator.models.versions.pop(BASE)
    if baseline:
        evaluator.models.versions[BASE] = baseline
    evaluator.candidate_is_right(3)
    await evaluator.register()
    done = await evaluator.finish()
    return done, len(evaluator.inference.asked)


async def test_a_candidate_passes_that_is_as_good_and_as_small_as_is_asked_for() -> None:
    whole = Version(ready=True, dataset_version="", weights_bytes=1000)
    half = Version(ready=True, dataset_version="sft@2", weights_bytes=600)

    done, asked = await evaluated(whole, half, max_size_ratio=0.6)

    size, quality, *_ = done.comparisons
    assert (done.verdict, asked) == (Verdict.PASSED, 6)
    assert (size.case_set, size.metric, size.required, size.less_is_better) == (WEIGHTS, WEIGHTS_BYTES, True, True)
    assert (size.baseline, size.candidate, size.difference, size.gain_above) == (1000, 600, 400, 400)
    assert (size.holds, size.note, quality.metric) == (True, "", "rouge_l")


async def test_a_candidate_that_is_larger_fails_and_is_asked_nothing() -> None:
    whole = Version(ready=True, dataset_version="", weights_bytes=1000)
    more = Version(ready=True, dataset_version="sft@2", weights_bytes=601)

    done, asked = await evaluated(whole, more, max_size_ratio=0.6)

    (size,) = done.comparisons
    assert (done.verdict, asked, size.holds) == (Verdict.FAILED, 0, False)
    assert size.note == "the weights of lora@1 take 0.601 of those of smollm2@1; at most 0.6 may"


async def test_an_adapter_takes_its_base_too() -> None:
    whole = Version(ready=True, dataset_version="", weights_bytes=1000)
    adapter = Version(ready=True, dataset_version="sft@2", weights_bytes=50, base=BASE)

    done, _ = await evaluated(whole, adapter, max_size_ratio=1.0)

    assert done.verdict is Verdict.FAILED
    assert done.comparisons[0].candidate == 1050


async def test_a_base_that_is_shared_with_an_adapter_counts_though_it_cannot_be_read_on_its_own() -> None:
    whole = Version(ready=True, dataset_version="", weights_bytes=1000)
    shared = Version(ready=True, dataset_version="", weights_bytes=50, base="globex/smollm2@1", shared_base=whole)
    small = Version(ready=True, dataset_version="sft@2", weights_bytes=500)

    done, _ = await evaluated(shared, small, max_size_ratio=0.6)

    assert (done.verdict, done.comparisons[0].baseline) == (Verdict.PASSED, 1050)


@pytest.mark.parametrize(
    ("baseline", "why"),
    [
        (None, "the size of smollm2@1 is not known: smollm2@1 is not there any more, or not shared"),
        (
            Version(ready=True, dataset_version=""),
            "the size of smollm2@1 is not known: smollm2@1 has no weights in the",
        ),
    ],
)
async def test_a_size_that_is_not_known_is_no_evidence(baseline: Version | None, why: str) -> None:
    small = Version(ready=True, dataset_version="sft@2", weights_bytes=1)

    done, asked = await evaluated(baseline, small, max_size_ratio=100.0)

    assert (done.verdict, asked) == (Verdict.FAILED, 0)
    assert done.comparisons[0].note.startswith(why)


@pytest.mark.parametrize(
    ("max_size_ratio", "collection", "says"),
    [
        (-0.1, "", "gate.max_size_ratio: is -0.1: send a number above 0, to 100, or 0"),
        (float("nan"), "", "gate.max_size_ratio: is nan"),
        (100.5, "", "gate.max_size_ratio: is 100.5"),
        (0.5, "docs", "gate.max_size_ratio: is for gates of a model"),
    ],
)
async def test_what_no_size_can_be_is_refused(max_size_ratio: float, collection: str, says: str) -> None:
    gate = gate_of()
    gate.max_size_ratio, gate.collection = max_size_ratio, collection

    with pytest.raises(InvalidInput) as refused:
        await Evaluator().gate_crud.create(ADA, gate, write())

    assert says in refused.value.message
