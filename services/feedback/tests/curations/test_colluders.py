"""A few accounts that act together do not steer what a model learns: simulated with a real curation over fakes."""

import json
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from services.feedback.tests.builders import SFT, correction
from services.feedback.tests.changed_rules import change
from services.feedback.tests.harness import FeedbackHarness

CAP = 10
ROBUST = {
    "per_user_at_most": CAP,
    "max_user_share": 0.05,
    "max_repeats": 1,
    "exclude_contradicted": True,
    "min_rater_reliability": 0.2,
}
"""The defaults that docs/guides/learning.md recommends."""
ACCOUNTS, COLLUDERS, QUESTIONS = 40, 2, 6
"""5 % of the accounts act together."""
BOUND = COLLUDERS * 0.05
"""Each account has its share, no account has another's."""
WORDS = [f"{first}{last}" for first in ("ba", "ke", "li", "mo", "nu") for last in ("dor", "fin", "gal", "hem", "sor")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A correction of a simulated account, or of no named one."""

    user: str
    question: str
    text: str
    right: bool = False
    poisoned: bool = False
    """It is to steer the model."""
    backdated: bool = False
    """Its author says that it was given before all others."""


def words(dice: random.Random) -> str:
    return " ".join(dice.sample(WORDS, 10))


def honest(dice: random.Random) -> Iterator[Said]:
    """Yield a correction of each honest account: most say what others say, some use words of their own, or err."""
    right = [words(dice) for _ in range(QUESTIONS)]
    for account in range(ACCOUNTS - COLLUDERS):
        number, agrees = dice.randrange(QUESTIONS), dice.random() < 0.8
        text = right[number] if agrees else words(dice)
        yield Said(user=f"user{account}", question=f"Question {number}?", text=text, right=agrees)


def of_rare_questions(dice: random.Random) -> Iterator[Said]:
    """Yield a correction of each honest account, to a question that no other honest account asks."""
    for account in range(ACCOUNTS - COLLUDERS):
        yield Said(user=f"user{account}", question=f"Rare {account}?", text=words(dice), right=True)


def pasting(dice: random.Random, _: Sequence[Said]) -> Iterator[Said]:
    """Yield one wrong correction, with small changes, to as many questions of their own as the cap allows."""
    wrong = [*dice.sample(WORDS, 12), "evil.example"]
    for account in range(COLLUDERS):
        for number in range(CAP):
            changed = [*wrong[:-2], dice.choice(WORDS), wrong[-1]]
            yield Said(user=f"bad{account}", question=f"My {account} {number}?", text=" ".join(changed), poisoned=True)


def contradicting(dice: random.Random, _: Sequence[Said]) -> Iterator[Said]:
    """Yield wrong corrections, each of its own words: some of questions that others ask, too, and some of their own."""
    for account in range(COLLUDERS):
        asked = [f"question {number}" for number in dice.sample(range(QUESTIONS), 6)]
        for question in (*asked, *(f"My {account} {number}?" for number in range(CAP - len(asked)))):
            yield Said(user=f"bad{account}", question=question, text=words(dice), poisoned=True)


def steering(dice: random.Random, said: Sequence[Said]) -> Iterator[Said]:
    """Yield the same wrong corrections of all colluders to twice as many questions as the cap allows."""
    for victim in dice.sample(said, 2 * CAP):
        text = words(dice)
        for account in range(COLLUDERS):
            yield Said(user=f"bad{account}", question=victim.question, text=text, poisoned=True)


def silencing(dice: random.Random, said: Sequence[Said]) -> Iterator[Said]:
    """Yield each right correction under a question of their own, as if given first, and a wrong one in its place."""
    for question, text in {each.question: each.text for each in said if each.right}.items():
        wrong = words(dice)
        for account in range(COLLUDERS):
            yield Said(user=f"bad{account}", question=f"My {account} {question}", text=text, backdated=True)
            yield Said(user=f"bad{account}", question=question, text=wrong, poisoned=True)


def anonymous(dice: random.Random, said: Sequence[Said]) -> Iterator[Said]:
    """Yield what has no pseudonym: wrong corrections that others contradict, and right ones that colluders do."""
    for question in {each.question for each in said}:
        yield Said(user="", question=question, text=words(dice), poisoned=True)
    right, wrong = words(dice), words(dice)
    for _ in range(4):
        yield Said(user="", question="Who is it?", text=right, right=True)
    for account in range(COLLUDERS):
        yield Said(user=f"bad{account}", question="Who is it?", text=wrong, poisoned=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Accounts that act together, and whom they act against."""

    says: Callable[[random.Random, Sequence[Said]], Iterator[Said]]
    against: Callable[[random.Random], Iterator[Said]] = honest
    reasons: Collection[str]
    """Why at least half of what they say is left out."""
    bound: float = BOUND
    seeds: int = 6


GROUPS = {
    "pasting": Group(says=pasting, reasons={"REPEATED_TEXT"}),
    "contradicting": Group(says=contradicting, reasons={"UNRELIABLE_RATER"}),
    "steering": Group(says=steering, against=of_rare_questions, reasons={"PER_USER_LIMIT"}, seeds=4),
    "silencing": Group(says=silencing, reasons={"UNRELIABLE_RATER", "CONTRADICTED", "PER_USER_LIMIT"}, seeds=4),
    "anonymous": Group(says=anonymous, reasons={"CONTRADICTED"}, bound=BOUND + 0.05, seeds=4),
}
"""Those without a pseudonym have one share more, together."""


async def give(harness: FeedbackHarness, number: int, said: Said) -> str:
    """Have something said, and return its feedback."""
    inference = f"i{number}"
    harness.inferences.questions[inference] = said.question
    harness.inferences.put(inference, end_user=said.user)
    given = correction(said.text, inference=inference)
    backdated = replace(given, observe_time=datetime(2001, 1, 1, tzinfo=UTC)) if said.backdated else given
    return (await harness.give(backdated)).id


async def poisoned_share(harness: FeedbackHarness, poison: set[str]) -> float:
    """Return which share of the batch that is completed now is there to steer the model."""
    await harness.work()
    lines = [json.loads(line)["feedback"] for line in harness.batch()]
    return sum(each in poison for each in lines) / len(lines)


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in GROUPS for seed in range(GROUPS[name].seeds)])
async def test_colluders_have_their_shares_of_a_batch_and_no_more_and_take_no_right_answer_from_others(
    name: str, seed: int
) -> None:
    group, dice = GROUPS[name], random.Random(seed)  # noqa: S311 - a simulation
    harness = FeedbackHarness()
    await harness.curate(new_examples=1, paused=True)
    said = list(group.against(dice))
    said += group.says(dice, said)
    dice.shuffle(said)
    given = {await give(harness, number, each): each for number, each in enumerate(said)}
    poison = {feedback for feedback, each in given.items() if each.poisoned}

    await change(harness, paused=False)
    unprotected = await poisoned_share(harness, poison)
    await change(harness, **ROBUST)
    await harness.correct(999, end_user="another")
    protected = await poisoned_share(harness, poison)

    assert unprotected > protected
    assert protected <= group.bound
    why = {row.candidate.feedback: row.refusal for row in await harness.ledger.rows(SFT)}
    lost = {each.user: why[feedback] for feedback, each in given.items() if each.right and why[feedback]}
    assert lost in ({}, {"": "USER_SHARE"}), "only those without a pseudonym share one limit"
    assert sum(why[feedback] in group.reasons for feedback in poison) >= len(poison) / 2
