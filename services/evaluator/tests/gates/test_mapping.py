"""Gates as messages and as they are stored since their first version."""

from services.evaluator.tests.builders import gate_of, identity
from tidemill.evaluator.v1 import evaluation_pb2 as pb
from tidemill_evaluator.gates.domain.deferred_evaluation import DeferredEvaluation
from tidemill_evaluator.gates.domain.gate import Gate, Requirement
from tidemill_evaluator.gates.messages import gate_of as gate_of_message
from tidemill_evaluator.gates.mongo import GATES
from tidemill_kit.mapping import to_message
from tidemill_testkit.mapping import unsent

DEFERRED = {"candidate": "lora@2", "origin": "gate/lora@2", "attempt": 1, "dataset_version": "sft@2"}
STORED = {
    "deployment": "helpdesk",
    "candidate": "lora",
    "confidence": 0.9,
    "require": [{"suite": "truth", "dataset": "", "metric": "rouge_l", "gain_above": -0.02, "at_least": 3}],
    "paused": True,
    "owed": DEFERRED,
}


def stored_gate() -> Gate:
    gate = gate_of(Requirement(suite="truth", metric="rouge_l", gain_above=-0.02, at_least=3), paused=True)
    gate.confidence = 0.9
    gate.deferred_evaluation = DeferredEvaluation(candidate="lora@2", origin="gate/lora@2", dataset_version="sft@2")
    return gate


def test_a_gate_is_stored_as_it_always_was() -> None:
    encoded = GATES.encode(stored_gate())
    assert encoded.pop("owed") == {**DEFERRED, "requester": "", "after_rollout": False}
    assert (encoded.pop("collection"), encoded.pop("retrieval"), encoded.pop("cluster_by")) == ("", None, [])
    assert [encoded.pop(name) for name in ("max_size_ratio", "max_exposure", "candidate_prompt")] == [0.0, 0.0, ""]
    assert [encoded.pop(name) for name in ("reevaluate", "reevaluation_due", "last_reevaluation")] == [None, None, ""]
    assert (encoded.pop("last_reevaluation_time"), encoded.pop("provider_changed")) == (None, False)
    assert encoded.pop("changed_candidate") == ""
    assert encoded == {name: value for name, value in STORED.items() if name != "owed"}
    assert GATES.decode(identity(stored_gate()), STORED, 1) == stored_gate()


def test_a_gate_is_sent_whole_but_for_what_is_deferred() -> None:
    kept = {"reevaluation_due", "last_reevaluation", "last_reevaluation_time", "provider_changed", "changed_candidate"}
    assert unsent(pb.Gate, Gate) == {"deferred_evaluation", *kept}


def test_a_gate_of_a_request_is_the_one_that_was_sent() -> None:
    gate = gate_of(Requirement(dataset="sft", metric="rouge_l"), Requirement(suite="truth", metric="token_f1"))
    gate.max_size_ratio, gate.max_exposure = 0.6, 2.3

    assert gate_of_message(to_message(pb.Gate, gate), "acme") == gate
    assert gate_of_message(pb.Gate(id="gate"), "acme").confidence == 0.95, "by default"
