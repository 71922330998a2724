"""One question to several collections."""

from dataclasses import replace
from typing import Any

import pytest

from services.rag.tests.fakes import ADA, EVE, Rag, spec, write
from services.rag.tests.search.test_shared import NAME, Sharing, grant
from tidemill_core.errors import InvalidInput
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.errors import CollectionNotFound, IndexNotFound, IndexNotReady
from tidemill_rag.search.fusion import fused
from tidemill_rag.search.search import Answer
from tidemill_rag.vectors.ports import Match, Payload

BOTH: dict[str, Any] = {"collection": "handbook", "other_collections": ("faq",)}


async def filled(rag: Rag, **search: Any) -> Rag:  # noqa: ANN401 - fields of SearchSettings
    """Fill a handbook, and a FAQ of other sources."""
    rag.ingest.put("pump", "the pump of the basin stops")
    rag.ingest.put("gate", "the gate of the basin is blue")
    rag.ingest.put("secret", "the pump of the board", readers=("group:board",))
    rag.ingest.put("faq-pump", "why the pump stops", source="faq", metadata={"kind": "faq"})
    rag.ingest.put("copy", "the  pump of the basin\nstops", source="faq")
    await rag.handbook()
    faq = replace(spec("faq", sources=("faq",)), search=SearchSettings(**search))
    await rag.crud.create(ADA, faq, write("faq"))
    await rag.work(collection="faq")
    return rag


def documents(answer: Answer) -> list[str]:
    return [each.payload.document for each in answer.passages]


async def test_passages_of_all_collections_are_one_ranking_and_the_same_text_is_one_passage() -> None:
    rag = await filled(Rag())

    answer = await rag.search("the pump of the basin stops", **BOTH)

    assert set(documents(answer)) == {"pump", "faq-pump", "gate"}
    assert answer.passages[0].also_in == ("faq/copy",)
    assert answer.index == 1
    assert len((await rag.search("the pump of the basin stops", top_k=2, **BOTH)).passages) == 2


async def test_readers_filters_and_settings_hold_in_each() -> None:
    rag = await filled(Rag(), min_score=0.99)

    assert "secret" not in documents(await rag.search("pump of the board", **BOTH))
    assert "secret" in documents(await rag.search("pump of the board", principals=("group:board",), **BOTH))
    assert documents(await rag.search("why the pump stops", metadata_filter={"kind": ["faq"]}, **BOTH)) == ["faq-pump"]
    assert documents(await rag.search("why the pump stops", sources=("faq",), **BOTH)) == ["faq-pump"]
    nothing = await rag.search("the board", sources=("faq",), **BOTH)
    assert nothing.passages == []
    assert "min_score of faq" in nothing.warnings[0]


async def test_of_a_shared_collection_what_has_readers_is_not_found_and_passages_name_it() -> None:
    rag = Sharing()
    await filled(rag)
    rag.grants.apply(grant())
    await rag.crud.create(EVE, spec("own", sources=("own",)), write("own"))
    rag.ingest.put("mine", "my own pump", project=EVE.project, source="own")
    await rag.work(EVE.project, collection="own")

    answer = await rag.search(
        "the pump", caller=EVE, collection="own", other_collections=(NAME,), principals=("group:board",)
    )

    assert {each.payload.document: each.collection for each in answer.passages} == {
        "mine": "",
        "pump": NAME,
        "gate": NAME,
    }


async def test_one_whose_first_index_is_being_built_is_a_warning_unless_it_is_the_only_one() -> None:
    rag = await filled(Rag())
    await rag.crud.create(ADA, spec("early"), write("early"))

    answer = await rag.search("pump", other_collections=("early",))
    first = await rag.search("pump", collection="early", other_collections=("handbook",))

    assert "pump" in documents(answer)
    assert "the first index of collection early is being built" in answer.warnings[0]
    assert (first.index, documents(first)) == (0, documents(answer))
    with pytest.raises(IndexNotReady):
        await rag.search("pump", collection="early")


async def test_what_is_not_there_is_refused_and_a_pinned_index_is_the_first_collection_s() -> None:
    rag = await filled(Rag())

    with pytest.raises(CollectionNotFound, match="nope"):
        await rag.search("pump", other_collections=("nope",))
    with pytest.raises(IndexNotFound):
        await rag.search("pump", index=2, **BOTH)
    assert (await rag.search("pump", index=1, **BOTH)).passages
    for others in (("faq", "faq"), ("handbook",), tuple(f"c{number}" for number in range(10))):
        with pytest.raises(InvalidInput, match="other_collections: makes"):
            await rag.search("pump", other_collections=others)


def match(name: str, score: float) -> Match:
    payload = Payload(document=name, seq=1, version=1, start=0, end=1, text=name, source="cms", key=name)
    return Match(id=name, score=score, payload=payload)


def test_relevances_that_can_be_compared_put_a_collection_that_does_not_answer_behind_one_that_does() -> None:
    answers, does_not = [match("a1", 0.9), match("a2", 0.8)], [match("b1", 0.2), match("b2", 0.1)]

    assert [each.id for each in fused([answers, does_not], comparable=True)] == ["a1", "a2", "b1", "b2"]
    assert [each.id for each in fused([answers, does_not], comparable=False)] == ["a1", "b1", "a2", "b2"]
