"""What is left of a person's questions."""

from datetime import timedelta

import pytest

from services.inference.tests.fakes import ADA
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import Message, Part, Passage, Role
from tidemill_inference.generation.domain.errors import InferenceNotFound, LeaseLost
from tidemill_inference.generation.domain.inference import (
    Answer,
    Inference,
    InferenceWasCancelled,
    Lease,
    State,
    Usage,
    Variant,
)
from tidemill_inference.generation.erase_end_user import EraseEndUser
from tidemill_inference.generation.mongo import INFERENCES
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.stores import InMemoryAggregates

LEASE = Lease(owner="me", epoch=1, until=NOON + timedelta(seconds=15))
VARIANT = Variant(name="live", configuration="c1", model="m@1", prompt="p@1")
ANSWER = Answer(
    output=(Message(role=Role.ASSISTANT, parts=(Part(text="Forty-two, Ada."),)),),
    variant=VARIANT,
    passages=(Passage(id="1", document="d1", version=1, start=0, end=4, score=0.5, text="text"),),
    usage=Usage(input_tokens=3, output_tokens=4, first_token_s=0.1, total_s=0.2, search_s=0.0),
    finish_reason="stop",
)


def asked(name: str, *, end_user: str = "u1", deployment: str = "helpdesk", project: str = "acme") -> Inference:
    """Return a record that is being answered."""
    inference = Inference(
        id=name,
        project=project,
        request_id=name,
        request_digest="d",
        deployment=deployment,
        end_user=end_user,
        messages=(Message(role=Role.USER, parts=(Part(text="I am Ada: how old am I?"),)),),
        variables={"name": "Ada"},
        labels={"cohort": "ada"},
    )
    inference.reserve(LEASE, inference, variant=VARIANT, now=NOON)
    return inference


def answered(name: str, *, end_user: str = "u1", deployment: str = "helpdesk", project: str = "acme") -> Inference:
    """Return a record with its answer."""
    inference = asked(name, end_user=end_user, deployment=deployment, project=project)
    inference.complete(LEASE, ANSWER, now=NOON)
    return inference


async def test_a_person_is_taken_out_of_all_records_and_what_was_counted_stays() -> None:
    inferences = InMemoryAggregates(
        *(answered(f"i{number}") for number in range(3)),
        answered("other", end_user="u2"),
        answered("elsewhere", project="other"),
        codec=INFERENCES,
        missing=InferenceNotFound,
    )
    erase = EraseEndUser(inferences=inferences, clock=FixedClock())

    assert (await erase(ADA, "u1", validate_only=True)).records == 3
    assert (await erase(ADA, "u1")).records == 3
    assert (await erase(ADA, "u1")).records == 0

    erased = await inferences.get("acme", "i1")
    written = str(INFERENCES.encode(erased))
    assert [word for word in ("Ada", "u1", "text", "d1") if word in written] == []
    assert (erased.labels, erased.state, erased.usage) == ({}, State.COMPLETED, ANSWER.usage)
    assert erased.record is RecordMode.NONE
    assert (await inferences.get("acme", "other")).output
    assert (await inferences.get("other", "elsewhere")).output


async def test_an_answer_that_is_on_its_way_to_who_is_erased_is_not_recorded() -> None:
    inferences = InMemoryAggregates(asked("i1"), codec=INFERENCES, missing=InferenceNotFound)
    await EraseEndUser(inferences=inferences, clock=FixedClock())(ADA, "u1")

    erased = await inferences.get("acme", "i1")
    assert erased.state is State.CANCELLED
    assert [type(event) for event in inferences.published] == [InferenceWasCancelled]
    with pytest.raises(LeaseLost):
        erased.complete(LEASE, ANSWER, now=NOON)


async def test_very_many_records_are_erased_and_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill_inference.generation.erase_end_user._BATCH_SIZE", 2)
    inferences = InMemoryAggregates(
        *(answered(f"i{number}") for number in range(5)), codec=INFERENCES, missing=InferenceNotFound
    )
    erase = EraseEndUser(inferences=inferences, clock=FixedClock())

    counted: list[int] = []
    token = ""
    while not counted or token:
        part = await erase(ADA, "u1", validate_only=True, token=token)
        counted.append(part.records)
        token = part.next_token
    erased = [await erase(ADA, "u1") for _ in range(3)]

    assert counted == [2, 2, 1]
    assert [(part.records, part.more) for part in erased] == [(2, True), (2, True), (1, False)]


async def test_no_caller_is_refused() -> None:
    erase = EraseEndUser(inferences=InMemoryAggregates(codec=INFERENCES, missing=InferenceNotFound), clock=FixedClock())
    with pytest.raises(InvalidInput, match="end_user"):
        await erase(Caller(project="acme"), "")
