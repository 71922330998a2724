"""Vectors in a Qdrant server, one collection an index."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from tidemill_core.application import derived_id
from tidemill_core.errors import DependencyUnavailable
from tidemill_rag.embedding.domain import SparseVector
from tidemill_rag.vectors.fusion import DENSE, RRF_K, SPARSE, candidates, cosine
from tidemill_rag.vectors.graph import (
    ACORN_MAX_SELECTIVITY,
    FULL_SCAN_KB,
    HNSW_EF,
    HNSW_EF_CONSTRUCT,
    HNSW_M,
    threshold_kb,
)
from tidemill_rag.vectors.payloads import (
    DOCUMENT,
    FACETS,
    INDEXED,
    MAX_RANGE_FIELDS,
    METADATA,
    READERS,
    SEQ,
    SOURCE,
    facet,
    from_stored,
    metadata_path,
    to_stored,
)
from tidemill_rag.vectors.ports import Match, Payload, Point, Query, Where

_SCROLL_BATCH = 5000
_SPARSE_VECTORS = {SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)}
_SEARCH_PARAMS = models.SearchParams(
    hnsw_ef=HNSW_EF, acorn=models.AcornSearchParams(enable=True, max_selectivity=ACORN_MAX_SELECTIVITY)
)


class QdrantServerVectors:
    """Implements `VectorStore` on a configured client of a Qdrant server."""

    durable = True

    def __init__(self, client: AsyncQdrantClient, *, graph_min_chunks: int = 0) -> None:
        self._client = client
        self._graph_min_chunks = graph_min_chunks
        self._indexed: set[str] = set()
        """Collections whose payload indexes this process has created."""
        self._ranges: dict[str, dict[str, bool | None]] = {}
        """By collection: fields that were filtered by ranges, and whether these are of times; None if of both kinds."""

    async def create(self, index: str, *, dimensions: int, sparse: bool = False) -> None:
        """See `VectorStore.create`."""
        name = _name(index)
        async with _translated():
            if not await self._client.collection_exists(name):
                vectors = models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
                threshold = threshold_kb(self._graph_min_chunks, dimensions=dimensions)
                await self._client.create_collection(
                    name,
                    vectors_config=vectors,
                    sparse_vectors_config=_SPARSE_VECTORS if sparse else None,
                    hnsw_config=models.HnswConfigDiff(
                        m=HNSW_M, ef_construct=HNSW_EF_CONSTRUCT, full_scan_threshold=FULL_SCAN_KB
                    ),
                    optimizers_config=models.OptimizersConfigDiff(indexing_threshold=threshold),
                )
            await self._index_fields(name)

    async def drop(self, index: str) -> None:
        """See `VectorStore.drop`."""
        async with _translated():
            await self._client.delete_collection(_name(index))
        self._indexed.discard(_name(index))
        self._ranges.pop(_name(index), None)

    async def upsert(self, index: str, points: Sequence[Point]) -> None:
        """See `VectorStore.upsert`."""
        if not points:
            return
        stored = [
            models.PointStruct(id=point.id, vector=_vectors(point), payload=to_stored(point.payload))
            for point in points
        ]
        async with _translated():
            await self._client.upsert(_name(index), stored, wait=True)

    async def delete(self, index: str, document: str, *, below_seq: int, keep: Sequence[str] = ()) -> None:
        """See `VectorStore.delete`."""
        of_document = models.FieldCondition(key=DOCUMENT, match=models.MatchValue(value=document))
        older = models.FieldCondition(key=SEQ, range=models.Range(lt=below_seq))
        kept: list[models.Condition] = [models.HasIdCondition(has_id=list(keep))] if keep else []
        chosen = models.FilterSelector(filter=models.Filter(must=[of_document, older], must_not=kept))
        async with _translated():
            if await self._client.collection_exists(_name(index)):
                await self._client.delete(_name(index), chosen, wait=True)

    async def purge(self, index: str, document: str) -> bool:  # noqa: ARG002 - the server's files are its own
        """See `VectorStore.purge`."""
        return False

    async def search(self, index: str, query: Query, *, limit: int, where: Where) -> Sequence[Match]:
        """See `VectorStore.search`."""
        name = _name(index)
        if query.matches_nothing:
            return []
        async with _translated():
            if name not in self._indexed:  # once in a process: a search is one request
                if not await self._client.collection_exists(name):
                    return []
                await self._index_fields(name)
            try:
                for field, span in where.ranges.items():
                    await self._index_range(name, metadata_path(field), times=span.of_times)
                return await self._ranked(name, query, limit, _filter(where))
            except UnexpectedResponse as error:
                if error.status_code != HTTPStatus.NOT_FOUND:
                    raise
                self._indexed.discard(name)  # another process has dropped it
                self._ranges.pop(name, None)
                return []

    async def _ranked(self, name: str, query: Query, limit: int, chosen: models.Filter) -> Sequence[Match]:
        vector = list(query.vector)
        if not query.is_fused:
            nearest = await self._client.query_points(
                name,
                query=vector,
                limit=limit,
                query_filter=chosen,
                search_params=_SEARCH_PARAMS,
                with_payload=True,
                with_vectors=query.with_vectors,
            )
            return [
                _match(point, point.score, _dense_of(point.vector) if query.with_vectors else ())
                for point in nearest.points
            ]
        depth = candidates(limit)
        by_terms = _sparse(query.sparse or SparseVector())
        rankings, weights = (
            [models.Prefetch(query=by_terms, using=SPARSE, limit=depth, filter=chosen)],
            [query.sparse_weight],
        )
        if query.dense_weight:
            rankings.append(models.Prefetch(query=vector, limit=depth, filter=chosen, params=_SEARCH_PARAMS))
            weights.append(query.dense_weight)
        fused = await self._client.query_points(
            name,
            prefetch=rankings,
            query=models.RrfQuery(rrf=models.Rrf(k=RRF_K, weights=weights)),
            limit=limit,
            with_payload=True,
            with_vectors=[DENSE],
        )
        dense = [_dense_of(point.vector) for point in fused.points]
        return [
            _match(point, cosine(vector, own), own if query.with_vectors else ())
            for point, own in zip(fused.points, dense, strict=True)
        ]

    async def payloads(self, index: str, ids: Sequence[str]) -> Mapping[str, Payload]:
        """See `VectorStore.payloads`."""
        async with _translated():
            if not await self._client.collection_exists(_name(index)):
                return {}
            records = await self._client.retrieve(_name(index), list(ids), with_payload=True)
        return {str(record.id): from_stored(record.payload or {}) for record in records}

    async def get(self, index: str, ids: Sequence[str]) -> Sequence[Point]:
        """See `VectorStore.get`."""
        async with _translated():
            if not await self._client.collection_exists(_name(index)):
                return []
            records = await self._client.retrieve(_name(index), list(ids), with_payload=True, with_vectors=True)
        return [
            Point(id=str(each.id), vector=_dense_of(each.vector), payload=from_stored(each.payload or {}))
            for each in records
        ]

    async def ids(self, index: str, documents: Sequence[str]) -> Mapping[str, Collection[str]]:
        """See `VectorStore.ids`."""
        name, found = _name(index), dict[str, list[str]]()
        matched = models.FieldCondition(key=DOCUMENT, match=models.MatchAny(any=list(documents)))
        chosen, offset = models.Filter(must=[matched]), None
        async with _translated():
            if not await self._client.collection_exists(name):
                return {}
            while True:
                records, offset = await self._client.scroll(
                    name, chosen, limit=_SCROLL_BATCH, offset=offset, with_payload=[DOCUMENT]
                )
                for record in records:
                    found.setdefault((record.payload or {})[DOCUMENT], []).append(str(record.id))
                if offset is None:
                    return found

    async def count(self, index: str) -> int:
        """See `VectorStore.count`."""
        async with _translated():
            if not await self._client.collection_exists(_name(index)):
                return 0
            return (await self._client.count(_name(index), exact=True)).count

    async def _index_fields(self, name: str) -> None:
        """Create payload indexes in the background; a collection may predate a field."""
        if name in self._indexed:
            return
        for field in INDEXED:
            await self._client.create_payload_index(name, field, models.PayloadSchemaType.KEYWORD, wait=False)
        self._indexed.add(name)

    async def _index_range(self, name: str, field: str, *, times: bool) -> None:
        """Index a field for ranges in the background; until then it is read from every payload."""
        ranges = self._ranges.setdefault(name, {})
        if field in ranges:
            if ranges[field] is (not times):  # see the embedded store: a field of which both are asked has no index
                await self._client.delete_payload_index(name, field, wait=True)
                ranges[field] = None
            return
        schema = (await self._client.get_collection(name)).payload_schema
        kind = models.PayloadSchemaType.DATETIME if times else models.PayloadSchemaType.FLOAT
        if field not in schema and sum(each.startswith(METADATA) for each in schema) >= MAX_RANGE_FIELDS:
            ranges[field] = None
            return
        if field in schema and schema[field].data_type != kind:
            await self._client.delete_payload_index(name, field, wait=True)
        if field not in schema or schema[field].data_type != kind:
            await self._client.create_payload_index(name, field, kind, wait=False)
        ranges[field] = times

    async def ping(self) -> None:
        """See `VectorStore.ping`."""
        async with _translated():
            await self._client.get_collections()

    async def close(self) -> None:
        """See `VectorStore.close`."""
        await self._client.close()


def _vectors(point: Point) -> models.VectorStruct:
    dense = list(point.vector)
    return dense if point.sparse is None else {DENSE: dense, SPARSE: _sparse(point.sparse)}


def _sparse(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=list(vector.indices), values=list(vector.values))


def _dense_of(vectors: object) -> Sequence[float]:
    dense = vectors[DENSE] if isinstance(vectors, dict) else vectors
    assert isinstance(dense, list)  # noqa: S101 - each point has one
    return dense


def _match(point: models.ScoredPoint, score: float, vector: Sequence[float]) -> Match:
    return Match(id=str(point.id), score=score, payload=from_stored(point.payload or {}), vector=vector)


def _name(index: str) -> str:
    return f"tidemill-{derived_id(index)}"


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (ApiException, ResponseHandlingException, UnexpectedResponse, OSError) as error:
        message = "the Qdrant server is unreachable or returned an error: check its log and RAG_QDRANT_URL"
        raise DependencyUnavailable(message, dependency="qdrant") from error


def _filter(where: Where) -> models.Filter:
    readable: list[models.Condition] = [models.IsEmptyCondition(is_empty=models.PayloadField(key=READERS))]
    if where.principals:
        readable.append(models.FieldCondition(key=READERS, match=models.MatchAny(any=list(where.principals))))
    must: list[models.Condition] = [models.Filter(should=readable)]
    if where.sources:
        must.append(models.FieldCondition(key=SOURCE, match=models.MatchAny(any=list(where.sources))))
    for name, values in where.metadata.items():
        match = models.MatchAny(any=[facet(name, value) for value in values])
        must.append(models.FieldCondition(key=FACETS, match=match))
    for name, span in where.ranges.items():
        kind = models.DatetimeRange if span.of_times else models.Range
        must.append(models.FieldCondition(key=metadata_path(name), range=kind(**span.bounds)))
    return models.Filter(must=must)
