import base64
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, TUNED, cases
from services.evaluator.tests.harness import HELD_OUT, Evaluator
from tidemill_core.application import Page, PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.errors import EvaluationNotFound
from tidemill_evaluator.evaluations.list_case_results import ListCommand
from tidemill_evaluator.gates.domain.gate import Requirement

HUGE = base64.urlsafe_b64encode(f'["e", "", "rouge_l", 1{400 * "0"}, "a", "b"]'.encode()).decode()


async def evaluated() -> tuple[Evaluator, str]:
    """Return an evaluator whose candidate lost c1, tied c2, and won c3 and c4."""
    evaluator = Evaluator()
    await evaluator.with_suite(count=4)
    one, two, three, four = cases(4)
    evaluator.inference.says |= {
        ("", one.question): one.reference,
        ("", two.question): two.reference,
        (TUNED, one.question): "wrong",
        (TUNED, two.question): two.reference,
        (TUNED, three.question): "number 3",
        (TUNED, four.question): four.reference,
    }
    evaluation = await evaluator.by_hand()
    await evaluator.finish()
    return evaluator, evaluation.id


def ids(page: Page) -> list[str]:  # type: ignore[type-arg] # of what is shown
    return [shown.result.case for shown in page.items]


async def test_the_cases_that_got_worst_come_first_with_their_texts() -> None:
    evaluator, evaluation = await evaluated()

    page = await evaluator.list_case_results(ADA, ListCommand(evaluation=evaluation, page=PageRequest()))

    assert ids(page) == ["c1", "c2", "c3", "c4"]
    worst = page.items[0]
    assert (worst.question, worst.reference) == ("what is 1?", "it is number 1")
    assert (worst.result.baseline.text, worst.result.candidate.text) == ("it is number 1", "wrong")
    assert worst.result.difference("rouge_l") == -1.0


async def test_pages_go_on_where_the_one_before_ended() -> None:
    evaluator, evaluation = await evaluated()

    first = await evaluator.list_case_results(ADA, ListCommand(evaluation=evaluation, page=PageRequest(size=3)))
    last = await evaluator.list_case_results(
        ADA, ListCommand(evaluation=evaluation, page=PageRequest(size=3, token=first.next_token))
    )

    assert (ids(first), ids(last), last.next_token) == (["c1", "c2", "c3"], ["c4"], "")


async def test_the_best_come_first_page_by_page_where_the_order_says_so() -> None:
    evaluator, evaluation = await evaluated()
    command = ListCommand(evaluation=evaluation, page=PageRequest(size=2), best_first=True)

    first = await evaluator.list_case_results(ADA, command)
    rest = replace(command, page=PageRequest(size=2, token=first.next_token))
    last = await evaluator.list_case_results(ADA, rest)

    assert (ids(first), ids(last), last.next_token) == (["c4", "c3"], ["c2", "c1"], "")
    with pytest.raises(InvalidInput, match="page_token"):
        await evaluator.list_case_results(ADA, replace(rest, best_first=False))


async def test_another_metric_makes_another_order() -> None:
    evaluator, evaluation = await evaluated()

    command = ListCommand(evaluation=evaluation, page=PageRequest(), metric="output_chars")

    assert ids(await evaluator.list_case_results(ADA, command))[:2] == ["c1", "c3"]


async def test_without_a_metric_the_order_is_by_the_first_one_that_the_gate_requires_of_the_set() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    await evaluator.with_held_out()
    await evaluator.with_gate(HELD_OUT, Requirement(suite="truth", metric="output_chars", gain_above=-100.0))
    await evaluator.register()
    done = await evaluator.finish()

    pages = [
        await evaluator.list_case_results(ADA, ListCommand(evaluation=done.id, page=PageRequest(), case_set=case_set))
        for case_set in ("", "suite:truth@1")
    ]

    assert [page.metric for page in pages] == ["rouge_l", "output_chars"]


async def test_pages_without_a_metric_keep_that_of_the_first_one_though_others_were_computed_since() -> None:
    evaluator, evaluation = await evaluated()
    command = ListCommand(evaluation=evaluation, page=PageRequest(size=3), metric="output_chars")
    first = await evaluator.list_case_results(ADA, command)  # as while no case had `rouge_l` yet

    rest = replace(command, page=PageRequest(size=3, token=first.next_token), metric="")
    last = await evaluator.list_case_results(ADA, rest)

    assert (last.metric, sorted(ids(first) + ids(last))) == ("output_chars", ["c1", "c2", "c3", "c4"])


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"metric": "blue"}, "metric"),
        ({"case_set": "suite:other@1"}, "case_set"),
        ({"page": PageRequest(size=0)}, "page_size"),
        ({"page": PageRequest(token="bm90IG91cnM=")}, "page_token"),  # noqa: S106 - of a page
        ({"page": PageRequest(token=HUGE)}, "page_token"),
        ({"page": PageRequest(token="\u00e9")}, "page_token"),  # noqa: S106 - of a page
    ],
)
async def test_what_cannot_be_listed_is_refused_by_its_field(fields: dict[str, object], named: str) -> None:
    evaluator, evaluation = await evaluated()
    command = ListCommand(**({"evaluation": evaluation, "page": PageRequest()} | fields))  # type: ignore[arg-type] # parametrized

    with pytest.raises(InvalidInput) as refused:
        await evaluator.list_case_results(ADA, command)

    assert [violation.field for violation in refused.value.violations] == [named]


async def test_a_token_of_another_list_is_refused() -> None:
    evaluator, evaluation = await evaluated()
    page = await evaluator.list_case_results(ADA, ListCommand(evaluation=evaluation, page=PageRequest(size=1)))
    command = ListCommand(evaluation=evaluation, page=PageRequest(size=1, token=page.next_token), metric="token_f1")

    with pytest.raises(InvalidInput):
        await evaluator.list_case_results(ADA, command)


async def test_what_was_erased_is_not_shown() -> None:
    evaluator, evaluation = await evaluated()
    suite = await evaluator.suites.get("acme", "truth")
    assert suite.content
    await evaluator.objects.delete(suite.content.bucket, suite.content.key)

    page = await evaluator.list_case_results(ADA, ListCommand(evaluation=evaluation, page=PageRequest()))

    assert ids(page) == []


async def test_results_of_another_project_are_not_there() -> None:
    evaluator, _ = await evaluated()

    with pytest.raises(EvaluationNotFound):
        await evaluator.list_case_results(ADA, ListCommand(evaluation="none", page=PageRequest()))
