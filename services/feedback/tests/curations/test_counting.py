"""Which corrections count beside others: users who agree, texts that repeat, and shares of a batch."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

from tidemill_feedback.curations.domain.agreement import measures_of
from tidemill_feedback.curations.domain.counting import Chosen, choose
from tidemill_feedback.curations.domain.filters import Filters
from tidemill_feedback.curations.domain.ledger import CandidateExample, Row
from tidemill_feedback.curations.domain.measures import SIGNATURE_BYTES, Measures
from tidemill_testkit.clocks import NOON


def filters(**fields: object) -> Filters:
    given = {"deployment": "d", "per_user_at_most": 0, "min_output_chars": 1, "max_output_chars": 100} | fields
    return Filters(**given)  # type: ignore[arg-type]  # names of fields


def row(  # noqa: PLR0913 - a correction has many sides
    number: int, *, user: str = "", question: str = "", answer: str = "", rater: str = "user", cohort: str = ""
) -> Row:
    at = NOON + timedelta(minutes=number)
    candidate = CandidateExample(
        feedback=f"f{number:02}",
        seq=1,
        inference=f"i{number}",
        deployment="d",
        end_user=user or f"u{number}",
        observe_time=at,
        rater=rater,
    )
    measures = Measures(
        question=question or f"q{number}", answer=answer or f"a{number}", cohort_label="country", cohort=cohort
    )
    return Row(candidate=candidate, first_time=at, resolved_seq=1, chars=10, measures=measures)


ALL = {"per_user_at_most": 20, "max_repeats": 1, "exclude_contradicted": True, "min_rater_reliability": 0.2}


def counted(rows: list[Row], **rules: object) -> Chosen:
    return choose(rows, filters(**rules), completions=0, at_most=100)


def refused(rows: list[Row], **rules: object) -> dict[str, str]:
    return dict(counted(rows, **rules).changed)


def test_of_a_question_that_users_corrected_otherwise_the_answer_of_most_of_them_counts() -> None:
    rows = [row(1, question="q", answer="wrong"), *(row(number, question="q", answer="right") for number in (2, 3, 4))]

    assert refused(rows, exclude_contradicted=True) == {"f01": "CONTRADICTED"}
    assert refused(rows) == {}


def test_two_users_who_agree_do_not_contradict_the_words_of_a_third() -> None:
    expert = [row(number, user="expert", question=f"q{number}", answer=f"own{number}") for number in range(6)]
    pairs = [
        row(10 + 2 * number + voice, user=name, question=f"q{number}", answer="pasted")
        for number in range(6)
        for voice, name in enumerate(("ann", "bob"))
    ]

    assert refused([*expert, *pairs], exclude_contradicted=True, min_rater_reliability=0.2) == {}


def test_what_is_above_the_limit_of_its_user_has_no_voice() -> None:
    crowd = [
        row(10 * number + voice, user=name, question=f"q{number}", answer="wrong")
        for number in range(6)
        for voice, name in enumerate(("mallory", "trudy", "eve"))
    ]
    honest = [row(80 + number, user=f"h{number}", question=f"q{number}", answer="right") for number in range(6)]

    reasons = refused([*crowd, *honest], exclude_contradicted=True, per_user_at_most=2)

    assert {each for each, why in reasons.items() if why == "CONTRADICTED"} == {"f80", "f81"}


def without_pseudonym(*rows: Row) -> list[Row]:
    return [replace(each, candidate=replace(each.candidate, end_user="")) for each in rows]


def test_who_has_no_pseudonym_is_not_one_rater() -> None:
    right = without_pseudonym(*(row(number, question="q", answer="right") for number in range(10)))
    wrong = [row(20 + number, question="q", answer="wrong") for number in range(2)]

    assert refused([*right, *wrong], exclude_contradicted=True) == {}


def test_who_has_no_pseudonym_contradicts_no_one_and_has_no_reliability() -> None:
    flood = without_pseudonym(*(row(number, question=f"q{number % 5}", answer="wrong") for number in range(30)))
    named = [row(40 + number, question=f"q{number % 5}", answer="right") for number in range(5)]
    crowd = [row(50 + number, question="q0", answer="right") for number in range(8)]

    reasons = refused([*flood, *named, *crowd], exclude_contradicted=True, min_rater_reliability=0.2)

    assert set(reasons.values()) == {"CONTRADICTED"}
    assert set(reasons) == {each.candidate.feedback for each in flood if measures_of(each).question == "q0"}


def test_where_no_answer_has_more_users_than_another_all_count() -> None:
    rows = [row(1, question="q", answer="a"), row(2, question="q", answer="b"), row(3, question="other")]
    pairs = [row(number, question="q", answer="ab"[number % 2]) for number in range(6)]

    assert refused(rows, exclude_contradicted=True) == {}
    assert refused([*pairs, row(9, question="q", answer="c")], exclude_contradicted=True) == {"f09": "CONTRADICTED"}


def test_a_user_has_one_voice_for_an_answer_however_often_they_give_it() -> None:
    often = [row(number, user="eager", question="q", answer="wrong") for number in range(5)]

    assert refused([*often, row(9, question="q", answer="right")], exclude_contradicted=True) == {}


def test_a_reviewer_decides_what_any_number_of_users_contradict() -> None:
    users = [row(number, question="q", answer="wrong") for number in range(3)]
    agreeing = row(4, question="q", answer="right")

    reasons = refused(
        [*users, agreeing, row(5, question="q", answer="right", rater="reviewer")], exclude_contradicted=True
    )

    assert reasons == dict.fromkeys(("f00", "f01", "f02"), "CONTRADICTED")


def test_the_same_correction_of_a_user_to_many_questions_counts_for_the_first_ones() -> None:
    rows = [row(number, user="mallory", answer="pasted") for number in range(5)]
    same_question = row(9, user="mallory", question="q0", answer="pasted")

    assert set(refused([*rows, same_question], max_repeats=1)) == {"f01", "f02", "f03", "f04"}
    assert refused(rows, max_repeats=3) == dict.fromkeys(("f03", "f04"), "REPEATED_TEXT")


def test_no_one_takes_the_say_from_others_by_giving_their_answer_to_another_question_first() -> None:
    junk, honest = (
        row(0, user="mallory", answer="yes"),
        [row(1 + number, question="q", answer="yes") for number in range(9)],
    )
    reasons = refused([junk, *honest, row(20, user="mallory", question="q", answer="no")], **ALL)

    assert reasons == {"f20": "CONTRADICTED"}


def test_a_reviewer_may_give_the_same_correction_to_any_question() -> None:
    assert refused([row(number, answer="same", rater="reviewer") for number in range(5)], max_repeats=1) == {}


def test_a_text_that_repeats_has_no_say_in_later_questions() -> None:
    names = ("mallory", "trudy", "eve")
    own = [row(number, user=name, answer="pasted") for number, name in enumerate(names)]
    pasted = [row(10 + number, user=name, question="q", answer="pasted") for number, name in enumerate(names)]

    reasons = refused([*own, *pasted, row(20, question="q", answer="right")], max_repeats=1, exclude_contradicted=True)

    assert reasons == dict.fromkeys(("f10", "f11", "f12"), "REPEATED_TEXT")


FIRST, NEAR, FAR = (bytes(SIGNATURE_BYTES - changed) + bytes([1] * changed) for changed in (0, 20, 40))
"""Signatures of which the middle one is nearly the same as both others."""


def signed(number: int, signature: bytes, *, user: str) -> Row:
    given = row(number, user=user)
    return replace(given, measures=replace(measures_of(given), signature=signature))


def test_texts_that_are_nearly_the_same_repeat_and_a_chain_of_changes_does_not() -> None:
    rows = [signed(number, each, user="mallory") for number, each in enumerate((FIRST, NEAR, FAR))]

    assert set(refused(rows, max_repeats=1)) == {"f01"}


def test_two_texts_of_a_user_do_not_repeat_because_another_user_gave_one_between_them() -> None:
    between, own = signed(0, NEAR, user="mallory"), [signed(1, FIRST, user="carol"), signed(2, FAR, user="carol")]

    assert refused([between, *own], max_repeats=1) == {}


def shares(chosen: Chosen) -> dict[str, int]:
    return dict(Counter(each.candidate.end_user for each in chosen.rows))


def test_no_user_has_more_than_their_share_of_what_is_left() -> None:
    rows = [row(number, user="eager") for number in range(50)] + [row(50 + number) for number in range(36)]

    chosen = counted(rows, max_user_share=0.1)

    assert shares(chosen)["eager"] == 4, "of 40; a fifth one would be more than a tenth of 41"
    assert chosen.counts.refused == {"USER_SHARE": 46}
    assert min(each.candidate.feedback for each in chosen.rows) == "f00", "the first ones stay"


def test_each_user_has_one_example_however_few_users_there_are_and_reviewers_any_number() -> None:
    assert shares(counted([row(number, user="ab"[number % 2]) for number in range(6)], max_user_share=0.1)) == {
        "a": 1,
        "b": 1,
    }
    reviewed = [row(10 + number, user="rita", rater="reviewer") for number in range(18)]
    assert shares(counted([*(row(number, user="a") for number in range(6)), *reviewed], max_user_share=0.1)) == {
        "a": 2,
        "rita": 18,
    }


def test_the_shares_of_users_hold_after_those_of_cohorts() -> None:
    many = [row(number, cohort="here", user=f"u{number % 30}") for number in range(60)]
    some = [row(60 + number, cohort="there", user=f"v{number % 5}") for number in range(20)]
    rules = {"cohort_label": "country", "max_cohort_share": 0.6, "max_user_share": 0.1}

    chosen = counted([*many, *some], **rules)

    total, cohorts = len(chosen.rows), Counter(each.measures and each.measures.cohort for each in chosen.rows)
    assert total > 30
    assert cohorts["here"] <= 0.6 * total
    assert max(shares(chosen).values()) <= 0.1 * total
    assert set(chosen.counts.refused) == {"COHORT_SHARE"}


def test_what_is_not_measured_yet_is_pending_and_counts_where_nothing_is_compared() -> None:
    unmeasured = Row(candidate=row(1).candidate, first_time=NOON, resolved_seq=1, chars=10)

    assert counted([unmeasured]).counts.examples == 1
    assert counted([unmeasured], max_repeats=1).counts.pending == 1
    assert counted([row(1)], cohort_label="team", max_cohort_share=0.5).counts.pending == 1


def test_each_refused_correction_has_one_reason() -> None:
    rows = [
        row(1, user="a"),
        row(2, user="a"),
        Row(candidate=row(3).candidate, first_time=NOON, resolved_seq=1, chars=1000, measures=row(3).measures),
        Row(candidate=row(4).candidate, first_time=NOON, failure="INFERENCE_NOT_FOUND"),
    ]

    chosen = counted(rows, per_user_at_most=1)

    assert chosen.changed == {"f02": "PER_USER_LIMIT", "f03": "TOO_LONG", "f04": "INFERENCE_NOT_FOUND"}
    assert chosen.counts.filtered == sum(chosen.counts.refused.values()) == 3


def test_ratings_and_choices_are_compared_with_no_text_and_are_within_the_shares_of_their_users() -> None:
    rated = [row(number, user=f"u{number % 4}", question="q", answer="none") for number in range(8)]
    rows = [replace(each, candidate=replace(each.candidate, metric="rating")) for each in rated]
    spam = [replace(each, measures=replace(measures_of(each), spam="NO_WORDS")) for each in rows]
    rules = {"max_repeats": 1, "exclude_contradicted": True, "min_rater_reliability": 0.2, "exclude_spam": True}

    assert refused(spam, feedback=("rating",), **rules) == {}
    assert set(refused(spam, feedback=("rating",), max_user_share=0.25, **rules).values()) == set()
    assert set(refused(spam, feedback=("rating",), max_user_share=0.1, **rules).values()) == {"USER_SHARE"}
