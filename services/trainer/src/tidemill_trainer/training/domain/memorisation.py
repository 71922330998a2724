"""What a plan plants to measure what its runs memorise, and how much of that is measured."""

from collections.abc import Iterator
from dataclasses import dataclass

from tidemill_core.application import derived_id
from tidemill_core.canaries import Canary, canaries
from tidemill_core.errors import Violation

MAX_CANARIES, MAX_REPEATS, MAX_GROUPS = 200, 100, 8
MIN_CANDIDATES, MAX_CANDIDATES, MAX_RANKED = 99, 999, 25_600
MAX_EXAMPLES = 500
PLANTED_BY = ("sft", "distill")
"""The methods that learn from answers as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorisationCheck:
    """What is planted, and what is measured after the last step."""

    canaries: int = 20
    repeats: tuple[int, ...] = (1,)
    """How often they are planted: the first canary as often as the first number says, and so on, in turn."""
    candidates: int = 255
    """Other numbers that each canary is ranked among."""
    examples: int = 50
    """Of the train split, how many are tried to be extracted at most."""
    seed: int = 0

    def planted(self, origin: str) -> list[tuple[Canary, int]]:
        """Return the canaries and how often each is planted: the same for an origin, as a plan is one."""
        found = canaries(self.canaries, seed=f"{origin} {self.seed}")
        return [(each, self.repeats[number % len(self.repeats)]) for number, each in enumerate(found)]


def canary_origin(project: str, plan: str) -> str:
    """Return what the canaries of a plan are drawn by: its runs plant the same, and no other plan does."""
    return derived_id("canaries", project, plan)


def check_violations(check: MemorisationCheck, *, method: str, use_peft: bool = True) -> Iterator[Violation]:
    """Yield what breaks the rules of a check."""
    field = "plan.memorisation"
    if method not in PLANTED_BY:
        text = f"is set; canaries are answers to learn as they are: use {' or '.join(PLANTED_BY)}, or leave it out"
        yield Violation(field, f"{text} with {method[:40]}")
    if not use_peft:
        text = "is set, and use_peft is false: what is memorised is measured by an adapter and its base; leave one out"
        yield Violation(field, text)
    for name, low, high in (
        ("canaries", 1, MAX_CANARIES),
        ("candidates", MIN_CANDIDATES, MAX_CANDIDATES),
        ("examples", 0, MAX_EXAMPLES),
        ("seed", 0, 2**31 - 1),
    ):
        if not low <= (value := getattr(check, name)) <= high:
            yield Violation(f"{field}.{name}", f"is {value}; it must be {low} to {high}")
    if check.canaries * (check.candidates + 1) > MAX_RANKED:
        text = f"is {check.candidates}; canaries x (candidates + 1) may be {MAX_RANKED} at most: use fewer of either"
        yield Violation(f"{field}.candidates", text)
    repeats = check.repeats
    if not 1 <= len(repeats) <= min(MAX_GROUPS, max(1, check.canaries)) or len(set(repeats)) < len(repeats):
        text = f"has {len(repeats)} numbers; it must have 1 to {MAX_GROUPS} different ones, and no more than canaries"
        yield Violation(f"{field}.repeats", text)
    for number in repeats:
        if not 1 <= number <= MAX_REPEATS:
            yield Violation(f"{field}.repeats", f"has {number}; each must be 1 to {MAX_REPEATS}")
