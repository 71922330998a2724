"""Use case: list an evaluation's case results by how they differ, worst or best first."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.errors import InvalidInput, NotFound, Violation
from tidemill_core.rights import ACT_FOR_USERS, has_right
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.places import Place, behind, order_of, place_of, token_of
from tidemill_evaluator.evaluations.domain.results import CaseResult, scored_in
from tidemill_evaluator.evaluations.ports import CaseName, CaseResults, Evaluations, PartialResult, Readers
from tidemill_evaluator.metrics.domain.metric import ROUGE_L, Metric, unknown
from tidemill_evaluator.metrics.ports import KnownMetrics
from tidemill_evaluator.suites.domain.cases import Case, CaseSet, DocumentVersion, Turn
from tidemill_evaluator.suites.ports import Cases

MAX_PAGE_CHARS = 1_000_000
"""Characters (at most 4 bytes each) per page, so that it fits gRPC's default message size."""
_MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCommand:
    """An empty `case_set` means all sets; an empty `metric` the first that is asked for."""

    evaluation: str
    page: PageRequest
    case_set: str = ""
    metric: str = ""
    best_first: bool = False

    def places(self, metric: Metric) -> Sequence[str]:
        """Return what its pages belong to: the metric, and the direction of the order where it is the other one."""
        return self.evaluation, self.case_set, f"{metric.name}{' desc' if self.best_first else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A result with its case; `restricted` says that texts were left out which are not for the caller."""

    result: CaseResult
    question: str
    reference: str
    earlier: Sequence[Turn] = ()
    restricted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPage(Page[Shown]):
    """A page, and the metric that it is ordered by."""

    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCaseResults:
    """Ordered by (difference, set, case), in either direction; omits unanswered and erased cases.

    Texts are shown by the rule of recorded answers: all to who acts for users, and a user's own; to others what rests
    on documents that they may read now, without messages before a user's question.
    """

    evaluations: Evaluations
    cases: Cases
    results: CaseResults
    readers: Readers
    metrics: KnownMetrics

    async def __call__(self, caller: Caller, command: ListCommand) -> ShownPage:
        """Return a page.

        Raises:
            EvaluationNotFound: there is none.
            InvalidInput: there is no such set of cases or metric, or the page's size or token is not usable.
            DependencyUnavailable: ingest, which knows the readers, does not answer.

        """
        page = command.page
        evaluation = await self.evaluations.get(caller.project, command.evaluation)
        if command.metric and self.metrics.find(command.metric) is None:
            raise InvalidInput.at(field="metric", text=unknown(command.metric, self.metrics.names))
        chosen = _chosen(evaluation.case_sets, command)
        asked = await self._asked(caller.project, chosen)
        known = await self.results.read(caller.project, evaluation.id, list(asked))
        found = [result for name, kept in known.items() if (result := kept.result(name.case_set, name.case))]
        metric = self._metric(command, evaluation, chosen, found)
        after, descending = place_of(page.token, command.places(metric)), command.best_first
        ordered = behind(found, lambda result: _place(result, metric), after, descending=descending)
        found_page = _page(ordered, asked, page.size, command, metric)
        if has_right(caller, ACT_FOR_USERS):
            return found_page
        return replace(found_page, items=await self._readable(caller, found_page.items, asked, known))

    def _metric(
        self, command: ListCommand, evaluation: Evaluation, chosen: Sequence[CaseSet], found: Sequence[CaseResult]
    ) -> Metric:
        """Return the metric that is named, else the page before's, else the first asked for: by gate, hand, or cases.

        The last changes while cases are scored, so that a token keeps it. Nearness to the reference comes before what
        cases ask for, where they have one.
        """
        required = [each.metric for each in evaluation.comparing.require if any(map(each.is_of, chosen))]
        scored = scored_in(result for result in found if result.answered)
        usual = [ROUGE_L] if ROUGE_L in scored else [*scored, ROUGE_L]
        named = command.metric or order_of(command.page.token).partition(" ")[0]
        names = [named, *required, *evaluation.comparing.metrics, *usual]
        known = [metric for name in names if (metric := self.metrics.find(name))]
        asked = {named, *required, *evaluation.comparing.metrics, ROUGE_L}
        return next(each for each in known if each.by_case or each.name in asked)

    async def _readable(
        self,
        caller: Caller,
        items: Sequence[Shown],
        asked: Mapping[CaseName, Case],
        known: Mapping[CaseName, PartialResult],
    ) -> Sequence[Shown]:
        """Return what is shown to a caller who does not act for users."""
        names = [CaseName(each.result.case_set, each.result.case) for each in items]
        sources = [_sources(asked[name], known[name]) for name in names]
        own = {each for some in sources if some is not None for each in some if not each.collection}
        restricted = await self.readers.restricted(caller, sorted(own, key=astuple)) if own else frozenset()
        readable = list[Shown]()
        for shown, name, rests_on in zip(items, names, sources, strict=True):
            case = asked[name]
            of_suite = name.case_set.startswith("suite:") and not case.proposal
            if case.end_user and case.end_user == caller.subject and not case.owner:
                readable.append(shown)
            elif rests_on is None or any(each.collection or each in restricted for each in rests_on):
                readable.append(_without_texts(shown, of_suite=of_suite))
            else:
                readable.append(shown if of_suite else replace(shown, earlier=()))
        return readable

    async def _asked(self, project: str, case_sets: Sequence[CaseSet]) -> Mapping[CaseName, Case]:
        asked = dict[CaseName, Case]()
        for case_set in case_sets:
            try:
                cases = await self.cases.read(project, case_set)
            except NotFound:
                continue
            asked |= {CaseName(case_set.name, case.id): case for case in cases}
        return asked


def _page(
    left: Sequence[CaseResult],
    asked: Mapping[CaseName, Case],
    size: int,
    command: ListCommand,
    metric: Metric,
) -> ShownPage:
    items, capacity = list[Shown](), MAX_PAGE_CHARS
    for result in left:
        case = asked[CaseName(result.case_set, result.case)]
        texts = [case.question, case.reference, result.baseline.text, result.candidate.text]
        texts += [turn.text for turn in case.context.earlier]
        capacity -= sum(map(len, texts))
        if items and (len(items) == size or capacity < 0):
            token = token_of(_place(items[-1].result, metric), command.places(metric))
            return ShownPage(items=items, next_token=token, metric=metric.name)
        shown = Shown(result=result, question=case.question, reference=case.reference, earlier=case.context.earlier)
        items.append(shown)
    return ShownPage(items=items, metric=metric.name)


def _sources(case: Case, kept: PartialResult) -> Sequence[DocumentVersion] | None:
    """Return what a case and its answers rest on; None where that is not known, or known to another project only."""
    return None if kept.rests_on is None or case.owner else (*case.rests_on, *kept.rests_on)


def _without_texts(shown: Shown, *, of_suite: bool) -> Shown:
    """Return a result without its answers, and without what a user asked; what a suite asks stays."""
    result = replace(
        shown.result,
        baseline=replace(shown.result.baseline, text=""),
        candidate=replace(shown.result.candidate, text=""),
    )
    if of_suite:
        return replace(shown, result=result, restricted=True)
    return Shown(result=result, question="", reference="", restricted=True)


def _place(result: CaseResult, metric: Metric) -> Place:
    return result.difference(metric.name, less_is_better=metric.less_is_better), result.case_set, result.case


def _chosen(case_sets: Sequence[CaseSet], command: ListCommand) -> Sequence[CaseSet]:
    violations = list[Violation]()
    names = [case_set.name for case_set in case_sets]
    if command.case_set and command.case_set not in names:
        text = f"{command.case_set[:80]!r} is not a set of this evaluation: it has {', '.join(names) or 'none yet'}"
        violations.append(Violation("case_set", text))
    if not 1 <= command.page.size <= _MAX_ITEMS:
        violations.append(Violation("page_size", f"is {command.page.size}; it must be 1 to {_MAX_ITEMS}"))
    if violations:
        raise InvalidInput.of(*violations)
    return [each for each in case_sets if command.case_set in {"", each.name}]
