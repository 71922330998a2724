"""Use case: list what was found for the cases of a retrieval evaluation, worst or best first."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.rankings import NDCG
from tidemill_core.rights import ACT_FOR_USERS, has_right
from tidemill_evaluator.evaluations.domain.places import Place, behind, place_of, token_of
from tidemill_evaluator.retrieval_evaluations.domain.results import MEASURED, RetrievalResult
from tidemill_evaluator.retrieval_evaluations.ports import RetrievalEvaluations, RetrievalResults
from tidemill_evaluator.suites.ports import Cases

MAX_PAGE_CHARS = 1_000_000
"""Characters (at most 4 bytes each in a question) per page, so that it fits gRPC's default message size."""
CHARS_OF_RANKING = 2500
"""The ids of two sides, 25 documents each, and what is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListResultsCommand:
    """An empty metric means nDCG."""

    evaluation: str
    page: PageRequest
    metric: str = ""
    best_first: bool = False

    @property
    def places(self) -> tuple[str, ...]:
        """What its pages belong to."""
        return self.evaluation, self.metric, "desc" if self.best_first else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownResult:
    """A result with the question of its case."""

    result: RetrievalResult
    question: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRetrievalResults:
    """Ordered by the difference of the sides, or the value of the only one, then by case. Questions are the suite's."""

    evaluations: RetrievalEvaluations
    cases: Cases
    results: RetrievalResults

    async def __call__(self, caller: Caller, command: ListResultsCommand) -> Page[ShownResult]:
        """Return a page.

        Raises:
            EvaluationNotFound: there is none.
            InvalidInput: there is no such metric, or the page's token is not usable.

        """
        metric, page = command.metric or NDCG, command.page
        if metric not in MEASURED:
            text = f"{metric[:40]!r} is not a metric: use one of {', '.join(MEASURED)}"
            raise InvalidInput.at(field="metric", text=text)
        evaluation = await self.evaluations.get(caller.project, command.evaluation)
        if evaluation.pinned is None:
            return Page(items=[])
        try:
            cases = await self.cases.read(caller.project, evaluation.pinned.case_set)
        except NotFound:  # one of its cases was erased, and that version with it
            return Page(items=[])
        asked = {case.id: case for case in cases}
        shows_all = has_right(caller, ACT_FOR_USERS)
        found = [
            each for each in (await self.results.read(caller.project, evaluation.id)).values() if each.case in asked
        ]

        def place(result: RetrievalResult) -> Place:
            return result.value(metric), "", result.case

        after = place_of(page.token, command.places)
        ordered = behind(found, place, after, descending=command.best_first)
        shown, capacity = list[ShownResult](), MAX_PAGE_CHARS
        for each in ordered[: page.size]:
            capacity -= len(asked[each.case].question) + CHARS_OF_RANKING
            if shown and capacity < 0:
                break
            case = asked[each.case]
            question = case.question if shows_all or not case.proposal else ""
            shown.append(ShownResult(result=each, question=question))
        token = token_of(place(shown[-1].result), command.places) if len(ordered) > len(shown) else ""
        return Page(items=shown, next_token=token)
