"""Passages of a collection from which a deployment generates questions."""

import random

from tidemill.content.v1.content_pb2 import Passage
from tidemill.ingest.v1.document_pb2 import Document
from tidemill.rag.v1.collection_pb2 import Collection
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest
from tidemill_client.connection import Connection
from tidemill_client.declared import Collections
from tidemill_client.documents import Documents
from tidemill_core.errors import InvalidInput

MIN_PASSAGE_CHARS = 120
MAX_DOCUMENTS = 20_000
"""Documents of the collection's sources that are listed."""
_PASSAGES, _QUERY_CHARS = 20, 400


class SampledPassages:
    """Documents of a collection in an order that a seed decides, and a passage of each."""

    def __init__(self, connection: Connection, collection: str) -> None:
        self._connection, self._name = connection, collection
        self._documents_of = Documents(connection)

    async def documents(self, *, seed: int) -> list[Document]:
        """Return the documents.

        Raises:
            InvalidInput: the sources of the collection have no documents.

        """
        documents = await self._listed(await Collections(self._connection).get(self._name))
        random.Random(seed).shuffle(documents)  # noqa: S311 - not for security
        return documents

    async def _listed(self, collection: Collection) -> list[Document]:
        found = list[Document]()
        for source in collection.sources:
            async for document in self._documents_of.all(source=source):
                found.append(document)
                if len(found) >= MAX_DOCUMENTS:
                    return found
        if not found:
            message = f"the sources of {collection.id} have no documents: add some (tidemill documents add)"
            raise InvalidInput(message)
        return found

    async def of(self, document: Document) -> Passage | None:
        """Return the passage that a place of the document's text finds: the longest, where that finds several."""
        text = await self._documents_of.text(document.id)
        begin = random.Random(document.id).randrange(max(len(text) - _QUERY_CHARS, 1))  # noqa: S311 - not for security
        request = SearchRequest(
            collection=self._name,
            query=text[begin : begin + _QUERY_CHARS].strip() or document.key,
            top_k=_PASSAGES,
            sources=[document.source],
        )
        passages = (await self._connection.retrieval.Search(request)).passages
        own = [each for each in passages if each.document == document.id and len(each.text) >= MIN_PASSAGE_CHARS]
        return max(own, key=lambda each: len(each.text), default=None)
