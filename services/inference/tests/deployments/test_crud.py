from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.caching.similar import WordOverlap
from services.inference.tests.fakes import ADA, Handbook, Registry, asking, prompt_named, writing
from services.inference.tests.rollouts.rollout_fakes import Declared, InMemoryOutcomes, Registered
from tidemill_core.approvals import ApprovalMissing, ApprovalPolicy, approval_of
from tidemill_core.errors import Conflict, InvalidInput, NotFound
from tidemill_inference.caching.domain.policy import CachePolicy, SemanticCachePolicy
from tidemill_inference.conversations.domain.policy import ConversationPolicy
from tidemill_inference.deployments.crud import DeploymentCrud
from tidemill_inference.deployments.domain.configuration import Retrieval, Sampling
from tidemill_inference.deployments.domain.deployment import Deployment, DeploymentWasConfigured, DeploymentWasDeleted
from tidemill_inference.deployments.domain.errors import DeploymentNotFound, ReferenceNotFound
from tidemill_inference.deployments.domain.spec import DeploymentSpec, RecordMode
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.prompts.domain.errors import PromptNotFound
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_inference.prompts.mongo import PROMPTS
from tidemill_inference.routing.domain.policy import Balance, RoutingPolicy
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.stores import InMemoryAggregates

SPEC = DeploymentSpec(model="smollm2", prompt="answer", retrieval=Retrieval(collection="handbook"), fallback=("gpt@1",))

COMPARED = CachePolicy(ttl=timedelta(hours=1), semantic=SemanticCachePolicy(embedding="minilm"))


class Office:
    """The deployments of a project and what can be done with them."""

    def __init__(self) -> None:
        self.prompts = InMemoryAggregates(prompt_named("answer"), codec=PROMPTS, missing=PromptNotFound)
        self.deployments: InMemoryAggregates[Deployment] = InMemoryAggregates(
            codec=DEPLOYMENTS, missing=DeploymentNotFound
        )
        self.registry = Registry(smollm2=1, gpt=1)
        self.approvals = Registered()
        self.similar = WordOverlap()
        resolve = ResolveConfiguration(
            prompts=self.prompts,
            models=self.registry,
            retriever=Handbook(),
            candidates=self.approvals,
            questions=self.similar,
        )
        self.outcomes = InMemoryOutcomes()
        self.crud = DeploymentCrud(
            deployments=self.deployments,
            resolve=resolve,
            outcomes=self.outcomes,
            metrics=Declared(),
            clock=FixedClock(),
        )

    async def has_helpdesk(self) -> Deployment:
        return await self.crud.create(ADA, "helpdesk", SPEC, labels={}, write=writing("new"))

    async def writes_a_version_of_the_prompt(self) -> None:
        def write(prompt: Prompt) -> None:
            prompt.write(PromptContent(user="new"), digest="new", now=NOON)

        await self.prompts.update(ADA.project, "answer", write, request=asking("write"))


async def test_a_new_deployment_resolves_every_reference_and_says_so() -> None:
    office = Office()

    deployment = await office.has_helpdesk()

    assert (deployment.live.model, deployment.live.prompt, deployment.live.fallback) == (
        "smollm2@1",
        "answer@1",
        ("gpt@1",),
    )
    (event,) = office.deployments.published
    assert isinstance(event, DeploymentWasConfigured)
    assert (event.configuration, event.replaced) == (deployment.live, "")


async def test_an_update_that_comes_to_the_same_configuration_changes_nothing() -> None:
    office = Office()
    before = await office.has_helpdesk()

    after = await office.crud.update(ADA, "helpdesk", change=lambda spec: spec, write=writing("r"))

    assert after == before
    assert len(office.deployments.published) == 1


async def test_an_update_follows_what_is_newest_and_replaces_the_configuration_before() -> None:
    office = Office()
    before = await office.has_helpdesk()
    await office.writes_a_version_of_the_prompt()

    after = await office.crud.update(ADA, "helpdesk", change=lambda spec: spec, write=writing("r"))

    assert after.live.prompt == "answer@2"
    event = office.deployments.published[-1]
    assert isinstance(event, DeploymentWasConfigured)
    assert event.replaced == before.live.digest


async def test_what_does_not_answer_changes_no_configuration() -> None:
    office = Office()
    before = await office.has_helpdesk()

    after = await office.crud.update(
        ADA, "helpdesk", change=lambda spec: replace(spec, deadline=timedelta(seconds=5)), write=writing("r")
    )

    assert after.version > before.version
    assert after.live == before.live
    assert len(office.deployments.published) == 1


async def test_pausing_rollouts_leaves_what_answers_and_what_is_declared_as_it_is() -> None:
    office = Office()
    before = await office.has_helpdesk()
    await office.writes_a_version_of_the_prompt()

    paused = await office.crud.update(ADA, "helpdesk", rollouts_paused=True, write=writing("p"))
    applied = await office.crud.update(ADA, "helpdesk", change=lambda spec: spec, write=writing("a"))

    assert (paused.rollouts_paused, paused.spec, paused.live) == (True, before.spec, before.live)
    assert (applied.rollouts_paused, applied.live.prompt) == (True, "answer@2")


async def test_a_pinned_prompt_stays_where_it_is() -> None:
    office = Office()
    pinned = replace(SPEC, prompt="answer@1")
    await office.crud.create(ADA, "helpdesk", pinned, labels={}, write=writing("new"))
    await office.writes_a_version_of_the_prompt()

    after = await office.crud.update(ADA, "helpdesk", change=lambda spec: spec, write=writing("r"))

    assert after.live.prompt == "answer@1"


async def test_validating_an_update_returns_it_as_it_would_be() -> None:
    office = Office()
    await office.has_helpdesk()
    await office.writes_a_version_of_the_prompt()

    would_be = await office.crud.update(
        ADA, "helpdesk", change=lambda spec: spec, write=writing("r", validate_only=True)
    )

    assert would_be.live.prompt == "answer@2"
    assert (await office.deployments.get(ADA.project, "helpdesk")).live.prompt == "answer@1"


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (replace(SPEC, model="llama"), "model: 'llama' is not there; there are gpt, smollm2"),
        (replace(SPEC, prompt="absent"), "prompt: 'absent' is not there; there are answer"),
        (replace(SPEC, prompt="answer@9"), "has no '9'; it has versions 1 to 1"),
        (replace(SPEC, fallback=("x",)), r"fallback\[0\]: 'x' is not there"),
        (replace(SPEC, retrieval=Retrieval(collection="attic")), "there are handbook"),
    ],
)
async def test_a_reference_that_leads_nowhere_is_refused_with_what_is_there(spec: DeploymentSpec, why: str) -> None:
    office = Office()

    with pytest.raises(NotFound, match=why):
        await office.crud.create(ADA, "helpdesk", spec, labels={}, write=writing("new"))

    assert not office.deployments.published


async def test_everything_out_of_bounds_is_reported_at_once() -> None:
    bad = DeploymentSpec(
        model="",
        prompt="answer",
        retrieval=Retrieval(collection="handbook", top_k=101, index=-1),
        sampling=Sampling(temperature=3.0, top_p=0.0, max_output_tokens=0, stop=("",)),
        deadline=timedelta(),
    )

    with pytest.raises(InvalidInput) as caught:
        await Office().crud.create(ADA, "helpdesk", bad, labels={}, write=writing("new"))

    assert {violation.field for violation in caught.value.violations} == {
        "model",
        "deadline",
        "retrieval.top_k",
        "retrieval.index",
        "sampling.temperature",
        "sampling.top_p",
        "sampling.max_output_tokens",
        "sampling.stop",
    }


async def test_a_reference_that_is_none_is_refused() -> None:
    office = Office()

    with pytest.raises(InvalidInput, match="model: is 'Smol LM'"):
        await office.crud.create(ADA, "helpdesk", replace(SPEC, model="Smol LM"), labels={}, write=writing("new"))


async def test_an_older_etag_is_refused() -> None:
    office = Office()
    await office.has_helpdesk()

    with pytest.raises(Conflict):
        await office.crud.update(ADA, "helpdesk", change=lambda spec: spec, write=writing("r", etag="7"))


async def test_a_deleted_deployment_says_so_once() -> None:
    office = Office()
    await office.has_helpdesk()

    for _ in range(2):
        await office.crud.delete(ADA, "helpdesk", writing("d"))

    assert [type(event) for event in office.deployments.published] == [DeploymentWasConfigured, DeploymentWasDeleted]
    with pytest.raises(DeploymentNotFound):
        await office.deployments.get(ADA.project, "helpdesk")


async def test_a_trainer_that_is_down_changes_nothing() -> None:
    office = Office()
    office.registry.down = ReferenceNotFound("smollm2", field="model", known=[])

    with pytest.raises(ReferenceNotFound, match="there is none yet"):
        await office.has_helpdesk()


async def test_a_version_that_people_have_to_agree_to_is_not_served_before_they_did() -> None:
    office = Office()
    mia = replace(ADA, subject="user:mia", credential="jti")

    def guard(prompt: Prompt) -> None:
        prompt.approval = ApprovalPolicy(count=1)

    def approve(prompt: Prompt) -> None:
        prompt.approve(2, approval_of(mia, rationale="", now=NOON), caller=mia)

    await office.has_helpdesk()
    await office.prompts.update(ADA.project, "answer", guard, request=asking("guard"))
    other = await office.crud.update(
        ADA, "helpdesk", change=lambda spec: replace(spec, fallback=()), write=writing("other")
    )
    assert other.live.prompt == "answer@1"  # it served before there was a policy

    await office.writes_a_version_of_the_prompt()
    for validate_only in (True, False):
        with pytest.raises(ApprovalMissing, match="prompt answer@2 lacks 1 approval of the role operator"):
            await office.crud.update(
                ADA,
                "helpdesk",
                change=lambda spec: spec,
                write=writing(f"{validate_only}", validate_only=validate_only),
            )
    with pytest.raises(ApprovalMissing):
        await office.crud.create(ADA, "second", SPEC, labels={}, write=writing("second"))
    assert (await office.deployments.get(ADA.project, "helpdesk")).live.prompt == "answer@1"

    await office.prompts.update(ADA.project, "answer", approve, request=asking("approve"))
    served = await office.crud.update(ADA, "helpdesk", change=lambda spec: spec, write=writing("now"))
    assert served.live.prompt == "answer@2"


async def test_a_model_that_people_have_to_agree_to_is_not_served_before_they_did() -> None:
    office = Office()

    def newer(spec: DeploymentSpec) -> DeploymentSpec:
        return replace(spec, fallback=("gpt@2",))

    await office.has_helpdesk()
    office.approvals.lacking = {"smollm2@1", "gpt@2"}  # what serves already, and a new fallback

    with pytest.raises(ApprovalMissing, match="model gpt@2 lacks 1 approval of the role operator"):
        await office.crud.update(ADA, "helpdesk", change=newer, write=writing("first"))
    with pytest.raises(ApprovalMissing, match="smollm2@1"):
        await office.crud.create(ADA, "second", SPEC, labels={}, write=writing("second"))

    office.approvals.lacking = {"smollm2@1"}
    served = await office.crud.update(ADA, "helpdesk", change=newer, write=writing("now"))
    assert (served.live.model, served.live.fallback) == ("smollm2@1", ("gpt@2",))


ROUTED = replace(SPEC, routing=RoutingPolicy(retries=1, equal_models={"gpt": 2}, balance=Balance.LEAST_BUSY))


async def test_equal_models_are_resolved_and_are_no_other_configuration() -> None:
    office = Office()
    before = await office.has_helpdesk()

    changed = await office.crud.update(ADA, "helpdesk", change=lambda _: ROUTED, write=writing("routed"))

    assert changed.resolved_routing.equals == {"gpt@1": 2}
    assert changed.live.digest == before.live.digest
    assert changed.seq == before.seq  # nothing that a rollout or an event would be about
    office.registry.versions["gpt"] = 2
    assert (await office.crud.update(ADA, "helpdesk", labels={"team": "a"}, write=writing("label"))).equals == {
        "gpt@1": 2
    }
    again = await office.crud.update(ADA, "helpdesk", change=lambda _: ROUTED, write=writing("again"))
    assert again.equals == {"gpt@2": 2}


async def test_a_model_that_answers_already_is_no_equal_of_itself() -> None:
    office = Office()

    with pytest.raises(InvalidInput, match=r"routing.equal_models\[smollm2\]: is smollm2@1, which answers already"):
        await office.crud.create(
            ADA,
            "helpdesk",
            replace(SPEC, routing=RoutingPolicy(equal_models={"smollm2": 1})),
            labels={},
            write=writing("n"),
        )


async def test_an_equal_model_that_is_not_there_is_refused_with_what_is() -> None:
    office = Office()

    with pytest.raises(ReferenceNotFound, match="gpt"):
        await office.crud.create(
            ADA,
            "helpdesk",
            replace(SPEC, routing=RoutingPolicy(equal_models={"gtp": 1})),
            labels={},
            write=writing("n"),
        )


async def test_an_equal_model_needs_its_approvals_unless_it_is_used_already() -> None:
    office = Office()
    office.approvals.lacking.add("gpt@1")

    with pytest.raises(ApprovalMissing):
        await office.crud.create(ADA, "helpdesk", replace(ROUTED, fallback=()), labels={}, write=writing("new"))


async def test_a_model_that_rewrites_questions_is_resolved_and_one_that_is_not_there_is_refused() -> None:
    office = Office()
    await office.has_helpdesk()

    def searching(rewrite: str) -> DeploymentSpec:
        return replace(SPEC, retrieval=Retrieval(collection="handbook", rewrite=rewrite))

    changed = await office.crud.update(ADA, "helpdesk", change=lambda _: searching("gpt"), write=writing("w1"))
    assert changed.live.retrieval == Retrieval(collection="handbook", rewrite="gpt@1")
    assert changed.spec.retrieval == Retrieval(collection="handbook", rewrite="gpt")
    with pytest.raises(ReferenceNotFound, match=r"retrieval\.rewrite"):
        await office.crud.update(ADA, "helpdesk", change=lambda _: searching("none"), write=writing("w2"))


@pytest.mark.parametrize("field", ["summary_model", "memory_model"])
async def test_a_model_that_works_on_conversations_has_to_be_there_and_is_no_part_of_what_answers(field: str) -> None:
    office = Office()
    before = await office.has_helpdesk()

    def with_policy(model: str) -> DeploymentSpec:
        named = {field: model}
        return replace(SPEC, conversation=ConversationPolicy(**named))  # type: ignore[arg-type] # a model's

    changed = await office.crud.update(ADA, "helpdesk", change=lambda _: with_policy("gpt"), write=writing("w1"))
    assert changed.live.digest == before.live.digest
    with pytest.raises(ReferenceNotFound, match=rf"conversation\.{field}"):
        await office.crud.update(ADA, "helpdesk", change=lambda _: with_policy("none"), write=writing("w2"))


def test_a_conversation_policy_out_of_bounds_or_without_full_records_is_refused() -> None:
    policy = ConversationPolicy(max_turns=101, max_history_tokens=-1)
    with pytest.raises(InvalidInput) as refused:
        replace(SPEC, conversation=policy, record=RecordMode.METADATA).check()

    assert [each.field for each in refused.value.violations] == [
        "conversation.max_turns",
        "conversation.max_history_tokens",
        "conversation",
    ]


async def test_the_model_that_compares_questions_of_a_cache_has_to_be_there() -> None:
    office = Office()
    field, text = "cache.semantic.embedding", "is minilm: there is no model minilm"
    office.similar.down = InvalidInput.at(field, text)

    await office.has_helpdesk()
    with pytest.raises(InvalidInput, match=text):
        await office.crud.create(ADA, "alike", replace(SPEC, cache=COMPARED), labels={}, write=writing("r"))
