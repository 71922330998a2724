"""What a test may be: the limits, and that a repeated request starts nothing."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, request
from services.evaluator.tests.prompt_tests.harness import LARGER, LIVE, NEW, PromptTester
from tidemill_core.errors import InvalidInput, NotFound, RequestIdReused
from tidemill_evaluator.errors import CandidateNotReady, SuiteNotFound
from tidemill_evaluator.evaluations.domain.asked_by import PromptText, VariantSampling
from tidemill_evaluator.evaluations.ports import Version
from tidemill_evaluator.prompt_tests.domain.grid import Grid, GridLimits, PromptVariant
from tidemill_evaluator.suites.domain.cases import Case, Context, Role, Turn

DRAFT = PromptVariant(name="draft", deployment="helpdesk", unsaved=PromptText(user="{{ question }}"))
QUESTION = Case(id="1", question="what?", reference="")
SMALL = GridLimits(variants=2, cells=3, questions=1, characters=40)


async def test_a_repeated_request_starts_nothing_and_another_one_is_refused() -> None:
    tester = PromptTester()
    await tester.with_suite()
    grid = Grid(suite="truth", variants=(LIVE, NEW))

    first = await tester.start(ADA, grid, request=request("r"))
    again = await tester.start(ADA, grid, request=request("r"))
    with pytest.raises(RequestIdReused):
        await tester.start(ADA, grid, request=replace(request("r"), digest="other"))

    assert first.id == again.id
    assert len(tester.tests.all()) == 1


async def test_validating_stores_nothing() -> None:
    tester = PromptTester()
    await tester.with_suite()

    found = await tester.start(ADA, Grid(suite="truth", variants=(LIVE,)), request=request(), validate_only=True)

    assert (found.suite, tester.tests.all(), tester.enqueue.enqueued) == ("truth", [], 0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"suite": ""}, "suite: goes without questions"),
        ({"questions": (QUESTION,)}, "suite: goes without questions"),
        ({"suite": "", "questions": (replace(QUESTION, question=" "),)}, r"questions\[0\].question: is empty"),
        ({"suite": "", "questions": (QUESTION,), "max_cases": 2}, "max_cases: goes without questions and cases"),
        ({"cases": ("c1",), "max_cases": 2}, "max_cases: goes without questions and cases"),
        ({"suite": "", "questions": (QUESTION,), "cases": ("c1",)}, "cases: are those of a suite"),
        ({"cases": ("c1", "c1")}, "cases: has an id twice"),
        ({"cases": ("c" * 129,)}, "cases: has an id of 129 characters; the limit is 128"),
        ({"suite": "", "questions": (QUESTION, QUESTION)}, "questions: has 2 entries; the limit is 1"),
        ({"max_cases": -1}, "max_cases: is -1"),
        ({"variants": ()}, "variants: has 0 entries: send 1 to 2"),
        ({"variants": (LIVE, NEW, LARGER)}, "variants: has 3 entries: send 1 to 2"),
        ({"variants": (LIVE, replace(LIVE, name="b"))}, r"variants\[1\]: is the same as variants\[0\]"),
        ({"variants": (LIVE, replace(NEW, name="live"))}, r"variants\[1\].name: is that of variants\[0\]"),
        ({"variants": (replace(LIVE, name="a\nb"),)}, r"variants\[0\].name: has 3 characters"),
        ({"variants": (replace(NEW, prompt="answer"),)}, r"variants\[0\].prompt: 'answer' is not a version"),
        ({"variants": (replace(NEW, unsaved=DRAFT.unsaved),)}, r"variants\[0\].unsaved: goes without prompt"),
        ({"variants": (replace(DRAFT, unsaved=PromptText(user=" ")),)}, r"variants\[0\].unsaved.user: is required"),
        ({"variants": (replace(LARGER, model="lora"),)}, r"variants\[0\].model: 'lora' is not a version"),
        (
            {"variants": (replace(LIVE, sampling=VariantSampling(temperature=3.0, top_p=0.0, max_output_tokens=0)),)},
            r"temperature: is 3.0; .*top_p: is 0.0; .*max_output_tokens: is 0",
        ),
        ({"metrics": ("rouge",)}, "'rouge' is not a metric"),
        ({"variants": (LIVE, NEW)}, "max_cases: make 6 answers of 3 cases by 2 variants; the limit is 3: set it to 1"),
        (
            {"variants": (replace(DRAFT, unsaved=PromptText(user="x" * 41)),)},
            "and unsaved prompts have 41 characters together; the limit is 40",
        ),
    ],
)
async def test_what_breaks_a_rule_is_named(changes: dict[str, object], text: str) -> None:
    tester = PromptTester(size=SMALL)
    await tester.with_suite()

    with pytest.raises(InvalidInput, match=text):
        await tester.begun(**{"variants": (LIVE,), **changes})
    assert not tester.tests.all()


async def test_earlier_turns_and_variables_of_questions_count_as_text() -> None:
    tester = PromptTester(size=SMALL)
    context = Context(earlier=(Turn(Role.USER, "x" * 30),), variables={"tone": "dry and brief"})

    with pytest.raises(InvalidInput, match="characters together; the limit is 40"):
        await tester.begun(LIVE, suite="", questions=(replace(QUESTION, context=context),))


async def test_a_sample_of_the_suite_makes_fewer_answers() -> None:
    tester = PromptTester(size=SMALL)
    await tester.with_suite()

    done = await tester.finish(await tester.begun(LIVE, NEW, max_cases=1))

    assert (done.cells, done.answered, len(tester.inference.asked)) == (2, 2, 2)


async def test_some_cases_of_the_suite_are_asked_by_their_ids() -> None:
    tester = PromptTester(size=SMALL)
    await tester.with_suite()

    done = await tester.finish(await tester.begun(LIVE, NEW, cases=("c3",)))
    absent = await tester.finish(await tester.begun(LIVE, cases=("c3", "c9")))

    assert (done.cells, {each.text for each in tester.inference.asked}) == (2, {"what is 3?"})
    assert (absent.reason, absent.message) == ("NO_CASES", "suite:truth@1 has 1 of the 2 cases that are named")


async def test_what_is_not_there_is_refused() -> None:
    tester = PromptTester()
    await tester.with_suite()
    tester.models.versions[LARGER.model] = Version(ready=False, dataset_version="")

    with pytest.raises(SuiteNotFound):
        await tester.begun(LIVE, suite="lies")
    with pytest.raises(NotFound, match="deployment wiki does not exist"):
        await tester.begun(replace(LIVE, deployment="wiki"))
    with pytest.raises(CandidateNotReady):
        await tester.begun(LARGER)
    with pytest.raises(NotFound, match="prompt absent does not exist"):
        await tester.begun(LIVE, replace(NEW, prompt="absent@1"))
    with pytest.raises(InvalidInput, match=r"variants\[1\].prompt: there is no answer@99"):
        await tester.begun(LIVE, replace(NEW, prompt="answer@99"))


async def test_judges_that_compare_two_answers_are_refused() -> None:
    tester = PromptTester()
    await tester.with_suite()
    tester.pairwise = ("bleu",)

    with pytest.raises(InvalidInput, match="'bleu' compares two answers"):
        await tester.begun(LIVE, metrics=("bleu", "chrf"))
