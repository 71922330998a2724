"""What inference can be told; every name is INFERENCE_ plus the field's in upper case."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from tidemill_inference.domain.citations import DEFAULT_CHARACTERS, DEFAULT_THRESHOLD
from tidemill_kit.http.outgoing import AllowedHosts
from tidemill_kit.models.numeric_format import ModelSettings


class InferenceSettings(ModelSettings):
    """Settings of inference.

    A project's secret NAME comes from INFERENCE_SECRET_<PROJECT>__<NAME>, for the hosts in ..._<NAME>__HOSTS, or from
    `secrets_dir`.
    """

    model_config = SettingsConfigDict(
        env_prefix="INFERENCE_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    mongo_database: str = "inference"
    """The database, which belongs to inference alone."""
    http_port: int = Field(ge=0, le=65535)
    """The port of the OpenAI-compatible API; 0 takes any free one."""
    rag_address: str
    """rag's gRPC host:port."""
    trainer_address: str
    """trainer's gRPC host:port."""
    ingest_address: str = ""
    """ingest's gRPC host:port; without it prompts with passages cannot be shown again."""
    feedback_address: str = ""
    """feedback's gRPC host:port; without it the API takes no feedback."""
    feedback_token_key: SecretStr | None = Field(None, min_length=32)
    """The key of the tokens with which browsers may react to an answer; without it the HTTP API takes no feedback."""
    feedback_token_days: float = Field(30.0, gt=0, le=3650)
    """How long after an answer a browser may react to it."""
    data_dir: Path
    """The folder for models; it may be emptied while the service is down."""
    model_bucket: str = "tidemill-trainer-exchange"
    """The trainer's exchange bucket, which holds the files of models."""
    secrets_dir: Path | None = None
    """A folder with a folder per project: a file NAME per secret, and a file NAME.hosts with where it may be sent."""
    engine_threads: int = Field(0, ge=0, le=256)
    """Threads that local models compute with, shared out among those that compute; 0 takes one per processor core."""
    engine_memory_mb: int = Field(4096, ge=64)
    """What weights and caches of all local models may take together; the one not used for longest is dropped."""
    engine_cache_tokens: int = Field(8192, ge=256)
    """Tokens of prompts and answers that one local model keeps at hand; also the longest prompt with its answer."""
    engine_adapter_cache_tokens: int = Field(8192, ge=256)
    """The same for an adapter's engine, which has a cache of its own beside its base's."""
    engine_idle_s: float = Field(1800.0, ge=0)
    """How long a local model stays in memory that nobody uses and no deployment holds; 0 is for ever."""
    engine_batch: int = Field(64, ge=1, le=1024)
    """Answers that one local model works on at the same time; further ones wait."""
    engine_step_tokens: int = Field(256, ge=16, le=8192)
    """Tokens that a local model reads in one step: more reads long prompts sooner, and lets others wait longer."""
    remote_stall_s: float = Field(20.0, gt=0)
    """The longest silence of a remote model, before its first token or between two."""
    remote_retries: int = Field(2, ge=0, le=10)
    """How often a request to a remote model is tried again before its first token."""
    remote_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts (`host` or `host:port`, joined by commas) that remote models may have inside, and without TLS."""
    remote_clients: int = Field(64, ge=1)
    """Remote addresses that connections are kept to while nobody uses them."""
    remote_recheck_s: float = Field(5.0, ge=0)
    """How long what the registry says of a remote model is believed before it is asked again."""
    citation_threshold: float = Field(DEFAULT_THRESHOLD, gt=0, le=1)
    """The support (K-Precision) from which on a sentence cites a passage."""
    citation_max_characters: int = Field(DEFAULT_CHARACTERS, ge=1024)
    """The characters of an answer for which citations are worked out; the rest cites nothing, which a warning says."""
    citation_threads: int = Field(4, ge=1, le=32)
    """Threads that compute citations; a project has three quarters of them at most, further answers wait."""
    prompt_workers: int = Field(2, ge=1, le=64)
    """Processes that check and render prompts; a project has half of them at most, and at least one."""
    prompt_cpu_s: float = Field(1.0, gt=0)
    """The processor's time that one prompt may take to be checked, or to be rendered once."""
    prompt_wall_s: float = Field(10.0, gt=0)
    """The time after which the process of a prompt is ended and replaced, also where the machine is to blame."""
    prompt_memory_mb: int = Field(512, ge=256)
    """The memory (address space) of a process for prompts."""
    prompts_waiting: int = Field(100, ge=1)
    """Prompts of one project that may wait for a process; further ones are refused with RESOURCE_EXHAUSTED."""
    max_prompts: int = Field(1000, ge=1)
    """The most prompts of a project."""
    max_deployments: int = Field(1000, ge=1)
    """The most deployments of a project."""
    tokenizer_cpu_s: float = Field(5.0, gt=0)
    """The processor's time that a model's tokenizer may take over one prompt; ten times as much by the clock."""
    tokenizer_memory_mb: int = Field(2048, ge=512)
    """The memory (address space) of a process for tokenizers, of which there are as many as for prompts."""
    max_generations: int = Field(256, ge=1)
    """Answers under way in this process; further ones are refused with RESOURCE_EXHAUSTED."""
    max_generations_per_project: int = Field(128, ge=1)
    """Answers of one project under way in this process; further ones are refused with RESOURCE_EXHAUSTED."""
    max_body_bytes: int = Field(4 * 1024 * 1024, ge=1024)
    """The largest body of an HTTP request."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins (joined by commas) whose pages may use the API from a browser, `*` for all; none by default."""
    http_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names (joined by commas) under which the HTTP API is found, beside IP addresses and localhost; `*` for all.

    Without any, an API on the loopback interface takes no other name, and one on another interface takes all.
    """
    http_idle_s: float = Field(75.0, gt=0)
    """How long a connection may wait for its next request."""
    http_header_s: float = Field(10.0, gt=0)
    """How long a request may take to its last header."""
    http_max_connections: int = Field(1024, ge=1)
    """Open HTTP connections; a further one closes the one that has been idle for longest."""
    http_principals: Literal["servers", "anybody", "nobody"] = "servers"
    """Who may say over HTTP which groups the asker reads with: programs that are no browser, everybody, or nobody."""
    http_keep_alive_s: float = Field(15.0, gt=0, le=600)
    """After how long a silence a stream sends a comment; an error before the first one has a status of its own."""
    lease_s: float = Field(15.0, gt=0)
    """How long an answer, or a rollout, of a replica that died keeps the others waiting."""
    record_sweep_s: float = Field(3600.0, gt=0)
    """The pause between two searches for records that their deployment keeps no longer."""
    rollout_poll_interval_s: float = Field(1.0, gt=0, le=60)
    """How often a replica searches for rollouts that have begun elsewhere."""
    rollout_tick_s: float = Field(0.5, gt=0, le=60)
    """How often the outcomes of a rollout are counted."""
    max_concurrent_shadows: int = Field(1, ge=1, le=64)
    """Copies of live questions that candidates answer at the same time."""
    shadows_waiting: int = Field(100, ge=1)
    """Copies that may wait for it, and outcomes that may wait to be recorded; further ones are dropped and counted."""
    call_timeout_s: float = Field(10.0, gt=0)
    """How long one call of rag or trainer may take."""
    s3_timeout_s: float = Field(30.0, gt=0)
    """How long the object store may be silent."""

    @field_validator("cors_origins", "http_hosts", "remote_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("remote_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        AllowedHosts.of(value)
        return value
