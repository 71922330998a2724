"""Which cases depend on one another, and their results by that."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from tidemill_evaluator.evaluations.domain.results import CaseResult
from tidemill_evaluator.gates.domain.dependence import DOCUMENT, END_USER, LABEL
from tidemill_evaluator.suites.domain.cases import PAIR, VARIANT_OF, Case

Repeats = Sequence[CaseResult]
"""All results of one question that both sides answered (at least one)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a case has in common with others of its set."""

    question: str
    """The same for all cases that repeat a question."""
    cluster: int
    """The same for all cases that depend on one another."""
    pair: str = ""
    """The same for cases that differ in a group of people only; they depend on one another. "" for all others."""
    slices: Mapping[str, str] = field(default_factory=dict)
    """Values by label."""


TraitsByCase = Mapping[tuple[str, str], Traits]
"""By the name of the set and the id of the case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The results of cases that depend on one another: one observation."""

    questions: Sequence[Repeats]
    """Those that have a value of both sides, by question."""
    lost: Sequence[CaseResult] = ()
    """Those that have one of the baseline alone."""

    def mean(self, value: Callable[[CaseResult], float]) -> float:
        """Return the mean over the questions, of which each is the mean of its repeats."""
        return fmean(fmean(map(value, repeats)) for repeats in self.questions)

    def mean_with_lost(self, gain: Callable[[CaseResult], float], loss: Callable[[CaseResult], float]) -> float:
        """Return the mean gain where a lost case is one of less its loss."""
        gained = [fmean(map(gain, repeats)) for repeats in self.questions]
        return fmean([*gained, *(-loss(each) for each in self.lost)])


def clusters_of(results: Iterable[CaseResult], traits: TraitsByCase, metric: str) -> list[Cluster]:
    """Return the clusters of a set's results by a metric; those without a value of the baseline are in none."""
    questions: defaultdict[int, defaultdict[str, list[CaseResult]]] = defaultdict(lambda: defaultdict(list))
    lost = defaultdict[int, list[CaseResult]](list)
    for result in results:
        of_case = traits[result.case_set, result.case]
        if result.compares(metric):
            questions[of_case.cluster][of_case.question].append(result)
        elif result.lost(metric):
            lost[of_case.cluster].append(result)
    return [
        Cluster(questions=list(questions[number].values()), lost=lost[number])
        for number in dict.fromkeys([*questions, *lost])
    ]


def answered_of(clusters: Sequence[Cluster]) -> list[Cluster]:
    """Return the clusters with a question of both sides."""
    return [each for each in clusters if each.questions]


def questions_with_baseline(results: Iterable[CaseResult], traits: TraitsByCase, metric: str) -> int:
    """Return how many distinct questions of a set have a value of the baseline, which the candidate has or has lost."""
    having = (result for result in results if result.compares(metric) or result.lost(metric))
    return len({traits[result.case_set, result.case].question for result in having})


def averages(clusters: Sequence[Cluster], value: Callable[[CaseResult], float]) -> list[float]:
    """Return the mean per cluster; each has an answered question."""
    return [each.mean(value) for each in clusters]


def numbered(cases: Sequence[Case], cluster_by: Sequence[str]) -> Mapping[str, Traits]:
    """Return the traits of a set's cases by id, slices left out.

    Cases that share a question, a pair, a case that they are variants of, or what `cluster_by` names, are in one
    cluster, also by way of others.
    """
    asked = [case.asked for case in cases]
    shared = [
        {
            ("question", text),
            ("variants", case.labels.get(VARIANT_OF, case.id)),
            *_shared(case, [*cluster_by, f"{LABEL}{PAIR}"]),
        }
        for case, text in zip(cases, asked, strict=True)
    ]
    questions = dict[str, str]()
    return {
        case.id: Traits(
            question=questions.setdefault(text, str(len(questions))), cluster=cluster, pair=case.labels.get(PAIR, "")
        )
        for case, text, cluster in zip(cases, asked, components(shared), strict=True)
    }


def components(shared: Sequence[Iterable[Hashable]]) -> list[int]:
    """Number items so that two that share anything have the same number, and two that do not, even by others, another.

    Disjoint sets with path halving (Tarjan and van Leeuwen, Worst-case analysis of set union algorithms, 1984).
    """
    parents = list(range(len(shared)))

    def root(item: int) -> int:
        while parents[item] != item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    first = dict[Hashable, int]()
    for item, keys in enumerate(shared):
        for key in keys:
            one, other = sorted((root(first.setdefault(key, item)), root(item)))
            parents[other] = one
    numbers = dict[int, int]()
    return [numbers.setdefault(root(item), len(numbers)) for item in range(len(shared))]


def _shared(case: Case, cluster_by: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for name in cluster_by:
        if name == END_USER and case.end_user:
            yield END_USER, case.end_user
        elif name == DOCUMENT:
            yield from ((DOCUMENT, each.collection, each.document) for each in case.rests_on)
            yield from ((DOCUMENT, "", document) for document in case.relevant)
        elif name.startswith(LABEL) and (value := case.labels.get(name.removeprefix(LABEL))):
            yield name, value
