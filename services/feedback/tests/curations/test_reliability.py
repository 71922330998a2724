"""How far raters can be relied on, and what follows."""

import pytest

from services.feedback.tests.curations.test_counting import counted, refused, row
from tidemill_feedback.curations.domain.ledger import Row
from tidemill_feedback.curations.domain.reliability import reliability


@pytest.mark.parametrize("confirmed", [0, 1, 7, 100])
def test_reliability_is_the_lower_bound_of_the_posterior(confirmed: int) -> None:
    alpha, without, contradicted_once = 4 + confirmed, reliability(confirmed, 0), reliability(confirmed, 1)

    assert without**alpha == pytest.approx(0.05)
    assert contradicted_once**alpha * (alpha + 1 - alpha * contradicted_once) == pytest.approx(0.05)


def test_evidence_moves_it_and_much_of_it_is_bounded() -> None:
    assert reliability(0, 0) > reliability(0, 3) > 0.2 > reliability(0, 4)
    assert reliability(4, 4) > 0.2
    assert reliability(900_000, 100_000) == pytest.approx(0.86, abs=0.01)


def contradicted(user: str, times: int, *, begin: int = 0) -> list[Row]:
    """Return corrections of a user to questions of which three others say something else."""
    return [
        row(begin + 4 * number + voice, user=name, question=f"s{begin}-{number}", answer=said)
        for number in range(times)
        for voice, (name, said) in enumerate(
            ((user, f"wrong{number}"), ("ann", "right"), ("bob", "right"), ("cid", "right"))
        )
    ]


def test_who_is_contradicted_too_often_is_left_out_also_where_no_other_user_has_a_say() -> None:
    own = row(90, user="mallory", question="theirs")

    reasons = refused([*contradicted("mallory", 4), own], min_rater_reliability=0.2)

    assert reasons == dict.fromkeys(("f00", "f04", "f08", "f12", "f90"), "UNRELIABLE_RATER")
    assert refused([*contradicted("mallory", 3), own], min_rater_reliability=0.2) == {}


def test_the_voice_of_an_unreliable_rater_decides_no_question() -> None:
    names = ("mallory", "trudy", "eve")
    crowd = [row(80 + number, user=name, question="q", answer="wrong") for number, name in enumerate(names)]
    known = [each for number, name in enumerate(names) for each in contradicted(name, 6, begin=100 * (1 + number))]
    rows = [*known, *crowd]
    rows.append(row(83, user="carol", question="q", answer="right"))

    reasons = refused(rows, min_rater_reliability=0.2, exclude_contradicted=True)

    assert reasons["f80"] == reasons["f81"] == reasons["f82"] == "UNRELIABLE_RATER"
    assert "f83" not in reasons
    assert refused(rows, exclude_contradicted=True)["f83"] == "CONTRADICTED"


def test_a_question_is_evidence_once_however_often_it_is_corrected() -> None:
    right = [row(10 + number, user=f"v{number}", question="q", answer="right") for number in range(3)]
    often = [row(number, user="mallory", question="q", answer="wrong") for number in range(9)]

    assert refused([*often, *right], min_rater_reliability=0.2) == {}


def test_reviewers_are_never_unreliable() -> None:
    rows = [row(number, rater="reviewer", user="rita", question=f"q{number // 2}") for number in range(20)]

    assert refused(rows, min_rater_reliability=0.2) == {}


def test_of_a_cohort_that_has_too_much_the_more_reliable_users_keep_their_share() -> None:
    lone = [row(number, user="new", cohort="here") for number in range(3)]
    shared = [
        row(10 + 2 * number + voice, user=name, question=f"s{number}", answer="same", cohort="here")
        for number in range(2)
        for voice, name in enumerate(("ann", "bob"))
    ]
    others = [row(50 + number, user=f"w{number}", cohort="there") for number in range(4)]
    rules = {"cohort_label": "country", "max_cohort_share": 0.5}

    first = {each.candidate.end_user for each in counted([*lone, *shared, *others], **rules).rows}
    reliable = {
        each.candidate.end_user for each in counted([*lone, *shared, *others], **rules, min_rater_reliability=0.1).rows
    }

    assert "new" in first
    assert "new" not in reliable
    assert {"ann", "bob"} <= reliable
