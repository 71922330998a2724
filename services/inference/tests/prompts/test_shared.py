"""A prompt of another project is read and used as long as that shares it, and is absent otherwise."""

import json
from dataclasses import replace

import pytest

from services.inference.tests.fakes import ADA, AnsweringHarness, Handbook, Registry, asking, helpdesk, question
from services.inference.tests.rollouts.rollout_fakes import Registered
from tidemill_core.application import Request
from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.errors import ReferenceNotFound
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.generation.domain.inference import State
from tidemill_inference.prompts.domain.errors import PromptNotFound
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_inference.prompts.domain.references import Reference
from tidemill_inference.prompts.mongo import PROMPTS
from tidemill_inference.prompts.shared import SharedPrompts
from tidemill_kit.access.grants import Grants
from tidemill_kit.access.revocations import Revocations
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stores import InMemoryAggregates

OWNER = "globex"
NAME = f"{OWNER}/tone"


def grant(seq: int = 1, **changes: object) -> bytes:
    """Return the record by which globex shares its prompt with the tests' project."""
    given = {"id": "g", "project": OWNER, "resource_kind": "RESOURCE_KIND_PROMPT", "resource": "tone", "seq": seq}
    return json.dumps({**given, "grantee": ADA.project, **changes}).encode()


def prompt(name: str, project: str, *, text: str) -> Prompt:
    made = Prompt(id=name, project=project)
    made.write(PromptContent(user=text), digest=text, now=NOON)
    return made


class Projects:
    """The prompts of two projects, and what one shares with the other."""

    def __init__(self) -> None:
        self.store: InMemoryAggregates[Prompt] = InMemoryAggregates(codec=PROMPTS, missing=PromptNotFound)
        self.grants = Grants(Revocations())
        self.prompts = SharedPrompts(self.store, self.grants)

    async def fill(self) -> None:
        for made in (
            prompt("tone", OWNER, text="Be kind. {{ question }}"),
            prompt("other", OWNER, text="{{ question }}"),
            prompt("tone", ADA.project, text="Own. {{ question }}"),
        ):
            await self.store.add(made, request=Request.internal())


@pytest.fixture
async def projects() -> Projects:
    projects = Projects()
    await projects.fill()
    return projects


async def test_what_is_shared_is_read_by_its_owner_s_name_and_names_of_one_s_own_mean_the_same(
    projects: Projects,
) -> None:
    projects.grants.apply(grant())

    shared, own, by_project = [
        await projects.prompts.get(ADA.project, name) for name in (NAME, "tone", f"{ADA.project}/tone")
    ]

    assert (shared.project, own.project, by_project) == (OWNER, ADA.project, own)


@pytest.mark.parametrize("name", [NAME, f"{OWNER}/other", f"{OWNER}/absent", "nowhere/tone", f"{ADA.project}/absent"])
@pytest.mark.parametrize("given", ["nothing", "revoked"])
async def test_what_is_not_shared_and_what_is_not_there_have_one_error(
    projects: Projects, name: str, given: str
) -> None:
    if given == "revoked":
        projects.grants.apply(grant(1))
        projects.grants.apply(grant(2, revoked=True))

    with pytest.raises(PromptNotFound) as refused:
        await projects.prompts.get(ADA.project, name)

    assert str(refused.value) == str(PromptNotFound(name))


async def test_a_deployment_keeps_whose_prompt_it_uses_and_refuses_one_that_is_not_shared(projects: Projects) -> None:
    resolve = ResolveConfiguration(
        prompts=projects.prompts, models=Registry(smollm2=1), retriever=Handbook(), candidates=Registered()
    )
    spec = DeploymentSpec(model="smollm2", prompt=f"{NAME}@1")
    with pytest.raises(ReferenceNotFound):
        await resolve(ADA, spec)

    projects.grants.apply(grant())

    assert (await resolve(ADA, spec)).prompt == f"{NAME}@1"
    assert (await resolve(ADA, replace(spec, prompt=NAME))).prompt == f"{NAME}@1"


async def test_answers_use_the_shared_prompt_until_it_is_shared_no_more(projects: Projects) -> None:
    deployment = helpdesk()
    harness = AnsweringHarness(deployment=replace(deployment, live=deployment.live.with_answer(prompt=f"{NAME}@1")))
    answer = replace(harness.answer, prompts=projects.prompts)
    projects.grants.apply(grant(1))

    answered = await answer.whole(ADA, question(), request=asking("r1"))
    projects.grants.apply(grant(2, revoked=True))
    with pytest.raises(PromptNotFound):
        await answer.whole(ADA, question(), request=asking("r2"))

    assert answered.state is State.COMPLETED
    assert answered.variant is not None
    assert answered.variant.prompt == f"{NAME}@1"


@pytest.mark.parametrize("text", ["a/b/c", "/a", "a/", "A/b", "a/b@", "a/b@1/2"])
def test_what_is_no_name_of_a_prompt_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Reference.of_prompt(text)


def test_names_of_models_name_no_project() -> None:
    with pytest.raises(InvalidInput):
        Reference.parse("model", "globex/base@1")
