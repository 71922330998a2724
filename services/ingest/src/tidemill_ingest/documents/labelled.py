"""The labels of documents, and the documents that have them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.rights import manages
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.ports import Documents
from tidemill_ingest.labels.domain import ItemLabels, check_term
from tidemill_ingest.labels.ports import Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLabelled:
    """Changes nothing. Whose reviews a label rests on is for operators, as in the review queue."""

    labels: Labels
    documents: Documents

    async def of_document(self, caller: Caller, document: Document) -> Sequence[ItemLabels]:
        """Return the labels of a document that the caller may read, by queue."""
        found = await self.labels.of_document(caller.project, document.id)
        shown = found if manages(caller) else [each.without(each.named) for each in found]
        return sorted(shown, key=lambda each: (each.queue, each.item))

    async def documents_with(
        self, caller: Caller, term: str, page: PageRequest, *, source: str = "", show_all: bool = False
    ) -> Page[Document]:
        """Return a page of the documents that have a label, by id; only active ones, unless all are requested.

        Those of other sources, and those that the caller does not read, are left out, so that a page may have fewer
        than its size.

        Raises:
            InvalidInput: the term is none.

        """
        check_term(term, field="label")
        ids = await self.labels.documents_with(caller.project, term, after=page.token, limit=page.size + 1)
        known = await self.documents.get_many(caller.project, ids[: page.size])

        def shown() -> Iterator[Document]:
            for document in (known[each] for each in ids[: page.size] if each in known):
                active = show_all or document.state is DocumentState.ACTIVE
                if active and source in {"", document.source} and document.readable_by(caller):
                    yield document

        return Page(items=list(shown()), next_token=ids[page.size - 1] if len(ids) > page.size else "")
