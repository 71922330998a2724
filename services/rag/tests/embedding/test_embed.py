"""Vectors of texts for callers, by a model or by that of a collection."""

import pytest

from services.rag.tests.fakes import ADA, EVE, Rag, spec, write
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_rag.embedding.embed import MAX_PAIRS, MAX_TEXTS, EmbedTexts
from tidemill_rag.errors import CollectionNotFound, EmbeddingUnusable, IndexNotReady, TextTooLong


def embedding(rag: Rag) -> EmbedTexts:
    return EmbedTexts(collections=rag.collections, models=rag.models)


async def test_texts_are_embedded_by_a_model_or_by_that_of_a_collection_the_same_way() -> None:
    rag = Rag()
    await rag.handbook()
    texts = ["os.walk walks", "a tree"]

    model, by_model = await embedding(rag)(ADA, model="words", collection="", texts=texts)
    same, by_collection = await embedding(rag)(ADA, model="", collection="handbook", texts=texts)

    assert (model, same) == ("words@1", "words@1")
    assert by_model == by_collection
    assert [each.vector for each in by_model] == await rag.models.model.embed_passages("acme", texts)
    assert [each.tokens for each in by_model] == [6, 4]


async def test_what_cannot_be_embedded_is_refused_by_name() -> None:
    rag = Rag()
    await rag.handbook()
    embed = embedding(rag)

    for given in (
        {"model": "words", "collection": "handbook", "texts": ["a"]},
        {"model": "", "collection": "", "texts": ["a"]},
        {"model": "words", "collection": "", "texts": []},
        {"model": "words", "collection": "", "texts": ["a"] * (MAX_TEXTS + 1)},
        {"model": "words", "collection": "", "texts": ["a", " "]},
    ):
        with pytest.raises(InvalidInput):
            await embed(ADA, **given)  # type: ignore[arg-type] # as the request has it
    with pytest.raises(TextTooLong) as long:
        await embed(ADA, model="words", collection="", texts=["a", "word " * 300])
    assert long.value.violations[0].field == "texts[1]"
    with pytest.raises(EmbeddingUnusable):
        await embed(ADA, model="remote", collection="", texts=["a"])
    with pytest.raises(NotFound):
        await embed(ADA, model="absent", collection="", texts=["a"])


async def test_tokens_are_compared_by_a_model_or_by_that_of_a_collection() -> None:
    rag = Rag()
    await rag.handbook()
    compare, pairs = embedding(rag).match_tokens, [("a tree", "a tree"), ("a tree", "a bush")]

    model, by_model = await compare(ADA, model="words", collection="", pairs=pairs)
    same, by_collection = await compare(ADA, model="", collection="handbook", pairs=pairs)

    assert (model, same) == ("words@1", "words@1")
    assert [each.precision for each in by_model] == [each.precision for each in by_collection] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("model", "pairs", "field"),
    [
        ("", [("a", "b")], "model"),
        ("words", [], "pairs"),
        ("words", [("a", "b")] * (MAX_PAIRS + 1), "pairs"),
        ("words", [("a", "b"), ("a", " ")], "pairs[1]"),
    ],
)
async def test_pairs_that_cannot_be_compared_are_refused_by_name(
    model: str, pairs: list[tuple[str, str]], field: str
) -> None:
    rag = Rag()

    with pytest.raises(InvalidInput) as refused:
        await embedding(rag).match_tokens(ADA, model=model, collection="", pairs=pairs)
    assert [each.field for each in refused.value.violations] == [field]


async def test_a_collection_of_another_project_is_not_there() -> None:
    rag = Rag()
    await rag.handbook()

    with pytest.raises(CollectionNotFound):
        await embedding(rag)(EVE, model="", collection="handbook", texts=["a"])


async def test_a_collection_whose_first_index_is_being_built_says_so_without_figures() -> None:
    rag = Rag()
    await rag.crud.create(ADA, spec(), write("r1"))

    with pytest.raises(IndexNotReady, match="of collection handbook is being built: try again later") as refused:
        await embedding(rag)(ADA, model="", collection="handbook", texts=["a"])
    assert refused.value.metadata == {"collection": "handbook"}
