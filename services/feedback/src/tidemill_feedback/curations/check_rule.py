"""What a curation's rule must be to be taken."""

import re
from collections.abc import Iterator
from datetime import timedelta

from tidemill_core.errors import InvalidInput, Violation
from tidemill_feedback.curations.domain.curation import DEFAULT_MAX_OUTPUT_CHARS, Rule
from tidemill_feedback.reactions.domain.reaction import CORRECTION

MAX_CHARS = 100_000
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=3650)
_SLUG = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")


def check_rule(curation_id: str, rule: Rule, *, at_most: int) -> None:
    """Refuse a rule that cannot be followed, as one that asks for more than the `at_most` examples of a batch.

    Raises:
        InvalidInput: all violations at once.

    """
    found = [*_violations(curation_id, rule, at_most)]
    if found:
        raise InvalidInput.of(*found)


def _violations(curation_id: str, rule: Rule, at_most: int) -> Iterator[Violation]:
    for name, value in (("id", curation_id), ("dataset", rule.dataset), ("deployment", rule.deployment)):
        if not _SLUG.fullmatch(value):
            text = f"is {value[:80]!r}; take 1 to 63 of a-z, 0-9, _ and -, starting and ending with a letter or digit"
            yield Violation(field=name, description=text)
    if rule.feedback != (CORRECTION,):
        names = ", ".join(each[:80] for each in rule.feedback[:10])
        yield Violation(field="feedback", description=f"is [{names}]; only [{CORRECTION}] makes examples")
    minimum = {"new_examples": 1}
    maximum = {"min_output_chars": MAX_CHARS, "max_output_chars": MAX_CHARS}
    for name in ("new_examples", "per_user_at_most", "min_output_chars", "max_output_chars", "at_least"):
        value, low, high = getattr(rule, name), minimum.get(name, 0), maximum.get(name, at_most)
        if not low <= value <= high:
            yield Violation(field=name, description=f"is {value}; take {low} to {high}")
    if rule.min_output_chars > (rule.max_output_chars or DEFAULT_MAX_OUTPUT_CHARS):
        text = f"is {rule.min_output_chars}; take at most max_output_chars, {rule.filters.max_output_chars}"
        yield Violation(field="min_output_chars", description=text)
    if rule.at_latest_every is not None and not SHORTEST <= rule.at_latest_every <= LONGEST:
        text = f"is {rule.at_latest_every}; take {SHORTEST} to {LONGEST}"
        yield Violation(field="at_latest_every", description=text)
