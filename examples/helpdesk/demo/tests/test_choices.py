"""The demo's choices: what its users prefer, what is submitted, and that verify demands it."""

import runpy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from ruamel.yaml import YAML

from tidemill.content.v1.content_pb2 import Message, Part
from tidemill.feedback.v1.feedback_pb2 import Feedback
from tidemill.feedback.v1.feedback_service_pb2 import SubmitFeedbackRequest, SubmitFeedbackResponse
from tidemill.inference.v1.configuration_pb2 import Sampling
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill_helpdesk.choices import ASKED_TWICE, CHOICES, FIRST, SECOND, THUMBS, Choices, choice_of
from tidemill_helpdesk.report import Report

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [
        ("It copies a tree.", "No idea at all", FIRST),
        ("No idea at all", "it copies", SECOND),
        ("It copies a tree. And much more that is not so", "It copies a tree.", SECOND),
        ("No idea", "None either", None),
        ("", "", None),
    ],
)
def test_a_user_chooses_what_is_more_like_the_right_answer(first: str, second: str, chosen: int | None) -> None:
    assert choice_of(first, second, right="It copies a tree.") is chosen


@dataclass
class Document:
    answer: str = "right"


@dataclass
class AskedTurn:
    """Answers each question, the second time otherwise, and keeps what is submitted."""

    answers: dict[int, tuple[str, str]]
    project: str = "demo"
    report: Report = field(default_factory=lambda: Report("demo"))
    taught: list[Document] = field(default_factory=lambda: [Document()] * ASKED_TWICE)
    given: list[Feedback] = field(default_factory=list)
    asked: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def connection(self) -> "AskedTurn":
        return self

    @property
    def feedback(self) -> "AskedTurn":
        return self

    async def SubmitFeedback(self, request: SubmitFeedbackRequest, **_: object) -> SubmitFeedbackResponse:  # noqa: N802 - the contract's name
        self.given.append(request.feedback)
        return SubmitFeedbackResponse(feedback=request.feedback)

    async def ask_taught(self, number: int, *, request_id: str = "", sampling: Sampling | None = None) -> Inference:
        self.asked.append((request_id, sampling is not None))
        text = self.answers.get(number, ("right", "wrong"))[bool(request_id)]
        name = f"{number}-{'second' if request_id else 'first'}"
        return Inference(id=name, output=[Message(parts=[Part(text=text)])])


async def test_each_question_is_asked_twice_and_what_is_chosen_is_submitted_but_for_answers_alike() -> None:
    turn = AskedTurn({0: ("wrong", "right"), 1: ("a", "b"), 2: ("same  text", "same text")})

    await Choices(turn=cast("Any", turn)).choose()

    given = {each.preference.chosen.partition("-")[0]: each.preference for each in turn.given}
    assert len(given) == ASKED_TWICE - 1
    assert (given["0"].chosen, given["0"].rejected, given["0"].chosen_position) == ("0-second", "0-first", 2)
    assert (given["1"].tie, given["3"].tie, given["3"].chosen) == (True, False, "3-first")
    assert len({name for name, sampled in turn.asked if sampled}) == ASKED_TWICE
    assert turn.report.data()["choices"] == {
        "asked_twice": ASKED_TWICE,
        "chosen": ASKED_TWICE - 2,
        "ties": 1,
        "alike": 1,
    }


def test_the_loop_of_the_demo_learns_from_choices_and_thumbs_and_lets_users_ask_again() -> None:
    loop = YAML(typ="safe").load(ROOT / "examples" / "helpdesk" / "loop.yaml")

    choices, thumbs = (loop["datasets"][name]["examples"] for name in (CHOICES, THUMBS))
    assert (choices["feedback"], choices["kind"]) == (["preference"], "preference")
    assert (thumbs["feedback"], thumbs["kind"]) == (["rating"], "unpaired_preference")
    assert loop["deployments"]["helpdesk"]["allow_sampling_override"]


@pytest.mark.parametrize(
    "report",
    [
        {"choices": {"chosen": 9, "examples": 4}, "thumbs": {"examples": 40}, "seconds": {"choices": 30.0}},
        {"choices": {"chosen": 9, "examples": 5}, "thumbs": {"examples": 39}, "seconds": {"choices": 30.0}},
        {"choices": {"chosen": 9, "examples": 5}, "thumbs": {"examples": 40}, "seconds": {"choices": 41.0}},
    ],
)
def test_verify_demands_pairs_thumbs_and_little_time(report: dict[str, Any]) -> None:
    promises = runpy.run_path(str(ROOT / "infra" / "verify.py"))["PROMISES"]
    named = [holds for name, holds in promises.items() if "thumbs" in name or "twice" in name or "choose" in name]
    machine = {"machine": {"numeric_format": "bfloat16"}}
    kept = {"choices": {"chosen": 9, "examples": 5}, "thumbs": {"examples": 40}, "seconds": {"choices": 30.0}}

    assert len(named) == 3
    assert all(holds(machine | kept) for holds in named)
    assert not all(holds(machine | report) for holds in named)
