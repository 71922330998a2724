"""The ready rubrics, as the evaluator takes them."""

import json

import pytest

from services.evaluator.tests.judges.harness import material_of
from tidemill_client.judge_templates import TEMPLATES
from tidemill_evaluator.judges.domain.form import Material, points_in, pointwise_form
from tidemill_evaluator.judges.messages import judge_of as judge_of_message

MATERIAL = Material(question="where?", answer="here", reference="there", passages=("it is there", "no"))


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_a_template_is_a_judge_whose_points_are_shares(template: str) -> None:
    judge = judge_of_message(TEMPLATES[template].judge("grounded", "grader"), "acme")
    judge.check()

    form = pointwise_form(judge, MATERIAL)

    assert f"- {template}: 1 (worst) to 10 (best)" in form.instructions
    assert [points_in(json.dumps({template: points}), judge.asked) for points in (1, 10)] == [0.0, 1.0]
    assert set(material_of(form)) >= {"question", "answer"}


def test_a_judge_of_passages_reads_them_and_one_of_relevance_does_not() -> None:
    read = {
        name: set(material_of(pointwise_form(judge_of_message(each.judge("a", "grader"), "acme"), MATERIAL)))
        for name, each in TEMPLATES.items()
    }

    assert read == {
        "faithfulness": {"question", "answer", "passages"},
        "answer_relevance": {"question", "answer"},
        "context_precision": {"question", "answer", "passages", "reference"},
        "context_recall": {"question", "answer", "passages", "reference"},
    }
