from tests.bench.masking import MIN_PRECISION, MIN_RECALL, STAYS, measured


def test_identifiers_of_eight_languages_are_found_and_what_looks_like_one_stays() -> None:
    counts = measured(rounds=2, seed=3)

    assert len(STAYS) >= 5
    for kind in counts.labelled:
        assert counts.recall(kind) >= MIN_RECALL, counts.examples
        assert counts.precision(kind) >= MIN_PRECISION, counts.examples
