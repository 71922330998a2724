"""Settings of evaluator, read from the environment."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from tidemill_evaluator.domain.comparison import Evidence
from tidemill_evaluator.domain.limits import Limits
from tidemill_kit.runtime.settings import ServiceSettings

_LIMITS = Limits()
_EVIDENCE = Evidence()


class EvaluatorSettings(ServiceSettings):
    """Settings of evaluator, read from EVALUATOR_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="EVALUATOR_")

    mongo_database: str = "evaluator"
    """The database, which belongs to evaluator alone."""
    inference_address: str
    """The inference service's host:port."""
    ingest_address: str
    """The ingest service's host:port."""
    trainer_address: str
    """The trainer service's host:port."""
    exchange_bucket: str = "tidemill-evaluator-exchange"
    """The bucket of the cases of suites."""
    dataset_buckets: Annotated[tuple[str, ...], NoDecode] = ("tidemill-ingest-datasets", "tidemill-ingest-exchange")
    """The buckets, joined by commas, that held-out parts of datasets may lie in; no other is read."""
    call_timeout_s: float = Field(default=10.0, gt=0)
    """How long a call of another service may take that is no question."""
    answer_timeout_s: float = Field(default=180.0, gt=0)
    """How long an answer may take, whatever more the deployment's deadline allows."""
    max_concurrent_answers: int = Field(default=16, ge=1, le=256)
    """The most cases that this process asks at the same time, over all its evaluations."""
    answer_share: float = Field(default=0.5, gt=0, lt=1)
    """The part of the deadline that an answer may take; where it takes more, fewer are asked at the same time."""
    answer_attempts: int = Field(default=3, ge=1, le=20)
    """How often a case is asked while it is answered UNAVAILABLE; then its side has failed it, or all of it waits."""
    answer_attempts_in_time: int = Field(default=6, ge=1, le=50)
    """How often a case is asked that is not answered in time, each time beside fewer; then nobody has failed it."""
    answer_pause_s: float = Field(default=1.0, ge=0)
    """The pause before the second of these attempts; it doubles with each."""
    max_concurrent_evaluations: int = Field(default=2, ge=1, le=16)
    """Evaluations that this process does at the same time."""
    evaluation_retry_s: float = Field(default=30.0, gt=0)
    """The pause after which an evaluation that waits is tried again."""
    attempts: int = Field(default=3, ge=1, le=20)
    """How often a candidate is compared anew because the baseline changed meanwhile."""
    lease_s: float = Field(default=30.0, gt=1)
    """How long an evaluation stays with a worker that gives no heartbeat."""
    min_questions: int = Field(default=_EVIDENCE.min_questions, ge=2, le=1_000_000)
    """Different questions answered by both sides that every requirement needs, whatever less it asks for."""
    max_unanswered: float = Field(default=_EVIDENCE.max_unanswered, ge=0, lt=1)
    """The share of a required set's cases that may lack an answer of a side; with more there is no verdict."""
    max_suites: int = Field(default=1000, ge=1)
    """The most suites of a project."""
    max_gates: int = Field(default=1000, ge=1)
    """The most gates of a project."""
    max_suite_cases: int = Field(default=_LIMITS.cases, ge=1, le=20_000)
    """The most cases of a suite."""
    max_evaluation_cases: int = Field(default=_LIMITS.evaluation_cases, ge=1, le=100_000)
    """The most cases of an evaluation."""
    max_part_bytes: int = Field(default=_LIMITS.part_bytes, ge=1)
    """The largest held-out part that is read."""
    max_question_length: int = Field(default=_LIMITS.question_length, ge=1)
    """The longest question of a suite, in characters."""
    max_reference_length: int = Field(default=_LIMITS.reference_length, ge=1)
    """The longest right answer of a suite, in characters."""
    max_context_length: int = Field(default=_LIMITS.context_length, ge=1)
    """The longest turns and variables of a suite's question together, in characters."""
    max_requirements: int = Field(default=_LIMITS.requirements, ge=1, le=40)
    """The most requirements of a gate."""

    @field_validator("dataset_buckets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def limits(self) -> Limits:
        """What requests and evaluations are measured against."""
        return Limits(
            cases=self.max_suite_cases,
            evaluation_cases=self.max_evaluation_cases,
            part_bytes=self.max_part_bytes,
            question_length=self.max_question_length,
            reference_length=self.max_reference_length,
            context_length=self.max_context_length,
            requirements=self.max_requirements,
        )
