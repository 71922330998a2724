"""Consumes new dataset versions."""

from pydantic import BaseModel

from tidemill_core.aggregate import ObjectRef
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_trainer.training.domain.plan import DatasetVersion
from tidemill_trainer.training.start_runs_for_dataset_version import StartRunsForDatasetVersion

TOPIC = "tidemill.ingest.dataset.v1"
PUBLISHED = "tidemill.ingest.dataset.version_published.v1"


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


def datasets(start_runs: StartRunsForDatasetVersion) -> Subscription:
    """Return the subscription. dataset.version_withheld is not consumed: it starts no run."""

    async def published(event: EventContext, body: VersionIsPublished) -> None:
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
        routes={PUBLISHED: Route(VersionIsPublished, published)},
    )
