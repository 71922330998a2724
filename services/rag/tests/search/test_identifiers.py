"""Questions that name an identifier which no passage has."""

from dataclasses import replace

import pytest

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.search.identifiers import MAX_IDENTIFIERS, is_one_missing


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("What does alarm M-3121 mean?", "M-3121: oil pressure is low"),
        ("what to do with M3142", "Alarm M-3142, and what it says"),
        ("fuse f24", "It belongs to fuse F 24."),
        ("Where is GK-2702 kept?", "gk_2702 is in row 4"),
        ("How many weeks in 2024?", "nothing of it"),
        ("Who signs orders above 25000 euro within 24h?", "nothing of it"),
        ("What is B2B, and 0x80070057?", "nothing of it"),
        ("alarm M-4200", "M\N{NON-BREAKING HYPHEN}4200: oil"),
        ("alarm M-4200", "M\N{EN DASH}4200: oil"),
        ("alarm M-4200", "M - 4200: oil"),
        ("alarm M-4200", r"M\-4200: oil"),
        ("alarm M-4200", "**M**-4200: oil"),
        ("alarm M-4200", "M-\N{SOFT HYPHEN}4200: oil"),
        ("alarm M-4200", "M-4200\N{SUPERSCRIPT TWO}: oil"),
        ("alarm M-4200\N{SUPERSCRIPT TWO}", "M-4200: oil"),
        ("alarm M-4200", "alarms M-4198/4199/4200: oil"),
        ("alarm M-4200", "\u8b66\u62a5M-4200"),
        ("alarm \uff2d\uff14\uff12\uff10\uff10", "M-4200: oil"),
        ("alarm M-4200", "\uff2d\uff0d\uff14\uff12\uff10\uff10: oil"),
        ("fuse E1", "fuse E\N{SUBSCRIPT ONE}"),
        ("\u4ec0\u4e48\u662f\u8b66\u62a5M-4200?", "nothing of it"),
        ("\u8b66\u5831E2061 \u539f\u56e0", "nothing of it"),
        ("Is it open on Monday - 24 December?", "nothing of it"),
        ("\u0413\u041e\u0421\u0422-123 and \u00c4-12", "nothing of it"),
    ],
)
def test_an_identifier_is_found_however_its_parts_are_joined_and_numbers_are_none(question: str, text: str) -> None:
    assert not is_one_missing(question, ["another passage", text])


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("What does alarm M-4200 mean?", "M-3121: oil pressure is low"),
        ("alarm M-312", "M-3121: oil pressure is low"),
        ("valve S4", "valve S40, and valve AS4"),
        ("M-3121 or M-4200?", "M-3121: oil pressure is low"),
        ("alarm M\N{NON-BREAKING HYPHEN}4200", "M-3121: oil pressure is low"),
        ("alarm \uff2d\uff14\uff12\uff10\uff10", "M-3121: oil pressure is low"),
        ("alarm M-4200", "M-3121/4201, N-4200"),
    ],
)
def test_one_that_no_passage_has_as_a_whole_is_missing(question: str, text: str) -> None:
    assert is_one_missing(question, [text, "another passage"])


async def faults(search: SearchSettings) -> Rag:
    rag = Rag()
    rag.ingest.put("pump", "fault E-2061: the pump runs dry")
    rag.ingest.put("valve", "fault E-2062: the valve is closed")
    await rag.crud.create(ADA, replace(spec(), search=search), write("r1"))
    await rag.work()
    return rag


def test_the_first_identifiers_of_a_question_count() -> None:
    known = " ".join(f"A-{number}" for number in range(MAX_IDENTIFIERS))

    assert not is_one_missing(f"{known} Z-9", [known])
    assert is_one_missing(f"Z-9 {known}", [known])


async def test_a_question_that_names_an_unknown_identifier_finds_nothing_and_the_answer_says_why() -> None:
    rag = await faults(SearchSettings(identifiers_required=True))

    known = await rag.search("fault E-2061")
    unknown = await rag.search("fault E-9999", top_k=1)

    assert known.passages
    assert not known.warnings
    assert not unknown.passages
    assert "names an identifier that none of the best" in unknown.warnings[0]
    assert "E-9999" not in unknown.warnings[0]


@pytest.mark.parametrize("by", ["key", "title"])
async def test_identifiers_in_key_or_title_of_another_document_with_the_same_text_count(by: str) -> None:
    rag = Rag()
    for number, name in enumerate(("M-4200", "M-4201")):
        key, title = (name, "") if by == "key" else (f"pump{number}", name)
        rag.ingest.put(key, "the pump runs dry", title=title)
    await rag.crud.create(ADA, replace(spec(), search=SearchSettings(identifiers_required=True)), write("r1"))
    await rag.work()

    (passage,) = (await rag.search("pump of M-4200 and M-4201")).passages

    assert len(passage.also_in) == 1


async def test_without_the_setting_nothing_is_refused_for_it() -> None:
    rag = await faults(SearchSettings())

    assert (await rag.search("fault E-9999")).passages
