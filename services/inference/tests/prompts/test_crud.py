from dataclasses import replace

import pytest

from services.inference.tests.fakes import ADA, DirectTemplates, asking, helpdesk, writing
from tidemill_core.application import Request
from tidemill_core.approvals import ApprovalPolicy, ApprovalPolicyLowered, ApproverNotAllowed
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.prompts.crud import PromptCrud
from tidemill_inference.prompts.domain.errors import (
    PromptInUse,
    PromptNotFound,
    PromptVersionNotFound,
    TooManyPromptVersions,
)
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_inference.prompts.mongo import PROMPTS
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.stores import InMemoryAggregates

ONE = PromptContent(user="{{ question }}")
TWO = PromptContent(user="Now: {{ question }}")


class Library:
    """The prompts of a project and what can be done with them."""

    def __init__(self) -> None:
        templates, clock = DirectTemplates(), FixedClock()
        self.prompts: InMemoryAggregates[Prompt] = InMemoryAggregates(codec=PROMPTS, missing=PromptNotFound)
        self.deployments = InMemoryAggregates(helpdesk(), codec=DEPLOYMENTS, missing=DeploymentNotFound)
        self.crud = PromptCrud(prompts=self.prompts, templates=templates, deployments=self.deployments, clock=clock)

    async def has(self, name: str, *contents: PromptContent) -> Prompt:
        first, *others = contents
        prompt = await self.crud.create(ADA, name, first, labels={}, write=writing(f"new {name}"))
        for number, each in enumerate(others):
            prompt = await self.crud.update(ADA, name, content=each, write=writing(f"{name} {number}"))
        return prompt


async def test_changed_content_is_the_next_version_and_going_back_is_one_too() -> None:
    prompt = await Library().has("answer", ONE, TWO, TWO, ONE)

    assert [version.content for version in prompt.versions] == [ONE, TWO, ONE]
    assert [version.number for version in prompt.versions] == [1, 2, 3]


async def test_content_that_differs_in_nothing_that_counts_changes_nothing() -> None:
    library = Library()
    before = await library.has("answer", ONE)

    after = await library.crud.update(
        ADA, "answer", content=PromptContent(user="{# hi #}{{ question }}\n"), write=writing("r")
    )

    assert (after.version, len(after.versions)) == (before.version, 1)


async def test_creating_again_is_refused_and_the_same_request_is_not() -> None:
    library = Library()
    first = await library.has("answer", ONE)

    again = await library.crud.create(ADA, "answer", ONE, labels={}, write=writing("new answer"))
    assert again == first
    for validate_only in (False, True):
        with pytest.raises(AlreadyExists):
            await library.crud.create(
                ADA, "answer", TWO, labels={}, write=writing("other", validate_only=validate_only)
            )


async def test_validating_reports_what_would_be_and_stores_nothing() -> None:
    library = Library()
    new = await library.crud.create(ADA, "answer", ONE, labels={}, write=writing("v", validate_only=True))
    assert new.latest.number == 1
    with pytest.raises(NotFound):
        await library.prompts.get(ADA.project, "answer")
    await library.has("answer", ONE)

    would_be = await library.crud.update(ADA, "answer", content=TWO, write=writing("v2", validate_only=True))

    assert would_be.latest.number == 2
    assert (await library.prompts.get(ADA.project, "answer")).latest.number == 1


async def test_a_label_points_to_a_version_that_exists() -> None:
    library = Library()
    await library.has("answer", ONE, TWO)

    labelled = await library.crud.label(ADA, "answer", "production", version=1, write=writing("l1"))

    assert labelled.resolve("production").number == 1
    assert labelled.resolve("").number == 2
    with pytest.raises(PromptVersionNotFound, match="versions 1 to 2 and the labels production"):
        await library.crud.label(ADA, "answer", "production", version=7, write=writing("l2"))
    with pytest.raises(InvalidInput, match="reads as a version number"):
        await library.crud.label(ADA, "answer", "7", version=1, write=writing("l3"))


async def test_a_change_that_was_decided_on_an_older_state_is_refused() -> None:
    library = Library()
    await library.has("answer", ONE, TWO)

    with pytest.raises(Conflict, match="etag 1"):
        await library.crud.update(ADA, "answer", content=ONE, write=writing("r", etag="1"))


async def test_a_prompt_in_use_is_not_deleted_and_another_one_is_once() -> None:
    library = Library()
    await library.has("answer", ONE)
    await library.has("spare", ONE)

    with pytest.raises(PromptInUse, match="helpdesk"):
        await library.crud.delete(ADA, "answer", writing("d1"))
    for _ in range(2):
        assert (await library.crud.delete(ADA, "spare", writing("d2"))).id == "spare"
    with pytest.raises(NotFound):
        await library.prompts.get(ADA.project, "spare")


async def test_a_deletion_that_is_repeated_when_a_prompt_of_that_name_is_used_again_deletes_nothing() -> None:
    library = Library()
    await library.deployments.update("acme", "helpdesk", lambda used: uses(used, "other@1"), request=asking("other"))
    await library.has("answer", ONE)
    await library.crud.delete(ADA, "answer", writing("d1"))
    await library.crud.create(ADA, "answer", TWO, labels={}, write=writing("anew"))
    await library.deployments.update("acme", "helpdesk", lambda used: uses(used, "answer@2"), request=asking("again"))

    assert not (await library.crud.delete(ADA, "answer", writing("d1"))).deleted


def uses(deployment: Deployment, prompt: str) -> None:
    deployment.live = replace(deployment.live, steps=(replace(deployment.live.answer, prompt=prompt),))


@pytest.mark.parametrize("labels", [{str(number): "" for number in range(33)}, {"k": "v" * 257}])
async def test_labels_beyond_their_limits_are_refused(labels: dict[str, str]) -> None:
    library = Library()
    with pytest.raises(InvalidInput, match=r"prompt\.labels"):
        await library.crud.create(ADA, "answer", ONE, labels=labels, write=writing("r"))
    await library.has("answer", ONE)

    with pytest.raises(InvalidInput, match=r"prompt\.labels"):
        await library.crud.update(ADA, "answer", labels=labels, write=writing("s"))


@pytest.mark.parametrize("name", ["", "Answer", "a b", "-a", "a" * 64])
async def test_an_id_that_is_no_slug_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"prompt\.id"):
        await Library().crud.create(ADA, name, ONE, labels={}, write=writing("r"))


def test_a_prompt_takes_only_so_many_versions() -> None:
    prompt = Prompt(id="answer", project="acme")
    for number in range(1000):
        prompt.write(PromptContent(user=f"{number}"), digest=f"{number}", now=NOON)
    with pytest.raises(TooManyPromptVersions, match="1000 versions"):
        prompt.write(PromptContent(user="one more"), digest="x", now=NOON)

    large = Prompt(id="large", project="acme")
    for number in range(52):
        large.write(PromptContent(user="x" * 60_000), digest=f"{number}", now=NOON)
    with pytest.raises(TooManyPromptVersions):
        large.write(PromptContent(user="x" * 60_000), digest="52", now=NOON)


async def test_a_prompt_of_another_project_that_a_deployment_uses_is_as_absent_as_any_other() -> None:
    library = Library()

    def use(deployment: Deployment) -> None:
        deployment.live = deployment.live.with_answer(prompt="globex/tone@1")

    await library.deployments.update(ADA.project, "helpdesk", use, request=Request.internal())

    with pytest.raises(PromptNotFound):
        await library.crud.delete(ADA, "globex/tone", writing("delete"))


MIA = replace(ADA, subject="user:mia", credential="jti-mia")
BOB = replace(MIA, subject="user:bob", credential="jti-bob")
BOSS = replace(BOB, subject="user:boss", roles=frozenset({"admin"}))


async def test_a_version_needs_distinct_people_who_did_not_make_it() -> None:
    library, policy = Library(), ApprovalPolicy(count=2)
    crud = library.crud
    made = await crud.create(MIA, "answer", ONE, labels={}, approval=policy, write=writing("new"))
    assert (made.latest.creator, made.missing_approvals(made.latest)) == ("user:mia", 2)

    with pytest.raises(ApproverNotAllowed, match="by the same person"):
        await crud.approve(MIA, "answer", version=1, rationale="", write=writing("own"))
    await crud.approve(BOB, "answer", version=1, rationale="fine", write=writing("a"))
    approved = await crud.approve(BOB, "answer", version=1, rationale="again", write=writing("b"))
    assert [(each.approver, each.rationale) for each in approved.latest.approvals] == [("user:bob", "fine")]
    assert approved.missing_approvals(approved.latest) == 1
    approved = await crud.approve(BOSS, "answer", version=1, rationale="", write=writing("c"))
    assert approved.missing_approvals(approved.latest) == 0

    changed = await crud.update(BOB, "answer", content=TWO, write=writing("two"))
    assert (changed.latest.creator, changed.missing_approvals(changed.latest)) == ("user:bob", 2)
    with pytest.raises(PromptVersionNotFound):
        await crud.approve(MIA, "answer", version=3, rationale="", write=writing("d"))


async def test_only_an_admin_lowers_the_policy_of_a_prompt_or_deletes_one_that_has_it() -> None:
    library = Library()
    crud = library.crud
    await library.has("answer", ONE)
    assert (await crud.update(MIA, "answer", approval=ApprovalPolicy(count=1), write=writing("up"))).approval.count == 1

    with pytest.raises(ApprovalPolicyLowered):
        await crud.update(MIA, "answer", approval=ApprovalPolicy(), write=writing("down"))
    library.deployments = InMemoryAggregates(codec=DEPLOYMENTS, missing=DeploymentNotFound)
    crud = replace(crud, deployments=library.deployments)
    with pytest.raises(ApprovalPolicyLowered):
        await crud.delete(MIA, "answer", writing("delete"))
    with pytest.raises(InvalidInput, match=r"approval\.count"):
        await crud.update(BOSS, "answer", approval=ApprovalPolicy(count=11), write=writing("far"))
    assert (await crud.update(BOSS, "answer", approval=ApprovalPolicy(), write=writing("less"))).approval.count == 0
    assert (await crud.delete(MIA, "answer", writing("gone"))).deleted
