"""Stored form of judges, and those that are being measured."""

from tidemill_evaluator.judges.domain.judge import Judge
from tidemill_evaluator.judges.domain.measurement import MeasurementState
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.pending import PendingDocuments

JUDGES = DocumentCodec(Judge)


def measured_judges(judges: Collection) -> PendingDocuments:
    """Find the judges that are being measured."""
    return PendingDocuments(
        judges,
        {"state.measurement.state": MeasurementState.RUNNING.value, "deleted": False},
        index="state.measurement.state",
        sparse=True,
    )
