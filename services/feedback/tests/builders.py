"""Callers, reactions, events and rules for tests."""

from dataclasses import replace
from datetime import datetime

from tidemill_core.application import Caller, Request
from tidemill_core.resources import Write
from tidemill_feedback.curations.domain.curation import Rule
from tidemill_feedback.curations.domain.example import PassageUse, Prompt, Turn
from tidemill_feedback.curations.domain.ledger import CurationRef
from tidemill_feedback.reactions.domain.reaction import Preference, Reaction
from tidemill_feedback.reactions.ports import SubmittedEvent, Waiting
from tidemill_testkit.clocks import FixedClock

ADA = Caller.of_publisher("acme", "ada")
EVE = Caller.of_publisher("other", "eve")
BUCKET = "tidemill-feedback-exchange"
SFT = CurationRef("acme", "sft", 1)


def request(request_id: str = "", body: str = "") -> Request:
    return Request.of(request_id, body.encode())


def write(request_id: str = "", *, etag: str = "", validate_only: bool = False) -> Write:
    return Write(request=request(request_id), etag=etag, validate_only=validate_only)


def rule_with(**fields: object) -> Rule:
    rule = Rule(dataset="helpdesk_sft", deployment="helpdesk", feedback=("correction",), new_examples=3)
    return replace(rule, **fields)  # type: ignore[arg-type]  # names of fields


def rating(number: float, *, inference: str = "i1", **fields: object) -> Reaction:
    return replace(Reaction(metric="rating", number=number, inference=inference), **fields)  # type: ignore[arg-type]


def correction(text: str, *, inference: str = "i1", **fields: object) -> Reaction:
    reaction = Reaction(metric="correction", correction=text, inference=inference)
    return replace(reaction, **fields)  # type: ignore[arg-type]  # names of fields


def choice(chosen: str, rejected: str, *, tie: bool = False, **fields: object) -> Reaction:
    reaction = Reaction(metric="preference", preference=Preference(chosen=chosen, rejected=rejected, tie=tie))
    return replace(reaction, **fields)  # type: ignore[arg-type]  # names of fields


def event(event_id: str = "e1", *, at: datetime | None = None) -> SubmittedEvent:
    return SubmittedEvent(
        id=event_id,
        source="https://app.acme.example",
        type="tidemill.feedback.submission.feedback_given.v1",
        subject="i1",
        time=at or FixedClock().now(),
        topic="tidemill.feedback.submission.v1",
        partition=0,
        offset=7,
        body='{"metric":"rating"}',
    )


def waiting(
    request_id: str = "r1", *, project: str = "acme", at: datetime | None = None, end_user: str = ""
) -> Waiting:
    moment = at or FixedClock().now()
    return Waiting(
        project=project,
        inference="i1",
        reaction=rating(1, labels={"a.b": "c"}, observe_time=moment, end_user=end_user),
        request=Request(id=request_id, digest="d"),
        event=event(request_id, at=moment),
        since=moment,
    )


def prompt_of(inference: str) -> Prompt:
    passage = PassageUse(id="1", document="d1", version=2, start=0, end=9, source="cms", key="kb/1")
    return Prompt(
        question=f"What is {inference}?",
        messages=(Turn(role="system", text="Answer."), Turn(role="user", text=f"[1] Text.\nWhat is {inference}?")),
        passages=(passage,),
        earlier=(Turn(role="user", text="Hello"), Turn(role="assistant", text="Hello, what is it?")),
        variables={"a.b": ["$c", 1.0]},
        principals=("staff",),
        answer="It is wrong.",
    )
