"""Questions whose best passage scores too low to answer them find nothing."""

from dataclasses import replace
from typing import Any

import pytest

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_rag.collections.domain.search_settings import Rerank, SearchSettings

KNOWN, UNKNOWN = "how are passwords reset at the desk", "who sings tonight"


async def handbook(**search: Any) -> Rag:  # noqa: ANN401 - fields of SearchSettings
    rag = Rag()
    rag.ingest.put("d1", "passwords are reset at the desk")
    rag.ingest.put("terms", "opera")
    rag.ingest.put("alike", "how are you at the")  # stop words, which no term is made of
    for number in range(4):
        rag.ingest.put(f"o{number}", f"which boat lies at pier {number}")
    await rag.crud.create(ADA, replace(spec(), search=SearchSettings(**search)), write("r1"))
    await rag.work()
    return rag


async def test_a_question_whose_best_passage_scores_lower_finds_nothing_and_the_answer_says_why() -> None:
    rag = await handbook(answerable_above=0.5)

    known, unknown = await rag.search(KNOWN), await rag.search(UNKNOWN)

    assert known.passages[0].payload.document == "d1"
    assert len(known.passages) > 1  # the others are not left out, whatever their score
    assert unknown.passages == ()
    assert "answerable_above of handbook is 0.5" in unknown.warnings[0]


async def test_the_best_of_the_first_passages_decides_though_one_is_asked_for() -> None:
    rag = await handbook(answerable_above=0.6, sparse_weight=50.0)

    (only,) = (await rag.search("how are you at the opera", top_k=1)).passages

    assert only.payload.document == "terms"
    assert only.score < 0.6


async def test_with_a_reranker_its_score_decides_and_nothing_is_refused_while_it_is_away() -> None:
    rag = await handbook(answerable_above=0.1, rerank=Rerank(model="counting@1"))

    known, unknown = await rag.search("passwords reset"), await rag.search("tonight at the desk")
    rag.rerankers.fails = DependencyUnavailable("down", dependency="trainer")
    away = await rag.search("tonight at the desk")

    assert known.passages[0].rerank_score == 0.1
    assert unknown.passages == ()
    assert away.passages


async def test_what_the_reranker_did_not_read_answers_nothing_by_its_cosine() -> None:
    rag = await handbook(answerable_above=0.3, rerank=Rerank(model="counting@1", candidates=1))

    irrelevant = await rag.search("which boat sings at pier tonight")

    assert irrelevant.passages == ()
    assert "the best one has 0.100" in irrelevant.warnings[0]


async def test_it_is_a_share() -> None:
    with pytest.raises(InvalidInput, match="answerable_above"):
        await handbook(answerable_above=1.5)
