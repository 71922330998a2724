"""What is stored of deployments can be read again, also as it was written before there were rollouts."""

from dataclasses import replace
from datetime import timedelta

from services.inference.tests.fakes import helpdesk
from services.inference.tests.rollouts.rollout_fakes import POLICY
from tidemill_core.approvals import Approval
from tidemill_inference.deployments.domain.configuration import Configuration, Retrieval, Sampling
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.mongo import DEPLOYMENTS, MongoLiveModels
from tidemill_inference.rollouts.domain.changes import PassedEvaluation
from tidemill_inference.rollouts.domain.policy import MetricRule
from tidemill_inference.rollouts.domain.rollout import Decision, Hold, Move
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, Outcome, StepCounts
from tidemill_inference.rollouts.domain.values import GivenValue
from tidemill_inference.routing.domain.policy import Balance, RoutingPolicy
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import connect, encoded
from tidemill_local import Addresses
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stack import unique_name

IDENTITY = Identity(
    id="helpdesk",
    project="acme",
    labels={},
    version=3,
    seq=2,
    create_time=NOON,
    update_time=NOON,
    deleted=False,
)
BEFORE_ROLLOUTS = {
    "spec": {
        "model": "smollm2",
        "prompt": "answer",
        "retrieval": {"collection": "handbook", "top_k": 2, "index": 0, "metadata_filter": '{"product": "vpn"}'},
        "sampling": {"temperature": 0.0, "top_p": None, "max_output_tokens": 64, "seed": None, "stop": ["END"]},
        "fallback": ["gpt"],
        "deadline": 30.0,
        "record": "METADATA",
        "allow_sampling_override": True,
    },
    "live": {
        "model": "smollm2@1",
        "prompt": "answer@2",
        "retrieval": {"collection": "handbook", "top_k": 2, "index": 0, "metadata_filter": '{"product": "vpn"}'},
        "sampling": {"temperature": 0.0, "top_p": None, "max_output_tokens": 64, "seed": None, "stop": ["END"]},
        "fallback": ["gpt@1"],
    },
}


def rolling() -> Deployment:
    routing = RoutingPolicy(equal_models={"other/gpt@1": 2}, hedge_after_s=0.5, balance=Balance.PREFIX)
    deployment = helpdesk(follow="lora", rollout_policy=replace(POLICY, approvals=2), routing=routing)
    deployment.equals = {"other/gpt@1": 2}
    deployment.rollouts_paused = True
    passed = PassedEvaluation(
        evaluation="e1", gate="helpdesk_gate", candidate="lora@1", baseline=deployment.live.digest
    )
    deployment.start_rollout(passed, why_not="", now=NOON)
    assert deployment.rollout is not None
    deployment.begin_rollout(deployment.rollout.id, epoch=4, now=NOON + timedelta(minutes=1))
    reopened = GivenValue(metric="reopened", score=1.0, user="u1")
    values = (GivenValue(metric="rating", score=0.75), reopened)
    outcome = Outcome(inference="i", rollout="r", step=0, variant=CANDIDATE, failed=False, total_s=0.5, values=values)
    counts = StepCounts.of([outcome], shadow=True, metrics=[MetricRule(metric="reopened", at_least=20)])
    held = Decision(move=Move.HOLD, hold=Hold.APPROVALS, message="waits")
    deployment.reconcile_rollout(held, counts, seen=deployment.rollout, now=NOON)
    deployment.approve_rollout("", Approval(approver="ada", rationale="it reads well", approve_time=NOON))
    deployment.pending.clear()
    return deployment


def test_a_deployment_with_its_rollout_is_read_as_it_was_written() -> None:
    codec, written = DEPLOYMENTS, rolling()

    stored = codec.encode(written)
    read = codec.decode(replace(IDENTITY, version=0, seq=0, create_time=None, update_time=None), stored, codec.schema)

    assert encoded(stored)
    assert stored["rollout"]["active"]
    assert read == written


def test_a_deployment_from_before_rollouts_follows_nothing_and_answers_as_before() -> None:
    read = DEPLOYMENTS.decode(IDENTITY, BEFORE_ROLLOUTS, 1)

    assert read.live == Configuration.of(
        model="smollm2@1",
        prompt="answer@2",
        retrieval=Retrieval(collection="handbook", top_k=2, metadata_filter={"product": "vpn"}),
        sampling=Sampling(temperature=0.0, max_output_tokens=64, stop=("END",)),
        fallback=("gpt@1",),
    )
    assert (read.spec.follow, read.spec.rollout_policy, read.rollout, read.evaluations) == ("", None, None, ())
    assert (read.spec.deadline, read.rollouts_paused) == (timedelta(seconds=30), False)
    assert (read.spec.routing, read.equals) == (None, {})
    again = DEPLOYMENTS.encode(read)
    assert DEPLOYMENTS.decode(IDENTITY, again, 2) == read


async def test_what_deployments_answer_with_and_fall_back_to_is_live(stack: Addresses) -> None:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("live")
    deployments = client[name]["deployments"]
    for project, model, deleted in (("a", "one@1", False), ("b", "two@1", False), ("b", "three@1", True)):
        live = {"model": model, "fallback": ["small@1"] if project == "a" else []}
        await deployments.insert_one({"project": project, "deleted": deleted, "state": {"live": live}})
    live, equals = {"model": "four@1", "fallback": []}, [["five@1", 2]]
    await deployments.insert_one({"project": "b", "deleted": False, "state": {"live": live, "equals": equals}})

    answering = {("a", "one@1"), ("a", "small@1"), ("b", "two@1"), ("b", "five@1")}
    others = {("b", "three@1"), ("b", "one@1"), ("c", "one@1"), ("a", "big@1")}
    assert await MongoLiveModels(deployments).among(answering | others) == answering
    assert not await MongoLiveModels(deployments).among([])
    await client.drop_database(name)
    client.close()
