"""Settings of evaluator, read from EVALUATOR_<NAME>."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from tidemill_evaluator.evaluations.domain.comparison import Evidence
from tidemill_evaluator.metrics.domain.code import CodeLimits
from tidemill_evaluator.prompt_tests.domain.grid import GridLimits
from tidemill_evaluator.proposals.domain.candidate import ProposalLimits
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_kit.runtime.separated import Separated
from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_kit.workers.bounded_processes import ProcessLimits
from tidemill_kit.workers.fair_queue import QueueLimits

_LIMITS = Limits()
_CODE = CodeLimits()
_EVIDENCE = Evidence()
_GRID = GridLimits()
_PROPOSAL = ProposalLimits()
_WALL_SHARE = 12
"""Of the processor time: how long it may take on a busy machine."""
_MAX_WAITING_SCORES = 1000
"""Of one project; more than can be in flight."""


class EvaluatorSettings(ServiceSettings):
    """Settings of evaluator, read from EVALUATOR_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="EVALUATOR_")

    renamed: ClassVar[Mapping[str, str]] = {
        "max_concurrent_evaluations": "evaluation_max_concurrent",
        "evaluation_retry_s": "evaluation_poll_interval_s",
        "lease_s": "lease_ttl_s",
    }

    mongo_database: str = "evaluator"
    """The database, used by evaluator only."""
    inference_address: str
    """inference's gRPC host:port."""
    ingest_address: str
    """ingest's gRPC host:port."""
    trainer_address: str
    """trainer's gRPC host:port."""
    feedback_address: str = ""
    """feedback's gRPC host:port; without it no judge is measured, and no live answers are proposed."""
    rag_address: str
    """rag's gRPC host:port."""
    exchange_bucket: str = "tidemill-evaluator-exchange"
    """The bucket of the cases of suites."""
    dataset_buckets: Separated = ("tidemill-ingest-datasets", "tidemill-ingest-exchange")
    """Comma-separated buckets from which held-out splits may be read."""
    call_timeout_s: float = Field(default=10.0, gt=0)
    """Timeout of calls other than answers."""
    answer_timeout_s: float = Field(default=180.0, gt=0)
    """Upper limit of an answer's timeout, whatever the deployment's deadline."""
    max_concurrent_answers: int = Field(default=16, ge=1, le=256)
    """Maximum number of cases in flight, over all evaluations of the process."""
    answer_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the deadline above which an answer is slow and concurrency decreases."""
    answer_attempts: int = Field(default=3, ge=1, le=20)
    """Attempts of a case that is answered UNAVAILABLE; then the side has failed or the evaluation waits."""
    answer_attempts_in_time: int = Field(default=6, ge=1, le=50)
    """Attempts of a case that misses the deadline, each with less concurrency."""
    answer_pause_s: float = Field(default=1.0, ge=0)
    """Pause before the second attempt; doubles with each."""
    evaluation_max_concurrent: int = Field(default=2, ge=1, le=16)
    """Evaluations at the same time."""
    evaluation_poll_interval_s: float = Field(default=30.0, gt=0)
    """Resync interval of unfinished evaluations and of deferred ones."""
    retrieval_max_concurrent: int = Field(default=2, ge=1, le=16)
    """Retrieval evaluations at the same time."""
    max_concurrent_searches: int = Field(default=4, ge=1, le=64)
    """Maximum number of searches in flight, over all retrieval evaluations of the process."""
    prompt_test_max_concurrent: int = Field(default=2, ge=1, le=16)
    """Prompt tests at the same time."""
    max_prompt_test_variants: int = Field(default=_GRID.variants, ge=1, le=64)
    """Maximum number of variants per prompt test."""
    max_prompt_test_cells: int = Field(default=_GRID.cells, ge=1, le=100_000)
    """Maximum number of answers per prompt test: cases times variants."""
    max_prompt_test_questions: int = Field(default=_GRID.questions, ge=1, le=1000)
    """Maximum number of questions that a prompt test brings in place of a suite."""
    max_prompt_test_characters: int = Field(default=_GRID.characters, ge=1, le=1_000_000)
    """Maximum length of the questions and unsaved prompts of a prompt test together."""
    max_concurrent_judgements: int = Field(default=4, ge=1, le=64)
    """Maximum number of judgements in flight, over all evaluations of the process."""
    max_scored_characters: int = Field(default=64_000, ge=1000, le=1_000_000)
    """Maximum length of the texts of an answer that a judge scores for a training, in characters."""
    max_measured_items: int = Field(default=200, ge=10, le=5000)
    """Reviewed answers that a measurement of a judge has judged, the latest ones."""
    judge_drift_cases: int = Field(default=20, ge=0, le=200)
    """Measured answers that a judge judges twice, and again when an evaluation by a gate begins; 0: none."""
    max_concurrent_powers: int = Field(default=1, ge=1, le=16)
    """Threads that compute the power of gates at the same time."""
    max_concurrent_scores: int = Field(default=1, ge=1, le=16)
    """Long answers that are scored at the same time, beside the event loop; and processes that score by libraries."""
    score_cpu_s: float = Field(default=5.0, gt=0)
    """Processor time of an answer's scores by libraries, and of a check of schemas; what takes more has no value."""
    score_memory_bytes: int = Field(default=1024 * 1024 * 1024, ge=256 * 1024 * 1024)
    """Memory of such a process."""
    run_code: bool = False
    """Whether code of answers runs, in processes without files and connections: the metric code_runs."""
    code_cpu_s: int = Field(default=_CODE.cpu_s, ge=1, le=300)
    """Processor time of an answer's code with its tests."""
    code_memory_bytes: int = Field(default=_CODE.memory_bytes, ge=64 * 1024 * 1024)
    """Memory of such a process."""
    max_embedded_sentences: int = Field(default=64, ge=1, le=1000)
    """Sentences that are embedded of an answer, of a reference, and of all passages of an answer; of longer texts
    neighbours are one."""
    reevaluation_min_interval_s: float = Field(default=3600.0, gt=0)
    """From one re-evaluation of a gate to one that a change of a provider starts, at least."""
    attempts: int = Field(default=3, ge=1, le=20)
    """Maximum attempts of an evaluation whose baseline keeps changing."""
    min_questions: int = Field(default=_EVIDENCE.min_questions, ge=2, le=1_000_000)
    """Distinct questions answered by both sides that every requirement needs, even if its `at_least` is lower."""
    max_unanswered: float = Field(default=_EVIDENCE.max_unanswered, ge=0, lt=1)
    """Share of a required set's cases that may lack an answer; above it there is no verdict."""
    min_clusters: int = Field(default=_EVIDENCE.min_clusters, ge=2, le=1_000_000)
    """Clusters that a requirement on a metric without bounds (lengths, times, costs) needs."""
    min_slice: int = Field(default=_EVIDENCE.min_slice, ge=2, le=1_000_000)
    """Clusters that a slice of cases needs for p-values; a smaller one is reported without them."""
    max_slices: int = Field(default=_EVIDENCE.max_slices, ge=0, le=1000)
    """Maximum number of comparisons of slices of an evaluation; 0 compares none."""
    max_suites: int = Field(default=1000, ge=1)
    """Maximum number of suites per project."""
    max_gates: int = Field(default=1000, ge=1)
    """Maximum number of gates per project."""
    max_judges: int = Field(default=100, ge=1)
    """Maximum number of judges per project."""
    max_suite_cases: int = Field(default=_LIMITS.cases, ge=1, le=20_000)
    """Maximum number of cases per suite."""
    max_evaluation_cases: int = Field(default=_LIMITS.evaluation_cases, ge=1, le=100_000)
    """Maximum number of cases per evaluation."""
    max_part_bytes: int = Field(default=_LIMITS.part_bytes, ge=1)
    """Maximum size of a held-out split."""
    max_question_length: int = Field(default=_LIMITS.question_length, ge=1)
    """Maximum length of a suite's question, in characters."""
    max_reference_length: int = Field(default=_LIMITS.reference_length, ge=1)
    """Maximum length of a suite's reference answer, in characters."""
    max_context_length: int = Field(default=_LIMITS.context_length, ge=1)
    """Maximum total length of a suite question's earlier turns and variables, in characters."""
    max_expectation_length: int = Field(default=_LIMITS.expectation_length, ge=1, le=20_000)
    """Maximum length of a case's expectation, its pattern and texts together, in characters."""
    max_schema_length: int = Field(default=_LIMITS.schema_length, ge=1)
    """Maximum length of a case's JSON Schema, in characters."""
    max_code_tests_length: int = Field(default=_LIMITS.code_tests_length, ge=1)
    """Maximum length of a case's tests of code, in characters."""
    max_judgements: int = Field(default=_LIMITS.judgements, ge=1, le=10_000)
    """Maximum number of judged documents per case."""
    max_report_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=15 * 1024 * 1024)
    """Maximum size of the compressed report of a run of a harness."""
    max_suite_proposals: int = Field(default=1000, ge=1)
    """Maximum number of proposals of cases per project."""
    max_proposed_cases: int = Field(default=_PROPOSAL.candidates, ge=1, le=1000)
    """Maximum number of candidates per proposal."""
    max_proposal_characters: int = Field(default=_PROPOSAL.characters, ge=1, le=1_000_000)
    """Maximum length of all candidates of a proposal together, in characters."""
    max_read_live_answers: int = Field(default=_PROPOSAL.read, ge=1, le=5000)
    """Maximum number of live answers that are read for one proposal."""
    max_proposed_documents: int = Field(default=_PROPOSAL.documents, ge=1, le=1000)
    """Maximum number of document versions that a candidate rests on."""
    near_duplicate_share: float = Field(default=_PROPOSAL.near, gt=0, le=1)
    """Share of common words from which two questions are near duplicates (Jaccard)."""
    supported_share: float = Field(default=_PROPOSAL.supported, ge=0, le=1)
    """Share of a generated reference's words that have to be in the passage that it was generated from."""
    max_requirements: int = Field(default=_LIMITS.requirements, ge=1, le=40)
    """Maximum number of requirements per gate."""

    @property
    def evidence(self) -> Evidence:
        """The evidence that a verdict needs."""
        return Evidence(
            min_questions=self.min_questions,
            max_unanswered=self.max_unanswered,
            min_clusters=self.min_clusters,
            min_slice=self.min_slice,
            max_slices=self.max_slices,
        )

    @property
    def grid_limits(self) -> GridLimits:
        """How large a prompt test may be."""
        return GridLimits(
            variants=self.max_prompt_test_variants,
            cells=self.max_prompt_test_cells,
            questions=self.max_prompt_test_questions,
            characters=self.max_prompt_test_characters,
        )

    @property
    def proposal_limits(self) -> ProposalLimits:
        """How large a proposal may be, and when a candidate is refused."""
        return ProposalLimits(
            candidates=self.max_proposed_cases,
            characters=self.max_proposal_characters,
            read=self.max_read_live_answers,
            documents=self.max_proposed_documents,
            near=self.near_duplicate_share,
            supported=self.supported_share,
        )

    @property
    def power_queue(self) -> QueueLimits:
        """The places for computations of power."""
        return QueueLimits(places=self.max_concurrent_powers)

    @property
    def score_limits(self) -> ProcessLimits:
        """What a process that scores by libraries may take."""
        return ProcessLimits(
            workers=self.max_concurrent_scores,
            cpu_s=self.score_cpu_s,
            wall_s=_WALL_SHARE * self.score_cpu_s,
            memory_bytes=self.score_memory_bytes,
            waiting=_MAX_WAITING_SCORES,
        )

    @property
    def code_limits(self) -> CodeLimits:
        """What a program of an answer may take."""
        return CodeLimits(cpu_s=self.code_cpu_s, memory_bytes=self.code_memory_bytes)

    @property
    def limits(self) -> Limits:
        """The size limits of requests and evaluations."""
        return Limits(
            cases=self.max_suite_cases,
            evaluation_cases=self.max_evaluation_cases,
            part_bytes=self.max_part_bytes,
            question_length=self.max_question_length,
            reference_length=self.max_reference_length,
            context_length=self.max_context_length,
            expectation_length=self.max_expectation_length,
            schema_length=self.max_schema_length,
            code_tests_length=self.max_code_tests_length,
            judgements=self.max_judgements,
            requirements=self.max_requirements,
        )
