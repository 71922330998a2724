"""Settings of trainer, read from TRAINER_<NAME>."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from tidemill_core.origins import AllowedHosts
from tidemill_kit.models.numeric_format import ModelSettings
from tidemill_kit.runtime.separated import Separated

UPLOADS_FOLDER, DOWNLOADS_FOLDER, BASES_FOLDER, RUNS_FOLDER = "uploads", "downloads", "bases", "runs"
DERIVATIONS_FOLDER = "derivations"
"""The folders of TRAINER_DATA_DIR. Uploads are files of calls in progress, which end with their project."""


class TrainerSettings(ModelSettings):
    """Settings of trainer, read from TRAINER_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="TRAINER_")

    renamed: ClassVar[Mapping[str, str]] = {
        "max_concurrent_imports": "import_max_concurrent",
        "import_retry_s": "import_poll_interval_s",
        "max_concurrent_runs": "run_max_concurrent",
        "lease_s": "lease_ttl_s",
    }

    mongo_database: str = "trainer"
    """The database, used by trainer only."""
    ingest_address: str
    """ingest's gRPC host:port."""
    evaluator_address: str = ""
    """evaluator's gRPC host:port; without it no judge rewards answers."""
    data_dir: Path
    """A folder used by this process only, for uploads and downloads in progress, bases and training runs."""
    dataset_buckets: str = "tidemill-ingest-datasets,tidemill-ingest-exchange"
    """Comma-separated buckets from which train splits may be read."""
    exchange_bucket: str = "tidemill-trainer-exchange"
    """The bucket of the files of versions, read by other services."""
    s3_timeout_s: float = Field(default=60.0, gt=0)
    """Read timeout of the object store."""
    max_concurrent_uploads: int = Field(default=8, ge=1, le=100)
    """Uploads at the same time, at most half of them of one project; others are queued. So many downloads, too."""
    uploads_of_project: int = Field(default=64, ge=1)
    """Uploads of one project in progress or queued; so many downloads, too."""
    upload_idle_s: float = Field(default=60.0, gt=0)
    """Longest pause within an upload or a download."""
    upload_whole_s: float = Field(default=4 * 3600.0, gt=0)
    """Longest duration of an upload or a download, without its time in the queue."""
    max_models: int = Field(default=1000, ge=1)
    """Maximum number of models per project."""
    max_training_plans: int = Field(default=1000, ge=1)
    """Maximum number of training plans per project."""
    max_files: int = Field(default=500, ge=1, le=2000)
    """Maximum number of files per version."""
    max_file_bytes: int = Field(default=16 * 1024**3, ge=1)
    """Maximum size of a file of a version."""
    max_version_bytes: int = Field(default=64 * 1024**3, ge=1)
    """Maximum total size of a version's files."""
    hugging_face_endpoint: str = "https://huggingface.co"
    """The hub or a mirror."""
    hugging_face_token: SecretStr = SecretStr("")
    """Token for private and gated repositories; empty for anonymous access."""
    hugging_face_token_projects: Separated = ()
    """Comma-separated projects (`*` for all) whose imports use the token."""
    hugging_face_hosts: Separated = ()
    """Hosts (`host` or `host:port`, separated by commas) that the endpoint may redirect to, also internal ones
    and without TLS."""
    hugging_face_timeout_s: float = Field(default=10.0, gt=0)
    """Timeout of a request to the hub."""
    import_max_concurrent: int = Field(default=2, ge=1, le=16)
    """Imports at the same time."""
    import_poll_interval_s: float = Field(default=30.0, gt=0)
    """Resync interval for imports that no request announced."""
    run_max_concurrent: int = Field(default=1, ge=1, le=16)
    """Trainings at the same time, each in its own process, as far as memory and GPUs are there for them."""
    run_poll_interval_s: float = Field(default=10.0, gt=0)
    """Resync interval for queued runs that no event announced."""
    run_memory_bytes: int = Field(default=8 * 1024**3, ge=64 * 1024**2)
    """Memory limit of a training process; a plan may set a lower one."""
    run_total_memory_bytes: int = Field(default=0, ge=0)
    """Memory of all trainings of this worker together; 0 for that of its machine or control group, without
    `run_memory_spare_bytes`."""
    run_devices: Separated = ()
    """GPUs of this worker, by their names in CUDA_VISIBLE_DEVICES, separated by commas; "" for all that torch sees."""
    run_reserve_after_s: float = Field(default=300.0, ge=0)
    """How long a run is short of memory or GPUs until no other run begins before it."""
    run_memory_spare_bytes: int = Field(default=512 * 1024**2, ge=0)
    """Available memory that a run with memory auto leaves to other processes."""
    run_time_s: float = Field(default=24 * 3600.0, ge=1)
    """Maximum time limit that a plan may set."""
    run_min_examples: int = Field(default=8, ge=1)
    """Minimum number of examples of a training."""
    run_max_added_tokens: int = Field(default=256, ge=0, le=10_000)
    """Maximum number of tokens that a plan may add to the vocabulary of its base."""
    run_max_added_token_characters: int = Field(default=64, ge=2, le=512)
    """Maximum length of such a token."""
    run_warn_left_out: float = Field(default=0.1, ge=0, le=1)
    """Share of skipped examples above which a run has a warning."""
    run_fruitless_attempts: int = Field(default=5, ge=1, le=1000)
    """Workers that may exit without a further step before a run fails."""
    run_keep_s: float = Field(default=7 * 24 * 3600.0, gt=0)
    """Retention of a failed run's checkpoints, for a retry."""
    max_imported_runs: int = Field(default=1000, ge=1)
    """Maximum number of imported runs per project."""
    max_sweeps: int = Field(default=1000, ge=1)
    """Maximum number of sweeps per project."""
    sweep_max_trials: int = Field(default=100, ge=1, le=500)
    """Maximum number of trials of a sweep."""
    sweep_max_failed_trials: int = Field(default=5, ge=1)
    """Failed trials after which a sweep fails, as long as none was measured."""
    sweep_max_concurrent: int = Field(default=4, ge=1, le=64)
    """Sweeps that decide at the same time; their runs count as all runs do."""
    sweep_poll_interval_s: float = Field(default=5.0, gt=0)
    """Resync interval of sweeps, by which budgets are checked while nothing else happens."""
    max_derivations: int = Field(default=1000, ge=1)
    """Maximum number of derivations per project."""
    derivation_max_concurrent: int = Field(default=1, ge=1, le=16)
    """Derivations at the same time, each in its own process."""
    derivation_poll_interval_s: float = Field(default=10.0, gt=0)
    """Resync interval of queued derivations that no request announced."""
    derivation_memory_bytes: int = Field(default=8 * 1024**3, ge=64 * 1024**2)
    """Memory limit of a deriving process."""
    derivation_time_s: float = Field(default=4 * 3600.0, ge=1)
    """Time limit of a deriving process."""
    derivation_fruitless_attempts: int = Field(default=5, ge=1, le=1000)
    """Workers that may exit while they derive a version before the derivation fails."""
    run_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of trainings; auto uses CUDA if available."""
    run_threads: int = Field(default=0, ge=0, le=1024)
    """Threads of a training process; 0 for torch's default."""
    run_priority_age_s: float = Field(default=3600.0, gt=0)
    """How long a run waits to be ahead of one that is queued then and has one step of priority more."""
    run_preempt_after_s: float = Field(default=30.0, ge=0)
    """How long a run waits for a place before one of lower priority gives way to it."""
    run_preempt_within_s: float = Field(default=300.0, ge=0)
    """How long a run that gives way goes on until its next checkpoint."""
    run_max_preemptions: int = Field(default=3, ge=0, le=100)
    """How often one run gives way; 0 never."""
    run_max_processes: int = Field(default=4, ge=1, le=64)
    """Maximum number of processes that compute one training together."""
    run_rank_timeout_s: float = Field(default=600.0, ge=1)
    """How long one of several processes of a training waits for another before the run fails."""
    manifest_image: str = Field(default="tidemill-trainer", min_length=1, max_length=255)
    """The trainer's image in manifests of trainings on several machines."""
    manifest_max_processes: int = Field(default=64, ge=1, le=4096)
    """Maximum number of processes of such a training, on all machines together."""
    run_max_kl: float = Field(default=10.0, gt=0)
    """Divergence from the base in nats per token, above which a training on generated answers fails."""
    judge_max_calls: int = Field(default=20_000, ge=1)
    """Maximum number of calls of models that a run makes for its judge; a plan may set a lower one."""
    judge_max_concurrent: int = Field(default=4, ge=1, le=64)
    """Answers of one run that are judged at the same time."""
    judge_timeout_s: float = Field(default=600.0, gt=0)
    """How long one answer is judged, with what evaluator repeats."""
    judge_wait_s: float = Field(default=300.0, ge=0)
    """How long a run stays in memory while its judge does not answer; then it waits as for any other service."""
    judge_max_unscored: float = Field(default=0.1, ge=0, le=1)
    """Share of its answers without a score above which a run fails."""
    run_measure_s: float = Field(default=1800.0, ge=1)
    """How long what a model has memorised is measured after its last step; canaries that are left over are not."""
    run_checkpoint_steps: int = Field(default=10, ge=1)
    """Steps between checkpoints."""

    @field_validator("run_devices")
    @classmethod
    def _each_device_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value) or any(name.startswith("-") for name in value):
            message = (
                f"{','.join(value)} names a GPU twice or a negative number: name each once, as CUDA_VISIBLE_DEVICES "
                "does; TRAINER_RUN_DEVICE=cpu has none used"
            )
            raise ValueError(message)
        return value

    @field_validator("hugging_face_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        AllowedHosts.of(value)
        return value
