"""Ids that are found by texts that are alike."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.rag.tests.fake_stores import InMemoryVectors
from services.rag.tests.fakes import ADA, EVE
from services.rag.tests.similarity.similar import HOUR, InMemorySimilarTexts, Similar
from services.rag.tests.vectors.in_process import InProcessVectors
from services.rag.tests.vectors.test_purge import holding
from tidemill_core.errors import DependencyUnavailable, InvalidInput, NotFound
from tidemill_rag.similarity.domain import index_of
from tidemill_rag.similarity.similar_texts import Compared

LEAVE = "How many days of leave do I have in a year"
ALIKE = "How many days of leave do I have a year"
OTHER = "Who repairs the printer on my floor"


async def test_an_alike_text_is_found_and_another_one_is_not() -> None:
    similar = Similar()
    await similar.put("i1", LEAVE)
    await similar.put("i2", OTHER)

    assert await similar.found(ALIKE) == ["i1"]
    assert await similar.found(ALIKE, min_score=0.999) == []
    [match] = await similar.finds(ADA, Compared(model="words", scope="s", text=LEAVE), min_score=0.9)
    assert match.id == "i1"
    assert match.score == pytest.approx(1.0)


async def test_texts_of_another_scope_project_or_model_version_are_never_found() -> None:
    similar = Similar()
    await similar.put("i1", LEAVE)

    assert await similar.found(LEAVE, scope="other") == []
    assert await similar.found(LEAVE, caller=EVE) == []
    similar.models.newest = 2
    assert await similar.found(LEAVE) == []


async def test_a_text_expires_and_no_later_than_the_installation_allows() -> None:
    similar = Similar()
    await similar.put("i1", LEAVE)
    await similar.put("i2", OTHER, ttl=timedelta(days=90))
    similar.clock.advance(HOUR)
    assert await similar.found(LEAVE) == []
    similar.clock.advance(timedelta(days=30))
    assert await similar.found(OTHER) == []

    assert [await similar.expired(), await similar.expired()] == [2, 0]
    assert await similar.vectors.count(index_of("acme", 512)) == 0


async def test_expired_texts_that_are_not_removed_yet_hide_no_current_one() -> None:
    similar = Similar()
    for number in range(3):
        await similar.put(f"old{number}", LEAVE)
    similar.clock.advance(HOUR)
    await similar.put("new", LEAVE)

    assert await similar.found(LEAVE) == ["new"]


async def test_a_text_that_the_model_cannot_embed_whole_is_neither_kept_nor_found() -> None:
    similar = Similar()

    for text in ("a " * 300, "Wie viel kostet \u0e23\u0e32\u0e04\u0e32"):
        assert not await similar.put("i1", text)
        assert await similar.found(text) == []
    assert await similar.vectors.count(index_of("acme", 512)) == 0


async def test_what_only_the_vector_store_has_is_not_found() -> None:
    texts = InMemorySimilarTexts()
    similar = Similar(texts=texts)
    await similar.put("i1", LEAVE)
    texts.kept.clear()

    assert await similar.found(LEAVE) == []


async def test_a_removed_text_is_found_no_longer() -> None:
    similar = Similar()
    await similar.put("i1", LEAVE)
    await similar.put("i1", LEAVE, caller=EVE)

    await similar.removes(ADA, ["i1", "absent"])

    assert await similar.found(LEAVE) == []
    assert await similar.found(LEAVE, caller=EVE) == ["i1"]
    assert await similar.vectors.count(index_of("acme", 512)) == 0


async def test_an_id_has_one_text() -> None:
    similar = Similar()
    await similar.put("i1", LEAVE)
    await similar.put("i1", OTHER)

    assert (await similar.found(LEAVE), await similar.found(OTHER)) == ([], ["i1"])


async def test_a_project_has_only_so_many_and_those_that_expire_first_are_removed() -> None:
    texts = InMemorySimilarTexts()
    similar = Similar(texts=texts, max_texts=20)

    for number in range(30):
        await similar.put(f"i{number}", f"What is {number}")
        similar.clock.advance(timedelta(seconds=1))

    assert len(texts.kept) == 20
    assert await similar.vectors.count(index_of("acme", 512)) == 20
    assert await similar.found("What is 29", min_score=0.99) == ["i29"]


async def test_a_store_that_is_down_leaves_no_vector_that_nothing_names() -> None:
    texts = InMemorySimilarTexts()
    similar = Similar(texts=texts)
    texts.down = True

    with pytest.raises(DependencyUnavailable):
        await similar.put("i1", LEAVE)

    assert await similar.vectors.count(index_of("acme", 512)) == 0


async def test_an_index_that_another_process_dropped_is_created_again() -> None:
    vectors = InMemoryVectors()
    similar = Similar(vectors=vectors)
    await similar.put("i1", LEAVE)
    await vectors.drop(index_of("acme", 512))
    vectors.down = True
    with pytest.raises(DependencyUnavailable):
        await similar.put("i2", OTHER)
    vectors.down = False

    assert await similar.put("i2", OTHER)


async def test_what_is_no_text_model_or_scope_is_refused_by_name() -> None:
    similar = Similar()
    fine = Compared(model="words", scope="s", text=LEAVE)

    for wrong, field in (
        (replace(fine, model=""), "model: is required"),
        (replace(fine, scope=""), "scope: has 0 characters; use 1 to 200"),
        (replace(fine, scope="s" * 201), "scope: has 201 characters"),
        (replace(fine, text=" "), "text: is empty"),
        (replace(fine, text="a" * 1001), "text: has 1001 characters; the limit is 1000"),
    ):
        with pytest.raises(InvalidInput, match=field):
            await similar.finds(ADA, wrong, min_score=0.9)
        with pytest.raises(InvalidInput, match=field):
            await similar.puts(ADA, wrong, text_id="i1", expire_time=similar.clock.now())
    for score in (0.0, 1.1, float("nan")):
        with pytest.raises(InvalidInput, match="min_score: is"):
            await similar.finds(ADA, fine, min_score=score)
    with pytest.raises(InvalidInput, match="limit: is 11; use 1 to 10"):
        await similar.finds(ADA, fine, min_score=0.9, limit=11)
    with pytest.raises(InvalidInput, match="id: has 0 characters"):
        await similar.puts(ADA, fine, text_id="", expire_time=similar.clock.now())
    with pytest.raises(InvalidInput, match="ids: has 0; send 1 to 100"):
        await similar.removes(ADA, [])
    with pytest.raises(NotFound):
        await similar.finds(ADA, replace(fine, model="absent"), min_score=0.9)


async def test_a_deleted_project_leaves_no_vector() -> None:
    similar = Similar()
    await similar.put("i1", LEAVE)
    await similar.put("i1", LEAVE, caller=EVE)

    assert [await similar.erase.of_project("acme"), await similar.erase.of_project("acme")] == [1, 0]

    assert await similar.vectors.count(index_of("acme", 512)) == 0
    assert await similar.found(LEAVE, caller=EVE) == ["i1"]


async def test_the_vectors_of_a_person_are_erased_from_the_files_too(tmp_path: Path) -> None:
    vectors = InProcessVectors(tmp_path)
    similar = Similar(vectors=vectors)
    await similar.put("erased-1", LEAVE, end_user="ada")
    await similar.put("erased-2", "What is for lunch today", end_user="ada")
    await similar.put("kept-1", OTHER, end_user="bob")

    assert [await similar.erase.of_end_user("acme", "ada"), await similar.erase.of_end_user("acme", "ada")] == [2, 0]

    assert await similar.found(LEAVE) == []
    assert await similar.found(OTHER) == ["kept-1"]
    assert holding(tmp_path, "erased-") == []
    assert holding(tmp_path, "kept-1")
    await vectors.close()
