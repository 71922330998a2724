"""Terms beside vectors, as collections set them."""

from dataclasses import replace
from typing import Any

import pytest

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill_core.errors import InvalidInput
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.collections.resolve_settings import ChunkingSpec, SparseSpec

FAULTS = {number: f"Fault E-{number} stops the line until it is acknowledged." for number in range(2060, 2072)}
DEFAULT = SparseSpec()
NONE = SparseSpec(by="none")
GERMAN = SparseSpec(by="bm25", languages=("de", "en"))


async def handbook(sparse: SparseSpec = DEFAULT, **search: Any) -> Rag:  # noqa: ANN401 - fields of SearchSettings
    rag = Rag()
    for number, text in FAULTS.items():
        rag.ingest.put(f"e{number}", text)
    chosen = replace(spec(), sparse=sparse, search=SearchSettings(**search))
    await rag.crud.create(ADA, chosen, write("r1"))
    await rag.work()
    return rag


async def update(rag: Rag, request: str, **fields: Any) -> None:  # noqa: ANN401 - fields of CollectionSpec
    await rag.crud.update(ADA, replace(spec(), **fields), frozenset(fields), write(request, request))


async def test_a_new_collection_finds_terms_and_its_index_version_says_so() -> None:
    rag = await handbook()

    collection = await rag.collections.get("acme", "handbook")

    assert collection.sparse == collection.indexes[0].sparse
    assert (collection.sparse.by, collection.sparse.languages) == ("bm25", ("en",))
    assert (await rag.found("acknowledging e-2067"))[0] == "e2067"


async def test_words_are_found_by_their_stems_and_without_languages_as_they_are() -> None:
    stems, words = await handbook(sparse_weight=9.0), await handbook(SparseSpec(by="bm25"), dense_weight=0.0)

    assert await words.found("stops") != []
    assert await words.found("stopping") == []
    assert await stems.found("stopping") != []


async def test_a_change_of_the_ranking_counts_at_once_and_builds_nothing() -> None:
    rag = await handbook(dense_weight=0.0)
    assert await rag.found("zeppelin") == []

    await update(rag, "r2", search=SearchSettings())

    assert len(await rag.found("zeppelin")) == 5
    assert (await rag.collections.get("acme", "handbook")).last_index == 1


async def test_a_question_of_stop_words_finds_nothing_where_terms_alone_count_and_the_answer_says_so() -> None:
    rag = await handbook(dense_weight=0.0)

    answer = await rag.search("what is it of the")

    assert answer.passages == []
    assert "has no terms but stop words" in answer.warnings[0]


async def test_other_sparse_vectors_are_built_beside_the_live_index_which_says_what_it_lacks() -> None:
    rag = await handbook(NONE)
    assert (await rag.search("E-2067")).warnings == ()

    await update(rag, "r2", sparse=GERMAN)
    before = await rag.search("E-2067")
    await rag.work()
    after = await rag.search("E-2067")

    assert (before.index, after.index) == (1, 2)
    assert "index version 1 has no sparse vectors" in before.warnings[0]
    assert after.warnings == ()
    assert (await rag.collections.get("acme", "handbook")).live.sparse.languages == ("de", "en")  # type: ignore[union-attr]


async def test_an_update_that_says_nothing_of_sparse_vectors_keeps_what_the_collection_has() -> None:
    rag = await handbook(NONE)

    await update(rag, "r2", sparse=SparseSpec(), sources=("cms",))

    collection = await rag.collections.get("acme", "handbook")
    assert (collection.sparse.by, collection.last_index) == ("none", 1)


async def test_a_document_is_analysed_in_its_own_language_if_the_collection_has_it() -> None:
    rag = Rag()
    for document, language in (("de", "de-AT"), ("en", "en"), ("unknown", "xx")):
        content = rag.ingest.put(document, f"Häuser {document}").content
        assert content
        rag.ingest.contents[content] = replace(rag.ingest.contents[content], language=language)  # type: ignore[type-var]
    sparse, search = SparseSpec(by="bm25", languages=("en", "de")), SearchSettings(dense_weight=0.0)
    await rag.crud.create(ADA, replace(spec(), sparse=sparse, search=search), write("r1"))
    await rag.work()

    assert await rag.found("Haus") == ["de"]
    assert sorted(await rag.found("Häuser")) == ["de", "en", "unknown"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"sparse": SparseSpec(by="splade")}, "sparse.by"),
        ({"sparse": SparseSpec(by="bm25", languages=("klingon",))}, "sparse.languages"),
        ({"sparse": SparseSpec(by="bm25", languages=("en", "en"))}, "sparse.languages"),
        ({"sparse": SparseSpec(by="none", languages=("en",))}, "sparse.languages"),
        ({"search": SearchSettings(dense_weight=-1.0)}, "search.dense_weight"),
        ({"search": SearchSettings(sparse_weight=float("nan"))}, "search.sparse_weight"),
        ({"search": SearchSettings(min_score=1.1)}, "search.min_score"),
        ({"search": SearchSettings(diversity=1.1)}, "search.diversity"),
        ({"search": SearchSettings(neighbours=6)}, "search.neighbours"),
        ({"chunking": ChunkingSpec(by="page")}, "chunking.by"),
        ({"search": SearchSettings(dense_weight=0.0, sparse_weight=0.0)}, "search"),
    ],
)
async def test_settings_out_of_their_limits_are_refused_by_field(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await Rag().crud.create(ADA, replace(spec(), **fields), write("r1"))

    assert {violation.field for violation in refused.value.violations} == {named}


async def test_a_search_is_ranked_by_the_settings_that_it_names_and_the_collection_keeps_its_own() -> None:
    rag = await handbook(dense_weight=0.0)

    assert len(await rag.found("zeppelin", settings=SearchSettings())) == 5
    assert await rag.found("acknowledging e-2067", settings=SearchSettings(min_score=1.0)) == []
    assert await rag.found("zeppelin") == []


async def test_settings_of_a_search_are_checked_as_those_of_a_collection() -> None:
    rag = await handbook()

    with pytest.raises(InvalidInput, match=r"settings\.sparse_weight: is -1"):
        await rag.found("e-2067", settings=SearchSettings(sparse_weight=-1.0))
