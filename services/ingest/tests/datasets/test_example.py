import time

import pytest

from tidemill_ingest.datasets.domain.example import group_of, normalised


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("What does os.path do?", "what does os.path do"),
        ("  What\tdoes\n os.path   do ?!", "what does os.path do"),
        ("„What does os.path do?“", "what does os.path do"),
        ("WHAT DOES OS.PATH DO", "what does os.path do"),
        ("Straße", "STRASSE"),
        ("\ufb01le \u2116\uff11", "file no1"),
        ("e\u0301t\u00e9", "\u00c9TE\u0301"),
    ],
)
def test_questions_that_differ_in_case_space_form_or_marks_at_the_ends_are_the_same(text: str, same: str) -> None:
    assert normalised(text) == normalised(same)
    assert group_of(normalised(text)) == group_of(normalised(same))


@pytest.mark.parametrize(
    ("text", "other"),
    [("What is C#?", "What is C?"), ("What is C++?", "What is C?"), ("a.b", "ab"), ("?", "!"), ("50 %", "50")],
)
def test_what_belongs_to_the_words_keeps_questions_apart(text: str, other: str) -> None:
    assert normalised(text) != normalised(other)


def test_normalising_again_changes_nothing() -> None:
    for text in ("„ǅungla?“", "İstanbul …", "ΑΣ ?", "\u037a x"):
        assert normalised(normalised(text)) == normalised(text)


def test_a_group_is_named_by_a_digest_and_not_by_the_text() -> None:
    assert "password" not in group_of("my password is hunter2")
    assert len(group_of("x")) == 32


def test_a_letter_with_ten_thousands_of_marks_is_compared_in_a_moment() -> None:
    started = time.thread_time()

    assert normalised("a" + "\u0301" * 40_000 + "\u0327" * 40_000).startswith("\u00e1")

    assert time.thread_time() - started < 5  # sorting the marks takes thirteen
