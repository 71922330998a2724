"""What holds of every batch, tried on many of them that a seeded generator makes."""

import random
from functools import cache

import pytest

from services.ingest.tests.datasets.examples import examples, message, numbered
from tidemill.content.v1.content_pb2 import ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_USER, Message, Part
from tidemill.feedback.v1.curation_pb2 import EXAMPLE_KIND_PREFERENCE, EXAMPLE_KIND_UNPAIRED_PREFERENCE
from tidemill.feedback.v1.curation_pb2 import Example as ExampleMessage
from tidemill_ingest.datasets.domain.division import (
    EXAMPLES_ALIKE,
    HELD_OUT_EMPTY,
    TOO_FEW_EXAMPLES,
    Division,
    Minimum,
    divide,
)
from tidemill_ingest.datasets.domain.example import Example, common_answers, group_of, words_of
from tidemill_ingest.datasets.domain.parts import content_digest, lines_of, masked, shared_between
from tidemill_ingest.datasets.domain.split import Split
from tidemill_ingest.errors import BatchUnusable
from tidemill_ingest.limits import COMMON_FROM

SALT = "acme/helpdesk_sft"
MINIMUM = Minimum(train=3, held_out=1)


def generator(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - for tests that repeat themselves, no secret


def random_examples(seed: int) -> list[Example]:
    """Return a batch in which questions and answers repeat in all the ways that people repeat them."""
    luck = generator(seed)
    count = luck.randint(1, 120)
    questions = [f"Question {number}" for number in range(luck.randint(1, count))]
    answers = [f"Answer {number}" for number in range(luck.randint(1, count))]
    dressed = ("{}", "{}?", " {} ", "{}.")
    return examples(
        [
            message(
                luck.choice(dressed).format(luck.choice(questions)).swapcase(),
                luck.choice(dressed).format(luck.choice(answers)),
                name=f"{seed} {number}",
                user=f"u{number % 5}",
                at=luck.randint(0, 50),
            )
            for number in range(count)
        ]
    )


def divided(batch: list[Example], *, split: Split | None = None, share: float = 0.3) -> Division:
    return divide(batch, erased=frozenset(), split=split or Split(), share=share, salt=SALT)


@cache
def divisions() -> list[tuple[list[Example], Division]]:
    batches = [(generator(seed), random_examples(seed)) for seed in range(30)]
    return [(batch, divided(batch, share=luck.choice([0.1, 0.3, 0.5, 0.9]))) for luck, batch in batches]


@pytest.mark.heavy
def test_nothing_of_the_held_out_part_occurs_in_train() -> None:
    for _, division in divisions():
        asked = {each.asked for each in division.train} & {each.asked for each in division.held_out}
        answered = {each.answered for each in division.train} & {each.answered for each in division.held_out}
        assert not asked
        pairs = [(each.asked, each.answered) for each in division.kept]
        assert not answered - common_answers(pairs, COMMON_FROM)
        assert shared_between(lines_of(division.train), lines_of(division.held_out)) == 0


def follow_up(topic: int, *, company: str = "") -> ExampleMessage:
    """Return a question that only the turns before it, or a variable, distinguish from others."""
    found = message("And for companies?", f"For companies, topic {topic} costs {topic * 2} euros.", name=f"f{topic}")
    if company:
        found.variables.update({"company": company})
    else:
        for role, text in ((ROLE_USER, f"What does topic {topic} cost?"), (ROLE_ASSISTANT, f"{topic} euros.")):
            found.earlier.add(role=role, parts=[Part(text=text)])
    return found


def test_a_follow_up_is_grouped_by_its_whole_conversation_and_by_what_it_was_given() -> None:
    chats = examples([follow_up(topic) for topic in range(12)])
    given = examples([follow_up(topic, company=f"company {topic}") for topic in range(12)])
    again = follow_up(3)
    again.question, again.earlier[0].parts[0].text = " and for COMPANIES", "what does  topic 3 cost"

    assert len({group_of(each.asked) for each in [*chats, *given]}) == 24
    assert examples([again])[0].asked == chats[3].asked
    division = divided(chats, share=0.3)
    assert division.train
    assert division.held_out
    assert shared_between(lines_of(division.train), lines_of(division.held_out)) == 0


def test_a_line_without_its_turns_is_grouped_by_those_of_its_prompt_and_one_without_any_by_its_question() -> None:
    alone = message("And for companies?", "They pay more.")
    after = message("And for companies?", "They pay more.")
    after.messages.insert(0, Message(role=ROLE_USER, parts=[Part(text="What does topic 4 cost?")]))
    ruled = message("And for companies?", "They pay more.")
    ruled.messages.insert(0, Message(role=ROLE_SYSTEM, parts=[Part(text="Be short.")]))

    found = [each.asked for each in examples([alone, after, ruled])]

    assert found == ["and for companies", "what does topic 4 cost\nand for companies", "and for companies"]


def test_what_was_said_before_and_given_is_masked_as_the_rest() -> None:
    written = follow_up(1)
    written.earlier[0].parts[0].text = "I am ada@example.com."
    written.variables.update({"from": {"mails": ["ada@example.com", 7]}})

    masked_one = masked(examples([written])[0], lambda text: text.replace("ada@example.com", "[email]"))

    assert "ada@" not in masked_one.line + masked_one.asked
    assert masked_one.line.count("[email]") == 2


def test_the_rejected_answer_of_a_preference_is_masked_and_has_to_say_something() -> None:
    written = message("Who may I ask?", "Your team.")
    written.kind = EXAMPLE_KIND_PREFERENCE
    with pytest.raises(BatchUnusable, match="rejected: is empty"):
        examples([written])
    written.rejected.CopyFrom(Message(role=ROLE_ASSISTANT, parts=[Part(text="Ask ada@example.com.")]))

    masked_one = masked(examples([written])[0], lambda text: text.replace("ada@example.com", "[email]"))

    assert "Ask [email]." in masked_one.line
    assert masked_one.answer == "Your team."


def rated(question: str, answer: str, *, label: bool) -> ExampleMessage:
    written = message(question, answer, name=f"{question} {answer} {label}")
    written.kind, written.label = EXAMPLE_KIND_UNPAIRED_PREFERENCE, label
    return written


def test_a_bad_answer_is_trained_on_and_never_held_out() -> None:
    both = (True, False)
    batch = [
        rated(f"Question {number}", f"Answer {number} {each}", label=each) for number in range(40) for each in both
    ]

    division = divided(examples(batch))

    bad = [each for each in division.train if not each.good]
    assert all(each.good for each in division.held_out)
    assert {each.asked for each in bad}.isdisjoint(each.asked for each in division.held_out)
    assert len(bad) + len(division.held_out) == 40
    assert len(division.kept) + division.overlap == division.offered
    assert '"label":false' in bad[0].line


def test_an_answer_that_is_good_to_one_and_bad_to_another_is_two_examples() -> None:
    batch = [rated("Question", "Answer", label=label) for label in (True, False)]

    division = divided(examples(batch))

    assert (division.duplicates, division.offered) == (0, 2)


def test_an_unpaired_preference_has_a_label() -> None:
    written = message("Question", "Answer")
    written.kind = EXAMPLE_KIND_UNPAIRED_PREFERENCE

    with pytest.raises(BatchUnusable, match="label: is empty"):
        examples([written])


def test_every_example_is_in_a_part_or_counted_as_left_out() -> None:
    for batch, division in divisions():
        left_out = division.erased + division.duplicates + division.overlap
        assert len(division.kept) + left_out == division.offered == len(batch)
        assert len({(each.asked, each.answered) for each in division.kept}) == len(division.kept)
        assert [each.id for each in division.train] == sorted(each.id for each in division.train)


@pytest.mark.heavy
def test_the_order_of_a_batch_changes_nothing() -> None:
    for seed in range(20):
        batch = random_examples(seed)
        shuffled = generator(seed).sample(batch, len(batch))
        assert divided(batch) == divided(shuffled)


@pytest.mark.heavy
def test_a_group_stays_where_it_was_first_put_through_all_versions_and_shares() -> None:
    luck, split, first = generator(7), Split(), dict[str, bool]()
    for number in range(30):
        batch = random_examples(luck.randint(0, 1000))
        division = divided(batch, split=split, share=luck.choice([0.05, 0.3, 0.7, 0.9]))
        for each in division.kept:
            held_out = each in division.held_out
            assert first.setdefault(group_of(each.asked), held_out) is held_out, number
        assert split.train <= division.split.train
        assert split.held_out <= division.split.held_out
        assert not division.split.train & division.split.held_out
        split = division.split


@pytest.mark.parametrize(("count", "share", "held_out"), [(180, 0.3, 54), (160, 0.3, 48), (10, 0.3, 3), (7, 0.5, 4)])
def test_a_share_is_met_by_count_and_never_by_chance(count: int, share: float, held_out: int) -> None:
    for start in range(0, 2000, 500):
        division = divided(examples(numbered(count, start=start)), share=share)
        assert len(division.held_out) == held_out


def test_groups_that_come_one_by_one_meet_the_share_as_well() -> None:
    split = Split()
    for number in range(200):
        split = split.with_groups([f"g{number}"], share=0.3, salt=SALT)

    assert len(split.held_out) == 60


def test_a_changed_share_counts_for_new_groups_alone() -> None:
    before = Split().with_groups((f"a{n}" for n in range(100)), share=0.3, salt=SALT)
    after = before.with_groups((f"{letter}{n}" for letter in "ab" for n in range(100)), share=0.5, salt=SALT)

    assert len(before.held_out) == 30
    assert len(after.held_out) == 80
    assert before.held_out <= after.held_out


def test_another_salt_holds_out_other_groups() -> None:
    groups = [f"g{number}" for number in range(100)]

    assert Split().with_groups(groups, share=0.3, salt="a/x") != Split().with_groups(groups, share=0.3, salt="b/x")


def test_one_question_with_several_answers_stays_in_one_part() -> None:
    batch = [*numbered(20)]
    batch += [message(f"what does module.name{number} do", f"Something else {number}") for number in range(20)]

    division = divided(examples(batch))

    assert division.duplicates == 0
    assert not {each.asked for each in division.train} & {each.asked for each in division.held_out}
    assert len(division.held_out) == 12


def test_of_duplicates_the_one_that_was_observed_first_stays() -> None:
    late = message("A?", "B", name="late", at=9)
    early = message(" a", "b.", name="early", at=1)

    division = divided(examples([late, early, *numbered(3)]))

    assert division.duplicates == 1
    assert early.id in {each.id for each in division.kept}


def test_an_answer_that_is_held_out_under_another_question_leaves_train() -> None:
    batch = [message(f"Question {number}", f"The same sentence {number // 3}.") for number in range(30)]

    division = divided(examples([*batch, *numbered(40)]))

    held_out = {each.answered for each in division.held_out}
    assert any(answered.startswith("the same sentence") for answered in held_out)
    assert division.overlap > 0
    assert not held_out & {each.answered for each in division.train}


def test_an_answer_that_many_different_questions_have_is_learnt_and_held_out_as_well() -> None:
    refusals = [message(f"May I see the salary of person{number}?", "I cannot help with that.") for number in range(30)]
    others = [message(f"Where is room{number}?", f"On floor {number}.") for number in range(10)]

    division = divided(examples([*refusals, *others]))

    assert division.overlap == 0
    assert len(division.held_out) == 12
    for part in (division.train, division.held_out):
        assert sum(each.answered == "i cannot help with that" for each in part) > 5
    assert shared_between(lines_of(division.train), lines_of(division.held_out)) == 0
    assert division.shortcoming(MINIMUM) is None


def test_questions_of_the_same_words_are_one_question_where_an_answer_is_common() -> None:
    orders = ("reset my password how", "how reset my password", "my password: how reset", "how, my password, reset")
    batch = [message(asked, "Open the portal.") for asked in orders]
    division = divided(examples([*batch, *numbered(30)]), share=0.5)
    assert not {each.answered for each in division.held_out} & {each.answered for each in division.train}

    common = [message(f"Is topic{number} free?", "Open the portal.") for number in range(12)]
    division = divided(examples([*batch, *common, *numbered(30)]), share=0.5)

    held_out, train = ({words_of(each.asked) for each in part} for part in (division.held_out, division.train))
    assert not held_out & train
    for part in (division.train, division.held_out):
        assert "open the portal" in {each.answered for each in part}


@pytest.mark.parametrize(
    "questions",
    [
        [f"Does C{sign} have pointers?" for sign in ("", "++", "#", "*", "--/")],
        [f"Is 3 {sign} 5?" for sign in ("<", ">", "=", "\u2264", "\u2260")],
        ["\N{GRINNING FACE}", "\N{THUMBS UP SIGN}", "\N{SNOWMAN}", "\N{BLACK HEART SUIT}", "\N{EURO SIGN}"],
        ["\u0915\u093f", "\u0915\u0940", "\u0915\u0941", "\u0915\u0942", "\u0915\u0947"],  # ki, kii, ku, kuu, ke
    ],
)
def test_questions_that_only_signs_distinguish_are_different_questions(questions: list[str]) -> None:
    batch = examples([message(asked, "Yes.") for asked in questions])

    assert len({words_of(each.asked) for each in batch}) == COMMON_FROM
    assert common_answers(((each.asked, each.answered) for each in batch), COMMON_FROM) == {"yes"}


@pytest.mark.parametrize("answer", ["\u200b", "\ufeff\u200b\u200d", "\u2800", "\u3164", "\u00ad", "..."])
def test_an_answer_that_says_nothing_is_no_example_and_does_not_stop_its_batch(answer: str) -> None:
    division = divided(examples([message("Q?", answer), *numbered(20)]))

    assert (division.empty, len(division.kept), division.duplicates) == (1, 20, 0)
    assert division.shortcoming(MINIMUM) is None


def test_what_is_invisible_makes_no_other_example() -> None:
    batch = [message("How?", "Open it.", name="a"), message("Ho\u200bw?", "Open\u2060 it.\u200b", name="b")]

    assert divided(examples(batch)).duplicates == 1


def test_erased_examples_leave_and_their_questions_are_not_remembered() -> None:
    batch = examples(numbered(20))
    erased = {each.id for each in batch[:5]}

    division = divide(batch, erased=erased, split=Split(), share=0.3, salt=SALT)

    assert division.erased == 5
    assert not erased & {each.id for each in division.kept}
    assert len(division.split.train | division.split.held_out) == 15


@pytest.mark.parametrize(
    ("batch", "reason", "said"),
    [
        ([], TOO_FEW_EXAMPLES, "0 different examples, and 4 are needed: 3 to train on, 1 held out"),
        (numbered(3), TOO_FEW_EXAMPLES, "3 different examples, and 4 are needed"),
        ([message(f"Question {n}", "Yes.") for n in range(30)], EXAMPLES_ALIKE, "all 30 examples"),
        ([message("Why?", f"Because {n}") for n in range(30)], EXAMPLES_ALIKE, "all 30 examples"),
        ([message("Why?", "Because", name=str(n)) for n in range(30)], EXAMPLES_ALIKE, "29 duplicates"),
    ],
)
def test_what_makes_no_version_says_what_is_missing(batch: list[ExampleMessage], reason: str, said: str) -> None:
    short = divided(examples(batch)).shortcoming(MINIMUM)

    assert short is not None
    assert short.reason == reason
    assert said in short.message


def test_a_held_out_part_that_is_empty_or_small_makes_no_version() -> None:
    division = divided(examples(numbered(8)), share=0.01)
    empty, small = (
        division.shortcoming(MINIMUM),
        divided(examples(numbered(8))).shortcoming(Minimum(train=3, held_out=5)),
    )

    assert empty is not None
    assert (empty.reason, "no example is held out" in empty.message) == (HELD_OUT_EMPTY, True)
    assert small is not None
    assert (small.reason, small.message.startswith("2 examples held out, and 5")) == (TOO_FEW_EXAMPLES, True)
    assert divided(examples(numbered(8))).shortcoming(MINIMUM) is None


def test_the_check_of_the_bytes_finds_what_both_parts_have() -> None:
    batch = examples([message("A?", "One"), message("B?", "one."), message("a", "Two"), message("C", "Three")])
    one, same_answer, same_question, other = (lines_of([each]) for each in batch)

    assert shared_between(one, same_answer) == shared_between(one, same_question) == 1
    assert shared_between(one + same_answer, same_question + one) == 2
    assert shared_between(one, other) == 0


def test_the_content_hash_covers_what_is_in_which_part() -> None:
    a, b = lines_of(examples(numbered(1))), lines_of(examples(numbered(1, start=1)))

    assert content_digest(a, b) == content_digest(a, b)
    assert len({content_digest(*each) for each in ((a, b), (b, a), (a + b, b""), (b"", a + b))}) == 4
