"""Settings of rag, read from the environment."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from tidemill_kit.models.numeric_format import ModelSettings


class RagSettings(ModelSettings):
    """Settings of rag, read from RAG_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="RAG_")

    mongo_database: str = "rag"
    """The database, which belongs to rag alone."""
    data_dir: Path
    """A folder of this process alone: vectors of the embedded store, and downloaded models."""
    ingest_address: str
    """ingest's gRPC host:port."""
    trainer_address: str
    """trainer's gRPC host:port."""
    ingest_bucket: str = "tidemill-ingest-exchange"
    """The bucket in which ingest hands over document versions."""
    trainer_bucket: str = "tidemill-trainer-exchange"
    """The bucket in which trainer hands over models."""
    vector_store: Literal["edge", "server"] = "edge"
    """edge: embedded, in data_dir, for one process; server: a Qdrant server."""
    qdrant_url: str = ""
    """The Qdrant server, for example http://127.0.0.1:6333, or https."""
    qdrant_api_key: SecretStr = SecretStr("")
    """The key of the Qdrant server, which goes over TLS only."""
    max_open_indexes: int = Field(default=100, ge=1)
    """Index versions that the embedded store keeps open; opening another one closes what was not used for longest."""
    embedding_threads: int = Field(default=0, ge=0, le=256)
    """CPU threads of one embedding pass; 0 takes all cores."""
    models_loaded: int = Field(default=3, ge=1, le=32)
    """How many embedding models are kept in memory."""
    models_bytes: int = Field(default=3 * 1024**3, ge=1)
    """Weights of all of them together, as their files have them; a model with more is refused."""
    tokenizer_workers: int = Field(default=2, ge=1, le=64)
    """Processes that read short texts by the tokenizers of projects, and as many that cut documents; a project has half
    of each at most, and at least one."""
    tokenizer_cpu_s: float = Field(default=5.0, gt=0)
    """The processor's time that a tokenizer may take over a question or a batch of passages; ten times as much by the
    clock."""
    cutting_cpu_s: float = Field(default=120.0, gt=0)
    """The processor's time that cutting one document may take; ten times as much by the clock."""
    tokenizer_memory_mb: int = Field(default=2048, ge=512)
    """The memory (address space) of such a process."""
    tokenizers_waiting: int = Field(default=256, ge=1)
    """Texts of one project that may wait for such a process; further ones are refused with RESOURCE_EXHAUSTED."""
    max_concurrent_indexes: int = Field(default=4, ge=1, le=64)
    """How many index versions are worked on at the same time."""
    poll_interval_s: float = Field(default=60.0, gt=0)
    """The pause between two searches for unfinished index versions that the worker was not notified of."""
    lease_s: float = Field(default=15.0, gt=1)
    """How long an index version stays with a worker that gives no heartbeat."""
    large_document_bytes: int = Field(default=64 * 1024, ge=1)
    """Documents with more text are indexed bit by bit, between the others."""
    count_s: float = Field(default=600.0, gt=0)
    """How long counting all rows of an index version may take, where the kept numbers cannot be right."""
    sweep_after_s: float = Field(default=30.0, ge=0)
    """How long a replaced index version is kept for the searches that are under way."""
    max_collections: int = Field(default=1000, ge=1)
    """The most collections of a project."""
    max_query_characters: int = Field(default=8000, ge=1)
    """The longest question that is taken; what the model does not read of it is cut off."""

    @model_validator(mode="after")
    def _check_server(self) -> Self:
        if self.vector_store == "server" and not self.qdrant_url:
            message = "RAG_VECTOR_STORE=server needs RAG_QDRANT_URL"
            raise ValueError(message)
        if self.qdrant_api_key.get_secret_value() and not self.qdrant_url.startswith("https://"):
            message = "RAG_QDRANT_API_KEY needs an https:// address in RAG_QDRANT_URL"
            raise ValueError(message)
        return self
