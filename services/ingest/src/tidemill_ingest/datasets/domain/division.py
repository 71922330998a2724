"""Examples divided into what is trained on and what never is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tidemill_core.characters import says_something
from tidemill_ingest.datasets.domain.example import Example, common_answers, group_of, normalised, words_of
from tidemill_ingest.datasets.domain.split import Split
from tidemill_ingest.limits import COMMON_FROM

TOO_FEW_EXAMPLES = "TOO_FEW_EXAMPLES"
EXAMPLES_ALIKE = "EXAMPLES_ALIKE"
HELD_OUT_EMPTY = "HELD_OUT_EMPTY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """With fewer examples there is no version."""

    train: int = 10
    held_out: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcoming:
    """Why there is no version, and for people what is missing."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Both parts, each ordered by id, and what was left out on the way."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    split: Split
    offered: int
    erased: int
    duplicates: int
    overlap: int
    empty: int = 0
    """Left out because their answers say nothing."""

    @property
    def kept(self) -> tuple[Example, ...]:
        """The examples of both parts."""
        return self.train + self.held_out

    def shortcoming(self, minimum: Minimum) -> Shortcoming | None:
        """Return why this makes no version, or None where it does."""
        kept = self.offered - self.erased - self.empty
        left = f"{self.offered} offered, {self.erased} erased, {self.duplicates} duplicates, {self.overlap} overlapping"
        left += f", {self.empty} empty" if self.empty else ""
        if kept > 1 and self._alike():
            text = f"all {kept} examples have one question or one answer: more different ones are needed ({left})"
            return Shortcoming(reason=EXAMPLES_ALIKE, message=text)
        needed = minimum.train + minimum.held_out
        if len(self.kept) + self.overlap < needed:
            parts = f"{minimum.train} to train on, {minimum.held_out} held out"
            text = f"{len(self.kept) + self.overlap} different examples, and {needed} are needed: {parts} ({left})"
            return Shortcoming(reason=TOO_FEW_EXAMPLES, message=text)
        if not self.held_out:
            text = f"no example is held out, and {max(minimum.held_out, 1)} have to be: more new questions are needed"
            return Shortcoming(reason=HELD_OUT_EMPTY, message=text)
        for name, has, at_least in (
            ("to train on", len(self.train), minimum.train),
            ("held out", len(self.held_out), minimum.held_out),
        ):
            if has < at_least:
                text = f"{has} examples {name}, and {at_least} are needed ({left})"
                return Shortcoming(reason=TOO_FEW_EXAMPLES, message=text)
        return None

    def _alike(self) -> bool:
        """Return whether there is one question, or one answer; overlapping ones have an answer of the held-out part."""
        asked, answered = {each.asked for each in self.kept}, {each.answered for each in self.kept}
        return len(answered) <= 1 or (len(asked) == 1 and not self.overlap)


def divide(  # noqa: PLR0913 - what decides about each example
    examples: Sequence[Example],
    *,
    erased: Collection[str],
    split: Split,
    share: float,
    salt: str,
    common_from: int = COMMON_FROM,
) -> Division:
    """Divide by the groups' assignment; new groups are assigned with this share.

    `erased` are ids of examples that must go. Of the same question and answer the one that was observed first stays;
    one that is good and one that is bad are two, as are preferences to two other answers: held out, they are one
    reference. A bad answer is no reference: to a held-out question it is left out.
    An example whose question occurs in the held-out part leaves train, and so does one whose answer does, because it
    gives away what the other is asked: unless the answer is common, such as a refusal or yes, and no held-out question
    with it has the same words.
    """
    present = [each for each in examples if each.id not in erased]
    saying = [_Compared.of(each) for each in present if says_something(each.answer)]
    distinct = _distinct(saying)
    groups = {each.example.id: group_of(each.asked) for each in distinct}
    split = split.with_groups(groups.values(), share=share, salt=salt)
    references = [each for each in distinct if each.example.good and groups[each.example.id] in split.held_out]
    held_out = _distinct(references, compares_rejected=False)
    others = [each for each in distinct if not each.example.good or groups[each.example.id] not in split.held_out]
    asked, answered = {each.asked for each in held_out}, {each.answered for each in held_out}
    given_away = {(words_of(each.asked), each.answered) for each in held_out}
    rare = answered - common_answers(((each.asked, each.answered) for each in distinct), common_from)
    train = [
        each.example
        for each in others
        if groups[each.example.id] not in split.held_out
        and each.asked not in asked
        and each.answered not in rare
        and (words_of(each.asked), each.answered) not in given_away
    ]
    return Division(
        train=tuple(train),
        held_out=tuple(each.example for each in held_out),
        split=split,
        offered=len(examples),
        erased=len(examples) - len(present),
        duplicates=len(saying) - len(distinct) + len(references) - len(held_out),
        overlap=len(others) - len(train),
        empty=len(present) - len(saying),
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """An example with the texts that it is compared by, which are long work to normalise."""

    example: Example
    asked: str
    answered: str

    @classmethod
    def of(cls, example: Example) -> "_Compared":
        return cls(example, example.asked, example.answered)


def _distinct(examples: Sequence[_Compared], *, compares_rejected: bool = True) -> list[_Compared]:
    """Return the first observed of each question, answer that is good or bad, and rejected one, ordered by id."""
    first: dict[tuple[str, str, bool, str], _Compared] = {}
    for each in sorted(examples, key=lambda compared: (compared.example.observed_at, compared.example.id)):
        rejected = normalised(each.example.rejected) if compares_rejected else ""
        first.setdefault((each.asked, each.answered, each.example.good, rejected), each)
    return sorted(first.values(), key=lambda compared: compared.example.id)
