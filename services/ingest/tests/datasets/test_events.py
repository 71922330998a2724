import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from services.ingest.tests.datasets.examples import completed, numbered, stored
from services.ingest.tests.datasets.fakes import NAME, Datasets
from tidemill_core.errors import InvalidInput
from tidemill_ingest.datasets.events import COMPLETED, CurationCompleted
from tidemill_ingest.errors import DatasetNotFound
from tidemill_kit.events.subscriptions import EventContext


def context(event_id: str, *, project: str = "acme") -> EventContext:
    return EventContext(
        id=event_id,
        source="/tidemill/feedback",
        type=COMPLETED,
        subject="helpdesk_sft",
        project=project,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        seq=1,
        topic="tidemill.feedback.curation.v1",
        partition=0,
        offset=1,
        data=b"{}",
    )


def body_of(written: dict[str, object]) -> CurationCompleted:
    return CurationCompleted.model_validate_json(json.dumps(written))


async def test_a_completion_is_an_offer_that_waits_for_a_worker() -> None:
    datasets = await Datasets().declared()
    batch = await stored(datasets.objects, numbered(20))

    await datasets.curations.completed(context("e1"), body_of(completed(batch)))

    [offer] = (await datasets.dataset()).offers
    assert (offer.batch, offer.deployment, offer.curation_seq) == (batch, "helpdesk", 1)
    assert offer.id == context("e1").request.id
    assert datasets.enqueued == 1
    assert (await datasets.dataset()).versions == ()


async def test_the_same_completion_again_makes_one_version() -> None:
    datasets = await Datasets().declared()
    body = body_of(completed(await stored(datasets.objects, numbered(20))))
    for event_id in ("e1", "e1", "told again under another id"):
        await datasets.curations.completed(context(event_id), body)
        await datasets.publish(NAME)

    assert (await datasets.dataset()).version_count == 1
    assert len(datasets.datasets.published) == 1


async def test_a_completion_for_no_dataset_or_of_another_project_is_refused() -> None:
    datasets = await Datasets().declared()
    body = completed(await stored(datasets.objects, numbered(20)))

    with pytest.raises(DatasetNotFound):
        await datasets.curations.completed(context("e1"), body_of({**body, "dataset": "other"}))
    with pytest.raises(InvalidInput, match=r"batch\.key"):
        await datasets.curations.completed(context("e1", project="globex"), body_of(body))


async def test_batches_of_every_kind_are_offered_and_of_unknown_ones_refused() -> None:
    datasets = await Datasets().declared()
    body = completed(await stored(datasets.objects, numbered(20)))

    def of_kind(kind: str, seq: str = "1") -> CurationCompleted:
        return body_of({**body, "seq": seq, "batch": {**body["batch"], "kind": kind}})

    with pytest.raises(
        InvalidInput, match=r"batch\.kind: is EXAMPLE_KIND_RIDDLE; a dataset accepts one of EXAMPLE_KIND_UNSP"
    ):
        await datasets.curations.completed(context("e1"), of_kind("EXAMPLE_KIND_RIDDLE"))
    await datasets.curations.completed(context("e2"), of_kind("EXAMPLE_KIND_DEMONSTRATION"))
    await datasets.curations.completed(context("e3"), of_kind("EXAMPLE_KIND_PREFERENCE", seq="2"))
    await datasets.curations.completed(context("e4"), of_kind("EXAMPLE_KIND_UNPAIRED_PREFERENCE", seq="3"))

    assert len((await datasets.dataset()).offers) == 3


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("seq", {"seq": "0"}),
        ("seq", {"seq": "x"}),
        ("dataset", {"dataset": ""}),
        ("batch", {"batch": None}),
        ("sha256", {"sha256": "../../etc"}),
        ("size", {"size": -1}),
    ],
)
async def test_a_body_that_is_no_completion_is_refused_by_the_field(part: str, changed: dict[str, object]) -> None:
    written = completed(await stored(Datasets().objects, numbered(1)))
    written = {**written, **changed} if part in written else {**written, "batch": {**written["batch"], **changed}}

    with pytest.raises(ValidationError) as refused:
        body_of(written)

    assert part in {str(place) for problem in refused.value.errors() for place in problem["loc"]}


def test_completions_are_received_once_each_and_in_their_order() -> None:
    subscription = Datasets().curations.subscription(["tidemill.feedback.curation.v1"])

    assert subscription.group == "tidemill.ingest.curations"
    assert subscription.dead_letter_topic == "tidemill.ingest.curations.dead.v1"
    assert set(subscription.routes) == {COMPLETED}
