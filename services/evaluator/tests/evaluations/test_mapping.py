"""Evaluations and suites as messages and as they are stored since their first version."""

from services.evaluator.tests.builders import identity, passage
from services.evaluator.tests.evaluations.test_events import CONTENT, comparison, running
from tidemill.evaluator.v1 import evaluation_pb2 as pb
from tidemill_evaluator.evaluations.domain.comparison import Latencies, Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Comparing, Evaluation
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.inference import passage_message
from tidemill_evaluator.evaluations.messages import evaluation_message
from tidemill_evaluator.evaluations.mongo import EVALUATIONS
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.mongo import SUITES
from tidemill_testkit.clocks import NOON
from tidemill_testkit.mapping import unsent

OBJECT = {"bucket": CONTENT.bucket, "key": CONTENT.key, "size": CONTENT.size, "sha256": CONTENT.sha256}
REQUIREMENT = {"suite": "helpdesk_truth", "dataset": "", "metric": "rouge_l", "gain_above": 0.0, "at_least": 0}
COMPARISON = {
    "case_set": "suite:helpdesk_truth@1",
    "metric": "rouge_l",
    "cases": 60,
    "baseline": 0.205,
    "candidate": 0.729,
    "difference": 0.524,
    "low": 0.39,
    "high": 0.61,
    "required": True,
    "gain_above": 0.0,
    "at_least": 0,
    "holds": True,
    "baseline_failures": 0,
    "candidate_failures": 1,
    "unanswered": 2,
    "not_in_time": 1,
    "note": "",
}
STORED = {
    "gate": "helpdesk_gate",
    "candidate": "helpdesk_lora@1",
    "origin": "helpdesk_gate/helpdesk_lora@1",
    "attempt": 1,
    "asked_by": "",
    "dataset_version": "helpdesk_sft@1",
    "baseline": "smollm2@1",
    "baseline_configuration": "sha256:7d1f0c0e",
    "answered": 0,
    "remaining_s": None,
    "reason": "",
    "message": "",
    "finish_time": NOON,
    "epoch": 1,
    "comparing": {
        "deployment": "helpdesk",
        "candidate": "helpdesk_lora@1",
        "gate": "helpdesk_gate",
        "suites": ["more"],
        "require": [REQUIREMENT],
        "confidence": 0.95,
        "baseline": "",
    },
    "state": "completed",
    "case_sets": [
        {"suite": "helpdesk_truth", "dataset": "", "number": 1, "size": 60, "content": OBJECT, "whole": 0},
    ],
    "comparisons": [COMPARISON],
    "verdict": "passed",
    "latencies": {"baseline_s": 1.5, "candidate_s": 2.0},
}


def completed(latencies: Latencies | None = None) -> Evaluation:
    done = running()
    done.comparing = Comparing(
        deployment="helpdesk",
        candidate="helpdesk_lora@1",
        gate="helpdesk_gate",
        suites=("more",),
        require=(Requirement(suite="helpdesk_truth", metric="rouge_l"),),
    )
    evidence = [comparison("suite:helpdesk_truth@1", low=0.39, gain_above=0.0, at_least=0)]
    done.complete(evidence, latencies=latencies, now=NOON, epoch=1)
    done.pending.clear()
    return done


def test_an_evaluation_is_stored_as_it_always_was() -> None:
    done = completed(Latencies(baseline_s=1.5, candidate_s=2.0))

    encoded = EVALUATIONS.encode(done)
    assert (encoded["comparing"].pop("collection"), encoded["comparing"].pop("retrieval")) == ("", None)
    asked = [encoded["comparing"].pop(name) for name in ("metrics", "max_size_ratio", "max_exposure")]
    assert asked == [[], 0.0, 0.0]
    assert [(each.pop("missing"), each.pop("less_is_better")) for each in encoded["comparisons"]] == [(0, False)]
    assert (encoded.pop("retrieval_evaluation"), encoded.pop("baseline_index"), encoded.pop("ordinal")) == ("", 0, 0)
    assert (encoded.pop("slices"), encoded.pop("slices_left_out"), encoded["comparing"].pop("cluster_by")) == (
        [],
        0,
        [],
    )
    assert encoded["comparisons"][0].pop("clusters") == 0
    assert encoded["comparing"].pop("reevaluates") == ""
    assert (encoded.pop("pins"), encoded.pop("baseline_prompt"), encoded["comparing"].pop("prompt")) == ({}, "", "")
    assert encoded == {**STORED, "requester": "user:ada"}
    assert EVALUATIONS.decode(identity(done), EVALUATIONS.encode(done), 1) == done
    done.requester = ""
    assert EVALUATIONS.decode(identity(done), STORED, 1) == done


def test_an_evaluation_of_a_version_without_latencies_is_read() -> None:
    old = {name: value for name, value in STORED.items() if name != "latencies"}

    done = completed()
    done.requester = ""
    assert EVALUATIONS.decode(identity(done), old, 1) == done


def test_a_suite_is_stored_as_it_always_was() -> None:
    suite = Suite(id="truth", project="acme", number=2, digest="d", size=3, content=CONTENT)
    stored = {"number": 2, "digest": "d", "size": 3, "content": OBJECT}

    counts = {"judged": 0, "without_reference": 0, "unanswerable": 0, "expecting": 0, "unscored": None}
    grown = {"proposed": 0, "accepted": []}
    assert SUITES.encode(suite) == {**stored, **counts, **grown, "generated_by": "", "shipped": None}
    assert SUITES.decode(identity(suite), stored, 1) == suite


def test_an_evaluation_is_sent_with_what_it_compares() -> None:
    message = evaluation_message(completed(Latencies(baseline_s=1.5, candidate_s=2.0)))

    assert (message.state, message.verdict) == (pb.EVALUATION_STATE_COMPLETED, pb.VERDICT_PASSED)
    assert (message.deployment, message.confidence, message.cases) == ("helpdesk", 0.95, 60)
    assert (message.baseline_latency.ToMilliseconds(), message.candidate_latency.ToMilliseconds()) == (1500, 2000)
    assert unsent(pb.Evaluation, Evaluation, Comparing) == {
        "asked_by",
        "attempt",
        "baseline_index",
        "case_sets",
        "pins",
        "comparing",
        "epoch",
        "latencies",
        "max_exposure",
        "max_size_ratio",
        "metrics",
        "origin",
        "require",
        "retrieval",
        "suites",
    }


def test_every_state_and_verdict_is_one_of_the_contract() -> None:
    evaluation = running()
    for evaluation.state in State:
        for evaluation.verdict in (None, *Verdict):
            message = evaluation_message(evaluation)

            assert pb.EvaluationState.Name(message.state) == f"EVALUATION_STATE_{evaluation.state.name}"
            assert bool(message.verdict) == (evaluation.verdict is not None)


def test_a_passage_is_given_to_the_other_side_with_its_text_and_place() -> None:
    message = passage_message(passage())

    assert (message.text, message.document, message.version, message.end) == ("each number is different", "doc", 2, 24)
