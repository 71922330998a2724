from collections.abc import Mapping

import pytest

from libs.cli.tests.commands.run_answers import RUNS, run
from tidemill.evaluator.v1 import evaluation_pb2 as ev
from tidemill.trainer.v1.training_pb2 import TrainingCurve, TrainingRun
from tidemill_cli.run_history.comparison import compare, evaluation_rows
from tidemill_cli.run_history.page import comparison_page
from tidemill_cli.run_history.records import record_of


def differences(*runs: object) -> Mapping[str, tuple[object, ...]]:
    compared = compare([record_of(each) for each in runs])  # type: ignore[arg-type] # runs of the tests
    return {f"{each.group}.{each.name}": each.values for each in compared.differences}


def test_only_what_differs_is_said_and_the_rest_is_counted() -> None:
    compared = compare([record_of(each) for each in RUNS.values()])

    assert [(each.group, each.name, each.values) for each in compared.differences] == [
        ("settings", "args.learning_rate", (0.001, 0.01)),
        ("data", "dataset_version", ("helpdesk_sft@2", "helpdesk_sft@3")),
        ("data", "dataset_digest", ("a" * 64, "c" * 64)),
    ]
    assert compared.shared == 10


def test_what_only_one_run_has_differs() -> None:
    assert differences(run("a"), run("b", versions={"trl": "1.16.0"})) == {"environment.dtype": ("float32", None)}
    with_list = {"method": "dpo", "lora": {}, "args": {"loss_type": ["sigmoid", "sft"]}}
    assert differences(run("a"), run("b", recipe=with_list))["settings.args.loss_type"] == (None, "sigmoid, sft")


def test_whole_numbers_of_a_recipe_are_whole() -> None:
    settings = record_of(run("a")).settings

    assert (settings["lora.r"], settings["lora.use_rslora"], settings["args.learning_rate"]) == (8, False, 0.001)


def imported(name: str, **parameters: str) -> TrainingRun:
    return run(name, source=f"mlflow:{name}", parameters=parameters)


@pytest.mark.parametrize(
    "text", ["0012345", "2024_01", "1e999", "nan", "-inf", " 5", "٣", "+1", "1e-4", "0x10", "9" * 5000, "1" + "0" * 400]
)
def test_a_parameter_that_only_looks_like_a_number_stays_the_text_that_it_is(text: str) -> None:
    (value,) = record_of(imported("a", sha=text)).settings.values()

    assert str(value) == text
    assert differences(imported("a", sha=text), imported("b", sha=text)) == {}
    assert differences(imported("a", sha="0012345"), imported("b", sha="12345")) == {"settings.sha": ("0012345", 12345)}


@pytest.mark.parametrize("value", [8, -3, 0.001, 1e-05, 2.0, True, False])
def test_a_parameter_as_it_is_exported_is_the_value_again(value: float) -> None:
    (found,) = record_of(imported("a", said=str(value))).settings.values()

    assert (found, type(found)) == (value, type(value))


@pytest.mark.heavy
@pytest.mark.parametrize("values", [[1e308, -1e308], [1.7e308, 1.7e308], [1e308, 1.0], [1e38, -1e38]])
def test_a_page_leaves_out_what_is_too_large_to_be_drawn_and_says_so(values: list[float]) -> None:
    wild = run("a")
    wild.progress.curves.append(TrainingCurve(name="wild", steps=[1, 2], values=values))

    page = comparison_page(compare([record_of(wild), record_of(run("b"))]))

    assert page.count("<svg") == 4
    left = sum(abs(value) > 1e38 for value in values)
    assert (f"{left} values beyond 1e+38 are not drawn" in page) == bool(left)


def test_runs_are_headed_by_what_only_they_have() -> None:
    ids = ["0a8f1c2e-1111", "0a8f1c2e-2222", "77777777-1111"]
    trial = run(ids[2], sweep="rates", trial=3)

    assert compare([record_of(run(ids[0])), record_of(run(ids[1])), record_of(trial)]).names == [
        "0a8f1c2e-1",
        "0a8f1c2e-2",
        "rates/3",
    ]
    assert compare([record_of(run("a")), record_of(run("b"))]).names == ["a", "b"]


def test_figures_have_a_place_for_each_run_also_where_one_has_none() -> None:
    early = run("b")
    early.progress.Clear()

    figures = dict(compare([record_of(run("a")), record_of(early)]).figures)

    assert (figures["loss"], figures["steps"], figures["computing_s"]) == ([1.25, None], [2, 0], [90.0, None])


def test_of_several_evaluations_by_a_gate_the_newest_is_shown() -> None:
    verdicts = [ev.VERDICT_FAILED, ev.VERDICT_PASSED]
    found = [ev.Evaluation(id=f"e{verdict}", gate="g", baseline="small@1", verdict=verdict) for verdict in verdicts]

    rows = evaluation_rows([record_of(run("a"), evaluations=found), record_of(run("b"))])

    assert rows == [("g against small@1", ["passed", "-"])]
