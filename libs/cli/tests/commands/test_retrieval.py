"""Searches are measured and tuned on judged questions, which are imported or generated."""

import asyncio
import json
from pathlib import Path

import pytest

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.commands.retrieval_answers import DOCUMENTS, GOOD_WEIGHT, RetrievalAnswers, collection
from libs.cli.tests.loop.running import Running
from tidemill.evaluator.v1.suite_pb2 import Case, Judgement, ShippedCases, Suite


def judged_suite(running: Running, *, count: int = DOCUMENTS, name: str = "questions", unanswerable: int = 0) -> None:
    cases = [
        Case(id=f"q{n}", question=f"what about {n}?", judgements=[Judgement(document=f"d{n}", grade=1)])
        for n in range(1, count + 1)
    ]
    cases += [Case(id=f"u{n}", question=f"what about {900 + n}?", unanswerable=True) for n in range(unanswerable)]
    running.keepers["suite"].stored[name] = Suite(id=name, cases=cases, judged_case_count=count, version=1)


@pytest.fixture
def handbook(running: Running) -> Running:
    running.keepers["collection"].stored["handbook"] = collection()
    return running


def files(folder: Path, *, judgements: str) -> Path:
    (folder / "qrels").mkdir()
    lines = [json.dumps({"_id": f"q{number}", "text": f"what about {number}?"}) for number in (1, 2, 3)]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    (folder / "qrels" / "test.tsv").write_text(judgements)
    return folder


async def test_judged_questions_are_imported_by_the_keys_of_a_source(
    terminal: Terminal, running: Running, tmp_path: Path
) -> None:
    folder = files(
        tmp_path, judgements="query-id\tcorpus-id\tscore\nq1\tpage-1\t2\nq1\tpage-7\t0\nq2\tpage-99\t1\nq3\tpage-3\t1\n"
    )

    said = await asyncio.to_thread(
        terminal, "suites", "import", "questions", str(folder), "--source", "manual", "--json"
    )
    again = await asyncio.to_thread(
        terminal, "suites", "import", "questions", str(folder), "--source", "manual", "--max-questions", "1"
    )

    assert (said.code, said.data["left_out"]) == (0, 1)
    assert "1 questions without a relevant document in source manual" in again.text
    (kept,) = running.keepers["suite"].stored["questions"].cases
    assert kept.id in {"q1", "q3"}
    assert {each.document for each in kept.judgements} <= {"d1", "d3"}


async def test_a_shipped_suite_is_added_and_added_again(terminal: Terminal, running: Running) -> None:
    options = ["suites", "add", "forgetting", "--as", "abilities", "-l", "en", "-l", "de", "--max-cases", "9"]

    first, again = [await asyncio.to_thread(terminal, *options) for _ in range(2)]

    assert first.code == again.code == 0, first.text + again.text
    assert "abilities@1" in again.text
    stored = running.keepers["suite"].stored["abilities"]
    assert stored.shipped == ShippedCases(suite="forgetting", languages=["en", "de"], max_cases=9)


async def test_a_suite_that_is_there_keeps_its_part_and_one_with_other_cases_is_not_replaced(
    terminal: Terminal, running: Running
) -> None:
    add = ["suites", "add", "forgetting", "--as", "abilities"]
    await asyncio.to_thread(terminal, *add, "-l", "en", "--max-cases", "9")
    again = await asyncio.to_thread(terminal, *add)
    stored = running.keepers["suite"].stored
    kept = stored["abilities"].shipped
    stored["format"] = Suite(id="format", cases=stored["abilities"].cases)

    refused = [
        await asyncio.to_thread(terminal, *command)
        for command in (["suites", "add", "format"], ["suites", "add", "bias", "--as", "abilities"])
    ]

    assert again.code == 0, again.text
    assert kept == ShippedCases(suite="forgetting", languages=["en"], max_cases=9)
    assert [each.code for each in refused] == [1, 1]
    assert "has other cases, which would be replaced" in refused[0].text.replace("\n", " ")
    assert not stored["format"].HasField("shipped")


async def test_canaries_are_written_to_a_file_and_asked_for_by_a_suite(
    terminal: Terminal, running: Running, tmp_path: Path
) -> None:
    file = tmp_path / "planted.jsonl"

    first, again = [
        await asyncio.to_thread(terminal, "suites", "canaries", name, str(file), "-n", "3") for name in ("one", "two")
    ]

    shown = await asyncio.to_thread(terminal, "suites", "show", "one")
    planted = [json.loads(line) for line in file.read_text().splitlines()]
    cases = running.keepers["suite"].stored["one"].cases
    assert first.code == 0, first.text
    assert [each["question"] for each in planted] == [case.question for case in cases]
    assert all(case.expect.must_not_contain[0] in each["answer"] for each, case in zip(planted, cases, strict=True))
    assert shown.text.count("expect") == 3
    assert again.code == 1
    assert "name a file that does not exist yet" in again.text.replace("\n", " ")
    assert "two" not in running.keepers["suite"].stored


async def test_questions_that_no_document_answers_are_imported_as_unanswerable(
    terminal: Terminal, running: Running, tmp_path: Path
) -> None:
    folder = files(tmp_path, judgements="q1\tpage-1\t1\nq2\t-\t0\n")

    said = await asyncio.to_thread(terminal, "suites", "import", "questions", str(folder), "--source", "manual")
    shown = await asyncio.to_thread(terminal, "suites", "show", "questions")

    assert said.code == 0, said.text
    assert [each.unanswerable for each in running.keepers["suite"].stored["questions"].cases] == [False, True]
    assert "none: unanswerable" in shown.text


@pytest.mark.parametrize(
    ("judgements", "says"),
    [
        ("q1\tpage-1\n", "test.tsv:1: has 2 columns"),
        ("query-id\tcorpus-id\tscore\nq1\tpage-1\tmuch\n", "test.tsv:2: the grade 'much'"),
        ("q9\tpage-1\t1\n", "no question is judged"),
        ("q1\tpage-1\t1\nq1\t-\t0\n", "q1 has relevant documents and '-'"),
    ],
)
async def test_a_broken_line_is_named(terminal: Terminal, tmp_path: Path, judgements: str, says: str) -> None:
    said = await asyncio.to_thread(
        terminal, "suites", "import", "questions", str(files(tmp_path, judgements=judgements))
    )

    assert said.code == 1
    assert says in said.text.replace("\n", "")


async def test_questions_are_generated_and_filtered(
    terminal: Terminal, running: Running, searches: RetrievalAnswers
) -> None:
    running.keepers["collection"].stored["handbook"] = collection()
    searches.writes = [
        "What is written in document {}?",
        "Here is a question.",
        "Does it have a text that is long enough to be asked for {}?",
        "What is written in document 1?",
    ]
    command = "suites generate questions -c handbook -d helpdesk -n 5 --json"

    said = await asyncio.to_thread(terminal, *command.split())

    suite = running.keepers["suite"].stored["questions"]
    assert said.code == 0, said.text
    assert (suite.generated_by, len(suite.cases)) == ("helpdesk", 5)
    assert {"not one question", "copied from the passage", "its document is not found"} <= said.data["dropped"].keys()
    assert all([each.document for each in case.judgements] == [case.id] for case in suite.cases)


@pytest.mark.usefixtures("searches")
async def test_an_index_version_is_promoted_and_it_is_shown_how_long_the_one_before_is_kept(
    terminal: Terminal,
) -> None:
    said = await asyncio.to_thread(terminal, "collections", "promote", "handbook", "--index", "4")
    wrong = await asyncio.to_thread(terminal, "collections", "promote", "handbook", "--index", "0")

    assert said.code == 0, said.text
    assert "by rollout" in said.text
    assert "2027-01-15" in said.text
    assert wrong.code


async def test_a_collection_is_measured_or_compared(
    terminal: Terminal, handbook: Running, searches: RetrievalAnswers
) -> None:
    judged_suite(handbook)

    measured = await asyncio.to_thread(terminal, *["collections", "evaluate", "handbook", "-s", "questions"])
    compared = await asyncio.to_thread(
        terminal, "collections", "evaluate", "handbook", "-s", "questions", "--settings", '{"sparse_weight": 1.5}'
    )

    assert (measured.code, compared.code) == (0, 0)
    assert "1 whose documents are gone" in measured.text
    assert "ndcg@10" in compared.text
    assert "[+0.010, +0.600]" in compared.text
    assert [each.HasField("candidate") for each in searches.started] == [False, True]
    assert dict(searches.started[1].candidate.settings) == {"dense_weight": 1.0, "sparse_weight": 1.5}


async def test_tuning_proposes_what_is_better_on_held_out_questions_and_sets_it_on_request(
    terminal: Terminal, handbook: Running, searches: RetrievalAnswers
) -> None:
    judged_suite(handbook)
    command = "collections tune handbook --trials 10"

    proposed = await asyncio.to_thread(terminal, *command.split())
    kept = handbook.keepers["collection"].stored["handbook"].search.sparse_weight
    applied = await asyncio.to_thread(terminal, *command.split(), "--apply", "--json")

    assert proposed.code == 0, proposed.text
    assert "better on held-out questions: --apply sets them" in proposed.text
    assert 'search: {"dense_weight": 1.0, "sparse_weight":' in proposed.text
    assert kept == 0.7
    assert (applied.code, applied.data["applied"], applied.data["current"]["sparse_weight"]) == (0, True, 0.7)
    assert applied.data["best"]["sparse_weight"] >= GOOD_WEIGHT
    assert (
        handbook.keepers["collection"].stored["handbook"].search.sparse_weight == applied.data["best"]["sparse_weight"]
    )
    assert {each["pruned"] for each in applied.data["trials"]} == {True, False}
    (first, _) = searches.started
    assert (first.max_cases, first.suite) == (12, "questions")


async def test_what_is_not_certain_is_not_set(
    terminal: Terminal, handbook: Running, searches: RetrievalAnswers
) -> None:
    judged_suite(handbook)
    searches.low = -0.05

    said = await asyncio.to_thread(terminal, *["collections", "tune", "handbook", "--trials", "6", "--apply"])

    assert said.code == 2
    assert "the interval has 0 in it" in said.text
    assert handbook.keepers["collection"].stored["handbook"].search.sparse_weight == 0.7


async def test_a_proposed_threshold_stands_beside_the_ranking_that_it_is_read_off(
    terminal: Terminal, handbook: Running, searches: RetrievalAnswers
) -> None:
    judged_suite(handbook, unanswerable=12)
    searches.low = -0.1

    said = await asyncio.to_thread(terminal, *["collections", "tune", "handbook", "--trials", "6"])

    assert '"sparse_weight": 0.7, "answerable_above": 0.8}' in said.text.replace("\n", " "), said.text


@pytest.mark.usefixtures("searches")
async def test_tuning_finds_the_score_below_which_no_document_answers_and_sets_it_with_what_is_better(
    terminal: Terminal, handbook: Running
) -> None:
    judged_suite(handbook, unanswerable=12)
    command = ["collections", "tune", "handbook", "--trials", "6", "--apply", "--json"]

    said = await asyncio.to_thread(terminal, *command)

    stored = handbook.keepers["collection"].stored["handbook"].search
    assert (said.code, said.data["applied"]) == (0, True), said.text
    assert said.data["answerable"]["refused"]["share"] == 1.0
    assert said.data["answerable"]["false_refusals"] == {
        "share": 0.0, "interval": pytest.approx([0.0, 0.114], abs=0.001), "questions": DOCUMENTS,
    }  # fmt: skip
    assert stored.answerable_above == pytest.approx(0.8)
    assert stored.sparse_weight >= GOOD_WEIGHT


async def test_identifiers_are_required_where_that_refuses_more_and_no_other_question(
    terminal: Terminal, handbook: Running, searches: RetrievalAnswers
) -> None:
    judged_suite(handbook, unanswerable=12)
    cases = handbook.keepers["suite"].stored["questions"].cases
    for case in (each for each in cases if each.unanswerable):
        case.question = case.question.replace("about ", "about A-")
    searches.score_of_nothing, searches.low = 0.8, -0.1  # by scores alone they are like the others
    command = ["collections", "tune", "handbook", "--trials", "6", "--apply"]

    said = await asyncio.to_thread(terminal, *command)

    stored = handbook.keepers["collection"].stored["handbook"].search
    assert (said.code, stored.identifiers_required) == (0, True), said.text
    assert "with identifiers_required refuses 1.00" in said.text.replace("\n", " ")


async def test_a_score_that_separates_no_better_than_chance_is_not_set(
    terminal: Terminal, handbook: Running, searches: RetrievalAnswers
) -> None:
    judged_suite(handbook, unanswerable=12)
    searches.score_of_nothing, searches.low = 0.8, -0.1

    said = await asyncio.to_thread(terminal, *["collections", "tune", "handbook", "--trials", "6", "--apply"])

    assert said.code == 2
    assert "no better than chance" in said.text.replace("\n", " ")
    assert not handbook.keepers["collection"].stored["handbook"].search.answerable_above


async def test_tuning_says_what_is_missing(terminal: Terminal, handbook: Running) -> None:
    nothing = await asyncio.to_thread(terminal, *["collections", "tune", "handbook"])
    judged_suite(handbook, count=6)
    few = await asyncio.to_thread(terminal, *["collections", "tune", "handbook"])
    judged_suite(handbook, name="others")
    several = await asyncio.to_thread(terminal, *["collections", "tune", "handbook"])

    assert {nothing.code, few.code, several.code} == {1}
    assert "no suite has judged questions" in nothing.text
    assert "tidemill suites generate NAME" in nothing.text.replace("\n", " ")
    assert "6 judged questions: at least 20" in few.text.replace("\n", " ")
    assert "questions, others" in several.text.replace("\n", " ")
