"""The demo's choices: what its users prefer, what is submitted, and that verify demands it."""

import runpy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ruamel.yaml import YAML

from tidemill.content.v1.content_pb2 import Message, Part
from tidemill.feedback.v1.feedback_pb2 import Feedback
from tidemill.feedback.v1.feedback_service_pb2 import SubmitFeedbackRequest, SubmitFeedbackResponse
from tidemill.inference.v1.configuration_pb2 import Sampling
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.ingest.v1.dataset_pb2 import Dataset, DatasetPart, DatasetVersion, WithheldVersion
from tidemill_helpdesk import choices
from tidemill_helpdesk.choices import ASKED_TWICE, CHOICES, FIRST, SECOND, THUMBS, Choices, choice_of
from tidemill_helpdesk.report import Report
from tidemill_helpdesk.turn import RATED_EVERY, TAUGHT

VERSION = DatasetVersion(id="d@1", train=DatasetPart(examples=11), held_out=DatasetPart(examples=5))
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
    def example(self) -> SimpleNamespace:
        return SimpleNamespace(loop=Path("loop.yaml"))

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


def rule(*, new_examples: int) -> SimpleNamespace:
    return SimpleNamespace(publish=SimpleNamespace(new_examples=new_examples))


@dataclass
class PublishedDatasets:
    """What came of what was offered: a version, why there is none, or nothing yet."""

    published: DatasetVersion | str | None

    async def get(self, _: str) -> Dataset:
        if isinstance(self.published, str):
            return Dataset(last_withheld=WithheldVersion(message=self.published))
        return Dataset(latest_version=1 if self.published else 0)

    async def version(self, _: str) -> DatasetVersion:
        assert isinstance(self.published, DatasetVersion)
        return self.published


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
    ("published", "thumbs", "line"),
    [
        (VERSION, 100, "d@1: 16 examples"),
        ("no example is held out", 100, "no version of helpdesk_thumbs: no example is held out"),
        (None, 100, "no version of helpdesk_thumbs: none within 0 s"),
        ("is not asked", 79, "no version of helpdesk_thumbs: 79 thumbs, and its rule needs 80"),
    ],
)
async def test_the_demo_goes_on_with_one_plain_line_where_choices_or_thumbs_make_no_version(
    published: DatasetVersion | str | None,
    thumbs: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rules = {CHOICES: rule(new_examples=16), THUMBS: rule(new_examples=80)}
    monkeypatch.setattr(choices, "read_loop", lambda _: SimpleNamespace(datasets=rules))
    monkeypatch.setattr(choices, "VERSION_WITHIN_S", 0.02)
    monkeypatch.setattr(choices, "Datasets", lambda _: PublishedDatasets(published))
    turn = AskedTurn({})
    turn.report.add("choices", chosen=15)
    turn.report.add("thumbs", given=thumbs)

    await Choices(turn=cast("Any", turn)).examples()

    said = " ".join(capsys.readouterr().out.split())
    assert "no version of helpdesk_choices: 15 choices, and its rule needs 16" in said
    assert line in said
    made = 16 if isinstance(published, DatasetVersion) else 0
    assert (turn.report.data()["choices"]["examples"], turn.report.data()["thumbs"]["examples"]) == (0, made)


def test_the_rules_of_the_demo_ask_for_no_more_than_its_users_give_and_for_what_makes_a_version() -> None:
    loop = YAML(typ="safe").load(ROOT / "examples" / "helpdesk" / "loop.yaml")
    train, held_out = 10, 4  # with fewer, ingest makes no version
    needed, rated = (loop["datasets"][name]["publish"]["new_examples"] for name in (CHOICES, THUMBS))
    share = loop["datasets"][THUMBS]["held_out"]["share"]

    assert needed * 0.7 > train
    assert needed * 0.3 > held_out
    assert needed <= 0.6 * ASKED_TWICE  # a quarter of them are ties
    assert rated <= 0.8 * TAUGHT / RATED_EVERY
    assert rated * share * 0.2 > held_out  # of answers of the base model, a third are rated well


def promises_of(*groups: str) -> list[Callable[[dict[str, Any]], bool]]:
    verify = runpy.run_path(str(ROOT / "infra" / "verify.py"))
    promises = [each for group in groups for each in verify[group].items()]
    return [holds for name, holds in promises if "thumbs" in name or "twice" in name or "choose" in name]


KEPT: dict[str, dict[str, Any]] = {
    "machine": {"numeric_format": "bfloat16"},
    "choices": {"chosen": 20, "needed": 16, "examples": 14},
    "thumbs": {"examples": 40},
    "seconds": {"choices": 30.0},
}


@pytest.mark.parametrize(
    "report",
    [
        {"choices": {"chosen": 20, "needed": 16, "examples": 13}},
        {"choices": {"chosen": 0, "needed": 16, "examples": 0}},
        {"thumbs": {"examples": 39}},
        {"seconds": {"choices": 41.0}},
    ],
)
def test_verify_demands_pairs_thumbs_and_little_time(report: dict[str, Any]) -> None:
    named = promises_of("PROMISES", "TAUGHT_WELL")

    assert len(named) == 4
    assert all(holds(KEPT) for holds in named)
    assert not all(holds(KEPT | report) for holds in named)


def test_verify_demands_no_pairs_of_few_choices_and_no_thumbs_of_users_who_were_poisoned() -> None:
    few = KEPT | {"choices": {"chosen": 15, "needed": 16, "examples": 0}, "thumbs": {"examples": 0}}

    assert all(holds(few) for holds in promises_of("PROMISES"))
