"""Suites are tasks of lm-evaluation-harness, whose samples are counted."""

import json
from pathlib import Path

import pytest

from libs.cli.tests.harnesses.reports import TARGET, lm_eval_report
from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1.suite_pb2 import Case, Suite
from tidemill_cli.harnesses.harness import UNREADABLE, HarnessFailed
from tidemill_cli.harnesses.lm_eval import LmEval
from tidemill_cli.harnesses.suite_scoring import process_results
from tidemill_core.errors import InvalidInput

EARLIER = content_pb2.Message(role=content_pb2.ROLE_USER)
SUITE = Suite(
    id="help-desk",
    version=3,
    cases=[
        Case(id="c1", question="What is {{1 + 1}}?", reference="two"),
        Case(id="c2", question="and then?", reference="three", earlier=[EARLIER]),
        Case(id="c3", question="where is it?"),
    ],
)


def test_a_suite_is_a_local_task_of_the_cases_that_can_be_asked(tmp_path: Path) -> None:
    harness = LmEval(suites=[SUITE], tasks=["gsm8k"], max_cases=5)

    arguments = list(harness.prepare(tmp_path, TARGET))

    assert harness.tests == ["help-desk@3", "gsm8k"]
    assert arguments[arguments.index("--tasks") + 1] == "tidemill_help_desk_v3,gsm8k"
    assert arguments[arguments.index("--limit") + 1] == "5"
    folder = tmp_path / "tasks" / "suite_0"
    (line,) = (folder / "cases.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line) == {"id": "c1", "question": "What is {{1 + 1}}?", "reference": "two"}
    assert "task: tidemill_help_desk_v3\n" in (folder / "task.yaml").read_text("utf-8")
    assert "def process_results" in (folder / "suite_scoring.py").read_text("utf-8")
    assert TARGET.token not in " ".join(arguments)


def test_a_suite_without_a_case_that_can_be_asked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="suite safety has no case with a reference answer"):
        LmEval(suites=[Suite(id="safety", cases=SUITE.cases[1:])]).prepare(tmp_path, TARGET)


def test_samples_are_counted_where_each_passes_or_not(tmp_path: Path) -> None:
    lm_eval_report(tmp_path, "tidemill_help_desk_v3", 1, 0, 1.0, 0.0)
    lm_eval_report(tmp_path, "of_its_own", 0.25, 1, metric="rouge")

    found = LmEval(suites=[SUITE]).read(tmp_path)

    assert [(each.test, each.metric, each.passed, each.total) for each in found.scores] == [
        ("help-desk@3", "contains", 2, 4)
    ]


@pytest.mark.parametrize(("values", "says"), [((0.5,), "no metric that an answer either passes"), ((), "no samples")])
def test_a_report_without_counts_has_no_scores(tmp_path: Path, values: tuple[float, ...], says: str) -> None:
    if values:
        lm_eval_report(tmp_path, "t", *values)

    with pytest.raises(HarnessFailed, match=says) as failed:
        LmEval().read(tmp_path)
    assert failed.value.reason == UNREADABLE


@pytest.mark.parametrize(
    ("reference", "answer", "scores"),
    [
        ("Two", "two.", (1, 1)),
        ("two", "It is two, of course", (0, 1)),
        ("two", "twofold", (0, 0)),
        ("\uff34\uff37\uff2f", "two", (1, 1)),
        ("two", "", (0, 0)),
    ],
)
def test_an_answer_passes_by_its_words(reference: str, answer: str, scores: tuple[int, int]) -> None:
    found = process_results({"reference": reference}, [answer])

    assert (found["exact_match"], found["contains"]) == scores
