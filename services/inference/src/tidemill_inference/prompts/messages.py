"""Prompts as messages of the contract."""

from google.protobuf.message import Message

from tidemill.inference.v1 import events_pb2, prompt_pb2, rollout_pb2
from tidemill_core.aggregate import Event
from tidemill_core.approvals import OPERATOR, ApprovalPolicy
from tidemill_inference.prompts.domain.labels import LabelProtection
from tidemill_inference.prompts.domain.prompt import Prompt
from tidemill_kit.mapping import from_message, to_message

TOPIC = "tidemill.inference.prompt.v1"


def prompt_message(prompt: Prompt, *, asking: str) -> prompt_pb2.Prompt:
    """Return the whole resource; another project than its own does not see who made and approved it, or where from."""
    latest, own = prompt.latest, prompt.project == asking
    people = {"creator": "", "approvals": (), "contributors": ()}
    unnamed: dict[str, object] = {} if own else {**people, "merged_from": ()}
    versions = [
        to_message(prompt_pb2.PromptVersion, each, missing_approvals=prompt.missing_approvals(each), **unnamed)
        for each in prompt.versions
    ]
    hidden: dict[str, object] = {} if own else {"mover": ""}
    return to_message(
        prompt_pb2.Prompt,
        prompt,
        content=latest.content,
        latest_version=latest.number,
        versions=versions,
        forked_from=prompt.forked_from if own else None,
        label_protection=prompt.label_protection if prompt.label_protection.labels else None,
        label_moves=[to_message(prompt_pb2.LabelMove, each, **hidden) for each in prompt.label_moves],
    )


def protection_of_message(message: prompt_pb2.LabelProtection) -> LabelProtection:
    """Return which labels are protected, by one approval where it names no number."""
    return from_message(LabelProtection, message, prefix="prompt.label_protection", approvals=message.approvals or 1)


def approval_of_message(message: rollout_pb2.ApprovalPolicy) -> ApprovalPolicy:
    """Return an approval policy, with the role operator where it names none."""
    return from_message(ApprovalPolicy, message, role=message.role or OPERATOR)


def event_message(prompt: Prompt, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event."""
    of = {"prompt": prompt.id, "seq": seq, "create_time": event.occurred_at}
    return "tidemill.inference.prompt.version_created.v1", to_message(events_pb2.PromptVersionCreated, event, **of)
