"""Prompts as messages of the contract."""

from tidemill.inference.v1 import prompt_pb2, rollout_pb2
from tidemill_core.approvals import OPERATOR, ApprovalPolicy
from tidemill_inference.prompts.domain.prompt import Prompt
from tidemill_kit.mapping import from_message, to_message


def prompt_message(prompt: Prompt, *, asking: str) -> prompt_pb2.Prompt:
    """Return the whole resource; of another project's than the one that asks, who made and approved it is left out."""
    latest = prompt.latest
    unnamed: dict[str, object] = {} if prompt.project == asking else {"creator": "", "approvals": ()}
    versions = [
        to_message(prompt_pb2.PromptVersion, each, missing_approvals=prompt.missing_approvals(each), **unnamed)
        for each in prompt.versions
    ]
    return to_message(
        prompt_pb2.Prompt, prompt, content=latest.content, latest_version=latest.number, versions=versions
    )


def approval_of_message(message: rollout_pb2.ApprovalPolicy) -> ApprovalPolicy:
    """Return an approval policy, with the role operator where it names none."""
    return from_message(ApprovalPolicy, message, role=message.role or OPERATOR)
