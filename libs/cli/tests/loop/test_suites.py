"""Suites in loop.yaml: cases with expectations, and cases that the evaluator ships."""

import json
from pathlib import Path

import pytest

from libs.cli.tests.loop.running import Running
from libs.cli.tests.loop.test_learning import problems
from tidemill.evaluator.v1.suite_pb2 import Expectation, ShippedCases, Suite
from tidemill_cli.loop import LoopErrors, read_loop
from tidemill_cli.loop.changes import Action, Change
from tidemill_cli.loop.plan import Planner
from tidemill_cli.loop.resources import desired_resources
from tidemill_client.connection import Connection

OWN = "  truth: {cases: {file: truth.jsonl}}\n"
SHIPPED = f"{OWN}  abilities: {{shipped: forgetting, languages: [en], max_cases: 8}}\n"


def suites_of(file: Path) -> dict[str, Suite]:
    found = [each.message for each in desired_resources(read_loop(file)) if each.kind == "suite"]
    return {each.id: each for each in found if isinstance(each, Suite)}


def edited(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text().replace(old, new))


async def applied(connection: Connection, file: Path) -> list[Change]:
    changes = await Planner(connection, read_loop(file)).apply()
    return [change for change in changes if change.changes and change.kind == "suite"]


def test_a_case_states_what_its_answer_has_to_be(file: Path) -> None:
    expect = {"id": "q3", "question": "Password?", "expect": {"must_refuse": True, "must_not_contain": ["X-1"]}}
    schema = {"id": "q4", "question": "As JSON?", "schema": {"type": "object"}, "code_tests": "f(1)"}
    truth = file.parent / "truth.jsonl"
    truth.write_text("".join([truth.read_text(), *(json.dumps(case) + "\n" for case in (expect, schema))]))

    *_, third, fourth = suites_of(file)["truth"].cases

    assert (third.id, third.reference) == ("q3", "")
    assert third.expect == Expectation(must_refuse=True, must_not_contain=["X-1"])
    assert (fourth.id, dict(fourth.schema), fourth.code_tests) == ("q4", {"type": "object"}, "f(1)")


@pytest.mark.parametrize(
    ("line", "path", "said"),
    [
        ('{"id": "q3", "question": "Where?"}', "(line)", "needs a reference, a schema, tests of code, or"),
        (
            '{"id": "q3", "question": "Where?", "expect": {"must_refuze": true}}',
            "expect.must_refuze",
            "unknown key",
        ),
    ],
)
def test_a_case_of_a_file_that_nothing_is_expected_of_is_reported(file: Path, line: str, path: str, said: str) -> None:
    truth = file.parent / "truth.jsonl"
    truth.write_text(truth.read_text() + line + "\n")

    found = problems(file)

    assert any(said in message for message in found.values()), (path, found)


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        ("{shipped: forgetting, cases: {file: truth.jsonl}}", "use either cases, or shipped: NAME"),
        ("{}", "use either cases, or shipped: NAME"),
        ("{cases: {file: truth.jsonl}, languages: [en]}", "languages and max_cases belong to shipped: NAME"),
    ],
)
def test_a_suite_has_its_own_cases_or_shipped_ones(file: Path, suite: str, said: str) -> None:
    assert said in problems(file, (OWN, f"  truth: {suite}\n"))["suites.truth"]


async def test_shipped_cases_are_applied_once_and_again_when_a_release_has_others(
    connection: Connection, running: Running, file: Path
) -> None:
    edited(file, OWN, SHIPPED)
    first = await applied(connection, file)
    stored = running.keepers["suite"].stored["abilities"]

    assert [(each.name, each.action) for each in first] == [("truth", Action.CREATE), ("abilities", Action.CREATE)]
    assert stored.shipped == ShippedCases(suite="forgetting", languages=["en"], max_cases=8)
    assert await applied(connection, file) == []

    stored.digest = "of an earlier release"
    (later,) = await applied(connection, file)
    assert later.details["cases"] == ("0 cases", "8 cases that the evaluator ships")


async def test_what_was_accepted_of_a_proposal_is_no_difference_to_the_file(
    connection: Connection, running: Running, file: Path
) -> None:
    await applied(connection, file)
    stored = running.keepers["suite"].stored["truth"]
    stored.cases.add(id="i1", question="How?", reference="So", proposal="p1")
    truth = file.parent / "truth.jsonl"
    truth.write_text(truth.read_text() + '{"id": "q9", "question": "Why?", "reference": "So"}\n')

    (change,) = await applied(connection, file)

    assert change.details["cases"] == ("2 cases", "3 cases: 1 new, 0 gone, 0 changed")
    assert all(each.keep_proposed_cases for each in running.keepers["suite"].updates)


async def test_a_suite_that_comes_to_have_cases_of_its_own_takes_no_shipped_ones_any_more(
    connection: Connection, running: Running, file: Path
) -> None:
    edited(file, OWN, SHIPPED)
    await applied(connection, file)
    edited(file, SHIPPED, f"{OWN}  abilities: {{cases: {{file: truth.jsonl}}}}\n")

    (change,) = await applied(connection, file)

    assert (change.name, change.action) == ("abilities", Action.UPDATE)
    assert len(running.keepers["suite"].stored["abilities"].cases) == 2


def test_every_wrong_case_of_a_suite_is_reported_with_its_own_file_and_line(file: Path) -> None:
    suite = file.parent / "truth.jsonl"
    suite.write_text(
        '{"id": "q1", "question": "?", "reference": "!"}\n'
        "{broken\n"
        '{"id": "q1", "question": "?", "reference": "!"}\n'
        '{"id": "q3", "question": "", "referense": "!"}\n'
    )

    with pytest.raises(LoopErrors) as raised:
        read_loop(file)

    message = str(raised.value)
    assert f"{suite}:2:2: (json): is not JSON" in message
    assert f"{suite}:3:1: id: 'q1' is the id of line 1, too" in message
    assert f"{suite}:4:1: question: String should have at least 1 character" in message
    assert f"{suite}:4:1: referense: unknown key: did you mean reference?" in message


def test_a_suite_that_is_missing_or_empty_is_reported(file: Path) -> None:
    (file.parent / "truth.jsonl").write_text("\n")
    assert problems(file)["cases"] == "the file holds no cases"

    (file.parent / "truth.jsonl").unlink()
    assert "is not a readable UTF-8 file" in problems(file)["suites.truth.cases.file"]
