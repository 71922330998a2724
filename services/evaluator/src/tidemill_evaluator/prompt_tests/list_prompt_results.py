"""Use case: list the answers of all variants to the cases of a test, lowest or highest first by a metric."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from math import inf

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.rights import ACT_FOR_USERS, has_right
from tidemill_evaluator.evaluations.domain.places import Place, behind, place_of, token_of
from tidemill_evaluator.evaluations.ports import Readers
from tidemill_evaluator.metrics.domain.metric import ROUGE_L, unknown
from tidemill_evaluator.metrics.ports import KnownMetrics
from tidemill_evaluator.prompt_tests.domain.cells import INPUT_TOKENS, CaseCells
from tidemill_evaluator.prompt_tests.domain.prompt_test import PromptTest
from tidemill_evaluator.prompt_tests.ports import PromptResults, PromptTests
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.ports import Cases

MAX_PAGE_CHARS = 1_000_000
"""Characters (at most 4 bytes each) per page, so that it fits gRPC's default message size."""
CHARS_OF_SCORES = 1000
"""Of a variant's scores by some metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPromptResultsCommand:
    """An empty metric means the first that the test was asked for, else ROUGE-L, else one that there are values of."""

    test: str
    page: PageRequest
    metric: str = ""
    highest_first: bool = False

    def places(self, metric: str) -> tuple[str, ...]:
        """Return what its pages belong to."""
        return self.test, metric, "desc" if self.highest_first else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCells:
    """A result with its case; `restricted` says that texts were left out which are not for the caller."""

    result: CaseCells
    question: str
    reference: str
    restricted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPromptResults:
    """Ordered by a metric's mean over the variants, then by case; texts by the rule of recorded answers."""

    tests: PromptTests
    cases: Cases
    results: PromptResults
    readers: Readers
    metrics: KnownMetrics

    async def __call__(self, caller: Caller, command: ListPromptResultsCommand) -> Page[ShownCells]:
        """Return a page.

        Raises:
            EvaluationNotFound: there is none.
            InvalidInput: there is no such metric, or the page's token is not usable.
            DependencyUnavailable: ingest, which knows the readers, does not answer.

        """
        metric, page = command.metric, command.page
        if metric not in {"", INPUT_TOKENS} and self.metrics.find(metric) is None:
            raise InvalidInput.at(field="metric", text=unknown(metric, self.metrics.names))
        test = await self.tests.get(caller.project, command.test)
        asked = await self._asked(test)
        known = await self.results.read(caller.project, test.id)
        found = [each for each in known.values() if each.case in asked]
        metric = metric or _usual(test, found)

        def place(result: CaseCells) -> Place:
            value, last = result.mean(metric), -inf if command.highest_first else inf
            return last if value is None else value, "", result.case

        places = command.places(metric)
        ordered = behind(found, place, place_of(page.token, places), descending=command.highest_first)
        shown, capacity = list[ShownCells](), MAX_PAGE_CHARS
        for each in ordered[: page.size]:
            case = asked[each.case]
            capacity -= len(case.question) + len(case.reference)
            capacity -= sum(len(cell.text) + CHARS_OF_SCORES for cell in each.cells)
            if shown and capacity < 0:
                break
            shown.append(ShownCells(result=each, question=case.question, reference=case.reference))
        token = token_of(place(shown[-1].result), places) if len(ordered) > len(shown) else ""
        return Page(items=await self._readable(caller, shown, asked), next_token=token)

    async def _asked(self, test: PromptTest) -> Mapping[str, Case]:
        cases: Sequence[Case] = test.grid.questions
        if test.pinned and test.pinned.case_set:
            try:
                cases = await self.cases.read(test.project, test.pinned.case_set)
            except NotFound:
                cases = ()
        return {case.id: case for case in cases}

    async def _readable(
        self, caller: Caller, shown: Sequence[ShownCells], asked: Mapping[str, Case]
    ) -> Sequence[ShownCells]:
        """Return what is shown: to who does not act for users, answers on what they may read now."""
        if has_right(caller, ACT_FOR_USERS):
            return shown
        sources = {each for some in shown for each in some.result.rests_on if not each.collection}
        restricted = await self.readers.restricted(caller, sorted(sources, key=astuple)) if sources else frozenset()

        def hidden(each: ShownCells) -> bool:
            return any(source.collection or source in restricted for source in each.result.rests_on)

        live = {each.id for each in asked.values() if each.proposal}
        return [_without_texts(each, of_user=each.result.case in live) if hidden(each) else each for each in shown]


def _usual(test: PromptTest, found: Sequence[CaseCells]) -> str:
    """Return the metric that results are ordered by where none is named."""
    scored = {name for each in found for cell in each.cells for name in cell.scores}
    return next((name for name in (*test.grid.metrics, ROUGE_L, *sorted(scored)) if name in scored), ROUGE_L)


def _without_texts(shown: ShownCells, *, of_user: bool) -> ShownCells:
    """Return a result without its answers, and without what a user asked; what a suite asks stays."""
    cells = tuple(replace(cell, text="") for cell in shown.result.cells)
    found = replace(shown, result=replace(shown.result, cells=cells), restricted=True)
    return replace(found, question="", reference="") if of_user else found
