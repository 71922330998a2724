import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.commands.review_answers import ITEM, LABELS, QUEUE, ReviewAnswers
from libs.cli.tests.loop.running import Running
from tidemill.feedback.v1.curation_pb2 import Curation
from tidemill.feedback.v1.feedback_pb2 import Correction, Feedback, Preference
from tidemill.feedback.v1.feedback_service_pb2 import ListFeedbackRequest, ListFeedbackResponse
from tidemill.feedback.v1.review_pb2 import (
    LABEL_KIND_NUMBER,
    SUBJECT_KIND_EXAMPLE,
    SUBJECT_KIND_INFERENCE,
    LabelField,
    ReviewItem,
    ReviewLabel,
)
from tidemill.feedback.v1.review_service_pb2 import ListReviewItemsResponse
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import GetInferenceResponse
from tidemill.ingest.v1.dataset_pb2 import DATASET_SPLIT_HELD_OUT
from tidemill.ingest.v1.dataset_service_pb2 import ExportDatasetVersionRequest, ExportDatasetVersionResponse
from tidemill_cli.reviewing import bounds
from tidemill_client.reviews import candidate_item
from tidemill_client.values import assistant
from tidemill_core.application import derived_id
from tidemill_core.errors import PreconditionFailed


@pytest.fixture(autouse=True)
def _queue(running: Running) -> None:
    running.keepers["review_queue"].stored["answers"] = QUEUE


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        ("reviews list", ["answers", "correct, tone, score, better", "helpdesk: uncertain"]),
        ("reviews show answers", ["Is the answer right?", "1 friendly, 2 rude", "1 to 5", "yes or no"]),
        ("reviews items answers --state resolved", ["item-1", "in-1", "correct=true, score=4"]),
        ("reviews add answers in-1 in-2", ["2 items are in review queue answers"]),
        ("reviews claim answers", ["item-d-1", "c-1", "d-1"]),
        ("reviews submit answers item-1 --claim c-1 -l correct=no", ["reviewed item-1: correct=false"]),
        ("reviews release item-1 --claim c-1", ["item-1 is given back"]),
        ("reviews adjudicate answers item-1 -l tone=2", ["item-1 is resolved: tone=rude"]),
        ("reviews report answers", ["0.743", "user:ada", "0.500", "tone"]),
    ],
)
async def test_a_command_reports_what_it_did(terminal: Terminal, command: str, reported: list[str]) -> None:
    said = await asyncio.to_thread(terminal, *command.split())

    assert said.code == 0, said.text
    assert [each for each in reported if each not in said.text] == []


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (None, None, "a number"),
        (0, None, "a number from 0"),
        (None, 5, "a number to 5"),
        (1, 5, "a number from 1 to 5"),
    ],
)
def test_a_number_is_asked_for_by_the_bounds_that_it_has(low: float | None, high: float | None, said: str) -> None:
    assert bounds(LabelField(name="score", kind=LABEL_KIND_NUMBER, min=low, max=high)) == said


async def test_one_item_after_the_other_is_shown_and_its_labels_are_asked_for(
    terminal: Terminal, reviews: ReviewAnswers
) -> None:
    typed = "maybe\nyes\n2\n\nBetter.\n:skip\nno\n\n4.5\n:quit\n"

    said = await asyncio.to_thread(lambda: terminal.typed("reviews", "work", "answers", piped=typed))

    assert "Page d-1" in said.text
    assert "is neither; use yes or no" in said.text
    assert "you submitted 1 reviews" in said.text
    assert [[*each.labels] for each in reviews.submitted] == [
        [
            ReviewLabel(field="correct", boolean=True),
            ReviewLabel(field="tone", category="rude"),
            ReviewLabel(field="better", text="Better."),
        ]
    ]
    assert reviews.released == ["item-d-2"]


async def test_an_answer_that_may_not_be_read_is_not_asked_about(
    terminal: Terminal, running: Running, reviews: ReviewAnswers
) -> None:
    reviews.kind = SUBJECT_KIND_INFERENCE
    running.answers["inference.v1.inference_service:GetInference"] = lambda request: GetInferenceResponse(
        inference=Inference(id=request.id, restricted=True)
    )

    said = await asyncio.to_thread(lambda: terminal.typed("reviews", "work", "answers", piped="yes\n:skip\n:quit\n"))

    assert "it rests on documents that you may not read" in said.text
    assert (said.code, reviews.released, reviews.submitted) == (0, ["item-d-1"], [])


@pytest.mark.parametrize("restricted", [False, True])
async def test_of_an_example_the_corrections_are_shown_that_count(
    terminal: Terminal, running: Running, reviews: ReviewAnswers, *, restricted: bool
) -> None:
    reviews.kind = SUBJECT_KIND_EXAMPLE
    answer = Inference(id="d-1", output=[assistant("The answer.")], restricted=restricted)
    running.answers["inference.v1.inference_service:GetInference"] = lambda _: GetInferenceResponse(inference=answer)
    given = [
        Feedback(
            metric="correction", correction=Correction(output=[assistant(text)]), counts=text != "Not the asker's."
        )
        for text in ("The right answer.", "Not the asker's.")
    ]
    running.answers["feedback.v1.feedback_service:ListFeedback"] = lambda _: ListFeedbackResponse(feedback=given)

    said = await asyncio.to_thread(lambda: terminal.typed("reviews", "work", "answers", piped=":quit\n"))

    assert "The answer." in said.text
    assert ("corrected: The right answer." in said.text) is not restricted
    assert "Not the asker's." not in said.text


async def test_an_owner_that_does_not_answer_ends_no_work(
    terminal: Terminal, running: Running, reviews: ReviewAnswers
) -> None:
    def down(_: object) -> GetInferenceResponse:
        message = "what the answer rests on cannot be asked"
        raise PreconditionFailed(message)

    reviews.kind = SUBJECT_KIND_INFERENCE
    running.answers["inference.v1.inference_service:GetInference"] = down

    said = await asyncio.to_thread(lambda: terminal.typed("reviews", "work", "answers", piped=":quit\n"))

    assert (said.code, reviews.released) == (0, [])
    assert "cannot be asked" in said.text


async def test_a_review_that_comes_too_late_ends_no_work(terminal: Terminal, reviews: ReviewAnswers) -> None:
    reviews.refusal = "others have its place"
    typed = "yes\n\n\n\n" * 3

    said = await asyncio.to_thread(lambda: terminal.typed("reviews", "work", "answers", piped=typed))

    assert said.code == 0
    assert said.text.count("others have its place") == 3
    assert "you submitted 0 reviews" in said.text


async def test_a_label_of_no_field_is_refused(terminal: Terminal, reviews: ReviewAnswers) -> None:
    command = "reviews submit answers item-1 --claim c-1 -l colour=red"
    said = await asyncio.to_thread(terminal, *command.split())

    assert said.code != 0
    assert "use correct, tone, score, better, as field=value" in said.text
    assert reviews.submitted == []


async def test_what_is_exported_can_be_imported(terminal: Terminal, reviews: ReviewAnswers, tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"

    exported = await asyncio.to_thread(terminal, "reviews", "export", "answers", str(file), "--json")
    await asyncio.to_thread(terminal, "reviews", "import", "answers", str(file))

    assert exported.data["items"] == 1
    assert json.loads(file.read_text())["resolved"]["reviewers"] == ["user:ada"]
    (item,) = reviews.added
    assert item.subject == ITEM.subject
    assert [*item.reviews[0].labels] == LABELS
    file.write_text("[1]\n")
    refused = await asyncio.to_thread(terminal, "reviews", "import", "answers", str(file))
    assert "line 1 is no review item" in refused.text


async def test_an_export_that_fails_leaves_the_file_as_it_was(
    terminal: Terminal, running: Running, tmp_path: Path
) -> None:
    def down(_: object) -> ListReviewItemsResponse:
        message = "the queue is gone"
        raise PreconditionFailed(message)

    running.answers["feedback.v1.review_service:ListReviewItems"] = down
    file = tmp_path / "items.jsonl"
    file.write_text("of before\n")

    for options in ([], ["--state", "lost"]):
        failed = await asyncio.to_thread(terminal, "reviews", "export", "answers", str(file), *options)
        assert failed.code != 0

    assert file.read_text() == "of before\n"


async def test_examples_of_a_dataset_become_items_that_name_their_inference(
    terminal: Terminal, running: Running, reviews: ReviewAnswers
) -> None:
    async def exported(request: ExportDatasetVersionRequest) -> AsyncIterator[ExportDatasetVersionResponse]:
        if request.part == DATASET_SPLIT_HELD_OUT:
            yield ExportDatasetVersionResponse(chunk=b'{"id": "e3", "inference": "i3"}\n')
            return
        yield ExportDatasetVersionResponse(chunk=b'{"id": "e1", "inference": "i1"}\n{"id": "e2", "inf')
        yield ExportDatasetVersionResponse(chunk=b'erence": "i2"}\n')

    running.answers["ingest.v1.dataset_service:ExportDatasetVersion"] = exported

    said = await asyncio.to_thread(terminal, "reviews", "add", "answers", "--dataset", "sft@2")
    neither = await asyncio.to_thread(terminal, "reviews", "add", "answers")

    assert "3 items are in" in said.text
    subjects = sorted((each.subject.id, each.subject.dataset, each.subject.inference) for each in reviews.added)
    assert subjects == [("e1", "sft", "i1"), ("e2", "sft", "i2"), ("e3", "sft", "i3")]
    assert neither.code != 0


async def test_what_a_curation_may_make_examples_of_becomes_items_before_it_is_in_any_version(
    terminal: Terminal, running: Running, reviews: ReviewAnswers
) -> None:
    curation = Curation(
        id="sft", project="acme", dataset="helpdesk_sft", deployment="helpdesk", feedback=["correction"]
    )
    running.keepers["curation"].stored["sft"] = curation
    asked = list[ListFeedbackRequest]()

    def listed(request: ListFeedbackRequest) -> ListFeedbackResponse:
        asked.append(request)
        given = [
            Feedback(inference="i1", metric="correction", counts=True),
            Feedback(inference="i1", metric="correction", counts=True, end_user="u2"),
            Feedback(inference="i2", metric="correction"),
            Feedback(inference="i3", metric="comment", counts=True),
            Feedback(conversation="c1", last_inference="i4", metric="correction", counts=True),
            Feedback(inference="i5", metric="correction", counts=True),
        ]
        return ListFeedbackResponse(feedback=given)

    running.answers["feedback.v1.feedback_service:ListFeedback"] = listed
    command = ("reviews", "add", "answers", "--curation", "sft")

    said = await asyncio.to_thread(terminal, *command, "--max-items", "2")
    there = [ReviewItem(subject=each.subject) for each in reviews.added]
    page = ListReviewItemsResponse(items=there)
    running.answers["feedback.v1.review_service:ListReviewItems"] = lambda _: page
    await asyncio.to_thread(terminal, *command)

    assert "2 items are in" in said.text
    subjects = [(each.subject.id, each.subject.dataset, each.subject.inference) for each in reviews.added]
    assert [each[1:] for each in subjects] == [("helpdesk_sft", each) for each in ("i1", "i4", "i5")]
    assert subjects[0][0] == "b1c27325-ab7e-519b-8548-b257b70ff157"  # as feedback's batches name it
    assert (asked[0].filter, asked[0].order_by) == ('deployment = "helpdesk"', "create_time desc")


def test_the_example_of_a_choice_is_named_by_both_answers() -> None:
    curation = Curation(id="dpo", project="acme", dataset="helpdesk_dpo")
    one, other = (
        Feedback(metric="preference", preference=Preference(chosen=chosen, rejected=rejected))
        for chosen, rejected in (("i1", "i2"), ("i2", "i1"))
    )

    items = [candidate_item(curation, each) for each in (one, other)]

    assert [each.subject.inference for each in items] == ["i1", "i2"]
    assert {each.subject.id for each in items} == {derived_id("acme", "dpo", "i1 i2")}
