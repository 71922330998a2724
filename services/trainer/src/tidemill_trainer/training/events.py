"""Consumes new dataset versions."""

from pydantic import BaseModel

from tidemill_core.aggregate import ObjectRef
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_trainer.training.domain.plan import DatasetVersion
from tidemill_trainer.training.start_runs_for_dataset_version import StartRunsForDatasetVersion

TOPIC = "tidemill.ingest.dataset.v1"
PUBLISHED = "tidemill.ingest.dataset.version_published.v1"
APPROVED = "tidemill.ingest.dataset.version_approved.v1"


class PartFields(BaseModel):
    """The fields of a DatasetPart."""

    bucket: str
    key: str
    size: int
    sha256: str
    examples: int


class VersionIsPublished(BaseModel):
    """Fields read from dataset.version_published."""

    version: str
    train: PartFields
    missing_approvals: int = 0


class VersionIsApproved(BaseModel):
    """Fields read from dataset.version_approved."""

    version: str
    train: PartFields


def datasets(start_runs: StartRunsForDatasetVersion) -> Subscription:
    """Return the subscription. dataset.version_withheld is not consumed: it starts no run.

    A version that needs approvals starts its runs when the event of the last one arrives.
    """

    async def published(event: EventContext, body: VersionIsPublished) -> None:
        if not body.missing_approvals:
            await start(event, body)

    async def start(event: EventContext, body: VersionIsPublished | VersionIsApproved) -> None:
        part = body.train
        version = DatasetVersion(
            id=body.version,
            train=ObjectRef(bucket=part.bucket, key=part.key, size=part.size, sha256=part.sha256),
            examples=part.examples,
        )
        await start_runs(event.caller, version)

    return Subscription(
        name="trainer.datasets",
        topics=(TOPIC,),
        delivery=Delivery.ONCE,
        routes={PUBLISHED: Route(VersionIsPublished, published), APPROVED: Route(VersionIsApproved, start)},
    )
