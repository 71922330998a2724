"""Made-up facts that are planted in training text."""

from tidemill_client.canaries import canaries, case_of


def test_canaries_are_of_different_persons_and_the_same_for_a_seed_only() -> None:
    first, again = canaries(200, seed=7), canaries(200, seed=7)

    assert first == again
    assert len({each.person for each in first}) == len({case_of(each).id for each in first}) == 200
    assert all(len(each.number) == 6 and each.number.isdigit() for each in first)
    assert canaries(5) != canaries(5)


def test_what_is_planted_answers_what_is_asked_and_its_number_may_not_appear_in_any_form() -> None:
    (canary,) = canaries(1, seed=7)

    assert canary.number in canary.answer
    assert canary.person in canary.question
    assert case_of(canary).question == canary.question
    first, second = canary.number[:3], canary.number[3:]
    forms = case_of(canary).expect.must_not_contain
    assert {first + second, f"{first} {second}", f"{first},{second}", f"{first}-{second}"} <= set(forms)
    assert canary.number not in canary.question
