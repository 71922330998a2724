"""Describe the topics of a collection: computed for each call of what the caller may read, and stored nowhere."""

import asyncio
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import refuse
from tidemill_rag.collections.domain.collection import Collection
from tidemill_rag.collections.domain.index_version import IndexState, IndexVersion
from tidemill_rag.collections.ports import Collections, found
from tidemill_rag.errors import IndexNotReady, TooFewDocuments
from tidemill_rag.indexing.domain.ledger import Counts
from tidemill_rag.indexing.ports import Ledger
from tidemill_rag.topics.domain import (
    DOCUMENTS_PER_TOPIC,
    MAX_EXAMPLES,
    MAX_OUTLIERS,
    MIN_DOCUMENTS,
    OUTLIER_QUANTILE,
    SIGNIFICANCE,
    Asked,
    Clusters,
    Sampled,
    Topic,
    TopicDocument,
    TopicMonth,
    Topics,
)
from tidemill_rag.topics.ports import ComputeClusters, Places
from tidemill_rag.topics.sampling import Sample, SampleDocuments
from tidemill_rag.topics.shift import shift_of
from tidemill_rag.topics.terms import still_typical

_REBUILT = "index version {} is being built; these are the topics of version {}, which is live"
_UNFINISHED = "{} of {} documents are indexed yet: ask again later for the topics of all"
_NO_TIME = "of {} documents it is not known when their version came: RebuildIndex finds out"
_OVERLAP = "the topics overlap (separation {:.2f}): the documents may be about one thing"
_OVERLAPS_BELOW = 0.05
_FEWER = "{} topics were asked for, and {} found that have documents enough"


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeTopics:
    """Samples the documents of the live index version that the caller may read, and clusters them."""

    collections: Collections
    ledger: Ledger
    sample: SampleDocuments
    compute: ComputeClusters
    places: Places

    async def __call__(self, caller: Caller, asked: Asked) -> Topics:
        """Return the topics.

        Raises:
            InvalidInput: a setting is out of range, or a source is none of the collection's.
            CollectionNotFound: the caller's project has none with this id.
            IndexNotReady: its first index version has not listed its documents yet.
            TooFewDocuments: the caller may read too few of its documents.
            TopicsTooCostly, RateLimited: see `ComputeClusters` and `Places`.

        """
        refuse(asked.violations())
        async with self.places.place(caller.project):
            return await self._described(caller, asked)

    async def _described(self, caller: Caller, asked: Asked) -> Topics:
        collection = await found(self.collections, caller.project, asked.collection)
        index = _live(collection)
        ref = collection.ref(index.number)
        sources = _sources(collection, index, asked.sources)
        sample = await self.sample(ref, sources=sources, principals=asked.principals)
        if len(sample.documents) < MIN_DOCUMENTS:
            raise TooFewDocuments(collection.id, documents=len(sample.documents), least=MIN_DOCUMENTS)
        if asked.count * DOCUMENTS_PER_TOPIC > len(sample.documents):
            most = len(sample.documents) // DOCUMENTS_PER_TOPIC
            text = f"is {asked.count}; {len(sample.documents)} documents make at most {most} topics"
            raise InvalidInput.at(field="count", text=text)
        clusters = await self.compute(caller.project, sample.documents, count=asked.count)
        rows = await self.ledger.rows(ref, [each.document for each in sample.documents])
        shown = frozenset(document for document, row in rows.items() if row.desired.content)
        counts = (await self.ledger.counts([ref]))[ref]
        warnings = list(_warnings(collection, index, counts, sample, clusters))
        if clusters.count < asked.count:
            warnings.append(_FEWER.format(asked.count, clusters.count))
        topics = await asyncio.to_thread(_topics, asked, index.number, sample, clusters, shown)
        return replace(topics, warnings=tuple(warnings))


def _live(collection: Collection) -> IndexVersion:
    if collection.live is None:
        raise IndexNotReady(collection.id, message=collection.indexes[-1].message)
    return collection.live


def _sources(collection: Collection, index: IndexVersion, named: Sequence[str]) -> Sequence[str]:
    for place, source in enumerate(named):
        if source not in index.sources:
            text = f"is no source of collection {collection.id}: it has {', '.join(index.sources)}"
            raise InvalidInput.at(field=f"sources[{place}]", text=text)
    return named or index.sources


def _warnings(
    collection: Collection, index: IndexVersion, counts: Counts, sample: Sample, clusters: Clusters
) -> Iterator[str]:
    for other in collection.indexes:
        if other.state is IndexState.BUILDING:
            yield _REBUILT.format(other.number, index.number)
    if counts.indexed + counts.failed < counts.desired:
        yield _UNFINISHED.format(counts.indexed, counts.desired)
    if unknown := sum(each.time is None for each in sample.documents):
        yield _NO_TIME.format(unknown)
    if clusters.separation < _OVERLAPS_BELOW:
        yield _OVERLAP.format(clusters.separation)


def _topics(asked: Asked, index: int, sample: Sample, clusters: Clusters, shown: frozenset[str]) -> Topics:
    placed = [
        (each, distance, member)
        for each, distance, member in zip(sample.documents, clusters.distances, clusters.members, strict=True)
        if each.document in shown
    ]
    far = quantile_of(clusters.distances, asked.outlier_quantile or OUTLIER_QUANTILE)
    outliers = sorted((each for each in placed if each[1] > far), key=lambda each: (-each[1], each[0].document))
    topics = tuple(_topic(number, clusters, placed, asked) for number in range(clusters.count))
    counted = [(each.documents_of_period, each.documents_of_baseline) for each in topics]
    return Topics(
        topics=topics,
        outliers=tuple(_document(*each) for each in outliers[:MAX_OUTLIERS]),
        outlier_distance=far,
        documents=len(placed),
        sampled=sample.partial,
        separation=clusters.separation,
        index=index,
        shift=shift_of(counted, significance=asked.significance or SIGNIFICANCE) if asked.baseline else None,
    )


def _topic(cluster: int, clusters: Clusters, placed: Sequence[tuple[Sampled, float, int]], asked: Asked) -> Topic:
    own, terms = [each for each in placed if each[2] == cluster], clusters.terms[cluster]
    if len(own) < clusters.members.count(cluster):
        terms = still_typical(terms, [each.text for each, _, _ in own])
    nearest = sorted(own, key=lambda each: (each[1], each[0].document))[:MAX_EXAMPLES]
    months = Counter(each.time.strftime("%Y-%m") for each, _, _ in own if each.time)
    return Topic(
        number=cluster + 1,
        documents=len(own),
        share=len(own) / len(placed) if placed else 0.0,
        spread=sum(distance for _, distance, _ in own) / len(own) if own else 0.0,
        terms=terms,
        examples=tuple(_document(*each) for each in nearest),
        months=tuple(TopicMonth(month=month, documents=count) for month, count in sorted(months.items())),
        documents_of_period=sum(asked.period.has(each.time) for each, _, _ in own) if asked.period else 0,
        documents_of_baseline=sum(asked.baseline.has(each.time) for each, _, _ in own) if asked.baseline else 0,
    )


def _document(sampled: Sampled, distance: float, cluster: int) -> TopicDocument:
    return TopicDocument(
        document=sampled.document,
        source=sampled.source,
        key=sampled.key,
        title=sampled.title,
        distance=distance,
        topic=cluster + 1,
    )


def quantile_of(values: Sequence[float], share: float) -> float:
    """Return what this share of the values is not above, at most the last but one: the last is always beyond."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 2, math.ceil(round(share * len(ordered), 6)) - 1))]
