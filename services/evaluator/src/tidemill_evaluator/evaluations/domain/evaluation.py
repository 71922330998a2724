"""An evaluation: compares a candidate with the live configuration on the same cases and passages."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tidemill_core.aggregate import Event
from tidemill_core.application import derived_id
from tidemill_evaluator.errors import BASELINE_CHANGED, COLLECTION_CHANGED, DATA_ERASED, NoVerdict
from tidemill_evaluator.evaluations.domain.comparison import Comparison, Latencies, Verdict, verdict_of
from tidemill_evaluator.evaluations.domain.job import EvaluationJob, State
from tidemill_evaluator.evaluations.domain.slices import NO_SLICES, ComparedSlices, SliceComparison
from tidemill_evaluator.evaluations.domain.worsening import not_worse_of
from tidemill_evaluator.gates.domain.gate import CONFIDENCE, Gate, Requirement, RetrievalRequirement
from tidemill_evaluator.gates.domain.spending import corrected_confidence
from tidemill_evaluator.metrics.domain.metric import LATENCY_S
from tidemill_evaluator.suites.domain.cases import CaseSet
from tidemill_evaluator.suites.domain.names import number_of


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationHasStarted(Event):
    """Baseline and cases are pinned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationHasCompleted(Event):
    """There is a verdict; the evidence is in the evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationHasFailed(Event):
    """There is no verdict; the reason is in the evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """What is compared. Without a gate it uses `suites`; an empty baseline is the live model.

    With `collection` the candidate is an index version of it, `collection@number`, with `prompt` a version of that,
    `prompt@number`: then both sides have the live model.
    """

    deployment: str
    candidate: str
    collection: str = ""
    prompt: str = ""
    retrieval: RetrievalRequirement | None = None
    gate: str = ""
    suites: tuple[str, ...] = ()
    require: tuple[Requirement, ...] = ()
    confidence: float = CONFIDENCE
    baseline: str = ""
    cluster_by: tuple[str, ...] = ()
    """By what cases depend on one another; empty for the default."""
    max_size_ratio: float = 0.0
    """Of the bytes of the weights, candidate divided by baseline; 0 asks nothing."""
    max_exposure: float = 0.0
    """Of the canaries of the candidate's training, the mean in bits; 0 asks nothing."""
    metrics: tuple[str, ...] = ()
    """Asked for by hand, beside what is always computed."""
    reevaluates: str = ""
    """Of a re-evaluation the evaluation that the live variant passed: its candidate's answers are the baseline."""

    @classmethod
    def of(cls, gate: Gate, candidate: str) -> "Comparing":
        """Return what a gate compares of a candidate."""
        return cls(
            gate=gate.id,
            deployment=gate.deployment,
            candidate=candidate,
            collection=gate.collection,
            prompt=gate.candidate_prompt,
            retrieval=gate.retrieval,
            require=gate.require,
            confidence=gate.confidence,
            cluster_by=gate.cluster_by,
            max_size_ratio=gate.max_size_ratio,
            max_exposure=gate.max_exposure,
        )

    @classmethod
    def again(cls, gate: Gate, passed: "Evaluation", require: tuple[Requirement, ...]) -> "Comparing":
        """Return what is compared of what is live, which passed this evaluation of the gate."""
        of_gate = cls.of(gate, passed.candidate)
        return replace(of_gate, require=require, max_size_ratio=0.0, max_exposure=0.0, reevaluates=passed.id)

    @property
    def model(self) -> str:
        """The candidate where it is a model's version, else ""."""
        return "" if self.collection or self.prompt else self.candidate

    @property
    def counted_as(self) -> str:
        """The candidate among all that are compared with the live model: a prompt may have a model's name."""
        return f"prompt:{self.candidate}" if self.prompt else self.candidate

    @property
    def index(self) -> int:
        """The number of the candidate where it is an index version, else 0."""
        return number_of(self.candidate) if self.collection else 0

    @property
    def required_suites(self) -> list[str]:
        """All suites without repeats, in the order of the requirements."""
        return list(dict.fromkeys([*(each.suite for each in self.require if each.suite), *self.suites]))

    @property
    def required_datasets(self) -> list[str]:
        """All datasets without repeats."""
        return list(dict.fromkeys(each.dataset for each in self.require if each.dataset))


@dataclass(slots=True, kw_only=True)
class Evaluation(EvaluationJob):
    """QUEUED until a worker has pinned baseline and cases, then RUNNING, then final."""

    comparing: Comparing
    gate: str
    """Copy from `comparing`, for filters of lists."""
    candidate: str
    """Copy from `comparing`, for filters of lists."""
    origin: str
    """Cause of the first attempt; ids of further attempts derive from it."""
    attempt: int = 1
    dataset_version: str = ""
    baseline: str = ""
    """`model@version`; pinned at the start, as its configuration is."""
    baseline_configuration: str = ""
    """Digest of the live configuration, which both sides use except for the candidate."""
    baseline_prompt: str = ""
    """`prompt@number` that was live at the start; "" where no prompt is compared."""
    case_sets: tuple[CaseSet, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)
    """The versions of what computes metrics that may change meanwhile, by metric."""
    comparisons: tuple[Comparison, ...] = ()
    slices: tuple[SliceComparison, ...] = ()
    slices_left_out: int = 0
    latencies: Latencies | None = None
    retrieval_evaluation: str = ""
    """Compares what searches of an index version find."""
    baseline_index: int = 0
    """The index version that was live when searches were compared: the baseline has to answer from it. 0 before."""
    verdict: Verdict | None = None
    ordinal: int = 0
    """Which candidate on the gate's cases against this baseline it has, of several sets on that with the most; 0 before
    there is a verdict, and where none is counted."""

    @classmethod
    def queued(  # noqa: PLR0913 - all of it is known at once, and fixed from then on
        cls,
        project: str,
        comparing: Comparing,
        *,
        origin: str,
        attempt: int = 1,
        asked_by: str = "",
        requester: str = "",
        dataset_version: str = "",
    ) -> "Evaluation":
        """Return a new evaluation; its id derives from its cause and the attempt."""
        return cls(
            id=derived_id(project, "evaluation", origin, str(attempt)),
            project=project,
            comparing=comparing,
            gate=comparing.gate,
            candidate=comparing.candidate,
            origin=origin,
            attempt=attempt,
            asked_by=asked_by,
            requester=requester,
            dataset_version=dataset_version,
        )

    def has_failed(self, now: datetime) -> Event:
        """Return the event of an end without a verdict."""
        return EvaluationHasFailed(occurred_at=now)

    @property
    def of_newest_prompt(self) -> bool:
        """Whether its gate started it because a prompt had a new version, so that a newer one supersedes it."""
        return bool(self.comparing.prompt) and self.origin.startswith(self._of_version)

    @property
    def prompt_digest(self) -> str:
        """Of the prompt's version that its gate started it for; "" where that is not known, as of one by hand."""
        return self.origin.removeprefix(self._of_version) if self.of_newest_prompt else ""

    @property
    def _of_version(self) -> str:
        return f"{self.gate}/prompt:{self.candidate}:"

    def is_of(self, gate: Gate, *, prompt_digest: str) -> bool:
        """Return whether the gate would compare its candidate there still; the digest is that of the version of now.

        A gate, and a prompt, may have been deleted and made anew under its name.
        """
        now = Comparing.of(gate, self.candidate)
        same = (now.deployment, now.collection, now.prompt)
        if same != (self.comparing.deployment, self.comparing.collection, self.comparing.prompt):
            return False
        return self.prompt_digest in ("", prompt_digest)

    @property
    def seed(self) -> int:
        """Return the id as a number."""
        return int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:4], "big")

    @property
    def confidence(self) -> float:
        """Of the intervals: the gate's, corrected for the candidates on its cases before."""
        return corrected_confidence(self.comparing.confidence, self.ordinal)

    @property
    def cases(self) -> int:
        """Total number of cases."""
        return sum(case_set.size for case_set in self.case_sets)

    @property
    def required_sets(self) -> list[CaseSet]:
        """Sets of cases with a requirement."""
        suites = {each.suite for each in self.comparing.require if each.suite}
        datasets = {each.dataset for each in self.comparing.require if each.dataset}
        return [each for each in self.case_sets if (each.suite in suites if each.suite else each.dataset in datasets)]

    def metrics_on(self, case_set: str) -> list[str]:
        """Return the metrics that are asked for on a set of cases: required of it, or by hand."""
        of_set = [each for each in self.case_sets if each.name == case_set]
        required = [each.metric for each in self.comparing.require if any(map(each.is_of, of_set))]
        return list(dict.fromkeys([*required, *self.comparing.metrics]))

    @property
    def compares_times(self) -> bool:
        """Whether answers are compared by how long they took."""
        return any(LATENCY_S in self.metrics_on(each.name) for each in self.case_sets)

    def begin(  # noqa: PLR0913 - all of it is fixed at once
        self,
        *,
        baseline: str,
        baseline_configuration: str,
        baseline_prompt: str = "",
        dataset_version: str,
        case_sets: Sequence[CaseSet],
        pins: Mapping[str, str] | None = None,
        now: datetime,
        epoch: int,
    ) -> None:
        """Pin baseline, cases, and the versions of what computes metrics."""
        self.refuse_unless_claimed(epoch)
        if self.state is State.RUNNING:
            return
        self.state, self.message = State.RUNNING, ""
        self.baseline, self.baseline_configuration = baseline, baseline_configuration
        self.baseline_prompt = baseline_prompt
        self.dataset_version, self.case_sets, self.pins = dataset_version, tuple(case_sets), dict(pins or {})
        self.pending.append(EvaluationHasStarted(occurred_at=now))

    def compare_retrieval(self, retrieval_evaluation: str, *, epoch: int) -> None:
        """Record what compares the searches, which it waits for."""
        self.wait(f"waits for retrieval evaluation {retrieval_evaluation}", epoch=epoch)
        self.retrieval_evaluation = retrieval_evaluation

    def record_baseline_index(self, index: int, *, epoch: int) -> None:
        """Record the index version that the candidate was compared with."""
        self.refuse_unless_claimed(epoch)
        self.baseline_index = index

    def complete(  # noqa: PLR0913 - all of it is known at once
        self,
        comparisons: Sequence[Comparison],
        *,
        slices: ComparedSlices = NO_SLICES,
        latencies: Latencies | None = None,
        numbers: Mapping[str, int] | None = None,
        left_out: int = 0,
        now: datetime,
        epoch: int,
    ) -> None:
        """Record the verdict; `numbers` is which candidate it has on each set of cases, where that is counted.

        Of a re-evaluation `left_out` are the cases that it cannot compare.

        Raises:
            NoVerdict: nothing got worse in a re-evaluation, and a requirement of it could not be decided.

        """
        self.refuse_unless_claimed(epoch)
        numbers = numbers or {}
        self.latencies, self.ordinal = latencies, max(numbers.values(), default=0)
        self.comparisons = tuple(comparisons)
        self.verdict = (not_worse_of if self.comparing.reevaluates else verdict_of)(comparisons)
        self.slices, self.slices_left_out = tuple(slices.comparisons), slices.left_out
        self.finish(State.COMPLETED, now, EvaluationHasCompleted(occurred_at=now))
        sampled = [each for each in self.case_sets if each.whole]
        notes = [f"{each.size} of {each.whole} cases of {each.name} are sampled" for each in sampled]
        notes += [f"{metric} is by {version}" for metric, version in self.pins.items()]
        if left_out:
            notes.append(
                f"{left_out} cases are left out: they changed since {self.comparing.reevaluates}, or it has no answer"
            )
        self.message = "; ".join([*notes, *self._correction(numbers)])

    def _correction(self, numbers: Mapping[str, int]) -> list[str]:
        """Return what its intervals are corrected for, for people."""
        corrected = [
            f"it is candidate {number} on {name} against {self.baseline}: its intervals there are wrong with "
            f"probability {1 - corrected_confidence(self.comparing.confidence, number):.2g} at most"
            for name, number in numbers.items()
            if number > 1
        ]
        if not corrected:
            return []
        at_most = 1 - self.comparing.confidence
        together = (
            "so that of all candidates on the same cases those that gain no more than is required pass with "
            f"probability {at_most:.2g} at most"
        )
        return [*corrected, together]

    def withdraw(self, now: datetime) -> None:
        """Fail it because cases that it asks are erased.

        Raises:
            EvaluationFinished: it has ended.

        """
        self.refuse_finished()
        self.finish(State.FAILED, now, EvaluationHasFailed(occurred_at=now))
        self.reason, self.message = DATA_ERASED, "cases were erased while they were asked: start it again"

    def refuse_other(self, configuration: str) -> None:
        """Check that a configuration of the deployment is the one that is compared with.

        Raises:
            NoVerdict: it is another one.

        """
        if configuration != self.baseline_configuration:
            message = f"the live configuration of {self.comparing.deployment} changed since the evaluation started"
            raise NoVerdict(BASELINE_CHANGED, message)

    def refuse_other_index(self, index: int) -> None:
        """Check that a baseline's answer is from the index version compared with; 0 is one for which none was searched.

        Raises:
            NoVerdict: it is from another one.

        """
        if index and self.baseline_index and index != self.baseline_index:
            message = (
                f"the baseline answered from index version {index} of {self.comparing.collection}, and the searches "
                f"were compared with {self.baseline_index}"
            )
            raise NoVerdict(COLLECTION_CHANGED, message)
