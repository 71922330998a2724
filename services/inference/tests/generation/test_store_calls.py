"""How often one answer calls the store."""

from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
from pymongo.results import UpdateResult

from services.inference.tests.fakes import ADA, AnsweringHarness, asking, helpdesk, question
from tidemill_core.application import Request
from tidemill_core.errors import DependencyUnavailable, RequestIdReused
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.errors import InferenceNotFound
from tidemill_inference.generation.domain.inference import Inference, State, reserved
from tidemill_inference.generation.mongo import INFERENCES
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Document
from tidemill_kit.store.recent import RecentAggregates
from tidemill_testkit.stores import InMemoryCollection


class Counted(InMemoryCollection):
    """Counts calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = Counter[str]()

    async def find_one(self, chosen: Document, fields: Mapping[str, bool]) -> Document | None:
        self.calls["find_one"] += 1
        return await super().find_one(chosen, fields)

    async def insert_one(self, document: Document) -> None:
        self.calls["insert_one"] += 1
        await super().insert_one(document)

    async def update_one(self, chosen: Document, update: Document) -> UpdateResult:
        self.calls["update_one"] += 1
        return await super().update_one(chosen, update)


class CountingHarness(AnsweringHarness):
    """Keeps records of answers in a collection that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.collection = Counted()
        inferences: MongoAggregates[Inference] = MongoAggregates(
            cast("Any", self.collection),
            codec=INFERENCES,
            topic="t",
            source="/s",
            missing=InferenceNotFound,
            clock=self.clock,
            usually_new=True,
        )
        reservations = replace(self.answer.reservations, inferences=inferences)
        self.answer = replace(self.answer, inferences=inferences, reservations=reservations)


async def test_an_answer_is_one_insert_and_one_update() -> None:
    harness = CountingHarness()

    await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert harness.collection.calls == {"insert_one": 1, "update_one": 1}


@pytest.mark.parametrize("fails", [False, True])
async def test_an_answer_that_no_caller_can_ask_for_again_and_of_which_nothing_is_kept_is_one_insert(
    *, fails: bool
) -> None:
    harness = CountingHarness()
    harness.engine.fails_before = DependencyUnavailable("down", dependency="model") if fails else None

    with pytest.raises(DependencyUnavailable) if fails else nullcontext():
        await harness.answer.whole(ADA, question(record=RecordMode.NONE), request=Request.digested("", ""))

    (stored,) = harness.collection.all()
    assert harness.collection.calls == {"insert_one": 1}
    assert stored["state"]["state"] == ("FAILED" if fails else "COMPLETED")
    assert [each["seq"] for each in stored["outbox"]] == [1]


async def test_an_answer_that_is_asked_for_by_an_id_is_reserved_whatever_is_kept_of_it() -> None:
    harness = CountingHarness()

    await harness.answer.whole(ADA, question(record=RecordMode.NONE), request=asking("r1"))

    assert harness.collection.calls == {"insert_one": 1, "update_one": 1}


def test_copies_of_a_record_share_its_messages_and_nothing_that_can_be_changed() -> None:
    record = reserved(question(labels={"a": "b"}), inference_id="i1", project="acme", request_id="r1", digest="d")

    copied = deepcopy(record)

    assert copied == record
    assert all(one is other for one, other in zip(copied.messages, record.messages, strict=True))
    assert copied.labels is not record.labels


async def test_a_deployment_and_its_prompt_are_read_once_for_the_answers_of_a_moment() -> None:
    harness = CountingHarness()
    read = Counter[str]()

    async def counted(name: str, *args: Any) -> Any:  # noqa: ANN401 - of any aggregate
        read[name] += 1
        return await original[name](*args)

    original = {"deployments": harness.deployments.get, "prompts": harness.prompts.get}
    for name in original:
        getattr(harness, name).get = partial(counted, name)
    answer = replace(
        harness.answer,
        deployments=RecentAggregates(harness.deployments, max_age_s=60).reads,
        prompts=RecentAggregates(harness.prompts, max_age_s=60).reads,
    )

    for number in range(3):
        await answer.whole(ADA, question(), request=asking(f"r{number}"))

    assert read == {"deployments": 1, "prompts": 1}


async def test_an_answer_that_is_stored_is_returned_also_where_its_deployment_is_gone() -> None:
    harness = CountingHarness()
    first = await harness.answer.whole(ADA, question(), request=asking("r1"))
    await harness.deployments.update(
        ADA.project, helpdesk().id, lambda stored: stored.delete(now=harness.clock.now()), request=asking("d")
    )

    again = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert (again.state, again.output) == (State.COMPLETED, first.output)
    with pytest.raises(RequestIdReused):
        await harness.answer.whole(ADA, question(), request=asking("r1", digest="another"))
    with pytest.raises(DeploymentNotFound):
        await harness.answer.whole(ADA, question(), request=asking("r2"))
