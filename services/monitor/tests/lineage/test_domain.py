from datetime import timedelta

import pytest

from services.monitor.tests.story import Story
from tidemill_monitor.events.evaluator import EvaluationCompleted
from tidemill_monitor.lineage.domain.graph import Node, Part, Ref, label_of
from tidemill_monitor.lineage.domain.kinds import RELATION_OF, RELATIONS, Kind, relations_from
from tidemill_monitor.lineage.domain.parts import updates_of
from tidemill_monitor.lineage.domain.training import MAX_COMPARISONS
from tidemill_testkit.clocks import NOON


def part(key: str, *, seconds: int, **facts: str) -> Part:
    return Part(key=key, event="e", seq=1, time=NOON + timedelta(seconds=seconds), facts=facts)


def test_a_later_part_says_what_holds() -> None:
    ref = Ref(Kind.ROLLOUT, "ro-1")

    node = Node(ref=ref, parts=(part("b", seconds=5, state="promoted"), part("a", seconds=1, state="canary", step="1")))

    assert node.facts == {"state": "promoted", "step": "1"}


def test_relations_have_names_of_their_own_because_they_are_stored() -> None:
    assert len(RELATION_OF) == len(RELATIONS)


def test_nothing_comes_before_a_deployment_so_that_histories_do_not_run_together() -> None:
    assert not [relation for relation in RELATIONS if relation.target is Kind.DEPLOYMENT]
    assert relations_from(Kind.DEPLOYMENT)


@pytest.mark.parametrize(
    ("ref", "label"),
    [
        (Ref(Kind.MODEL_VERSION, "smollm2@3"), "smollm2@3"),
        (Ref(Kind.INFERENCE, "4e4826b8-5411-595b-90ae-1ab5b13c0811"), "answer 4e4826b8"),
        (Ref(Kind.DOCUMENT_VERSION, "fd7cd860-8890-5ce0-b214-11327d930201@2"), "document version fd7cd860@2"),
    ],
)
def test_labels_are_short(ref: Ref, label: str) -> None:
    assert label_of(ref) == label


def test_a_run_comes_from_the_models_that_reward_its_answers_too() -> None:
    story = Story()
    story.record("trainer.run.queued", "run-1", run="run-1", base="smollm2@1", reward_models=["judge@1", "tone@2"])

    (updates,) = updates_of(story.events[0].body, story.events[0].meta)

    assert {(edge.relation.name, edge.source) for edge in updates.sources} == {
        ("base_of", "smollm2@1"),
        ("rewarded", "judge@1"),
        ("rewarded", "tone@2"),
    }


def test_a_run_comes_from_the_version_of_the_judge_that_rewards_its_answers_too() -> None:
    story = Story()
    story.record("trainer.run.queued", "run-1", run="run-1", base="smollm2@1", judge_version="tone@2-0123456789ab")

    (updates,) = updates_of(story.events[0].body, story.events[0].meta)

    (judge,) = (edge for edge in updates.sources if edge.relation.name == "judged")
    assert (judge.relation.source, judge.source) == (Kind.JUDGE_VERSION, "tone@2-0123456789ab")


def test_a_distilled_run_comes_from_its_teacher_too() -> None:
    story = Story()
    story.record("trainer.run.queued", "run-1", run="run-1", base="small@1", teacher="large@2")

    (updates,) = updates_of(story.events[0].body, story.events[0].meta)

    assert {(edge.relation.name, edge.source) for edge in updates.sources} == {
        ("base_of", "small@1"),
        ("taught", "large@2"),
    }


def test_the_evidence_of_one_evaluation_is_bounded() -> None:
    story = Story()
    story.evaluate()
    data = story.events[1].data
    (first,) = data["comparisons"]
    data["comparisons"] = [{**first, "case_set": f"suite:{number}@1"} for number in range(MAX_COMPARISONS + 9)]
    body = story.events[1].body
    assert isinstance(body, EvaluationCompleted)

    (updates,) = updates_of(body, story.events[1].meta)

    assert updates.part is not None
    assert len([name for name in updates.part.facts if name.startswith("rouge_l on suite:")]) == MAX_COMPARISONS
    assert updates.part.facts["verdict"] == "passed"


def test_a_re_evaluation_has_words_of_its_own_and_names_the_evaluation_that_passed() -> None:
    story = Story()
    named = {"evaluation": "ev-2", "candidate": "m@1", "baseline": "m@1", "reevaluates": "ev-1"}
    story.record("evaluator.evaluation.started", "ev-2", **named)
    story.record("evaluator.evaluation.failed", "ev-2", seq=2, **named, reason="NOT_COMPARABLE", message="no answers")

    parts = [updates_of(event.body, event.meta)[0].part for event in story.events]

    assert [part and (part.message, part.facts["reevaluates"]) for part in parts] == [
        ("m@1, which is live, is compared with what it answered when it passed", "ev-1"),
        ("the re-evaluation of m@1 came to no verdict: no answers", "ev-1"),
    ]


def test_a_failed_gate_is_reported_with_what_did_not_hold() -> None:
    story = Story()
    story.evaluate(verdict="VERDICT_FAILED")
    data = story.events[1].data
    (fails,) = data["comparisons"]
    data["comparisons"] = [{**fails, "metric": "token_f1", "holds": True}, fails]

    (updates,) = updates_of(story.events[1].body, story.events[1].meta)

    assert updates.part is not None
    assert updates.part.message.startswith("helpdesk_lora@1 fails the gate helpdesk_gate: rouge_l 0.2050 -> 0.7290")
    assert updates.part.message.endswith("must be above 0: does not hold")
    assert updates.part.facts["rouge_l on dataset:helpdesk_sft@1:held_out"] == fails


@pytest.mark.parametrize(
    ("holds", "says"),
    [(True, "rouge_l 0.2050 -> 0.7290"), (False, "weights_bytes 269.1 MB -> 135.0 MB: does not hold")],
)
def test_a_size_is_reported_where_it_decided_alone_and_in_megabytes(says: str, *, holds: bool) -> None:
    story = Story()
    story.evaluate(verdict="VERDICT_PASSED" if holds else "VERDICT_FAILED")
    data = story.events[1].data
    (gain,) = data["comparisons"]
    size = {**gain, "case_set": "weights", "metric": "weights_bytes", "baseline": 269.1e6, "candidate": 135.0e6}
    data["comparisons"] = [{**size, "holds": holds}, {**gain, "holds": True}]

    (updates,) = updates_of(story.events[1].body, story.events[1].meta)

    assert updates.part is not None
    assert says in updates.part.message


@pytest.mark.parametrize(
    ("holds", "cases", "says"),
    [
        (True, 20, "passes the gate helpdesk_gate: rouge_l 0.2050 -> 0.7290"),
        (False, 20, "fails the gate helpdesk_gate: exposure 4.26 bits of 20 canaries, at most 2.30: does not hold"),
        (False, 0, "fails the gate helpdesk_gate: exposure not measured, at most 2.30: does not hold"),
    ],
)
def test_an_exposure_is_reported_where_it_decided_alone_beside_its_limit(cases: int, says: str, *, holds: bool) -> None:
    story = Story()
    story.evaluate(verdict="VERDICT_PASSED" if holds else "VERDICT_FAILED")
    data = story.events[1].data
    (gain,) = data["comparisons"]
    exposure = {**gain, "case_set": "canaries", "metric": "exposure", "baseline": 0.0, "candidate": 4.256}
    data["comparisons"] = [{**exposure, "cases": cases, "gain_above": -2.3, "holds": holds}, {**gain, "holds": True}]

    (updates,) = updates_of(story.events[1].body, story.events[1].meta)

    assert updates.part is not None
    assert says in updates.part.message


def test_a_run_and_its_model_say_how_many_examples_were_given_fitted_and_left_out() -> None:
    story = Story()
    run = {"run": "run-1", "plan": "lora", "dataset_version": "sft@1", "model_version": "lora@1", "time": "74.200s"}
    story.record(
        "trainer.run.succeeded", "run-1", **run, examples={"offered": 42, "fitted": 30, "too_long": 11, "empty": 1}
    )

    updates, model = updates_of(story.events[0].body, story.events[0].meta)

    assert updates.part is not None
    assert model.part is not None
    said, counts = (
        "30 of 42 (11 too long, 1 empty)",
        {"offered": 42, "fitted": 30, "too_long": 11, "refused": 0, "empty": 1},
    )
    assert (updates.part.facts["examples"], model.part.facts["examples"]) == (counts, counts)
    assert updates.part.message == f"lora@1 is trained: 74 s, examples {said}"


@pytest.mark.parametrize(("loss", "said"), [({"loss": 0.0}, "74 s, loss 0"), ({}, "74 s")])
def test_a_run_that_logged_no_loss_is_reported_without_one(loss: dict[str, float], said: str) -> None:
    story = Story()
    run = {"run": "run-1", "plan": "lora", "dataset_version": "sft@1", "model_version": "lora@1", "time": "74.200s"}
    story.record("trainer.run.succeeded", "run-1", **run, **loss)

    updates, _ = updates_of(story.events[0].body, story.events[0].meta)

    assert updates.part is not None
    assert updates.part.message == f"lora@1 is trained: {said}"
    assert (updates.part.facts["seconds"], "loss" in updates.part.facts) == (74.2, "loss" in loss)
