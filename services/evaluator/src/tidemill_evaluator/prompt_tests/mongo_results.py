"""Results of prompt tests: one document for each case, read by test."""

from collections.abc import Mapping
from dataclasses import asdict

from tidemill_core.application import derived_id
from tidemill_evaluator.errors import EvaluationLost
from tidemill_evaluator.prompt_tests.domain.cells import CaseCells, Cell
from tidemill_evaluator.suites.domain.cases import DocumentVersion
from tidemill_kit.erasure.steps import Target
from tidemill_kit.store.mongo import Collection, Document, translated, update_or_insert


class MongoPromptResults:
    """Implements `ports.PromptResults`. Each document stores the epoch of its last writer, and refuses earlier ones.

    A test has as many as cases; the field `evaluation` has its id, as in all results of evaluations.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create the indexes by which results are read and erased."""
        with translated():
            await self._collection.create_index([("project", 1), ("evaluation", 1)])
            await self._collection.create_index([("project", 1), ("end_users", 1)])

    async def read(self, project: str, test: str) -> Mapping[str, CaseCells]:
        """See `PromptResults.read`."""
        with translated():
            found = await self._collection.find({"project": project, "evaluation": test}).to_list(None)
        return {document["case"]: _result(document) for document in found}

    async def keep(self, project: str, test: str, result: CaseCells, *, epoch: int) -> None:
        """See `PromptResults.keep`."""
        fields = {
            "project": project,
            "evaluation": test,
            "case": result.case,
            "cells": [asdict(cell) | {"scores": dict(cell.scores)} for cell in result.cells],
            "rests_on": [asdict(each) for each in result.rests_on],
            "end_users": [*result.end_users],
            "epoch": epoch,
        }
        fenced: Document = {"_id": f"{project}/{derived_id(test, result.case)}", "epoch": {"$not": {"$gt": epoch}}}
        if not await update_or_insert(self._collection, fenced, {"$set": fields}):
            raise EvaluationLost(test)


def _result(document: Document) -> CaseCells:
    return CaseCells(
        case=document["case"],
        cells=tuple(Cell(**(cell | {"missing": tuple(cell["missing"])})) for cell in document["cells"]),
        rests_on=tuple(DocumentVersion(**each) for each in document["rests_on"]),
        end_users=tuple(document.get("end_users", ())),
    )


def prompt_results_of_user(target: Target) -> Document:
    """Return what finds the answers to an end user's questions, which a suite took from live traffic."""
    return {"project": target.project, "end_users": target.subject}
