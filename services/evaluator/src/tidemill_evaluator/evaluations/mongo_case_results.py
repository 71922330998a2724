"""Case results: one document each, accessed by `_id`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tidemill_core.application import derived_id
from tidemill_core.resources import owner_of
from tidemill_evaluator.errors import EvaluationLost
from tidemill_evaluator.evaluations.domain.results import CaseAnswer, CaseResult
from tidemill_evaluator.evaluations.ports import CaseName, PartialResult, Passage
from tidemill_evaluator.suites.domain.cases import DocumentVersion
from tidemill_kit.store.mongo import Collection, Document, DuplicateId, translated

_BATCH_SIZE = 500
_SCORES = [f"{side}.{part}" for side in ("baseline", "candidate") for part in ("failure", "scores", "missing")]


class MongoCaseResults:
    """Implements `ports.CaseResults`. Each document stores the epoch of its last writer and refuses earlier epochs."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create the indexes by which results are erased; they are read by their ids alone."""
        with translated():
            for fields in (("project", "evaluation"), ("project", "of_project")):
                await self._collection.create_index([(field, 1) for field in fields])
            for field in ("passages.document", "passages_of"):
                await self._collection.create_index([(field, 1)])
            for role in ("end_user", "corrected_by"):
                await self._collection.create_index([("of_project", 1), (role, 1)])

    async def read(self, project: str, evaluation: str, names: Sequence[CaseName]) -> Mapping[CaseName, PartialResult]:
        """See `CaseResults.read`."""
        ids = {_id(project, evaluation, name): name for name in names}
        known = dict[CaseName, PartialResult]()
        async for documents in self._documents(list(ids)):
            known |= {ids[document["_id"]]: _kept(document) for document in documents}
        return known

    async def scores(self, project: str, evaluation: str, names: Sequence[CaseName]) -> Sequence[CaseResult]:
        """See `CaseResults.scores`."""
        ids = {_id(project, evaluation, name): name for name in names}
        known = list[CaseResult]()
        async for documents in self._documents(list(ids), fields=_SCORES):
            known += [_scored(ids[each["_id"]], each) for each in documents if each.get("candidate")]
        return known

    async def _documents(self, ids: Sequence[str], *, fields: Sequence[str] = ()) -> AsyncIterator[Sequence[Document]]:
        """Return batches of them, all fields or some."""
        for begin in range(0, len(ids), _BATCH_SIZE):
            with translated():
                found = self._collection.find({"_id": {"$in": ids[begin : begin + _BATCH_SIZE]}}, fields or None)
                documents = await found.to_list(None)
            yield documents

    async def keep(self, project: str, evaluation: str, name: CaseName, kept: PartialResult, *, epoch: int) -> None:
        """See `CaseResults.keep`."""
        key = _id(project, evaluation, name)
        fields = {
            "project": project,
            "evaluation": evaluation,
            "case_set": name.case_set,
            "case": name.case,
            "baseline": _answer_document(kept.baseline),
            "passages": [asdict(passage) for passage in kept.passages],
            "passages_of": sorted({owner_of(passage.collection, project) for passage in kept.passages}),
            "candidate": _answer_document(kept.candidate) if kept.candidate else None,
            "end_user": kept.end_user,
            "corrected_by": kept.corrected_by,
            "of_project": kept.owner or project,
            "rests_on": None if kept.rests_on is None else [asdict(each) for each in kept.rests_on],
            "epoch": epoch,
        }
        if await self._update(key, fields, epoch):
            return
        try:
            with translated():
                await self._collection.insert_one({"_id": key, **fields})
        except DuplicateId:
            if not await self._update(key, fields, epoch):
                raise EvaluationLost(evaluation) from None

    async def _update(self, key: str, fields: Document, epoch: int) -> bool:
        fenced = {"_id": key, "epoch": {"$not": {"$gt": epoch}}}
        with translated():
            result = await self._collection.update_one(fenced, {"$set": fields})
        return result.matched_count == 1


def _id(project: str, evaluation: str, name: CaseName) -> str:
    return f"{project}/{derived_id(evaluation, name.case_set, name.case)}"


def _answer_document(answer: CaseAnswer) -> Document:
    return asdict(answer) | {"scores": dict(answer.scores)}


def _answer(document: Document) -> CaseAnswer:
    return CaseAnswer(**(document | {"missing": tuple(document.get("missing", ()))}))


def _scored(name: CaseName, document: Document) -> CaseResult:
    baseline, candidate = (_answer(document[side]) for side in ("baseline", "candidate"))
    return CaseResult(case_set=name.case_set, case=name.case, baseline=baseline, candidate=candidate)


def _kept(document: Document) -> PartialResult:
    candidate: dict[str, Any] | None = document["candidate"]
    rests_on: list[dict[str, Any]] | None = document.get("rests_on")
    return PartialResult(
        baseline=_answer(document["baseline"]),
        passages=tuple(Passage(**passage) for passage in document["passages"]),
        candidate=_answer(candidate) if candidate else None,
        end_user=document.get("end_user", ""),
        corrected_by=document.get("corrected_by", ""),
        owner="" if document.get("of_project") in {None, document["project"]} else document["of_project"],
        rests_on=None if rests_on is None else tuple(DocumentVersion(**each) for each in rests_on),
    )
