"""What ingest counts and measures beside the metrics of every service."""

from prometheus_client import Counter, Histogram

SUBMISSIONS = Counter("tidemill_ingest_submissions", "Submissions, by what became of them.", ["door", "outcome"])
STAGE_SECONDS = Histogram(
    "tidemill_ingest_stage_seconds",
    "A document's time in one stage: quarantine, preparation (with the wait for a process), exchange.",
    ["stage"],
)
QUARANTINE, PREPARATION, EXCHANGE = (STAGE_SECONDS.labels(stage) for stage in ("quarantine", "preparation", "exchange"))
POLLS = Counter("tidemill_ingest_source_polls", "Polls of sources, by what became of them.", ["outcome"])
POLLED_OBJECTS = Counter(
    "tidemill_ingest_polled_objects", "Files of polled sources, by what became of them.", ["outcome"]
)
