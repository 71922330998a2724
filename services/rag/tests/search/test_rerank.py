"""The best passages in the order of a model that reads them with the question."""

from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_rag.collections.domain.search_settings import Rerank, SearchSettings
from tidemill_rag.errors import RerankerUnusable

MODEL = Rerank(model="counting@1")
TEXTS = {"one": "pump stops", "two": "the pump of the pump", "three": "pump pump pump of the old line of the basin"}
"""The more often a text says pump, the less alike is it to `pump stops`."""


async def handbook(rerank: Rerank = MODEL, **search: float) -> Rag:
    rag = Rag()
    for name, text in TEXTS.items():
        rag.ingest.put(name, text, title="Line" if name == "two" else "")
    settings = SearchSettings(rerank=rerank, sparse_weight=0.0, **search)  # type: ignore[arg-type]
    await rag.crud.create(ADA, replace(spec(), search=settings), write("r1"))
    await rag.work()
    return rag


async def test_passages_come_in_the_order_of_the_model_with_its_scores_beside_the_cosines() -> None:
    rag = await handbook()

    answer = await rag.search("pump stops", top_k=2)

    assert [(each.payload.document, each.rerank_score) for each in answer.passages] == [("three", 0.3), ("two", 0.2)]
    assert all(each.score != each.rerank_score for each in answer.passages)
    assert answer.warnings == ()
    assert "Line\nthe pump of the pump" in rag.rerankers.read


async def test_only_so_many_candidates_are_read_and_the_others_follow_them() -> None:
    rag = await handbook(replace(MODEL, candidates=2))

    answer = await rag.search("pump stops", top_k=3)

    assert len(rag.rerankers.read) == 2
    assert [each.rerank_score is None for each in answer.passages] == [False, False, True]


async def test_min_score_is_of_cosines_and_what_is_below_it_is_not_read() -> None:
    rag = await handbook(min_score=0.8)

    answer = await rag.search("pump stops", top_k=3)

    assert [each.payload.document for each in answer.passages] == ["one"]
    assert rag.rerankers.read == [TEXTS["one"]]


async def test_what_takes_too_long_or_fails_leaves_the_order_as_it_was_and_is_a_warning() -> None:
    rag = await handbook()
    rag.rerankers.is_loading = True
    loading = await rag.search("pump stops")
    rag.rerankers.is_loading, rag.rerankers.hangs = False, True
    late = await rag.search("pump stops")
    rag.rerankers.fails = DependencyUnavailable("down", dependency="trainer")
    failed = await rag.search("pump stops")
    rag.rerankers.fails = IndexError("index out of range in self")
    broken = await rag.search("pump stops")

    for outcome in ("late", "failed"):
        assert REGISTRY.get_sample_value("tidemill_rag_rerank_seconds_count", {"outcome": outcome})
    too_long = "took longer than 0.1 s for 3 passages"
    unusable = ((failed, "DEPENDENCY_UNAVAILABLE"), (broken, "MODEL_BROKEN"))
    for answer, why in ((loading, too_long), (late, too_long), *unusable):
        assert [each.payload.document for each in answer.passages] == ["one", "three", "two"]
        [warning] = answer.warnings
        assert warning.startswith("not reranked: ")
        assert why in warning


async def test_the_default_number_of_candidates_is_shown_and_no_index_is_built() -> None:
    rag = await handbook()

    collection = await rag.collections.get("acme", "handbook")

    assert (collection.search.rerank, collection.last_index) == (Rerank(model="counting@1", candidates=20), 1)


@pytest.mark.parametrize(
    ("rerank", "field"),
    [
        (Rerank(model="counting"), "search.rerank.model"),
        (Rerank(model="counting@1", candidates=101), "search.rerank.candidates"),
    ],
)
async def test_a_model_without_a_version_and_too_many_candidates_are_refused(rerank: Rerank, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await handbook(rerank)

    assert [each.field for each in refused.value.violations] == [field]


async def test_a_model_that_cannot_rerank_is_refused_where_it_is_set() -> None:
    with pytest.raises(RerankerUnusable, match=r"search\.rerank\.model: words@1 is no cross-encoder"):
        await handbook(Rerank(model="words@1"))
