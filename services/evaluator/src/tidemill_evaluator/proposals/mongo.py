"""Stored form of proposals, and their candidates: one document each."""

from collections.abc import Sequence

from google.protobuf.json_format import MessageToJson, Parse

from tidemill.evaluator.v1 import suite_proposal_pb2 as pb
from tidemill_core.application import derived_id
from tidemill_evaluator.proposals.domain.candidate import Candidate
from tidemill_evaluator.proposals.domain.proposal import Proposal
from tidemill_evaluator.proposals.messages import candidate_message, stored_candidate
from tidemill_kit.erasure.documents import erase_documents
from tidemill_kit.erasure.steps import Target
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.mongo import Collection, Document, translated, update_or_insert

PROPOSALS = DocumentCodec(Proposal)
PROPOSAL_LISTS = [("suite",)]


class MongoProposedCases:
    """Implements `ports.ProposedCases`: the candidate as JSON of the contract, and whose it is."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create the indexes by which candidates are read and erased."""
        with translated():
            await self._collection.create_index([("project", 1), ("proposal", 1), ("place", 1)])
            await self._collection.create_index([("project", 1), ("end_users", 1)])
            await self._collection.create_index([("documents", 1)])

    async def keep(self, project: str, proposal: str, candidates: Sequence[Candidate]) -> None:
        """See `ProposedCases.keep`."""
        behind: Document = {"project": project, "proposal": proposal, "place": {"$gte": len(candidates)}}
        await erase_documents(self._collection, behind)
        for place, candidate in enumerate(candidates):
            case = candidate.case
            fields = {
                "project": project,
                "proposal": proposal,
                "place": place,
                "candidate": MessageToJson(candidate_message(candidate), indent=None),
                "end_users": sorted({case.end_user, case.corrected_by} - {""}),
                "documents": sorted({each.document for each in case.rests_on}),
            }
            key: Document = {"_id": f"{project}/{derived_id(proposal, str(place))}"}
            await update_or_insert(self._collection, key, {"$set": fields})

    async def read(self, project: str, proposal: str) -> Sequence[Candidate]:
        """See `ProposedCases.read`."""
        with translated():
            found = self._collection.find({"project": project, "proposal": proposal}).sort("place", 1)
            documents = await found.to_list(None)
        return [stored_candidate(Parse(each["candidate"], pb.ProposedCase())) for each in documents]

    async def forget(self, project: str, proposal: str) -> None:
        """See `ProposedCases.forget`."""
        while await erase_documents(self._collection, {"project": project, "proposal": proposal}):
            pass


def candidates_of_user(target: Target) -> Document:
    """Return what finds the candidates that an end user asked or corrected."""
    return {"project": target.project, "end_users": target.subject}


def candidates_with_document(target: Target) -> Document:
    """Return what finds the candidates that rest on a document, whose id is derived from its project's."""
    return {"documents": target.subject}
