from dataclasses import replace

import pytest

from services.inference.tests.fakes import ADA, DirectTemplates, asking, helpdesk
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.errors import (
    DeploymentNotFound,
    PromptInUse,
    PromptNotFound,
    PromptVersionNotFound,
    TooManyPromptVersions,
)
from tidemill_inference.prompts.crud import (
    CreatePrompt,
    DeletePrompt,
    LabelPrompt,
    LabelToSet,
    PromptChange,
    PromptToCreate,
    UpdatePrompt,
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
        self.create = CreatePrompt(prompts=self.prompts, templates=templates, clock=clock)
        self.update = UpdatePrompt(prompts=self.prompts, templates=templates, clock=clock)
        self.label = LabelPrompt(prompts=self.prompts)
        self.delete = DeletePrompt(prompts=self.prompts, deployments=self.deployments)

    async def has(self, name: str, *contents: PromptContent) -> Prompt:
        first, *others = contents
        prompt = await self.create(ADA, PromptToCreate(id=name, content=first, request=asking(f"new {name}")))
        for number, each in enumerate(others):
            change = PromptChange(id=name, content=each, request=asking(f"{name} {number}"))
            prompt = await self.update(ADA, change)
        return prompt


async def test_changed_content_is_the_next_version_and_going_back_is_one_too() -> None:
    prompt = await Library().has("answer", ONE, TWO, TWO, ONE)

    assert [version.content for version in prompt.versions] == [ONE, TWO, ONE]
    assert [version.number for version in prompt.versions] == [1, 2, 3]


async def test_content_that_differs_in_nothing_that_counts_changes_nothing() -> None:
    library = Library()
    before = await library.has("answer", ONE)

    after = await library.update(
        ADA, PromptChange(id="answer", content=PromptContent(user="{# hi #}{{ question }}\n"), request=asking("r"))
    )

    assert (after.version, len(after.versions)) == (before.version, 1)


async def test_creating_again_is_refused_and_the_same_request_is_not() -> None:
    library = Library()
    first = await library.has("answer", ONE)

    again = await library.create(ADA, PromptToCreate(id="answer", content=ONE, request=asking("new answer")))
    assert again == first
    for validate_only in (False, True):
        command = PromptToCreate(id="answer", content=TWO, request=asking("other"), validate_only=validate_only)
        with pytest.raises(AlreadyExists):
            await library.create(ADA, command)


async def test_validating_reports_what_would_be_and_stores_nothing() -> None:
    library = Library()
    new = PromptToCreate(id="answer", content=ONE, request=asking("v"), validate_only=True)
    assert (await library.create(ADA, new)).latest.number == 1
    with pytest.raises(NotFound):
        await library.prompts.get(ADA.project, "answer")
    await library.has("answer", ONE)

    would_be = await library.update(
        ADA, PromptChange(id="answer", content=TWO, request=asking("v2"), validate_only=True)
    )

    assert would_be.latest.number == 2
    assert (await library.prompts.get(ADA.project, "answer")).latest.number == 1


async def test_a_label_points_to_a_version_that_exists() -> None:
    library = Library()
    await library.has("answer", ONE, TWO)
    command = LabelToSet(id="answer", label="production", version=1, request=asking("l1"))

    labelled = await library.label(ADA, command)

    assert labelled.resolve("production").number == 1
    assert labelled.resolve("").number == 2
    with pytest.raises(PromptVersionNotFound, match="versions 1 to 2 and the labels production"):
        await library.label(ADA, replace(command, version=7, request=asking("l2")))
    with pytest.raises(InvalidInput, match="read as a version"):
        await library.label(ADA, replace(command, label="7", request=asking("l3")))


async def test_a_change_that_was_decided_on_an_older_state_is_refused() -> None:
    library = Library()
    await library.has("answer", ONE, TWO)

    with pytest.raises(Conflict, match="etag 1"):
        await library.update(ADA, PromptChange(id="answer", content=ONE, request=asking("r"), etag="1"))


async def test_a_prompt_in_use_is_not_deleted_and_another_one_is_once() -> None:
    library = Library()
    await library.has("answer", ONE)
    await library.has("spare", ONE)

    with pytest.raises(PromptInUse, match="helpdesk"):
        await library.delete(ADA, "answer", request=asking("d1"))
    for _ in range(2):
        assert (await library.delete(ADA, "spare", request=asking("d2"))).id == "spare"
    with pytest.raises(NotFound):
        await library.prompts.get(ADA.project, "spare")


@pytest.mark.parametrize("name", ["", "Answer", "a b", "-a", "a" * 64])
async def test_an_id_that_is_no_slug_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"prompt\.id"):
        await Library().create(ADA, PromptToCreate(id=name, content=ONE, request=asking("r")))


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
