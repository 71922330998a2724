"""Settings of feedback, read from the environment."""

from datetime import timedelta
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from tidemill_feedback.domain.reaction import ReactionLimits
from tidemill_kit.runtime.settings import ServiceSettings


class FeedbackSettings(ServiceSettings):
    """Settings of feedback, read from FEEDBACK_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="FEEDBACK_")

    mongo_database: str = "feedback"
    """The database, which belongs to feedback alone."""
    inference_address: str
    """inference's gRPC host:port."""
    exchange_bucket: str = "tidemill-feedback-exchange"
    """The bucket in which batches of examples are handed over."""
    submission_topic: str = "tidemill.feedback.submission.v1"
    """Where upstream systems send feedback."""
    pending_wait_s: float = Field(default=3600.0, gt=0)
    """How long feedback from Kafka waits for its inference before it is a dead letter."""
    pending_poll_interval_s: float = Field(default=5.0, gt=0)
    """The pause between two checks what has waited that long."""
    max_pending: int = Field(default=100, ge=1, le=500)
    """How many reactions may wait for one inference."""
    max_pending_inferences: int = Field(default=10_000, ge=1)
    """The most inferences of a project for which reactions wait; further reactions are dead letters."""
    max_curations: int = Field(default=1000, ge=1)
    """The most curations of a project."""
    kept_reactions: int = Field(default=20, ge=0, le=1000)
    """How many earlier reactions are kept beside the one that counts."""
    max_comment_chars: int = Field(default=4000, ge=1, le=100_000)
    """The longest comment that is taken."""
    max_correction_chars: int = Field(default=16_000, ge=1, le=100_000)
    """The longest correction that is taken; a curation may take less."""
    max_labels: int = Field(default=32, ge=0, le=1000)
    """How many labels a reaction may have."""
    max_record_bytes: int = Field(default=900 * 1024, ge=1024)
    """The largest submission that is taken from Kafka."""
    clock_ahead_s: float = Field(default=300.0, ge=0)
    """How far an observe_time, or the event's time where there is none, may be in the future."""
    trusted_raters: list[Literal["reviewer", "judge"]] = Field(default_factory=list)
    """The raters that count for learning and in rollouts though they did not ask; none until callers are known."""
    max_concurrent_curations: int = Field(default=4, ge=1, le=64)
    """How many curations are reconciled at the same time."""
    max_concurrent_prompts: int = Field(default=8, ge=1, le=64)
    """How many prompts inference is asked for at the same time, for each curation."""
    max_batch_examples: int = Field(default=50_000, ge=1, le=100_000)
    """How many examples a batch may have, the latest ones; no more than ingest takes (INGEST_MAX_BATCH_EXAMPLES)."""
    max_batch_bytes: int = Field(default=48 * 1024 * 1024, ge=1024 * 1024)
    """How large a batch may be; no more than ingest takes (INGEST_MAX_BATCH_BYTES)."""
    debounce_s: float = Field(default=0.5, ge=0, le=5)
    """How soon after a correction a curation is counted again: what comes within is counted together."""
    poll_interval_s: float = Field(default=5.0, gt=0)
    """The pause between two searches for curations in which something changed that the worker was not notified of."""
    exact_rows: int = Field(default=10_000, ge=0)
    """Of how many corrections the counts are exact soon after; of more, all are checked only where it may be time."""
    lease_s: float = Field(default=6.0, gt=1)
    """How long a curation stays with a worker that gives no heartbeat."""

    @property
    def limits(self) -> ReactionLimits:
        """Return how much one reaction may say."""
        return ReactionLimits(
            comment_chars=self.max_comment_chars,
            correction_chars=self.max_correction_chars,
            labels=self.max_labels,
            ahead=timedelta(seconds=self.clock_ahead_s),
        )
