"""What trainer is told by its environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from tidemill_kit.settings import ServiceSettings


class TrainerSettings(ServiceSettings):
    """Settings of trainer, read from TRAINER_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="TRAINER_")

    mongo_database: str = "trainer"
    """The database, which belongs to trainer alone."""
    data_dir: Path
    """A folder of this process alone, for uploads and downloads under way."""
    exchange_bucket: str = "tidemill-trainer-exchange"
    """The bucket where other services read the files of versions."""
    s3_timeout_s: float = Field(default=60.0, gt=0)
    """How long the object store may be silent."""
    uploads_at_once: int = Field(default=8, ge=1, le=100)
    """How many files are taken at the same time; further ones wait."""
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
    hugging_face_timeout_s: float = Field(default=10.0, gt=0)
    """How long the hub may be silent."""
    imports_at_once: int = Field(default=2, ge=1, le=16)
    """How many versions are fetched from the hub at the same time."""
    import_retry_s: float = Field(default=30.0, gt=0)
    """The pause after which an import that waits is tried again."""
    lease_s: float = Field(default=30.0, gt=1)
    """How long an import stays with a worker that gives no sign of life."""
