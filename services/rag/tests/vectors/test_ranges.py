"""Filters by ranges of numbers and times: one contract for both stores and for what stands for them in tests."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from services.rag.tests.vectors.in_process import InProcessVectors
from services.rag.tests.vectors.test_hybrid import query, store, with_terms
from services.rag.tests.vectors.test_vector_stores import INDEX, point
from tidemill_core.application import derived_id
from tidemill_rag.vectors import edge_shards
from tidemill_rag.vectors.payloads import MAX_RANGE_FIELDS
from tidemill_rag.vectors.ports import Query, Range, VectorStore, Where

__all__ = ["store"]
JUNE = datetime(2026, 6, 1, 10, tzinfo=UTC)


async def found(store: VectorStore, name: str, span: Range) -> set[str]:
    asked, where = await query("valve"), Where(ranges={name: span})
    both = [await store.search(INDEX, each, limit=20, where=where) for each in (asked, Query(vector=(1.0, 0.0)))]
    by_both, by_vectors = ({match.payload.document for match in matches} for matches in both)
    assert by_both == by_vectors
    return by_both


@pytest.fixture
async def filled(store: VectorStore) -> VectorStore:
    facts: dict[str, dict[str, str | int | float | bool]] = {
        "old": {"level": 2, "published": "2026-01-31", "in-stock.at": 0},
        "new": {"level": 5.5, "published": "2026-06-01T12:00:00+02:00", "in-stock.at": 7},
        "odd": {"level": "3", "published": "soon", "in-stock.at": True},
    }
    for name, metadata in facts.items():
        sparse = (await with_terms(name, "valve")).sparse
        made = point(name, metadata=metadata)
        await store.upsert(INDEX, [type(made)(id=made.id, vector=made.vector, sparse=sparse, payload=made.payload)])
    return store


async def test_numbers_are_found_within_their_bounds(filled: VectorStore) -> None:
    assert await found(filled, "level", Range(gte=2.0)) == {"old", "new"}
    assert await found(filled, "level", Range(gt=2.0, lt=6.0)) == {"new"}
    assert await found(filled, "level", Range(gt=2.0, lt=5.5)) == set()
    assert await found(filled, "in-stock.at", Range(gte=0.0)) == {"old", "new"}


async def test_times_are_compared_across_time_zones(filled: VectorStore) -> None:
    east = timezone(timedelta(hours=3))

    assert await found(filled, "published", Range(gte=JUNE)) == {"new"}
    assert await found(filled, "published", Range(lt=JUNE.astimezone(east))) == {"old"}
    assert await found(filled, "published", Range(gt=datetime(2026, 1, 31, tzinfo=UTC), lte=JUNE)) == {"new"}


async def test_what_is_of_another_kind_than_the_range_is_outside(filled: VectorStore) -> None:
    assert await found(filled, "level", Range(gte=0.0)) == {"old", "new"}
    assert await found(filled, "level", Range(lt=JUNE)) == set()
    assert await found(filled, "published", Range(gte=0.0)) == set()
    assert await found(filled, "published", Range(lt=JUNE)) == {"old"}


async def test_the_embedded_store_indexes_a_field_at_its_first_range_and_only_so_many(tmp_path: Path) -> None:
    store = InProcessVectors(tmp_path)
    await store.create(INDEX, dimensions=2)
    await store.upsert(INDEX, [point("a", metadata={f"f{number}": 1 for number in range(20)})])

    for number in range(20):
        where = Where(ranges={f"f{number}": Range(gte=1.0)})
        assert len(await store.search(INDEX, Query(vector=(1.0, 0.0)), limit=5, where=where)) == 1

    indexed = [field for field in edge_shards.indexed(derived_id(INDEX)) if field.startswith("metadata")]
    assert len(indexed) == MAX_RANGE_FIELDS
    await store.close()
