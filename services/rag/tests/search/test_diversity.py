"""Passages that add something to the better ones."""

from dataclasses import replace

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.search.diversity import diverse
from tidemill_rag.vectors.ports import Match, Payload


def match(name: str, *vector: float) -> Match:
    payload = Payload(document=name, seq=1, version=1, start=0, end=1, text=name, source="cms", key=name)
    return Match(id=name, score=0.5, payload=payload, vector=vector)


ALIKE = [match("best", 1.0, 0.0), match("copy", 1.0, 0.0), match("near", 0.96, 0.28), match("other", 0.0, 1.0)]


def names(diversity: float, *, count: int = 4) -> list[str]:
    return [each.id for each in diverse(ALIKE, diversity=diversity, count=count)]


def test_without_diversity_the_order_stays_and_with_it_the_unlike_come_before_the_alike() -> None:
    assert names(0.0) == ["best", "copy", "near", "other"]
    assert names(0.5) == ["best", "other", "copy", "near"]
    assert names(1.0, count=2) == ["best", "other"]


def test_a_little_diversity_leaves_a_better_rank_before_a_little_likeness() -> None:
    assert names(0.05) == ["best", "copy", "near", "other"]


def test_fewer_matches_than_asked_for_are_all_returned() -> None:
    assert [each.id for each in diverse(ALIKE[:1], diversity=0.5, count=5)] == ["best"]
    assert diverse([], diversity=0.5, count=5) == []


async def test_a_collection_s_diversity_counts_from_the_next_search() -> None:
    rag = Rag()
    rag.ingest.put("one", "the pump of the basin stops")
    rag.ingest.put("two", "the pump of the basin stops again")
    rag.ingest.put("three", "the pump is blue")
    await rag.handbook()
    before = await rag.found("pump of the basin stops", top_k=2)

    settings = replace(spec(), search=SearchSettings(diversity=0.7))
    await rag.crud.update(ADA, settings, frozenset({"search"}), write("r2", "r2"))

    assert before == ["one", "two"]
    assert await rag.found("pump of the basin stops", top_k=2) == ["one", "three"]
