"""Settings of rag, read from the environment."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from tidemill_kit.models.numeric_format import ModelSettings
from tidemill_rag.collections.domain.collection import Keep


class RagSettings(ModelSettings):
    """Settings of rag, read from RAG_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="RAG_")

    renamed: ClassVar[Mapping[str, str]] = {
        "max_concurrent_indexes": "index_max_concurrent",
        "poll_interval_s": "index_poll_interval_s",
        "lease_s": "lease_ttl_s",
    }

    mongo_database: str = "rag"
    """The database; used by rag only."""
    data_dir: Path
    """A directory that no other process uses: vectors of the embedded store, and downloaded models."""
    ingest_address: str
    """ingest's gRPC host:port."""
    trainer_address: str
    """trainer's gRPC host:port."""
    ingest_bucket: str = "tidemill-ingest-exchange"
    """The bucket that document versions are read from."""
    trainer_bucket: str = "tidemill-trainer-exchange"
    """The bucket that models are read from."""
    vector_store: Literal["edge", "server"] = "edge"
    """edge: embedded, in data_dir, for one process; server: a Qdrant server."""
    qdrant_url: str = ""
    """The Qdrant server, for example http://127.0.0.1:6333, or https."""
    qdrant_api_key: SecretStr = SecretStr("")
    """The API key of the Qdrant server; requires https."""
    max_open_indexes: int = Field(default=100, ge=1)
    """Index versions that the embedded store keeps open; the least recently used one is closed first."""
    graph_min_chunks: int = Field(default=50_000, ge=0)
    """Passages of an index version from which a graph index is built in the background; 0 = never."""
    embedding_threads: int = Field(default=0, ge=0, le=256)
    """CPU threads that embed, each with a forward pass of its own up to 8; 0 = all cores."""
    embedding_quantization: Literal["int8", "none"] = "int8"
    """Of index versions that begin, which keep it: int8: embedding models of the families that can be exported have
    weights of 8 bits; none: all compute in numeric_format, as the others do."""
    export_cpu_s: float = Field(default=120.0, gt=0)
    """CPU time limit of exporting an embedding model; the wall-clock limit is twice as much."""
    export_memory_mb: int = Field(default=16 * 1024, ge=4096)
    """Memory (address space) of the process that exports an embedding model."""
    models_loaded: int = Field(default=3, ge=1, le=32)
    """Embedding models kept in memory."""
    models_bytes: int = Field(default=3 * 1024**3, ge=1)
    """Weights of all loaded models together, by file size; a larger model is rejected."""
    tokenizer_workers: int = Field(default=2, ge=1, le=64)
    """Tokenizer processes for short texts, and as many for chunking documents; a project uses at most half of them, and
    at least one."""
    tokenizer_cpu_s: float = Field(default=5.0, gt=0)
    """CPU time limit of tokenizing a query or a batch of passages; the wall-clock limit is ten times as much."""
    cutting_cpu_s: float = Field(default=120.0, gt=0)
    """CPU time limit of chunking one document, or several small ones; the wall-clock limit is ten times as much."""
    tokenizer_memory_mb: int = Field(default=2048, ge=512)
    """Memory (address space) of each tokenizer process."""
    tokenizers_waiting: int = Field(default=256, ge=1)
    """Queued texts per project; further ones are rejected with RESOURCE_EXHAUSTED."""
    index_max_concurrent: int = Field(default=4, ge=1, le=64)
    """Index versions processed concurrently."""
    index_poll_interval_s: float = Field(default=60.0, gt=0)
    """Resync interval: how often unfinished index versions are listed, in case a notification was lost."""
    lease_ttl_s: float = Field(default=15.0, gt=1)
    """Lease duration of an index version without a heartbeat."""
    large_document_bytes: int = Field(default=64 * 1024, ge=1)
    """Text size above which a document is indexed in parts, interleaved with the others."""
    count_s: float = Field(default=600.0, gt=0)
    """Timeout of a full recount of an index version's rows."""
    sweep_after_s: float = Field(default=30.0, ge=0)
    """How long a replaced index version is kept for searches in flight."""
    max_ready_indexes: int = Field(default=2, ge=1, le=20)
    """Complete index versions, with passages of their own, that are kept beside a collection's live one.

    The oldest is retired first.
    """
    keep_replaced_s: float = Field(default=86_400.0, ge=0)
    """How long an index version that another one was promoted in place of may be promoted back."""
    max_collections: int = Field(default=1000, ge=1)
    """Collections per project."""
    max_query_characters: int = Field(default=8000, ge=1)
    """Maximum length of a query; the model truncates it at its own token limit."""
    rerank_timeout_s: float = Field(default=2.0, gt=0)
    """How long a model may take to rerank the candidates of a search; what takes longer is left out."""
    max_similar_texts: int = Field(default=10_000, ge=1)
    """Texts per project that are found by similarity; where there are more, those that expire first are removed."""
    similar_text_max_days: int = Field(default=30, ge=1, le=365)
    """The longest time for which a text is found by similarity, whatever its caller asks for."""
    topic_max_documents: int = Field(default=4000, ge=100, le=20_000)
    """Documents that the topics of a collection are made of; of larger ones it is a sample."""
    topic_cpu_s: float = Field(default=60.0, gt=0)
    """CPU time limit of computing topics; the wall-clock limit is twice as much."""
    topic_memory_mb: int = Field(default=2048, ge=512)
    """Memory (address space) of the process that computes topics."""
    sweep_poll_interval_s: float = Field(default=3600.0, gt=0)
    """The interval between removals of expired similar texts."""

    @property
    def keep(self) -> Keep:
        """Which complete index versions are kept beside the live one."""
        return Keep(max_ready=self.max_ready_indexes, replaced=timedelta(seconds=self.keep_replaced_s))

    @model_validator(mode="after")
    def _check_server(self) -> Self:
        if self.vector_store == "server" and not self.qdrant_url:
            message = "RAG_VECTOR_STORE=server needs RAG_QDRANT_URL"
            raise ValueError(message)
        if self.qdrant_api_key.get_secret_value() and not self.qdrant_url.startswith("https://"):
            message = "RAG_QDRANT_API_KEY needs an https:// address in RAG_QDRANT_URL"
            raise ValueError(message)
        return self
