"""Which blocks of texts are alike, and from when on they are boilerplate."""

from tidemill_ingest.quality.boilerplate import BlockCounts, BoilerplateRules, blocks_of, digest_of, spans_of

FOOTER = "Page 3 of 12, all rights reserved by the harbour, 2025"
MENU = "- [Home](/start)\n- [Timetable](/times?year=2025)\n- [Contact](/contact)"


def digests(text: str) -> list[str]:
    return [block.digest for block in blocks_of(text, max_blocks=200)]


def test_blocks_are_alike_whatever_their_page_year_case_white_space_and_targets() -> None:
    other_footer = "PAGE 11 of 12,  all rights reserved\nby the harbour, 2026"
    other_menu = MENU.replace("2025", "2026").replace("/start", "/en/start")

    assert digests(FOOTER) == digests(other_footer)
    assert digests(MENU) == digests(other_menu)
    assert digests(FOOTER) != digests("Page 3 of 12, some rights reserved by the harbour, 2025")


def test_numbers_that_are_no_page_and_no_year_are_a_documents_own() -> None:
    invoice = "Customer number {} of the harbour. Amount due: {} EUR, payable by 2026-04-15."
    notice = "(c) {} Harbour authority, all rights reserved. Page {}"

    assert digests(invoice.format(33, 122)) != digests(invoice.format(33, 123))
    assert digests("Amount due to the harbour: 122") != digests("Amount due to the harbour: 80")
    assert digests("Payable by 2026-04-15 at noon") != digests("Payable by 2026-05-15 at noon")
    assert digests(notice.format(2025, 3)) == digests(notice.format(2026, 12))
    assert digests("12 345 678 901 234 EUR") == []


def test_headings_tables_code_and_short_lines_are_no_blocks() -> None:
    assert digests(f"# {FOOTER}\n\n| {FOOTER} |\n| --- |\n\n```\n{FOOTER}\n```\n\nAbout us\n") == []


def test_code_after_an_empty_line_of_its_fence_is_no_block_and_the_text_behind_it_is_one() -> None:
    code = f"```python\nimport tide\n\n{FOOTER}\n\n~~~\n\n{FOOTER}\n```"

    assert digests(f"{code}\n\n{FOOTER}\n") == digests(FOOTER)
    assert digests(f"Use ```this``` at the harbour\n\n{FOOTER}")[1:] == digests(FOOTER)


def test_of_many_blocks_the_first_and_the_last_are_counted() -> None:
    text = "\n\n".join(f"Paragraph {'z' * number} of this text" for number in range(50))

    found = blocks_of(text, max_blocks=4)

    assert [text[block.start : block.end].count("z") for block in found] == [0, 1, 48, 49]


def test_blocks_with_white_space_alone_between_are_one_span_from_the_start_of_their_lines() -> None:
    text = f"{MENU}\n\n  {FOOTER}\n \nWhat only this page says of the tide.\n\n{FOOTER}\n"
    blocks = blocks_of(text, max_blocks=200)

    found = spans_of(text, blocks, {*digests(MENU), *digests(FOOTER)})

    assert [text[each.start : each.end].strip() for each in found] == [f"{MENU}\n\n  {FOOTER}", FOOTER]
    assert (found[0].start, text[found[0].end :].lstrip()[:4]) == (0, "What")
    assert spans_of(text, blocks, ()) == ()


def test_a_block_repeats_that_enough_documents_and_a_share_of_them_have() -> None:
    rules = BoilerplateRules(min_documents=3, min_share=0.1)
    text, few, many = ["a", "b"], {"a": 3, "b": 1}, {"a": 19, "b": 1}

    assert rules.repeated(text, BlockCounts(documents=5, with_block=few)) == {"a"}
    assert rules.repeated(text, BlockCounts(documents=5, with_block={"a": 2})) == frozenset()
    assert rules.repeated(text, BlockCounts(documents=200, with_block=many)) == frozenset()
    assert rules.repeated(text, BlockCounts(documents=190, with_block=many)) == {"a"}


def test_a_text_of_which_everything_repeats_keeps_it() -> None:
    counts = BlockCounts(documents=5, with_block={"a": 5, "b": 5})

    assert BoilerplateRules().repeated(["a", "b"], counts) == frozenset()


def test_the_digest_of_what_repeats_is_that_of_the_set() -> None:
    assert digest_of(["a", "b"]) == digest_of({"b", "a"})
    assert digest_of(["a"]) != digest_of(["a", "b"])
    assert digest_of([]) == ""
