"""What an example must be, by itself and among others, and why a reaction is none."""

from collections.abc import Collection
from dataclasses import dataclass

from tidemill_feedback.curations.domain.ledger import Row
from tidemill_feedback.errors import AnswerNotRecorded
from tidemill_feedback.reactions.domain.reaction import CORRECTION

TOO_SHORT = "TOO_SHORT"
TOO_LONG = "TOO_LONG"
NO_WORDS, ONLY_LINKS, WORDS_REPEATED = "NO_WORDS", "ONLY_LINKS", "WORDS_REPEATED"
OTHER_LANGUAGE = "OTHER_LANGUAGE"
"""The correction is neither in the language of the question nor in that of the answer."""
REPEATED_TEXT = "REPEATED_TEXT"
"""Its user gave the same correction, or nearly the same, to other questions before."""
CONTRADICTED = "CONTRADICTED"
"""At least two users more, or a reviewer, corrected the same question otherwise."""
UNRELIABLE_RATER = "UNRELIABLE_RATER"
"""Its user was contradicted too often."""
PER_USER_LIMIT = "PER_USER_LIMIT"
SUPERSEDED = "SUPERSEDED"
"""Another reaction to the same answer, or to the same two, counts."""
USER_SHARE = "USER_SHARE"
COHORT_SHARE = "COHORT_SHARE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What an example must be; 0 is no bound."""

    deployment: str
    per_user_at_most: int
    min_output_chars: int
    max_output_chars: int
    feedback: Collection[str] = (CORRECTION,)
    """The metrics that make examples."""
    needs_answers: bool = False
    """Whether an example has the model's own answer, of which the text may not be recorded."""
    max_user_share: float = 0.0
    max_cohort_share: float = 0.0
    cohort_label: str = ""
    max_repeats: int = 0
    exclude_contradicted: bool = False
    min_rater_reliability: float = 0.0
    exclude_spam: bool = False

    @property
    def measures(self) -> bool:
        """Return whether more than the length of corrections is measured."""
        return bool(self._compares or self.cohort_label or self.exclude_spam)

    @property
    def readmits(self) -> bool:
        """Return whether a reaction may make examples of others that were none before."""
        return bool(self._compares or self.max_user_share or self.max_cohort_share)

    @property
    def _compares(self) -> bool:
        return bool(self.max_repeats or self.exclude_contradicted or self.min_rater_reliability)

    def selects(self, row: Row) -> bool:
        """Return whether a row is of the deployment, and of a metric that makes examples."""
        return row.candidate.deployment == self.deployment and row.candidate.metric in self.feedback

    def awaits(self, row: Row) -> bool:
        """Return whether a row has to be resolved, or something is not measured yet that these filters need."""
        if row.pending or row.failure:
            return row.pending or self._is_resolved_again(row)
        if row.measures is None:
            return self.measures
        if self.exclude_spam and row.measures.spam is None:
            return True
        return bool(self.cohort_label) and row.measures.cohort_label != self.cohort_label

    def _is_resolved_again(self, row: Row) -> bool:
        """Return whether a correction failed only because examples were of another kind, which needed the answer."""
        return row.corrects and not self.needs_answers and row.failure == AnswerNotRecorded.reason

    def refusal(self, row: Row) -> str:
        """Return why a row that awaits nothing is no example by itself, "" where nothing is wrong."""
        if row.failure:
            return row.failure
        if row.chars < self.min_output_chars:
            return TOO_SHORT
        if row.chars > self.max_output_chars:
            return TOO_LONG
        return self._spam(row) if self.exclude_spam and row.corrects else ""

    def _spam(self, row: Row) -> str:
        """Return why a correction is spam; which language is right, a reviewer or judge knows better than a guess."""
        found = (row.measures.spam or "") if row.measures else ""
        return found if row.by_user or found != OTHER_LANGUAGE else ""

    def passes(self, row: Row) -> bool:
        """Return whether a row passes the filters by itself."""
        return not self.awaits(row) and not self.refusal(row)
