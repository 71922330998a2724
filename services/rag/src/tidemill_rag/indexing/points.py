"""The points of a document's passages."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.collections.domain.index_version import Sparse
from tidemill_rag.embedding.domain import SparseVector, passage_vector
from tidemill_rag.embedding.ports import EmbeddingModel, SparseEmbedding
from tidemill_rag.indexing.domain.chunking import Chunk
from tidemill_rag.indexing.domain.content import DocumentContent
from tidemill_rag.indexing.domain.ledger import DesiredDocument, Row
from tidemill_rag.indexing.domain.places import Places
from tidemill_rag.vectors.ports import Payload, Point


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document's row, content and passages."""

    row: Row
    content: DocumentContent
    chunks: Sequence[Chunk]
    places: Places
    unknown: int
    """Passages omitted because the vocabulary does not cover them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageEmbedding:
    """Embeds passages as an index version has them."""

    model: EmbeddingModel
    sparse: SparseEmbedding
    analysis: Sparse

    async def points(self, ref: IndexRef, part: Sequence[tuple[Prepared, Chunk]]) -> Sequence[Point]:
        """Return the points of these passages; raises as `EmbeddingModel.embed_passages`."""
        contexts = list(dict.fromkeys(piece.context for _, piece in part if piece.context))
        texts = [piece.embedded for _, piece in part]
        vectors = await self.model.embed_passages(ref.project, [*texts, *contexts])
        of_context = dict(zip(contexts, vectors[len(part) :], strict=True))
        sparse = await self._sparse(part) if self.analysis.used else [None] * len(part)
        return [
            Point(
                id=ref.point_id(document.row.desired.document, document.row.desired.seq, piece.ordinal),
                vector=passage_vector(vector, of_context.get(piece.context)),
                sparse=terms,
                payload=_payload(document, piece),
            )
            for (document, piece), vector, terms in zip(part, vectors, sparse, strict=False)
        ]

    async def _sparse(self, part: Sequence[tuple[Prepared, Chunk]]) -> Sequence[SparseVector]:
        texts = [(document.content.language, piece.embedded) for document, piece in part]
        return await self.sparse.embed_passages(texts, languages=self.analysis.languages)


def point_ids(ref: IndexRef, desired: DesiredDocument, chunks: int) -> Sequence[str]:
    """Return the point ids of a document with this number of chunks."""
    return [ref.point_id(desired.document, desired.seq, ordinal) for ordinal in range(chunks)]


def _payload(document: Prepared, piece: Chunk) -> Payload:
    desired, content = document.row.desired, document.content
    return Payload(
        document=desired.document,
        seq=desired.seq,
        version=desired.version,
        start=piece.start,
        end=piece.end,
        text=piece.text(content.text),
        source=desired.source,
        key=desired.key,
        title=content.title,
        uri=content.uri,
        readers=content.readers,
        metadata=content.metadata,
        header_start=piece.header[0] if piece.header else 0,
        header_end=piece.header[1] if piece.header else 0,
        places=document.places.of(piece.start, piece.end),
        ordinal=piece.ordinal,
        lead=piece.lead,
    )
