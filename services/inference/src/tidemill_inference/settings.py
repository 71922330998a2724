"""Settings of inference; the environment variable is INFERENCE_ plus the field's name in upper case."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from tidemill_core.origins import AllowedHosts
from tidemill_inference.embeddings.ports import DEFAULT_MAX_TEXTS, TEXTS_BOUND
from tidemill_inference.generation.citations.citations import DEFAULT_CHARACTERS, DEFAULT_THRESHOLD
from tidemill_inference.question_settings import QuestionSettings
from tidemill_inference.secrets.domain.secret import HostRules
from tidemill_kit.http.settings import HttpSettings
from tidemill_kit.models.numeric_format import ModelSettings
from tidemill_kit.runtime.encryption import EncryptionSettings
from tidemill_kit.runtime.separated import Separated
from tidemill_kit.workers.bounded_processes import ProcessLimits
from tidemill_kit.workers.fair_queue import QueueLimits

_MB = 1024 * 1024
PROVIDERS = (
    "api.anthropic.com",
    "api.cohere.com",
    "api.deepseek.com",
    "api.fireworks.ai",
    "api.groq.com",
    "api.mistral.ai",
    "api.openai.com",
    "api.together.xyz",
    "api.x.ai",
    "generativelanguage.googleapis.com",
    "openrouter.ai",
)
"""Providers of models whose API is compatible with OpenAI's."""


@cache
def _weights(entries: tuple[str, ...]) -> Mapping[str, float]:
    """Read `project:weight`."""
    found = {name: float(weight) for name, _, weight in (each.partition(":") for each in entries)}
    if wrong := [name for name, weight in found.items() if not (name and 0 < weight < math.inf)]:
        message = f"{wrong[0]!r}: write project:weight, with a weight above 0"
        raise ValueError(message)
    return found


class InferenceSettings(QuestionSettings, ModelSettings, HttpSettings, EncryptionSettings):
    """Settings of inference.

    A project's secret NAME comes from INFERENCE_SECRET_<PROJECT>__<NAME>, for the hosts in ..._<NAME>__HOSTS, or from
    `secrets_dir`.
    """

    model_config = SettingsConfigDict(
        env_prefix="INFERENCE_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "max_concurrent_shadows": "shadow_max_concurrent",
        "record_sweep_s": "sweep_poll_interval_s",
        "lease_s": "lease_ttl_s",
    }

    mongo_database: str = "inference"
    """The database, owned by inference alone."""
    rag_address: str
    """rag's gRPC host:port."""
    trainer_address: str
    """trainer's gRPC host:port."""
    ingest_address: str = ""
    """ingest's gRPC host:port; without it `GetInferencePrompt` works only for prompts without passages.

    And viewers do not see answers of others that rest on documents: ingest knows who may read these.
    """
    feedback_address: str = ""
    """feedback's gRPC host:port; without it `POST /v1/feedback` is 501."""
    feedback_token_key: SecretStr | None = Field(None, min_length=32)
    """The key (32 characters or more, the same in every replica) that signs feedback tokens.

    Without it `POST /v1/feedback` accepts nothing.
    """
    feedback_token_days: float = Field(30.0, gt=0, le=3650)
    """How long after an answer its feedback token is valid."""
    data_dir: Path
    """The folder for models; it may be emptied while the service is stopped."""
    model_bucket: str = "tidemill-trainer-exchange"
    """The trainer's exchange bucket, which holds the files of models."""
    secrets_allowed_hosts: Separated = PROVIDERS
    """Hosts (`host` or `host:port`, separated by commas; `*` for all) that projects may have their secrets sent to.

    Secrets of the operator are not bound by it. Secrets are sent without TLS to this machine only.
    """
    secrets_dir: Path | None = None
    """A folder with a folder per project.

    A file NAME per secret, and a file NAME.hosts with the origins it may be sent to.
    """
    engine: Literal["transformers", "vllm"] = "transformers"
    """What runs models whose deployment names no engine: `transformers` or `vllm`.

    Where vLLM cannot run, transformers does, and the log says why.
    """
    vllm_python: Path | None = None
    """The Python of vLLM's environment, which `make setup ENGINE=vllm` makes; vLLM runs as a child of inference."""
    vllm_urls: Separated = ()
    """Addresses of vLLM servers that run already, separated by commas; then none is started.

    They serve bases as `project/model@version`, and read adapters from `INFERENCE_DATA_DIR`, by the same path.
    """
    vllm_api_key: SecretStr | None = None
    """The API key of the servers of `INFERENCE_VLLM_URLS`."""
    vllm_cache_tokens: int = Field(32768, ge=1024)
    """The KV cache of one vLLM server, in tokens: of a base and all of its adapters."""
    vllm_adapters: int = Field(4, ge=1, le=64)
    """Adapters in one batch of a vLLM server; of further ones those used last are kept."""
    vllm_adapter_rank: int = Field(64, ge=8, le=512)
    """The largest rank of an adapter in vLLM; each takes memory as if it had it."""
    vllm_start_s: float = Field(600.0, gt=0)
    """How long a vLLM server may take until it answers."""
    vllm_stall_s: float = Field(60.0, gt=0)
    """The longest time without data from vLLM, before a first token or between two."""
    vllm_log_bytes: int = Field(64 * 1024 * 1024, ge=64 * 1024)
    """The largest log of a vLLM server; what came before, of it or of the server before, is `<name>.log.1`."""
    vllm_arguments: str = ""
    """Further arguments of vLLM's server, as in a shell; they count before inference's own."""
    engine_threads: int = Field(0, ge=0, le=256)
    """The most threads for local models, divided among those that compute at the same time; 0 is one per core.

    Fewer compute while other processes use the processors.
    """
    engine_memory_mb: int = Field(4096, ge=64)
    """Memory for weights and caches of all local models together; the least recently used is unloaded."""
    engine_cache_tokens: int = Field(8192, ge=256)
    """The KV cache of one local model, in tokens; also the limit for a prompt with its answer."""
    engine_adapter_cache_tokens: int = Field(8192, ge=256)
    """The KV cache of an adapter, which is separate from its base's."""
    engine_idle_s: float = Field(1800.0, ge=0)
    """How long an unused local model stays loaded that no rollout holds; 0 is forever."""
    engine_batch: int = Field(64, ge=1, le=1024)
    """Concurrent answers in the batch of one local model; further ones wait."""
    engine_candidates: int = Field(8, ge=1, le=128)
    """Candidates of one request to a local model (`n`); each takes a place in the batch."""
    engine_step_tokens: int = Field(256, ge=16, le=8192)
    """Prompt tokens processed in one step: more shortens long prompts and delays other requests."""
    remote_stall_s: float = Field(20.0, gt=0)
    """The longest time without data from a remote model, before its first token or between two."""
    remote_retries: int = Field(2, ge=0, le=10)
    """Retries of a remote model before its first token, where the deployment's routing does not say."""
    circuit_failures: int = Field(5, ge=1, le=1000)
    """Failures of a remote model in a row after which it is not called for a while (its circuit opens)."""
    circuit_open_s: float = Field(30.0, gt=0, le=3600)
    """How long an open circuit lets no call pass; then one at a time, until one is answered."""
    remote_hosts: Separated = ()
    """Hosts (`host` or `host:port`, separated by commas) of remote models that may be internal and without TLS."""
    remote_clients: int = Field(64, ge=1)
    """Remote addresses with open connections while unused."""
    remote_recheck_s: float = Field(5.0, ge=0)
    """How long the registry's data on a remote model is cached."""
    provider_change_interval_s: float = Field(3600.0, gt=0)
    """The shortest time between two changes of what a remote model's provider says it is."""
    citation_threshold: float = Field(DEFAULT_THRESHOLD, gt=0, le=1)
    """The least support (K-Precision) with which a sentence cites a passage."""
    citation_max_characters: int = Field(DEFAULT_CHARACTERS, ge=1024)
    """The characters of an answer for which citations are computed.

    Beyond them the answer has a warning and no citations.
    """
    citation_threads: int = Field(4, ge=1, le=32)
    """Threads that compute citations; one project occupies at most three quarters, further answers wait."""
    prompt_workers: int = Field(2, ge=1, le=64)
    """Processes that check and render prompts; one project occupies at most half of them, and at least one."""
    prompt_cpu_s: float = Field(1.0, gt=0)
    """CPU time for checking a prompt, or rendering it once."""
    prompt_wall_s: float = Field(10.0, gt=0)
    """Wall time after which the process of a prompt is ended and replaced, also when the machine is to blame."""
    prompt_memory_mb: int = Field(512, ge=256)
    """The memory (address space) of a prompt process."""
    prompts_waiting: int = Field(100, ge=1)
    """Prompts of one project that may wait for a process; further ones are RESOURCE_EXHAUSTED."""
    configuration_max_age_s: float = Field(1.0, ge=0, le=60)
    """How long a deployment and its prompt, once read, serve further answers.

    A change made by this replica counts at once, one made by another after so long; 0 reads both for each answer.
    """
    max_cached_answers: int = Field(10_000, ge=1)
    """Answers of a project that are given again; where there are more, those that expire first are removed."""
    max_prompts: int = Field(1000, ge=1)
    """Prompts per project."""
    max_experiments: int = Field(100, ge=1)
    """Experiments per project."""
    max_budgets: int = Field(100, ge=1)
    """Budgets per project."""
    max_prices: int = Field(1000, ge=1)
    """Prices per project."""
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    """The currency of all prices and budgets, as ISO 4217 names it."""
    budgets_recheck_s: float = Field(5.0, gt=0, le=60)
    """How long the budgets and prices of a project are cached; a change counts in all replicas after twice as long."""
    budget_output_tokens: int = Field(4096, ge=1)
    """The limit of output tokens of a request that has none, where a budget of tokens or money applies."""
    budget_sweep_poll_interval_s: float = Field(30.0, gt=0)
    """The interval between charges of what processes that died had reserved of budgets."""
    max_secrets: int = Field(100, ge=1)
    """Secrets per project."""
    max_deployments: int = Field(1000, ge=1)
    """Deployments per project."""
    tokenizer_cpu_s: float = Field(5.0, gt=0)
    """CPU time of a model's tokenizer for one prompt; the wall time is ten times as much."""
    tokenizer_memory_mb: int = Field(2048, ge=512)
    """The memory (address space) of a tokenizer process; there are as many as prompt processes."""
    max_generations: int = Field(256, ge=1)
    """Concurrent answers in this process; further ones wait for their turn."""
    max_generations_per_project: int = Field(128, ge=1)
    """Concurrent answers of one project in this process; further ones wait for their turn."""
    generations_waiting: int = Field(1000, ge=1)
    """Requests that may wait for their turn in this process; further ones are RESOURCE_EXHAUSTED."""
    generations_waiting_per_project: int = Field(500, ge=1)
    """Requests of one project that may wait for their turn; further ones are RESOURCE_EXHAUSTED."""
    generation_max_wait_s: float = Field(30.0, gt=0)
    """How long a request may wait for its turn; one that would wait longer is RESOURCE_EXHAUSTED at once."""
    project_weights: Separated = ()
    """Weights of projects in the queue, as `project:weight`, separated by commas; 1 for the others.

    A project of weight 2 gets twice the places of one of weight 1 while both need more.
    """
    file_bucket: str = "tidemill-inference-files"
    """The bucket of files: inputs and results of batches."""
    file_max_mb: int = Field(200, ge=1, le=5120)
    """The largest file, in MiB."""
    file_days: int = Field(30, ge=1, le=3650)
    """After so many days a file is removed, and a batch so many days after its end."""
    max_files: int = Field(1000, ge=1)
    """Files per project."""
    max_concurrent_uploads: int = Field(8, ge=1, le=100)
    """Files received at once, by each of gRPC and HTTP, and as many that are read; at most half of one project."""
    uploads_of_project: int = Field(64, ge=1)
    """Uploads of one project in progress or in the queue; further ones are RESOURCE_EXHAUSTED."""
    upload_idle_s: float = Field(60.0, gt=0)
    """Longest pause within an upload."""
    upload_whole_s: float = Field(3600.0, gt=0)
    """Longest duration of an upload, without its time in the queue."""
    max_batches: int = Field(1000, ge=1)
    """Batches per project."""
    batch_max_lines: int = Field(50_000, ge=1, le=1_000_000)
    """Requests in one batch; those beyond are not answered, and one error says so."""
    batch_max_concurrent: int = Field(4, ge=1, le=64)
    """Batches that one replica works on at the same time."""
    batch_lines_max_concurrent: int = Field(16, ge=1, le=1024)
    """Requests of batches in progress in this process.

    Half as many while live requests are in progress; none is begun while these wait.
    """
    batch_tick_s: float = Field(2.0, gt=0, le=60)
    """How often a batch's progress is recorded, and its cancellation noticed."""
    batch_turn_s: float = Field(600.0, ge=10, le=86_400)
    """After so long a batch lets those that wait have their turn, and goes on after them."""
    batch_poll_interval_s: float = Field(10.0, gt=0, le=600)
    """How often a replica polls for batches that were created elsewhere; also the longest pause after a failure."""
    batch_max_window_days: int = Field(14, ge=1, le=365)
    """The longest completion window of a batch."""
    http_principals: Literal["servers", "anybody", "nobody"] = "servers"
    """Which HTTP callers may send `principals`.

    `servers` (programs that are no browser), all (`anybody`), or none (`nobody`).
    """
    http_keep_alive_s: float = Field(15.0, gt=0, le=600)
    """The interval of comments in a stream without output; an error before the first one has an HTTP status."""
    lease_ttl_s: float = Field(15.0, gt=0)
    """The lease on an answer or a rollout: how long other replicas wait when its holder dies."""
    sweep_poll_interval_s: float = Field(3600.0, gt=0)
    """The interval between deletions of records past their retention, and of outcomes that ended rollouts have left."""
    rollout_poll_interval_s: float = Field(5.0, gt=0, le=60)
    """How often a replica polls for rollouts that started elsewhere; also the longest pause after a failure."""
    rollout_max_concurrent: int = Field(16, ge=1)
    """Rollouts that one replica takes a step further, and candidates that it loads, at the same time."""
    rollout_tick_s: float = Field(0.5, gt=0, le=60)
    """How often the outcomes of a rollout are counted."""
    rollout_server_ends: int = Field(2, ge=0)
    """Ends of a vLLM server that both variants share, during answers of the candidate, in a step: more roll back."""
    experiment_tick_s: float = Field(5.0, gt=0, le=600)
    """How often the outcomes of an experiment are counted; the more there are, the seldomer."""
    experiment_max_concurrent: int = Field(4, ge=1)
    """Experiments that one replica counts at the same time."""
    experiment_max_answers: int = Field(100_000, ge=100, le=1_000_000)
    """Answers of an experiment that are kept and counted: with so many it ends."""
    experiment_max_cohorts: int = Field(10, ge=1, le=50)
    """The `max_values` that an experiment may declare: so many values of a label have results of their own."""
    experiment_cohort_min_users: int = Field(10, ge=5)
    """So many users of an arm, and of the control, are needed to compare them in a cohort."""
    shadow_max_concurrent: int = Field(1, ge=1, le=64)
    """Shadow requests that candidates answer at the same time."""
    shadows_waiting: int = Field(100, ge=1)
    """Shadow requests that may wait, and outcomes that may wait to be recorded; more are dropped and counted."""
    rewrite_timeout_s: float = Field(5.0, gt=0, le=60)
    """How long a search waits for the model that rewrites a question."""
    conversation_max_turns: int = Field(500, ge=2, le=5000)
    """Turns that a conversation keeps.

    With a `conversation` policy of its deployment the oldest go beyond it; without one it takes no more.
    """
    conversation_poll_interval_s: float = Field(60.0, gt=0)
    """How often a replica polls for conversations with turns to summarise, or to search for facts."""
    conversation_max_concurrent: int = Field(2, ge=1)
    """Conversations that one replica summarises or searches at the same time."""
    conversation_model_timeout_s: float = Field(120.0, gt=0)
    """How long a model may take for one summary, or for the facts of one question."""
    conversation_max_wait_s: float = Field(3600.0, ge=5, le=86_400)
    """After so long summaries and facts for which a budget has nothing left are tried again at the latest."""
    memory_max_facts: int = Field(20, ge=1, le=200)
    """Facts that are remembered of an end user for one deployment.

    Beyond it the oldest go that were not corrected.
    """
    memory_max_characters: int = Field(300, ge=20, le=4000)
    """Characters of one fact that is remembered of an end user."""
    embedding_max_texts: int = Field(DEFAULT_MAX_TEXTS, ge=1, le=TEXTS_BOUND)
    """Texts of one request for embeddings."""
    embedding_timeout_s: float = Field(60.0, gt=0)
    """The timeout of one call to rag for vectors of 64 texts; the first one loads the model."""
    similar_timeout_s: float = Field(1.0, gt=0, le=60)
    """How long an answer waits for rag to compare its question with earlier ones, or with those of examples."""
    dataset_bucket: str = "tidemill-ingest-datasets"
    """ingest's bucket of dataset versions, from whose train parts examples come."""
    max_examples: int = Field(2000, ge=1, le=100_000)
    """Examples of a dataset version that a deployment may choose from; one with more is refused."""
    max_example_sets: int = Field(20, ge=1)
    """Dataset versions, each by embedding model, whose examples a project has loaded."""
    example_max_characters: int = Field(8000, ge=1, le=8000)
    """Of question and answer together; longer examples are left out. rag embeds no longer questions."""
    example_check_s: float = Field(60.0, gt=0, le=3600)
    """How often examples are compared with their dataset version, which may have been deleted."""
    example_unused_days: int = Field(7, ge=1)
    """Days without a question after which the examples of a dataset version are removed; the next one loads them."""
    example_sets_max_concurrent: int = Field(2, ge=1)
    """Dataset versions whose examples are loaded at once."""
    example_poll_interval_s: float = Field(5.0, gt=0)
    """How often a replica polls for examples that are to be loaded or checked."""
    call_timeout_s: float = Field(10.0, gt=0)
    """The timeout of one call to rag or trainer."""

    @property
    def prompt_limits(self) -> ProcessLimits:
        """The limits of the processes for prompts."""
        return ProcessLimits(
            workers=self.prompt_workers,
            cpu_s=self.prompt_cpu_s,
            wall_s=self.prompt_wall_s,
            memory_bytes=self.prompt_memory_mb * _MB,
            share=max(1, self.prompt_workers // 2),
            waiting=self.prompts_waiting,
        )

    @property
    def tokenizer_limits(self) -> ProcessLimits:
        """The limits of the processes for tokenizers."""
        return replace(
            self.prompt_limits,
            cpu_s=self.tokenizer_cpu_s,
            wall_s=10 * self.tokenizer_cpu_s,
            memory_bytes=self.tokenizer_memory_mb * _MB,
        )

    @property
    def answer_queue(self) -> QueueLimits:
        """The limits of the queue of answers."""
        return QueueLimits(
            places=self.max_generations,
            of_project=self.max_generations_per_project,
            waiting=self.generations_waiting,
            waiting_of_project=self.generations_waiting_per_project,
            max_wait_s=self.generation_max_wait_s,
        )

    def weight_of(self, project: str) -> float:
        """Return the weight of a project in queues."""
        return _weights(self.project_weights).get(project, 1.0)

    @field_validator("project_weights")
    @classmethod
    def _project_weights(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _weights(value)
        return value

    @field_validator("remote_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        AllowedHosts.of(value)
        return value

    @field_validator("secrets_allowed_hosts")
    @classmethod
    def _secret_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        HostRules.of(value)
        return value
