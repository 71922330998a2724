"""The sentences that a model of names learns from, and those that it is measured on."""

from collections.abc import Mapping, Sequence
from itertools import islice
from random import Random

import pytest

from tests.bench import _names
from tests.bench._labelled import Line
from tests.bench.names.made import Made, held_out_lines, sentences, words
from tests.bench.names.training import LABELS, NONE, cased, joined, label_numbers, learnt
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS

LANGUAGES = [language for language in sentences() if language != "invented"]
NAMES: Mapping[str, Sequence[str]] = {
    "given": ("Ada", "Margaret", "Grete", "Anselm", "Odile", "Benedikt", "Zuzanna", "Ilse", "Tove", "Konrad"),
    "family": ("Ellison", "Marchand", "Nowak", "Bakker", "Lindqvist", "Haverkamp", "Okonkwo", "Petrosyan", "Roux"),
    "town": ("Leeds", "Harwich", "Grimsby", "Lowestoft", "Whitby", "Falmouth", "Bridlington", "Penzance", "Exmouth"),
    "large": ("Nagoya", "Accra", "Kingston", "Brisbane", "Valparaiso", "Bogota", "Casablanca", "Montevideo", "Lima"),
    "country": ("Norway", "Iceland", "Kenya", "Bolivia", "Vietnam", "Portugal", "Mongolia", "Lesotho", "Estonia"),
    "day": ("Monday",),
    "month": ("May",),
    "said": ("Save and add another", "Please enter a date.", "The page is not there.", "One more of the same"),
}


def named(lines: Sequence[Line]) -> set[str]:
    return {word for line in lines for start, stop, _ in line.labels for word in words(line.text[start:stop])}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_template_that_is_measured_is_learnt(language: str) -> None:
    given = sentences()[language]
    learnt_ones = {*given["train"], *given["plain"], *given["organisations"]}

    measured = {*given["held_out"], *given["held_out_plain"], *given["held_out_organisations"]}
    written = {*_names.TEMPLATES[language], *_names.STAYS[language]}

    assert not learnt_ones & (measured | written)


def test_no_word_of_a_name_that_is_measured_is_learnt() -> None:
    random = Random(3)  # noqa: S311 - the same each time
    of_templates = {
        word
        for language in LANGUAGES
        for kind in ("organisations", "held_out_organisations", "academic")
        for word in words(" ".join(sentences()[language][kind]))
    }
    seen = named(list(islice(learnt({"en": NAMES}, ["A text."], random=random), 400)))
    held_out = named(list(held_out_lines({"en": NAMES}, rounds=20, seed=3)))
    written = {word for of in _names.NAMES["en"].values() for name in of for word in words(name)}

    assert held_out
    assert not (seen - of_templates) & (held_out | written)


def test_names_side_by_side_are_one_and_titles_none() -> None:
    made = Made("en", {**NAMES, "given": ("Ada",), "family": ("Lovelace",)}, held_out=False, random=Random(1))  # noqa: S311 - the same each time

    line = made.line("Mr {family} and {given} {family} of {number}")

    assert sorted(line.text[start:stop] for start, stop, _ in line.labels) == ["Ada Lovelace", "Lovelace"]
    assert line.text.startswith("Mr Lovelace and Ada Lovelace of ")


def test_words_have_the_label_of_their_name_at_their_first_token_with_case_and_without_accents() -> None:
    known = cased(MODELS / EMBEDDINGS)
    made = Made("en", {**NAMES, "given": ("Zoë",), "family": ("Lovelace",)}, held_out=False, random=Random(1))  # noqa: S311 - the same each time
    line = joined([made.line("ask {given} {family}."), made.line("ask {given}.")], " ")

    encoding = known.tokenizer.encode(line.text)
    labels = [LABELS[number] for number in label_numbers(encoding, line) if number != NONE]

    assert labels == ["O", "PER", "PER", "O", "O", "PER", "O"]
    upper, lower = (known.tokenizer.encode(text, add_special_tokens=False).ids for text in ("Ask", "ask"))
    assert upper != lower
    assert known.bases[upper].tolist() == lower
    assert known.tokenizer.token_to_id("[UNK]") not in known.tokenizer.encode("Zoë ŁÓDŹ IBM McKenzie Wójcik").ids
