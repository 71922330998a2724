"""Settings of feedback."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from tidemill_feedback.reactions.domain.reaction import ReactionLimits
from tidemill_kit.http.settings import RpcHttpSettings


class FeedbackSettings(RpcHttpSettings):
    """Settings of feedback, read from FEEDBACK_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="FEEDBACK_")

    renamed: ClassVar[Mapping[str, str]] = {
        "max_concurrent_curations": "curation_max_concurrent",
        "debounce_s": "curation_debounce_s",
        "poll_interval_s": "curation_poll_interval_s",
        "lease_s": "lease_ttl_s",
    }

    mongo_database: str = "feedback"
    """The database, which belongs to feedback alone."""
    inference_address: str
    """inference's gRPC host:port."""
    http_port: int = Field(0, ge=0, le=65535)
    """The port of the HTTP API; 0 serves none."""
    token_key: SecretStr | None = Field(None, min_length=32)
    """The key that inference signs feedback tokens with (INFERENCE_FEEDBACK_TOKEN_KEY).

    Without it `POST /v1/feedback` accepts nothing.
    """
    exchange_bucket: str = "tidemill-feedback-exchange"
    """The bucket of the batches of examples."""
    submission_topic: str = "tidemill.feedback.submission.v1"
    """Where upstream systems send feedback."""
    submission_tolerance_s: float = Field(default=300.0, gt=0)
    """How far the signed time of a submission may be from its record's."""
    pending_wait_s: float = Field(default=3600.0, gt=0)
    """How long submitted feedback is pending on its inference before it becomes a dead letter."""
    pending_poll_interval_s: float = Field(default=5.0, gt=0)
    """The interval of the check for expired pending feedback."""
    max_pending: int = Field(default=100, ge=1, le=500)
    """The maximum number of pending reactions per inference."""
    max_pending_inferences: int = Field(default=10_000, ge=1)
    """Quota per project of inferences with pending reactions; further reactions become dead letters."""
    max_curations: int = Field(default=1000, ge=1)
    """Quota of curations per project."""
    max_feedback_metrics: int = Field(default=200, ge=1)
    """Quota of declared metrics per project."""
    max_figure_values: int = Field(default=10_000, ge=1, le=100_000)
    """How many values of a metric, the newest, its figures are worked out of."""
    metrics_recheck_s: float = Field(default=5.0, gt=0, le=3600)
    """How long a project's maturing metrics are cached: from then on, answers expect values of a new one."""
    maturity_poll_interval_s: float = Field(default=30.0, gt=0)
    """The interval of the search for metrics of answers that have matured."""
    maturity_max_concurrent: int = Field(default=4, ge=1, le=64)
    """How many values that were not given are recorded concurrently."""
    kept_reactions: int = Field(default=20, ge=0, le=1000)
    """How many earlier reactions are kept."""
    max_comment_chars: int = Field(default=4000, ge=1, le=100_000)
    """Maximum length of a comment."""
    max_correction_chars: int = Field(default=16_000, ge=1, le=100_000)
    """Maximum length of a correction; a curation may accept less."""
    max_labels: int = Field(default=32, ge=0, le=1000)
    """How many labels a reaction may have."""
    max_record_bytes: int = Field(default=900 * 1024, ge=1024)
    """Maximum size of a submission from Kafka."""
    clock_ahead_s: float = Field(default=300.0, ge=0)
    """How far an observe_time, or the event's time where there is none, may be in the future."""
    trusted_raters: list[Literal["reviewer", "judge"]] = Field(default_factory=list)
    """Raters that count for training and rollouts though they did not ask; none while callers are not authenticated."""
    curation_max_concurrent: int = Field(default=4, ge=1, le=64)
    """How many curations are reconciled concurrently."""
    max_concurrent_prompts: int = Field(default=8, ge=1, le=64)
    """How many prompts are fetched from inference concurrently, per curation."""
    max_batch_examples: int = Field(default=50_000, ge=1, le=100_000)
    """How many examples a batch may have, the latest ones; no more than ingest takes (INGEST_MAX_BATCH_EXAMPLES)."""
    max_batch_bytes: int = Field(default=48 * 1024 * 1024, ge=1024 * 1024)
    """How large a batch may be; no more than ingest takes (INGEST_MAX_BATCH_BYTES)."""
    curation_debounce_s: float = Field(default=0.5, ge=0, le=5)
    """Debounce: corrections within this time are counted together."""
    curation_poll_interval_s: float = Field(default=5.0, gt=0)
    """The resync interval: how often curations with missed changes are searched."""
    exact_rows: int = Field(default=10_000, ge=0)
    """Corrections up to which counts are exact; above that, all are read only if a completion may be due."""
    max_review_queues: int = Field(default=100, ge=1)
    """Quota of review queues per project."""
    review_queue_cache_s: float = Field(default=2.0, ge=0, le=60)
    """How old the queues may be that answers are sampled by."""
    review_report_items: int = Field(default=1000, ge=10, le=10_000)
    """Of how many items of each state a report computes agreement: the latest."""
    sweep_poll_interval_s: float = Field(default=3600.0, gt=0)
    """The interval between deletions of feedback past the retention of its project."""
    lease_ttl_s: float = Field(default=6.0, gt=1)
    """Lease duration: when another worker takes over a curation."""

    @property
    def limits(self) -> ReactionLimits:
        """Return the limits of one reaction."""
        return ReactionLimits(
            comment_chars=self.max_comment_chars,
            correction_chars=self.max_correction_chars,
            labels=self.max_labels,
            ahead=timedelta(seconds=self.clock_ahead_s),
        )
