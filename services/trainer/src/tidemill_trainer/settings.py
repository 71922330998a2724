"""Settings of trainer, read from the environment."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from tidemill_kit.models.numeric_format import ModelSettings


class TrainerSettings(ModelSettings):
    """Settings of trainer, read from TRAINER_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="TRAINER_")

    mongo_database: str = "trainer"
    """The database, which belongs to trainer alone."""
    ingest_address: str
    """ingest's gRPC host:port."""
    data_dir: Path
    """A folder of this process alone, for uploads and downloads under way, bases and training runs."""
    dataset_buckets: str = "tidemill-ingest-datasets,tidemill-ingest-exchange"
    """The buckets, joined by commas, where train parts of datasets may lie."""
    exchange_bucket: str = "tidemill-trainer-exchange"
    """The bucket where other services read the files of versions."""
    s3_timeout_s: float = Field(default=60.0, gt=0)
    """How long the object store may be silent."""
    max_concurrent_uploads: int = Field(default=8, ge=1, le=100)
    """How many files are taken at the same time, half of them of one project; further ones wait."""
    uploads_of_project: int = Field(default=64, ge=1)
    """How many uploads of one project may be under way, those that wait among them."""
    upload_idle_s: float = Field(default=60.0, gt=0)
    """How long an upload may pause."""
    upload_whole_s: float = Field(default=4 * 3600.0, gt=0)
    """How long an upload may take in all, once it has its place."""
    max_models: int = Field(default=1000, ge=1)
    """The most models of a project."""
    max_training_plans: int = Field(default=1000, ge=1)
    """The most training plans of a project."""
    max_files: int = Field(default=500, ge=1, le=2000)
    """The most files that a version may have."""
    max_file_bytes: int = Field(default=16 * 1024**3, ge=1)
    """The largest file of a version."""
    max_version_bytes: int = Field(default=64 * 1024**3, ge=1)
    """The most bytes that the files of a version may have together."""
    hugging_face_endpoint: str = "https://huggingface.co"
    """The hub, or a mirror of it."""
    hugging_face_token: SecretStr = SecretStr("")
    """The token for private and gated repositories; empty asks as nobody."""
    hugging_face_token_projects: Annotated[tuple[str, ...], NoDecode] = ()
    """The projects (joined by commas, `*` for all) whose imports the token is used for: it reads for all of them."""
    hugging_face_timeout_s: float = Field(default=10.0, gt=0)
    """How long the hub may be silent."""
    max_concurrent_imports: int = Field(default=2, ge=1, le=16)
    """How many versions are fetched from the hub at the same time."""
    import_retry_s: float = Field(default=30.0, gt=0)
    """The pause after which an import that waits is tried again."""
    lease_s: float = Field(default=30.0, gt=1)
    """How long an import stays with a worker that gives no heartbeat."""
    max_concurrent_runs: int = Field(default=1, ge=1, le=16)
    """How many trainings run at the same time, each in a process of its own."""
    run_poll_interval_s: float = Field(default=10.0, gt=0)
    """The pause after which queued runs are searched for without being reported them."""
    run_memory_bytes: int = Field(default=8 * 1024**3, ge=64 * 1024**2)
    """The most memory that a training process may take; a plan may ask for less."""
    run_memory_spare_bytes: int = Field(default=512 * 1024**2, ge=0)
    """What a run whose plan says memory auto leaves to others of the memory that its machine or container has left."""
    run_time_s: float = Field(default=24 * 3600.0, ge=1)
    """The longest time that a plan may give its runs."""
    run_min_examples: int = Field(default=8, ge=1)
    """The fewest examples that are worth a training."""
    run_warn_left_out: float = Field(default=0.1, ge=0, le=1)
    """The share of examples that may be left out of a training before its run warns."""
    run_fruitless_attempts: int = Field(default=5, ge=1, le=1000)
    """How many workers may end over a run, none of them with a further step, before the run fails."""
    run_keep_s: float = Field(default=7 * 24 * 3600.0, gt=0)
    """How long the checkpoints of a failed run are kept for a retry."""
    run_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where trainings compute; auto takes CUDA where there is one."""
    run_threads: int = Field(default=0, ge=0, le=1024)
    """The threads of a training process; 0 leaves them to torch."""
    run_checkpoint_steps: int = Field(default=10, ge=1)
    """The steps after which a training writes a checkpoint that it can go on from."""

    @field_validator("hugging_face_token_projects", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value
