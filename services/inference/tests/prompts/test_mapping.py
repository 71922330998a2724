"""Prompts as messages and as they are stored since their first version."""

from dataclasses import replace
from typing import Any

from tidemill.inference.v1 import prompt_pb2
from tidemill_core.approvals import Approval, ApprovalPolicy
from tidemill_inference.prompts.domain.origins import VersionOrigin
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent, PromptVersion
from tidemill_inference.prompts.messages import prompt_message
from tidemill_inference.prompts.mongo import PROMPTS
from tidemill_kit.store.aggregates import Identity
from tidemill_testkit.clocks import NOON
from tidemill_testkit.mapping import unsent

IDENTITY = Identity(
    id="p", project="acme", labels={}, version=1, seq=0, create_time=NOON, update_time=NOON, deleted=False
)
STORED: dict[str, Any] = {
    "versions": [
        {
            "number": 1,
            "digest": "d",
            "content": {"user": "{{ question }}", "system": "Be brief.", "variables_schema": ""},
            "create_time": NOON,
        }
    ],
    "version_labels": {"live": 1},
    "approval": {"count": 1, "role": "reviewer"},
}
ADDED = {"creator": "user:mia", "approvals": [{"approver": "user:bob", "rationale": "fine", "approve_time": NOON}]}


def test_a_prompt_is_stored_as_it_always_was() -> None:
    content = PromptContent(user="{{ question }}", system="Be brief.")
    version = PromptVersion(number=1, digest="d", content=content, create_time=NOON)
    prompt = Prompt(**IDENTITY.fields(), versions=[version], version_labels={"live": 1})
    first = {name: value for name, value in STORED.items() if name != "approval"}
    assert PROMPTS.decode(IDENTITY, first, 1) == prompt

    given = Approval(approver="user:bob", rationale="fine", approve_time=NOON)
    prompt.versions = [replace(version, creator="user:mia", approvals=(given,))]
    prompt.approval = ApprovalPolicy(count=1, role="reviewer")
    now = {**STORED, "versions": [{**STORED["versions"][0], **ADDED}]}
    assert PROMPTS.encode(prompt) == now
    assert PROMPTS.decode(IDENTITY, now, 1) == prompt

    origin = VersionOrigin(prompt="main", version=2, digest="m")
    prompt.forked_from = origin
    prompt.versions = [replace(prompt.latest, merged_from=(origin,), contains=(origin,), contains_after=(origin,))]
    prompt.versions = [replace(prompt.latest, contributors=("user:eve",))]
    stored = {"prompt": "main", "version": 2, "digest": "m"}
    inherited = {
        "merged_from": [stored],
        "contains": [stored],
        "contains_after": [stored],
        "contributors": ["user:eve"],
    }
    branch = {**now, "forked_from": stored, "versions": [{**now["versions"][0], **inherited}]}
    assert PROMPTS.encode(prompt) == branch
    assert PROMPTS.decode(IDENTITY, branch, 1) == prompt


def test_a_prompt_is_sent_whole() -> None:
    assert unsent(prompt_pb2.Prompt, Prompt) == set()
    assert unsent(prompt_pb2.PromptVersion, PromptVersion) == {"contains", "contains_after"}  # what merges need
    assert unsent(prompt_pb2.PromptOrigin, VersionOrigin) == set()
    assert unsent(prompt_pb2.PromptContent, PromptContent) == set()


def test_who_made_and_approved_a_prompt_is_not_shown_to_another_project() -> None:
    given = Approval(approver="user:bob", rationale="fine", approve_time=NOON)
    content = PromptContent(user="hi")
    version = PromptVersion(
        number=1, digest="d", content=content, create_time=NOON, creator="user:mia", approvals=(given,)
    )
    prompt = Prompt(**IDENTITY.fields(), versions=[version], approval=ApprovalPolicy(count=3))

    (own,) = prompt_message(prompt, asking="acme").versions
    (shared,) = prompt_message(prompt, asking="globex").versions

    assert (own.creator, [each.approver for each in own.approvals], own.missing_approvals) == (
        "user:mia",
        ["user:bob"],
        2,
    )
    assert (shared.creator, list(shared.approvals), shared.missing_approvals) == ("", [], 2)
