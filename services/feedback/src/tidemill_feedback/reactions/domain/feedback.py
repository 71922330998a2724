"""One metric of one inference by one end user: the current reaction and its history."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.application import derived_id
from tidemill_core.characters import same_words
from tidemill_feedback.errors import NotComparable
from tidemill_feedback.metrics.domain.metric import Measure
from tidemill_feedback.reactions.domain.reaction import RATERS, Preference, Reaction

ASKER = "user"
"""The rater of the person who asked."""


class FeedbackState(Enum):
    """The state of feedback."""

    PENDING = "pending"
    """Waiting for its inference; stored separately until then."""
    RECORDED = "recorded"
    IGNORED = "ignored"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The attributes of an inference that feedback needs."""

    inference: str
    deployment: str
    end_user: str
    variant: str
    rollout: str
    live: bool
    completed: bool
    output: str
    """The recorded answer, "" where it was not recorded."""
    create_time: datetime | None = None
    """When its question came."""
    question: str = ""
    """The digest of what was asked, "" where that was not recorded."""

    def check_compares(self, rejected: "Answer") -> None:
        """Refuse a choice between answers that cannot be compared.

        Raises:
            NotComparable: naming what differs, or that nothing does.

        """
        differences = {
            "END_USERS_DIFFER": self.end_user != rejected.end_user,
            "DEPLOYMENTS_DIFFER": self.deployment != rejected.deployment,
            "QUESTION_NOT_RECORDED": not (self.question and rejected.question),
            "QUESTIONS_DIFFER": self.question != rejected.question,
            "ANSWERS_ALIKE": self.output != "" and same_words(self.output, rejected.output),
        }
        for reason, differs in differences.items():
            if differs:
                raise NotComparable(self.inference, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One reaction: a number for a rating, a text for others, a choice, or the value of a declared metric."""

    number: float | None
    text: str
    observe_time: datetime
    flag: bool | None = None
    category: str = ""
    measure: Measure | None = None
    """What it means by a declared metric."""
    preference: Preference | None = None
    absent: bool = False
    """Whether it was not given: it is what no value means."""

    @classmethod
    def of(cls, reaction: Reaction, observed_at: datetime, *, now: datetime, measure: Measure | None = None) -> "Given":
        """Return what was given, with its time as the store keeps it: never later than now, whatever its clock said."""
        moment = min(reaction.observe_time or observed_at, now)
        moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        return cls(
            number=reaction.number,
            text=reaction.text,
            observe_time=moment,
            flag=reaction.flag,
            category=reaction.category or "",
            measure=measure,
            preference=reaction.preference,
            absent=reaction.absent,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackWasRecorded(Event):
    """A reaction counts, for the first time or instead of an earlier one."""

    number: float | None
    """Of a rating."""
    category: str | None = None
    measure: Measure | None = None
    """Of a declared metric."""
    absent: bool | None = None
    observe_time: datetime

    @classmethod
    def of(cls, given: Given, *, now: datetime) -> "FeedbackWasRecorded":
        """Return the event of a reaction."""
        return cls(
            occurred_at=now,
            number=None if given.measure else given.number,
            category=given.category or None,
            measure=given.measure,
            absent=given.absent or None,
            observe_time=given.observe_time,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackWasWithdrawn(Event):
    """A reaction was withdrawn."""


NOT_THE_ASKER = "was given by a user other than the person who asked: it is kept, but does not count"


@dataclass(slots=True, kw_only=True)
class Feedback(Aggregate):
    """The reaction with the latest observe time is current; a bounded number of earlier ones is kept."""

    inference: str
    """Of a choice the chosen one; of a conversation its last answer when it was first given, which it counts for."""
    conversation: str = ""
    metric: str
    end_user: str
    rater: str
    other: str = ""
    """Of a choice: the rejected inference."""
    asked_by: str = ""
    """The end user of the inference, who need not be the one who reacts."""
    deployment: str = ""
    variant: str = ""
    rollout: str = ""
    state: FeedbackState = FeedbackState.PENDING
    message: str = ""
    counts: bool = True
    """Whether it is used for training and rollouts."""
    current: Given | None = None
    history: tuple[Given, ...] = ()
    withdraw_time: datetime | None = None
    """Until when everything is withdrawn, also what comes later; None if nothing is."""
    times: int = 0

    @classmethod
    def fresh(cls, project: str, reaction: Reaction, *, inference: str, end_user: str) -> "Feedback":
        """Return feedback to which nothing was given yet; `end_user` is the one who asked."""
        end_user, rater = reaction.end_user or end_user, reaction.rater or RATERS[0]
        choice = reaction.preference
        about = choice.pair if choice else reaction.target_in(project) if reaction.conversation else inference
        return cls(
            id=derived_id(project, about, reaction.metric, end_user, rater),
            project=project,
            inference=inference,
            conversation=reaction.conversation,
            other=choice.rejected if choice else "",
            metric=reaction.metric,
            end_user=end_user,
            rater=rater,
        )

    @property
    def teaches(self) -> bool:
        """Whether a reaction may become an example."""
        is_tie = self.current and self.current.preference and self.current.preference.tie
        return self.state is FeedbackState.RECORDED and self.counts and not is_tie

    def give(  # noqa: PLR0913 - a reaction, its answer, and what is kept of both
        self,
        given: Given,
        answer: Answer,
        *,
        labels: dict[str, str],
        keep: int,
        now: datetime,
        trusted: Collection[str] = (),
    ) -> None:
        """Record a reaction to a live answer; one observed before the current one goes to the history.

        So does one that was observed before a withdrawal, and the feedback stays withdrawn. It counts if the person who
        asked gave it, or its rater is in `trusted`.
        """
        self._record(answer, keep=keep, given=given, labels=labels)
        if self.current is None:
            return
        self.state = FeedbackState.RECORDED
        self.counts = self.rater in trusted or (self.rater == ASKER and self.end_user == answer.end_user)
        self.message = "" if self.counts else NOT_THE_ASKER
        if self.current is given:
            self.pending.append(FeedbackWasRecorded.of(given, now=now))

    def ignore(self, given: Given, answer: Answer, *, labels: dict[str, str], keep: int, message: str) -> None:
        """Store a reaction that does not count; emits nothing."""
        self._record(answer, keep=keep, given=given, labels=labels)
        self.state, self.message = FeedbackState.IGNORED, message

    def withdraw(self, *, keep: int, now: datetime, observed_at: datetime | None = None) -> None:
        """Withdraw what was observed until then, by default everything, also what arrives later; idempotent."""
        until = observed_at or max(now, self.current.observe_time if self.current else now)
        self.withdraw_time = max(until, self.withdraw_time or until)
        if self.current is None or self.current.observe_time > until:
            return
        self.history = self._kept(self.current, keep)
        self.state, self.current, self.message = FeedbackState.WITHDRAWN, None, ""
        self.pending.append(FeedbackWasWithdrawn(occurred_at=now))

    def erase(self) -> None:
        """Erase all values; later feedback of the same person restores the resource."""
        self.deleted, self.state, self.message = True, FeedbackState.IGNORED, "was erased"
        self.current, self.history, self.labels, self.withdraw_time = None, (), {}, None

    def erase_until(self, until: datetime) -> None:
        """Erase what was observed until then; nothing is left where no later reaction is current."""
        self.history = tuple(each for each in self.history if each.observe_time > until)
        if self.current is None or self.current.observe_time <= until:
            self.erase()

    def forget(self) -> None:
        """Name no end user any more, unless the same person has reacted anew since it was erased."""
        if self.deleted:
            self.end_user, self.asked_by = "", ""

    def _record(self, answer: Answer, *, keep: int, given: Given, labels: dict[str, str]) -> None:
        latest = self.current.observe_time if self.current else self.withdraw_time
        is_current = latest is None or given.observe_time >= latest
        if not self.times or not (self.conversation or (given.preference and not is_current)):
            # A conversation goes on, and stays with its first answer; a choice is about what was chosen last.
            self.inference, self.deployment = answer.inference, answer.deployment
            self.variant, self.rollout = answer.variant, answer.rollout
            self.other = given.preference.rejected if given.preference else ""
        self.asked_by = answer.end_user
        self.deleted, self.message = False, ""
        self.times += 1
        if is_current:
            earlier, self.current, self.labels = self.current, given, labels
        else:
            earlier = given
        if earlier is not None:
            self.history = self._kept(earlier, keep)

    def _kept(self, earlier: Given, keep: int) -> tuple[Given, ...]:
        kept = sorted((*self.history, earlier), key=lambda each: each.observe_time)
        return tuple(kept[-keep:]) if keep else ()
