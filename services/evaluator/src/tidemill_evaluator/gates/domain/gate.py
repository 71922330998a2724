"""A gate: requirements for a candidate's rollout."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import Violation
from tidemill_core.rankings import METRICS as RANKING_METRICS
from tidemill_core.resources import label_violations, name_violations, refuse, slug_violations
from tidemill_evaluator.gates.domain.deferred_evaluation import DeferredEvaluation
from tidemill_evaluator.gates.domain.dependence import cluster_by_violations
from tidemill_evaluator.gates.domain.reevaluation import NEVER, Reevaluate, reevaluate_violations
from tidemill_evaluator.metrics.domain.metric import unknown
from tidemill_evaluator.metrics.ports import KnownMetrics
from tidemill_evaluator.suites.domain.cases import CaseSet
from tidemill_evaluator.suites.domain.limits import Limits

CONFIDENCE = 0.95
MAX_RETRIEVAL_DEPTH = 25
MIN_CONFIDENCE, MAX_CONFIDENCE = 0.5, 0.999
MAX_CASES = 1_000_000
MAX_SIZE_RATIO = 100.0
MAX_EXPOSURE = 9.9
"""Below what the most candidates that a training ranks among can show: log2(1000) bits."""
_FOLLOWED = {"collection": "collection", "candidate_prompt": "prompt", "candidate": "model"}
"""The fields that name what a gate follows, of which it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Bound on the gain by a metric on a suite or on the held-out split of a dataset.

    The gain is candidate less baseline, and baseline less candidate where less is better.
    """

    suite: str = ""
    dataset: str = ""
    metric: str
    gain_above: float = 0.0
    at_least: int = 0

    def is_of(self, case_set: CaseSet) -> bool:
        """Return whether these are cases of its suite or dataset."""
        return case_set.suite == self.suite if self.suite else case_set.dataset == self.dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalRequirement:
    """Bound on the paired difference of what searches find on a suite's judged questions."""

    suite: str
    metric: str
    gain_above: float = 0.0
    at_least: int = 0
    depth: int = 0
    """How many documents of a ranking count; 0 is the default."""


@dataclass(slots=True, kw_only=True)
class Gate(Aggregate):
    """All requirements must hold. Its candidates are versions of a model, of a prompt, or of a collection's index."""

    deployment: str
    candidate: str = ""
    collection: str = ""
    candidate_prompt: str = ""
    confidence: float = CONFIDENCE
    require: tuple[Requirement, ...] = ()
    retrieval: RetrievalRequirement | None = None
    paused: bool = False
    cluster_by: tuple[str, ...] = ()
    """By what cases depend on one another; empty for the default."""
    max_size_ratio: float = 0.0
    """The bytes of the candidate's weights divided by those of the live model's, at most; 0 asks nothing."""
    max_exposure: float = 0.0
    """The mean exposure, in bits, of the canaries of the candidate's training, at most; 0 asks nothing."""
    deferred_evaluation: DeferredEvaluation | None = None
    """Evaluation of the newest candidate that came while the gate was paused, or a rollout ran; queued afterwards."""
    reevaluate: Reevaluate | None = None
    reevaluation_due: datetime | None = None
    """When what is live is evaluated again; None where `reevaluate` is."""
    last_reevaluation: str = ""
    """The id of the last one."""
    last_reevaluation_time: datetime | None = None
    """When it was queued."""
    provider_changed: bool = False
    """Whether the one that is due is to see a change of the live model's provider."""
    changed_candidate: str = ""
    """The candidate whose provider has changed before it went live, which is evaluated again once it has."""

    @property
    def follows(self) -> str:
        """The model, prompt or collection whose versions are its candidates."""
        return self.collection or self.candidate_prompt or self.candidate

    def defer(self, deferred_evaluation: DeferredEvaluation) -> None:
        """Defer an evaluation while the gate is paused, unless one of a newer version is deferred."""
        known = self.deferred_evaluation
        if self.paused and (known is None or deferred_evaluation.supersedes(known, name=self.follows)):
            self.deferred_evaluation = deferred_evaluation

    def defer_until_rollout_ends(self, deferred_evaluation: DeferredEvaluation) -> None:
        """Defer the next attempt of an evaluation whose candidate was refused a rollout because of another one."""
        known = self.deferred_evaluation
        if known is None or deferred_evaluation.supersedes(known, name=self.follows):
            self.deferred_evaluation = replace(deferred_evaluation, after_rollout=True)

    def rollout_ended(self) -> None:
        """Let what waits for the end of a rollout be queued, unless the gate is paused."""
        if self.deferred_evaluation:
            self.deferred_evaluation = replace(self.deferred_evaluation, after_rollout=False)

    def finish(self, deferred_evaluation: DeferredEvaluation) -> None:
        """Clear a deferred evaluation that was queued."""
        if self.deferred_evaluation == deferred_evaluation:
            self.deferred_evaluation = None

    def schedule(self, now: datetime) -> None:
        """Set when it is evaluated again, as `reevaluate` says; a time that is set already stays if it is sooner."""
        if not (self.reevaluate and self.reevaluate.on_provider_change):
            self.provider_changed, self.changed_candidate = False, ""
        if not self.provider_changed and (self.reevaluate is None or self.reevaluate.every == NEVER):
            self.reevaluation_due = None
        elif self.reevaluate and self.reevaluate.every != NEVER:
            latest = now + self.reevaluate.every
            self.reevaluation_due = min(self.reevaluation_due or latest, latest)

    def change_of_provider(self, now: datetime, min_interval: timedelta) -> None:
        """Have it evaluated again: now, or `min_interval` after the last time at the earliest.

        The provider of the live model answers as another model than before. A time that is set already stays if it is
        sooner.
        """
        if self.reevaluate and self.reevaluate.on_provider_change:
            last = self.last_reevaluation_time
            soonest = max(now, last + min_interval) if last else now
            self.reevaluation_due = min(self.reevaluation_due or soonest, soonest)
            self.provider_changed = True

    def change_of_candidate(self, model: str) -> None:
        """Remember that the provider of a candidate, which is not live, answers as another model than before."""
        if self.reevaluate and self.reevaluate.on_provider_change:
            self.changed_candidate = model

    def changed_candidate_is_live(self, model: str, now: datetime, min_interval: timedelta) -> None:
        """Have it evaluated again, as by a change of its provider now."""
        if self.changed_candidate == model:
            self.changed_candidate = ""
            self.change_of_provider(now, min_interval)

    def reevaluated(self, due: datetime, now: datetime, *, evaluation: str, seen_change: bool) -> None:
        """Set the next time, once what was due then is done; times that have passed meanwhile are left out.

        A time that a change of the schedule or of a provider has set meanwhile stays. So does what was due where the
        provider has changed since it was decided that no evaluation is queued, without `seen_change`.
        """
        if not evaluation and self.provider_changed and not seen_change:
            return
        if evaluation and evaluation != self.last_reevaluation:
            self.last_reevaluation, self.last_reevaluation_time = evaluation, now
        if self.reevaluation_due == due:
            self.reevaluation_due, self.provider_changed = None, False
            self.schedule(now)

    def postpone_reevaluation(self, due: datetime, until: datetime) -> None:
        """Let what was due then be due later, unless another time was set meanwhile."""
        if self.reevaluation_due == due:
            self.reevaluation_due = until

    def check(self, limits: Limits, metrics: KnownMetrics) -> None:
        """Validate all fields.

        Raises:
            InvalidInput: naming every field that breaks its rule.

        """
        refuse(self._violations(limits, metrics))

    def _violations(self, limits: Limits, metrics: KnownMetrics) -> Iterator[Violation]:
        for name in ("id", "deployment"):
            yield from slug_violations(f"gate.{name}", getattr(self, name))
        yield from self._candidate_violations()
        yield from label_violations("gate.labels", self.labels)
        if not MIN_CONFIDENCE <= self.confidence <= MAX_CONFIDENCE:
            text = f"is {self.confidence}: send {MIN_CONFIDENCE} to {MAX_CONFIDENCE}, or 0 for {CONFIDENCE}"
            yield Violation("gate.confidence", text)
        if not 1 <= len(self.require) <= limits.requirements:
            yield Violation("gate.require", f"has {len(self.require)} requirements: send 1 to {limits.requirements}")
        for number, requirement in enumerate(self.require):
            yield from _requirement_violations(requirement, f"gate.require[{number}]", metrics)
        yield from cluster_by_violations(self.cluster_by, "gate.cluster_by")
        yield from reevaluate_violations(self.reevaluate, "gate.reevaluate", of_index=bool(self.collection))
        for name, limit in (("max_size_ratio", MAX_SIZE_RATIO), ("max_exposure", MAX_EXPOSURE)):
            yield from self._bound_of_model_violations(name, limit)

    def _bound_of_model_violations(self, name: str, limit: float) -> Iterator[Violation]:
        value: float = getattr(self, name)
        if not 0 <= value <= limit:
            yield Violation(f"gate.{name}", f"is {value}: send a number above 0, to {limit:g}, or 0 to ask nothing")
        if value and (self.collection or self.candidate_prompt):
            kind = "an index version" if self.collection else "a prompt"
            yield Violation(f"gate.{name}", f"is for gates of a model: both sides of {kind} have one model")

    @property
    def datasets(self) -> list[str]:
        """The datasets whose held-out parts are required, without repeats; no candidate is trained on two."""
        return list(dict.fromkeys(each.dataset for each in self.require if each.dataset))

    def check_datasets(self) -> None:
        """Validate that one dataset is required at most, which gates of earlier versions need not keep.

        Raises:
            InvalidInput: naming every other one.

        """
        refuse(self._dataset_violations())

    def _dataset_violations(self) -> Iterator[Violation]:
        first, *others = self.datasets or [""]
        for number, each in enumerate(self.require):
            if each.dataset in others:
                why = "a candidate is trained on one dataset, name one"
                text = f"is {each.dataset[:80]!r} beside {first[:80]!r}: {why}"
                yield Violation(f"gate.require[{number}].dataset", text)

    def _candidate_violations(self) -> Iterator[Violation]:
        first, *others = [name for name in _FOLLOWED if getattr(self, name)] or ["candidate"]
        yield from slug_violations(f"gate.{first}", getattr(self, first))
        for name in others:
            text = f"is for gates of a {_FOLLOWED[name]}: leave it out, or the {_FOLLOWED[first]}"
            yield Violation(f"gate.{name}", text)
        if self.collection:
            yield from self._searched_violations()
        elif self.retrieval:
            yield Violation("gate.retrieval", "is for gates of index versions: set collection, or leave it out")

    def _searched_violations(self) -> Iterator[Violation]:
        if self.retrieval is None:
            yield Violation("gate.retrieval", "is required with collection: send suite, metric and gain_above")
        else:
            yield from _retrieval_violations(self.retrieval, "gate.retrieval")
        for number, each in enumerate(self.require):
            if each.dataset:
                text = f"is {each.dataset[:80]!r}; an index version was trained on none: name a suite"
                yield Violation(f"gate.require[{number}].dataset", text)


def _retrieval_violations(requirement: RetrievalRequirement, where: str) -> Iterator[Violation]:
    yield from slug_violations(f"{where}.suite", requirement.suite)
    if requirement.metric not in RANKING_METRICS:
        text = f"{requirement.metric[:40]!r} is not a metric of searches: use one of {', '.join(RANKING_METRICS)}"
        yield Violation(f"{where}.metric", text)
    if not 0 <= requirement.depth <= MAX_RETRIEVAL_DEPTH:
        yield Violation(
            f"{where}.depth", f"is {requirement.depth}: send 1 to {MAX_RETRIEVAL_DEPTH}, or 0 for the default"
        )
    yield from _bound_violations(requirement, where)


def _bound_violations(requirement: Requirement | RetrievalRequirement, where: str) -> Iterator[Violation]:
    if not math.isfinite(requirement.gain_above):
        yield Violation(f"{where}.gain_above", f"is {requirement.gain_above}: send a number")
    if not 0 <= requirement.at_least <= MAX_CASES:
        yield Violation(f"{where}.at_least", f"is {requirement.at_least}: send 0 to {MAX_CASES}")


def _requirement_violations(requirement: Requirement, where: str, metrics: KnownMetrics) -> Iterator[Violation]:
    if requirement.suite:
        yield from slug_violations(f"{where}.suite", requirement.suite)
    elif requirement.dataset:
        yield from name_violations(f"{where}.dataset", requirement.dataset)
    else:
        yield Violation(f"{where}.cases", "names no cases: send suite or dataset")
    if metrics.find(requirement.metric) is None:
        yield Violation(f"{where}.metric", unknown(requirement.metric, metrics.names))
    yield from _bound_violations(requirement, where)
