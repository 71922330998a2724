"""Branches: a version forked as a prompt of its own, who approves it, and what a process does that dies."""

import json
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.inference.tests.fakes import ADA, writing
from services.inference.tests.prompts.branching import BASE, GLOBEX, Branching
from services.inference.tests.prompts.test_crud import BOB, MIA, TWO
from tidemill.inference.v1 import prompt_pb2 as pb
from tidemill.inference.v1 import prompt_service_pb2 as rpc
from tidemill_core.application import Request
from tidemill_core.approvals import ApprovalPolicy, ApproverNotAllowed
from tidemill_core.errors import AlreadyExists, Conflict, DependencyUnavailable, InvalidInput, RequestIdReused
from tidemill_core.grpc.context import bind_call
from tidemill_inference.prompts.domain.errors import (
    PromptNotFound,
    PromptVersionNotFound,
)
from tidemill_inference.prompts.domain.labels import NO_PROTECTION
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent, PromptVersionWasCreated
from tidemill_inference.prompts.grpc import GrpcPromptService
from tidemill_inference.prompts.messages import prompt_message
from tidemill_inference.prompts.mongo import PROMPTS
from tidemill_inference.prompts.shared import SharedPrompts
from tidemill_testkit.stores import InMemoryAggregates


async def test_a_branch_is_a_prompt_that_begins_with_the_version_it_was_forked_from(library: Branching) -> None:
    await library.set("answer", system="Be very kind.")

    branch = await library.fork("answer", "early", version=1, labels={"team": "web"}, approval=ApprovalPolicy(count=1))

    assert (branch.latest.number, branch.latest.content) == (1, TWO)
    assert branch.forked_from is not None
    assert branch.forked_from.text == "answer@1"
    assert (branch.labels, branch.approval.count, branch.missing_approvals(branch.latest)) == ({"team": "web"}, 1, 1)
    shown = prompt_message(branch, asking=ADA.project)
    assert (shown.forked_from.prompt, shown.forked_from.version) == ("answer", 1)
    assert not prompt_message(branch, asking="globex").HasField("forked_from")
    events = [each for each in library.prompts.published if isinstance(each, PromptVersionWasCreated)]
    assert [each.origin for each in events] == ["", "", "answer@2", "", "answer@1"]


async def test_what_cannot_be_forked_has_a_clear_answer(library: Branching) -> None:
    with pytest.raises(PromptVersionNotFound, match="versions 1 to 2"):
        await library.fork("answer", "other", version=7)
    with pytest.raises(PromptVersionNotFound):
        await library.fork("answer", "other", version=-1)
    with pytest.raises(PromptNotFound):
        await library.fork("absent", "other")
    with pytest.raises(PromptNotFound):
        await library.fork("globex/tone", "other")
    with pytest.raises(InvalidInput, match=r"prompt\.forked_from\.prompt: is 'answer@2'"):
        await library.fork("answer@2", "other")
    with pytest.raises(InvalidInput, match=r"prompt\.id"):
        await library.fork("answer", "A b")
    with pytest.raises(AlreadyExists):
        await library.fork("answer", "brief")


async def test_the_same_request_again_returns_what_it_made_also_when_its_source_is_gone(library: Branching) -> None:
    await library.set("brief", system="Be brief.")
    made = await library.fork("brief", "copy", write=writing("f"))
    merged = await library.merge("answer", "brief", write=writing("m"))
    await library.crud.delete(MIA, "brief", writing("gone"))

    assert await library.fork("brief", "copy", write=writing("f")) == made
    assert await library.merge("answer", "brief", write=writing("m")) == merged
    other = replace(writing("m"), request=Request.of("m", b"other"))
    with pytest.raises(RequestIdReused):
        await library.merge("answer", "copy", write=other)
    with pytest.raises(PromptNotFound):
        await library.merge("answer", "brief")
    with pytest.raises(PromptNotFound):
        await library.merge("brief", "answer")


async def test_who_wrote_what_was_merged_does_not_approve_it(library: Branching) -> None:
    await library.crud.update(MIA, "answer", approval=ApprovalPolicy(count=1), write=writing("policy"))
    await library.set("brief", caller=BOB, system="Be brief.")
    await library.crud.approve(MIA, "brief", version=2, rationale="", write=writing("a0"))

    merged = await library.merge("answer", "brief", caller=MIA)

    assert merged.missing_approvals(merged.latest) == 1
    for author in (MIA, BOB):
        with pytest.raises(ApproverNotAllowed):
            await library.crud.approve(author, "answer", version=3, rationale="", write=writing(author.subject))
    eve = replace(BOB, subject="user:eve", credential="jti-eve")
    approved = await library.crud.approve(eve, "answer", version=3, rationale="", write=writing("a1"))
    assert approved.missing_approvals(approved.latest) == 0
    forked = await library.fork("brief", "copy", caller=MIA, version=2)
    assert forked.latest.authors == {"user:mia", "user:bob"}


async def test_who_wrote_what_a_branch_of_a_branch_has_does_not_approve_what_is_merged_of_it(
    library: Branching,
) -> None:
    await library.crud.update(MIA, "answer", approval=ApprovalPolicy(count=1), write=writing("policy"))
    eve = replace(BOB, subject="user:eve", credential="jti-eve")
    await library.set("brief", caller=BOB, system="Be brief.")
    await library.set("brief", caller=eve, user="Now: {{ question }}")
    await library.fork("brief", "second", caller=MIA)

    merged = await library.merge("answer", "second", caller=MIA)

    assert merged.latest.content.system == "Be brief."
    assert merged.latest.authors == {"user:mia", "user:bob", "user:eve"}
    with pytest.raises(ApproverNotAllowed):
        await library.crud.approve(BOB, "answer", version=merged.latest.number, rationale="", write=writing("a0"))


async def test_who_wrote_what_the_prompt_had_before_its_branch_may_approve_what_comes_back(library: Branching) -> None:
    await library.set("answer", caller=BOB, system="Be kind to all.")
    await library.fork("answer", "copy", caller=MIA)
    await library.set("copy", caller=MIA, user="Now: {{ question }}")

    merged = await library.merge("answer", "copy", caller=MIA)

    assert merged.latest.authors == {"user:mia"}


async def test_another_project_s_prompt_is_forked_and_merged_while_it_is_shared(library: Branching) -> None:
    for name, content in (("inner", TWO), ("tone", BASE)):
        await library.crud.create(GLOBEX, name, content, labels={}, write=writing(name))
    with pytest.raises(PromptNotFound):
        await library.fork("globex/tone", "mine")
    shared = {"id": "g", "project": "globex", "resource_kind": "RESOURCE_KIND_PROMPT", "resource": "tone"}
    library.grants.apply(_json({**shared, "grantee": ADA.project, "seq": 1}))
    mine = await library.fork("globex/tone", "mine")
    await library.merge("tone", "inner", caller=GLOBEX, resolutions={"system": "", "user": "Inner: {{ question }}"})

    merged = await library.merge("mine", "globex/tone")

    assert mine.forked_from is not None
    assert (mine.forked_from.text, mine.latest.contributors) == ("globex/tone@1", ())
    assert merged.latest.content == PromptContent(user="Inner: {{ question }}")
    assert [each.text for each in merged.latest.merged_from] == ["globex/tone@2"]
    assert "inner" not in str(PROMPTS.encode(merged))  # a name that globex does not share
    library.grants.apply(_json({**shared, "grantee": ADA.project, "seq": 2, "revoked": True}))
    with pytest.raises(PromptNotFound):
        await library.merge("mine", "globex/tone")
    with pytest.raises(PromptNotFound):
        await library.merge("globex/tone", "mine")


async def test_branches_are_asked_for_by_their_api(library: Branching) -> None:
    service = GrpcPromptService(SharedPrompts(library.prompts, library.grants), library.crud, branches=library.branches)
    bind_call(MIA, remaining_s=None)
    forked: dict[str, Any] = {
        "id": "early",
        "labels": {"team": "web"},
        "forked_from": pb.PromptOrigin(prompt="answer", version=1),
    }

    made = await service.CreatePrompt(rpc.CreatePromptRequest(prompt=pb.Prompt(**forked), request_id="f"), None)
    both = pb.Prompt(**forked, content=pb.PromptContent(user="{{ question }}"))
    with pytest.raises(InvalidInput, match=r"prompt\.content: is that of the version which is forked: leave it out"):
        await service.CreatePrompt(rpc.CreatePromptRequest(prompt=both), None)
    changed = pb.Prompt(id="early", content=pb.PromptContent(user="Soon: {{ question }}", system="Be early."))
    mask = FieldMask(paths=["content"])
    await service.UpdatePrompt(rpc.UpdatePromptRequest(prompt=changed, update_mask=mask), None)
    decided = {"user": "Soon: {{ question }}", "system": "Be both."}
    asked = rpc.MergePromptRequest(id="answer", source="early", resolutions=decided, request_id="m")
    merged = await service.MergePrompt(asked, None)

    assert (made.prompt.content.user, made.prompt.forked_from.version, dict(made.prompt.labels)) == (
        TWO.user,
        1,
        {"team": "web"},
    )
    assert (merged.prompt.content.user, merged.prompt.content.system) == ("Soon: {{ question }}", "Be both.")
    assert merged.prompt.versions[-1].merged_from == [
        pb.PromptOrigin(prompt="early", version=2, digest=merged.prompt.versions[-1].merged_from[0].digest)
    ]
    with pytest.raises(Conflict, match="etag 1"):
        await service.MergePrompt(rpc.MergePromptRequest(id="answer", source="brief", etag="1"), None)


@pytest.mark.parametrize("saves", ["nothing", "all"])
async def test_a_process_that_dies_before_or_after_its_only_write_merges_and_forks_once(
    library: Branching, saves: str
) -> None:
    await library.set("brief", system="Be brief.")
    before = len(library.prompts.published)
    store: Any = _Dying(library.prompts, saved=saves == "all")
    dying = replace(library.branches, prompts=store)
    dying = replace(dying, crud=replace(dying.crud, prompts=dying.prompts))
    for branches in (dying, library.branches, library.branches):
        forking = branches.fork(
            MIA,
            "copy",
            source="brief",
            version=2,
            labels={},
            approval=ApprovalPolicy(),
            label_protection=NO_PROTECTION,
            write=writing("f"),
        )
        merging = branches.merge(MIA, "answer", source="brief", version=2, resolutions={}, write=writing("m"))
        for work in (forking, merging):
            if branches is dying:
                with pytest.raises(DependencyUnavailable):
                    await work
            else:
                await work

    answer = await library.prompts.get(ADA.project, "answer")
    assert (answer.latest.number, len(answer.latest.merged_from)) == (3, 1)
    assert len(library.prompts.published) == before + 2


DIES = DependencyUnavailable("the process dies", dependency="mongodb")


class _Dying:
    """A store whose process dies at the write: before it, or when it is saved and nothing was said of it."""

    def __init__(self, store: InMemoryAggregates[Prompt], *, saved: bool) -> None:
        self._store = store
        self._saved = saved

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._store, name)

    async def add(self, prompt: Prompt, *, request: Request) -> Prompt:
        if self._saved:
            await self._store.add(prompt, request=request)
        raise DIES

    async def update(self, project: str, name: str, change: Any, *, request: Request) -> Prompt:  # noqa: ANN401
        stored = await self._store.get_many(project, [name])
        if name in stored:
            change(stored[name])  # a request that is unknown says so before anything is written
        if self._saved:
            await self._store.update(project, name, change, request=request)
        raise DIES


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
