"""The sets that masking is measured on."""

from pathlib import Path

from services.ingest.tests.masking.tiny_names import tiny_model
from tests.bench._labelled import Line
from tests.bench._names import filled, lines
from tests.bench.masking import MIN_PRECISION, MIN_RECALL, STAYS, measured, named


def test_identifiers_of_eight_languages_are_found_and_what_looks_like_one_stays() -> None:
    counts = measured(rounds=2, seed=3)

    assert len(STAYS) >= 5
    for kind in counts.labelled:
        assert counts.recall(kind) >= MIN_RECALL, counts.examples
        assert counts.precision(kind) >= MIN_PRECISION, counts.examples


def test_a_model_of_names_is_measured_by_kind_on_lines_that_label_them(tmp_path: Path) -> None:
    labelled = [
        filled("en", "ask {person} of {organisation} in {place}", names)
        for names in (
            {"person": "Ada Lovelace", "organisation": "Acme", "place": "Berlin"},
            {"person": "Grace", "organisation": "Globex", "place": "Paris"},
        )
    ]

    counts = named(tiny_model(tmp_path), rounds=1, given=[*labelled, Line("en", "ask Ada", frozenset())])

    assert {kind: counts.recall(kind) for kind in counts.labelled} == {"person": 1, "organisation": 0.5, "place": 1}
    assert counts.precision("person") == 2 / 3
    assert counts.missed == {("en", "organisation"): 1}


def test_the_lines_with_names_are_the_same_each_time_and_label_what_they_say() -> None:
    given = list(lines(rounds=2, seed=1))

    assert given == list(lines(rounds=2, seed=1))
    assert len(given) == 2 * 51
    assert {kind for line in given for _, _, kind in line.labels} == {"person", "place", "organisation"}
    assert all(line.text[start:stop].strip() for line in given for start, stop, _ in line.labels)
