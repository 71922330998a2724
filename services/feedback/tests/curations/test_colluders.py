"""A few accounts that act together do not steer what a model learns: simulated with a real curation over fakes."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from services.feedback.tests.builders import ADA
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
WORDS = [f"{first}{last}" for first in ("ba", "ke", "li", "mo", "nu") for last in ("dor", "fin", "gal", "hem", "sor")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A correction of a simulated account; `poisoned` if it is to steer the model."""

    user: str
    question: str
    text: str
    poisoned: bool = False


def honest(dice: random.Random) -> Iterator[Said]:
    """Yield a correction of each honest account: most say what others say, some use words of their own, or err."""
    right = [" ".join(dice.sample(WORDS, 10)) for _ in range(QUESTIONS)]
    for account in range(ACCOUNTS - COLLUDERS):
        number = dice.randrange(QUESTIONS)
        text = right[number] if dice.random() < 0.8 else " ".join(dice.sample(WORDS, 10))
        yield Said(user=f"user{account}", question=f"Question {number}?", text=text)


def pasting(dice: random.Random) -> Iterator[Said]:
    """Yield one wrong correction, with small changes, to as many questions of their own as the cap allows."""
    wrong = [*dice.sample(WORDS, 12), "evil.example"]
    for account in range(COLLUDERS):
        for number in range(CAP):
            changed = [*wrong[:-2], dice.choice(WORDS), wrong[-1]]
            yield Said(user=f"bad{account}", question=f"My {account} {number}?", text=" ".join(changed), poisoned=True)


def contradicting(dice: random.Random) -> Iterator[Said]:
    """Yield wrong corrections, each of its own words: some of questions that others ask, too, and some of their own."""
    for account in range(COLLUDERS):
        asked = [f"question {number}" for number in dice.sample(range(QUESTIONS), 6)]
        for question in (*asked, *(f"My {account} {number}?" for number in range(CAP - len(asked)))):
            text = " ".join(dice.sample(WORDS, 10))
            yield Said(user=f"bad{account}", question=question, text=text, poisoned=True)


GROUPS = {"pasting": pasting, "contradicting": contradicting}
REASONS = {"pasting": "REPEATED_TEXT", "contradicting": "UNRELIABLE_RATER"}


async def poisoned_share(harness: FeedbackHarness, poison: set[str]) -> float:
    """Return which share of the batch that is completed now is there to steer the model."""
    await harness.work()
    lines = [json.loads(line)["feedback"] for line in harness.batch()]
    return sum(each in poison for each in lines) / len(lines)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("group", GROUPS)
async def test_colluders_have_less_of_a_batch_than_of_the_accounts(group: str, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a simulation
    harness, poison = FeedbackHarness(), set[str]()
    await harness.curate(new_examples=1, paused=True, per_user_at_most=CAP)
    said = [*honest(dice), *GROUPS[group](dice)]
    dice.shuffle(said)
    for number, each in enumerate(said):
        given = await harness.correct(number, text=each.text, end_user=each.user, question=each.question)
        if each.poisoned:
            poison.add(given.id)

    await change(harness, paused=False)
    unprotected = await poisoned_share(harness, poison)
    await change(harness, **ROBUST)
    await harness.correct(999, end_user="another")
    protected = await poisoned_share(harness, poison)

    assert unprotected > COLLUDERS / ACCOUNTS > protected
    refused = (await harness.crud.get(ADA, "sft")).counts.refused
    assert refused[REASONS[group]] > len(poison) / 2
