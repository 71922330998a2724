"""What an answer has to be, decided without a judge."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from tidemill_core.errors import Violation
from tidemill_core.words import folded

MAX_PATTERN_BYTES = 1024**2
"""Of a compiled pattern."""
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """All that is stated has to hold. An empty answer meets none, and says nothing where texts are forbidden alone."""

    must_not_contain: tuple[str, ...] = ()
    must_match: str = ""
    """RE2 that is found in the answer."""
    must_refuse: bool = False
    """Or say that it does not know."""
    must_answer: bool = False
    must_be_json: bool = False
    """An object or an array, and nothing else."""

    @property
    def forbids_alone(self) -> bool:
        """Whether nothing is stated but texts that must not appear."""
        return not (self.must_match or self.must_refuse or self.must_answer or self.must_be_json)

    @property
    def image(self) -> list[object]:
        """A form for digests."""
        stated = [self.must_refuse, self.must_answer, self.must_be_json]
        return ["expect", sorted(self.must_not_contain), self.must_match, stated]


@lru_cache(maxsize=_REMEMBERED)
def compiled(pattern: str) -> Any:  # noqa: ANN401 - of re2, which has no types
    """Return a pattern that runs in linear time; raises re2.error."""
    options = re2.Options()
    options.max_mem, options.log_errors = MAX_PATTERN_BYTES, False
    return re2.compile(pattern, options=options)


def expectation_violations(given: Expectation, where: str, *, max_length: int) -> Iterator[Violation]:
    """Yield what is wrong with an expectation; texts are not repeated."""
    if given == Expectation():
        yield Violation(where, "states nothing: send at least one of its fields, or leave it out")
    if given.must_refuse and given.must_answer:
        yield Violation(f"{where}.must_refuse", "contradicts must_answer: send one of both")
    if not all(folded(text).strip() for text in given.must_not_contain):
        text = "has a text that is empty, or invisible, which every answer contains: remove it"
        yield Violation(f"{where}.must_not_contain", text)
    length = len(given.must_match) + sum(map(len, given.must_not_contain))
    if length > max_length:
        yield Violation(where, f"has {length} characters of texts and pattern; the limit is {max_length}")
    elif given.must_match:
        try:
            compiled(given.must_match)
        except re2.error:
            text = "is none that RE2 takes: it has no look-around and no back-references"
            yield Violation(f"{where}.must_match", text)
