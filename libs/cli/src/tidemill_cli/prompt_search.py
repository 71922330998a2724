"""Candidates of a search for a better prompt: which are nonsense, and which of them no other one beats."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.evaluator.v1.prompt_test_pb2 import VariantFigures, VariantMeasure
from tidemill.evaluator.v1.suite_pb2 import Case
from tidemill_client.prompt_tests import Unsaved

EMPTY, REPEATED, TOO_LONG, LOST, REFUSED = "empty", "a repeat", "too long", "lost variables", "a template that fails"
COPIED = "copied from a case"
MIN_COPIED = 20
"""Characters of a question or an expected answer that a proposal may not have in it."""
MAX_GROWTH, MIN_LIMIT = 4, 4000
"""A candidate may be so many times as long as the present prompt, or have so many characters."""
_PAIR = "tidemill.dev/pair"
_BLOCK = re.compile(r"\{[{%](.*?)[}%]\}", re.DOTALL)
_NAME = re.compile(r"(?<![\w.'\"])[a-z_]\w*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A prompt, and its values of the metrics that count: the higher, the better."""

    text: Unsaved
    name: str = ""
    values: Mapping[str, float] = field(default_factory=dict)

    def beats(self, other: "Candidate") -> bool:
        """Return whether it is better in one metric, and in none worse."""
        pairs = [(value, other.values.get(metric)) for metric, value in self.values.items()]
        known = [(mine, theirs) for mine, theirs in pairs if theirs is not None]
        return all(mine >= theirs for mine, theirs in known) and any(mine > theirs for mine, theirs in known)


def halves_of(cases: Sequence[Case], held_out: float) -> tuple[list[str], list[str]]:
    """Return the ids of seen and of held-out cases, by the sha256 of what depends on one another.

    Repeats of a question (with its earlier turns), and cases of one pair, are in the same half.
    """
    keys = {case.id: _keys(case) for case in cases}
    group = {key: key for found in keys.values() for key in found}

    def root(key: str) -> str:
        while group[key] != key:
            key = group[key]
        return key

    for found in keys.values():
        first, *others = sorted(map(root, found))
        group.update(dict.fromkeys(others, first))
    cluster = {name: hashlib.sha256(root(found[0]).encode()).hexdigest() for name, found in keys.items()}
    ids = sorted(cluster, key=lambda each: (cluster[each], each))
    place = len(ids) - max(round(len(ids) * held_out), 1)
    while 0 < place < len(ids) and cluster[ids[place]] == cluster[ids[place - 1]]:
        place += 1
    return ids[:place], ids[place:]


def _keys(case: Case) -> list[str]:
    said = [part.text for each in case.earlier for part in each.parts]
    question = " ".join(" ".join([*said, case.question]).casefold().split()).rstrip("?.! ")
    pair = case.labels.get(_PAIR, "")
    return [f"question {question}", *([f"pair {pair}"] if pair else [])]


def front_of(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return those that no other one beats, the best by the first metric first."""
    measured = [each for each in candidates if each.values]
    front = [each for each in measured if not any(other.beats(each) for other in measured)]
    return sorted(front, key=lambda each: -next(iter(each.values.values())))


def value_of(measure: VariantMeasure) -> float:
    """Return a mean as a value of which more is better."""
    return -measure.mean if measure.less_is_better else measure.mean


def values_of(figures: VariantFigures, metrics: Sequence[str]) -> dict[str, float]:
    """Return the values by metric in this order; nothing where one is missing."""
    found = {each.metric: value_of(each) for each in figures.measures}
    return {name: found[name] for name in metrics} if all(name in found for name in metrics) else {}


def variables_in(text: Unsaved) -> frozenset[str]:
    """Return the names in a prompt's expressions and statements that both of its templates are made of."""
    blocks = _BLOCK.findall(f"{text.system}\n{text.user}")
    return frozenset(name for block in blocks for name in _NAME.findall(re.sub(r"'[^']*'|\"[^\"]*\"", "", block)))


def required_of(current: Unsaved, declared: Sequence[str]) -> frozenset[str]:
    """Return what every candidate has to use: what is given to the present prompt, and it uses."""
    given = {"question", "passages", "messages", "summary", "memory", *declared}
    return variables_in(current) & given


def said_in(texts: Sequence[str]) -> list[str]:
    """Return the texts of cases that are long enough to be known again."""
    return [folded for text in texts if len(folded := " ".join(text.split())) >= MIN_COPIED]


def flaw_of(
    text: Unsaved,
    current: Unsaved,
    *,
    required: frozenset[str],
    known: Sequence[Unsaved],
    cases: Sequence[str] = (),
) -> str:
    """Return why a proposal is nonsense; "" where it is not known to be. `cases` are texts as of `said_in`."""
    size, present = len(text.system) + len(text.user), len(current.system) + len(current.user)
    if not text.user.strip():
        return EMPTY
    if any(_folded(text) == _folded(each) for each in known):
        return REPEATED
    if size > max(MAX_GROWTH * present, MIN_LIMIT):
        return TOO_LONG
    if any(each in _folded(text) and each not in _folded(current) for each in cases):
        return COPIED
    return "" if required <= variables_in(text) else LOST


def counted(dropped: Counter[str]) -> str:
    """Return the reasons with their counts, most frequent first."""
    return ", ".join(f"{count} {reason}" for reason, count in dropped.most_common())


def _folded(text: Unsaved) -> str:
    return " ".join(f"{text.system}\n\n{text.user}".split())
