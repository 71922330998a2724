"""Questions that compare: another model by name, given passages, purposes that are not live."""

import pytest

from services.inference.tests.fakes import ADA, HANDBOOK, AnsweringHarness, ScriptedEngine, asking, helpdesk, question
from services.inference.tests.rollouts.rollout_fakes import RolloutHarness
from tidemill_core.errors import Internal, InvalidInput
from tidemill_inference.deployments.domain.errors import ReferenceNotFound
from tidemill_inference.generation.domain.content import Passage
from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_inference.generation.domain.inference import State
from tidemill_inference.generation.domain.question import Purpose

GIVEN = (Passage(id="1", document="d9", version=1, start=3, end=9, score=0.0, text="os.walk is given."),)


async def test_a_candidate_answers_by_name_with_all_else_as_live() -> None:
    harness = AnsweringHarness(lora=ScriptedEngine(says="It walks."))
    live = (await harness.deployments.get(ADA.project, "helpdesk")).live

    answer = await harness.answer.whole(
        ADA, question(purpose=Purpose.EVALUATION, variant="lora@1"), request=asking("r")
    )

    assert answer.variant is not None
    assert (answer.variant.name, answer.variant.model, answer.variant.prompt) == ("candidate", "lora@1", "answer@1")
    assert answer.variant.configuration != live.digest
    assert answer.output[0].text == "It walks."
    assert answer.purpose is Purpose.EVALUATION


async def test_an_index_version_is_searched_by_its_number_with_all_else_as_live() -> None:
    harness = AnsweringHarness()
    live = (await harness.deployments.get(ADA.project, "helpdesk")).live

    asked = question(purpose=Purpose.EVALUATION, index=7)
    answer = await harness.answer.whole(ADA, asked, request=asking("r"))

    assert answer.variant is not None
    assert (answer.variant.name, answer.variant.model, answer.variant.index) == ("candidate", "smollm2@1", 7)
    assert answer.variant.configuration == live.with_index(7).digest != live.digest
    assert harness.rag.indexes == [7]


async def test_a_deployment_that_searches_nothing_has_no_index_version() -> None:
    harness = AnsweringHarness(deployment=helpdesk(retrieval=None))

    with pytest.raises(InvalidInput, match="index: is 7; the deployment searches no collection"):
        await harness.answer.whole(ADA, question(purpose=Purpose.EVALUATION, index=7), request=asking("r"))


async def test_given_passages_are_answered_on_and_nothing_is_searched() -> None:
    harness = AnsweringHarness(ScriptedEngine(says="os.walk is given."))

    answer = await harness.answer.whole(ADA, question(purpose=Purpose.EVALUATION, passages=GIVEN), request=asking("r"))

    assert not harness.rag.asked
    assert answer.passages == GIVEN
    assert answer.citation_valid == 1.0
    assert "os.walk is given." in harness.engine.seen[0].messages[-1].text


async def test_the_baseline_of_an_evaluation_is_what_is_live_and_takes_no_part_in_a_rollout() -> None:
    harness = RolloutHarness()
    await harness.is_rolling(step=1)

    for number in range(20):
        asked = question(purpose=Purpose.EVALUATION, end_user=f"u{number}")
        answer = await harness.answer.whole(ADA, asked, request=asking(f"e{number}"))
        assert answer.variant is not None
        assert (answer.variant.name, answer.variant.model, answer.variant.rollout) == ("live", "smollm2@1", "")

    assert not harness.observed


async def test_no_fallback_answers_for_the_model_that_is_compared() -> None:
    harness = AnsweringHarness(lora=ScriptedEngine(fails_before=Internal("it broke")))

    with pytest.raises(Internal):
        await harness.answer.whole(ADA, question(purpose=Purpose.EVALUATION, variant="lora@1"), request=asking("r"))

    assert (await harness.only_record()).state is State.FAILED


async def test_an_unknown_version_is_not_found() -> None:
    with pytest.raises(ReferenceNotFound, match="variant: 'absent@1'"):
        await AnsweringHarness().answer.whole(
            ADA, question(purpose=Purpose.EVALUATION, variant="absent@1"), request=asking("r")
        )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"variant": "lora@1"}, "variant: is for purposes SHADOW and EVALUATION only"),
        ({"index": 7}, "index: is for purposes SHADOW and EVALUATION only"),
        ({"index": -1, "purpose": Purpose.EVALUATION}, "index: is -1"),
        ({"index": 7, "passages": HANDBOOK, "purpose": Purpose.EVALUATION}, "index: goes without passages"),
        ({"passages": HANDBOOK}, "passages: is for purposes SHADOW and EVALUATION only"),
        ({"variant": "lora", "purpose": Purpose.EVALUATION}, "variant: is 'lora'; send model@version"),
        (
            {
                "passages": (Passage(id="1", document="d", version=1, start=0, end=1, score=0),),
                "purpose": Purpose.SHADOW,
            },
            r"passages\[0\].text: is empty",
        ),
        (
            {
                "passages": (Passage(id="1", document="d", version=1, start=5, end=1, score=0, text="t"),),
                "purpose": Purpose.SHADOW,
            },
            r"passages\[0\].start: is 5 to 1",
        ),
    ],
)
async def test_what_only_comparisons_may_say_is_refused(changes: dict[str, object], text: str) -> None:
    with pytest.raises(QuestionRefused, match=text):
        await AnsweringHarness().answer.whole(ADA, question("What?", **changes), request=asking("r"))
