"""DeploymentService with a rollout, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from services.inference.tests.caching.cached import InMemorySavings
from services.inference.tests.fakes import ADA
from services.inference.tests.openai_api.apis import settings
from services.inference.tests.rollouts.rollout_fakes import RolloutHarness
from tidemill.inference.v1 import deployment_pb2, deployment_service_pb2, deployment_service_pb2_grpc, rollout_pb2
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed, RequestIdReused
from tidemill_inference.caching.count import ReadSavings
from tidemill_inference.deployments.crud import DeploymentCrud
from tidemill_inference.deployments.grpc import GrpcDeploymentService
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer

POLICY = rollout_pb2.RolloutPolicy(
    gate="helpdesk_gate",
    sticky_by=rollout_pb2.STICKY_BY_REQUEST,
    steps=[
        rollout_pb2.RolloutStep(shadow=True, requests=10),
        rollout_pb2.RolloutStep(weight=50, requests=40, at_least=15, at_most=Duration(seconds=7200)),
    ],
    abort=rollout_pb2.AbortRules(error_rate_above=0.0, rating_loss_above=0.02),
    on_timeout=rollout_pb2.ON_TIMEOUT_ROLL_BACK,
    approval=rollout_pb2.ApprovalPolicy(role="operator", count=1),
)


@dataclass(kw_only=True)
class Office:
    """The desk's deployment behind gRPC, for project acme."""

    harness: RolloutHarness
    stub: deployment_service_pb2_grpc.DeploymentServiceStub

    async def get(self) -> deployment_pb2.Deployment:
        return (await self.stub.GetDeployment(deployment_service_pb2.GetDeploymentRequest(id="helpdesk"))).deployment

    async def declares(self, policy: rollout_pb2.RolloutPolicy, *, follow: str = "lora") -> deployment_pb2.Deployment:
        request = deployment_service_pb2.UpdateDeploymentRequest(
            deployment=deployment_pb2.Deployment(id="helpdesk", rollout_policy=policy, follow=follow),
            update_mask=FieldMask(paths=["follow", "rollout_policy"]),
        )
        return (await self.stub.UpdateDeployment(request)).deployment


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    harness = RolloutHarness()
    deployments, clock = harness.harness.deployments, harness.harness.clock
    resolve = ResolveConfiguration(
        prompts=harness.harness.prompts,
        models=harness.harness.registry,
        retriever=harness.harness.rag,
        candidates=harness.registry,
    )
    service = GrpcDeploymentService(
        deployments,
        DeploymentCrud(
            deployments=deployments,
            resolve=resolve,
            outcomes=harness.outcomes,
            metrics=harness.declared,
            clock=clock,
        ),
        count=harness.count,
        rollouts=harness.commands,
        savings=ReadSavings(store=InMemorySavings(), clock=clock),
    )
    register = deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server
    server = DirectServer(settings(), [(register, service)], access=access_of(), audit=RecordedCalls())
    await server.start()
    await server.set_ready(True)
    try:
        async with admin_channel(f"127.0.0.1:{server.port}", name="inference", project=ADA.project) as channel:
            yield Office(harness=harness, stub=deployment_service_pb2_grpc.DeploymentServiceStub(channel))
    finally:
        await server.stop(1.0)


async def test_a_policy_is_read_as_it_was_declared_and_the_same_again_changes_nothing() -> None:
    async with office() as open_office:
        declared = await open_office.declares(POLICY)
        again = await open_office.declares(POLICY)

    defaults = rollout_pb2.RolloutPolicy()
    defaults.CopyFrom(POLICY)
    defaults.steps[0].at_most.FromSeconds(24 * 3600)
    assert declared.rollout_policy == defaults
    assert declared.follow == "lora"
    assert again.etag == declared.etag


async def test_what_a_policy_leaves_open_is_written_out() -> None:
    async with office() as open_office:
        steps = [rollout_pb2.RolloutStep(weight=50, requests=40)]
        declared = await open_office.declares(rollout_pb2.RolloutPolicy(gate="g", steps=steps))

    policy = declared.rollout_policy
    assert (policy.sticky_by, policy.on_timeout) == (rollout_pb2.STICKY_BY_END_USER, rollout_pb2.ON_TIMEOUT_HOLD)


async def test_rollouts_are_paused_beside_the_policy_so_that_declaring_it_never_resumes_them() -> None:
    async with office() as open_office:
        declared = await open_office.declares(POLICY)
        paused = await open_office.stub.UpdateDeployment(
            deployment_service_pb2.UpdateDeploymentRequest(
                deployment=deployment_pb2.Deployment(id="helpdesk", rollouts_paused=True),
                update_mask=FieldMask(paths=["rollouts_paused"]),
            )
        )
        again = await open_office.declares(POLICY)

    assert (declared.rollouts_paused, paused.deployment.rollouts_paused, again.rollouts_paused) == (False, True, True)
    assert paused.deployment.rollout_policy == declared.rollout_policy


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (
            rollout_pb2.RolloutPolicy(gate="g", on_timeout=9),  # type: ignore[arg-type] # of a newer contract
            "on_timeout: is 9; use one of HOLD, PROMOTE, ROLL_BACK",
        ),
        (
            rollout_pb2.RolloutPolicy(gate="g", sticky_by=9),  # type: ignore[arg-type] # of a newer contract
            "sticky_by: is 9; use one of END_USER, REQUEST",
        ),
        (
            rollout_pb2.RolloutPolicy(gate="g", approval=rollout_pb2.ApprovalPolicy(role="Ops Team")),
            "approval.role: is 'Ops Team'",
        ),
        (
            rollout_pb2.RolloutPolicy(steps=[rollout_pb2.RolloutStep(weight=101, requests=1, at_least=2)]),
            r"gate: is required.*weight: is 101; use 1 to 100.*at_least: is 2; use 0 \(for 1\) to requests",
        ),
    ],
)
async def test_a_policy_that_cannot_work_is_refused_by_field_value_and_limit(
    policy: rollout_pb2.RolloutPolicy, text: str
) -> None:
    async with office() as open_office:
        with pytest.raises(InvalidInput, match=text):
            await open_office.declares(policy)


async def test_a_rollout_is_shown_with_what_came_of_its_step_so_far() -> None:
    async with office() as open_office:
        await open_office.harness.is_rolling(step=1)
        await open_office.harness.asks(6)

        shown = await open_office.get()

    rollout = shown.rollout
    assert rollout.state == rollout_pb2.ROLLOUT_STATE_CANARY
    assert (rollout.step, rollout.evaluation, rollout.baseline_configuration) == (1, "e1", shown.live.digest)
    assert rollout.candidate.model == "lora@1"
    assert (rollout.counts.requests, rollout.counts.candidate > 0) == (6, True)
    assert rollout.counts.candidate_p95.ToTimedelta().total_seconds() == 1.0
    assert not rollout.counts.HasField("candidate_rating")


async def test_differences_of_a_rollout_are_computed_once_for_what_came_of_it_and_not_for_lists() -> None:
    async with office() as open_office:
        await open_office.harness.is_rolling(step=1)
        await open_office.harness.asks(12)

        shown = (await open_office.get()).rollout.counts
        count, found = open_office.harness.count, await open_office.harness.deployment()
        first, again = [(await count.with_differences(found)).active_rollout for _ in range(2)]
        await open_office.harness.asks(2)
        at_once = await asyncio.gather(*(count.with_differences(found) for _ in range(5)))
        listed = (await open_office.stub.ListDeployments(deployment_service_pb2.ListDeploymentsRequest())).deployments

    assert shown.failure_difference.low < 0.0 < shown.failure_difference.high
    assert shown.latency_ratio.low < 1.0
    assert not shown.HasField("rating_difference")
    assert first is not None
    assert again is not None
    assert first.counts is again.counts
    assert len({id(each.active_rollout.counts) for each in at_once if each.active_rollout}) == 1
    assert not listed[0].rollout.counts.HasField("failure_difference")


async def test_a_rollout_is_shown_with_the_steps_that_it_began_with_whatever_the_policy_says_now() -> None:
    async with office() as open_office:
        began_with = list((await open_office.declares(POLICY)).rollout_policy.steps)
        await open_office.harness.is_rolling()
        await open_office.declares(
            rollout_pb2.RolloutPolicy(gate="helpdesk_gate", steps=[rollout_pb2.RolloutStep(weight=100, requests=7)])
        )

        shown = await open_office.get()

    assert list(shown.rollout.steps) == began_with
    assert shown.rollout.abort == POLICY.abort != shown.rollout_policy.abort
    assert [step.requests for step in shown.rollout_policy.steps] == [7]


async def test_by_hand_a_rollout_is_promoted_once_and_taken_back() -> None:
    async with office() as open_office:
        await open_office.harness.is_rolling()
        stub = open_office.stub
        ask = deployment_service_pb2.PromoteRolloutRequest(deployment="helpdesk", request_id="p1")

        preview = await stub.PromoteRollout(
            deployment_service_pb2.PromoteRolloutRequest(deployment="helpdesk", validate_only=True)
        )
        assert (await open_office.get()).live.model == "smollm2@1"
        promoted = (await stub.PromoteRollout(ask)).deployment
        again = (await stub.PromoteRollout(ask)).deployment
        with pytest.raises(RequestIdReused):
            await stub.PromoteRollout(
                deployment_service_pb2.PromoteRolloutRequest(
                    deployment="helpdesk", request_id="p1", rationale="another"
                )
            )
        with pytest.raises(PreconditionFailed, match="the last one was promoted"):
            await stub.PromoteRollout(deployment_service_pb2.PromoteRolloutRequest(deployment="helpdesk"))
        with pytest.raises(NotFound, match="has no rollout absent"):
            await stub.RollBackRollout(
                deployment_service_pb2.RollBackRolloutRequest(deployment="helpdesk", rollout="absent")
            )
        back = await stub.RollBackRollout(deployment_service_pb2.RollBackRolloutRequest(deployment="helpdesk"))

    assert preview.deployment.live.model == promoted.live.model == again.live.model == "lora@1"
    assert promoted.rollout.state == rollout_pb2.ROLLOUT_STATE_PROMOTED
    assert back.deployment.live.model == "smollm2@1"
    assert back.deployment.rollout.state == rollout_pb2.ROLLOUT_STATE_ROLLED_BACK


async def test_an_approval_is_kept_with_who_why_and_when_and_a_long_rationale_refused() -> None:
    async with office() as open_office:
        await open_office.harness.is_rolling()

        approved = await open_office.stub.ApproveRollout(
            deployment_service_pb2.ApproveRolloutRequest(deployment="helpdesk", rationale="it reads well")
        )
        with pytest.raises(InvalidInput, match="rationale: has 1001 characters: use at most 1000"):
            await open_office.stub.ApproveRollout(
                deployment_service_pb2.ApproveRolloutRequest(deployment="helpdesk", rationale="x" * 1001)
            )

    (given,) = approved.deployment.rollout.approvals
    assert (given.approver, given.rationale) == ("user:ada", "it reads well")
    assert given.approve_time.ToDatetime(tzinfo=UTC) == open_office.harness.harness.clock.now()
