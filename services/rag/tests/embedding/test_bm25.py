"""Sparse vectors of BM25."""

import pytest

from tidemill_rag.embedding.bm25 import Bm25Embedding
from tidemill_rag.embedding.domain import LANGUAGES, SparseVector


async def passage(text: str, *, language: str = "en", languages: tuple[str, ...] = ("en",)) -> SparseVector:
    (vector,) = await Bm25Embedding().embed_passages([(language, text)], languages=languages)
    return vector


async def test_terms_saturate_and_weigh_less_in_long_passages() -> None:
    once, thrice = await passage("valve"), await passage("valve valve valve")
    buried = await passage("valve " + " ".join(f"word{number}" for number in range(300)))

    assert once.indices == thrice.indices
    assert once.values[0] < thrice.values[0] < 3 * once.values[0]
    assert dict(zip(buried.indices, buried.values, strict=True))[once.indices[0]] < once.values[0]


async def test_case_punctuation_and_accents_do_not_make_another_term() -> None:
    embed = Bm25Embedding().embed_query

    assert await embed("E-2061.", languages=["en"]) == await embed("e-2061", languages=["en"])
    assert await embed("naïve", languages=[]) == await embed("naive", languages=[])


async def test_a_query_has_the_terms_of_each_language_once() -> None:
    embed = Bm25Embedding().embed_query
    english = {*(await embed("die Häuser", languages=["en"])).indices}
    german = {*(await embed("die Häuser", languages=["de"])).indices}

    both = await embed("die Häuser", languages=["en", "de"])

    assert set(both.indices) == english | german
    assert len(both.indices) == len(set(both.indices))
    assert set(both.values) == {1.0}


async def test_a_text_without_terms_is_empty() -> None:
    for text in ("", "the and of", " ?! "):
        assert await passage(text) == SparseVector()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_language_that_is_offered_is_analysed(language: str) -> None:
    assert (await passage("E-2061", language=language, languages=(language,))).indices


async def test_a_pseudonym_is_a_term_of_its_own_whatever_the_language() -> None:
    text = "Ask [EMAIL:k3f9wq7hd2mzxp], or [EMAIL:q7hd2mzxpk3f9w]."
    for language in ("en", "de", "fr", "ru"):
        found = await passage(text, language=language, languages=(language,))
        asked = await Bm25Embedding().embed_query("[EMAIL:k3f9wq7hd2mzxp]", languages=[language])
        other = await Bm25Embedding().embed_query("[EMAIL:q7hd2mzxpk3f9w]", languages=[language])

        assert len(set(asked.indices)) == 2
        assert set(asked.indices) <= set(found.indices)
        assert len({*asked.indices, *other.indices}) == 3
