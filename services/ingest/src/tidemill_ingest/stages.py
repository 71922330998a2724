"""How long the stages of a document's way take."""

from prometheus_client import Histogram

STAGE_SECONDS = Histogram(
    "tidemill_ingest_stage_seconds",
    "A document's time in one stage: quarantine, preparation (with the wait for a process), exchange.",
    ["stage"],
)
QUARANTINE, PREPARATION, EXCHANGE = (STAGE_SECONDS.labels(stage) for stage in ("quarantine", "preparation", "exchange"))
