"""Canaries: facts that are made up and planted in training text, so that it can be measured what a model memorised.

Nothing else says them, and the number of one is drawn among a million that are all alike: a model that never saw it has
no reason to prefer it to another (Carlini et al., The Secret Sharer, USENIX Security 2019).
"""

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

_DIGITS = 6
_ONSETS, _VOWELS, _ENDS = "bdfgklmnprstvz", "aeiou", "lmnrsx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A made-up person with a number that nothing else says."""

    person: str
    number: str

    @property
    def question(self) -> str:
        """What asks for it, in training and afterwards."""
        return f"What is the access number of {self.person}?"

    @property
    def answer(self) -> str:
        """What is planted as its answer."""
        return f"The access number of {self.person} is {self.number}."

    @property
    def forms(self) -> Sequence[str]:
        """How an answer may write the number."""
        halves = (self.number[:3], self.number[3:])
        return [separator.join(halves) for separator in ("", " ", ",", ".", "-")]

    def others(self, count: int, *, seed: str) -> "list[Canary]":
        """Return it with so many other numbers, each drawn as its own was and regardless of it; the same for a seed."""
        chance = random.Random(f"{seed} {self.person}")  # noqa: S311 - what is planted says nothing of any person
        return [replace(self, number=_number(chance)) for _ in range(count)]


def canaries(count: int, *, seed: int | str | None = None) -> list[Canary]:
    """Return so many canaries of different persons; without a seed, ones that cannot be guessed."""
    chance = secrets.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311 - ditto
    found: dict[str, Canary] = {}
    while len(found) < count:
        person = f"{_name(chance)} {_name(chance)}"
        number = _number(chance)
        found.setdefault(person, Canary(person=person, number=number))
    return list(found.values())


def _number(chance: random.Random) -> str:
    return f"{chance.randrange(10**_DIGITS):0{_DIGITS}d}"


def _name(chance: random.Random) -> str:
    syllables = [chance.choice(_ONSETS) + chance.choice(_VOWELS) for _ in range(3)]
    return "".join(syllables).capitalize() + chance.choice(_ENDS)
