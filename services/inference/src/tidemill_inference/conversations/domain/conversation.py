"""A conversation: references to its answers in the order in which they were asked, and the summaries of the first."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.aggregate import Aggregate
from tidemill_inference.conversations.domain.errors import ConversationLeaseLost, ConversationOfAnother
from tidemill_inference.generation.domain.errors import QuestionRefused

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
ID_FORM = "1 to 128 of A-Z, a-z, 0-9, and _.:- behind the first"
_QUOTED = 80
_KEPT_SUMMARIES = 3
"""So that the prompts of answers that were given an earlier one can still be shown."""
RESERVING = timedelta(minutes=5)
"""From a turn's place to its record, and some more: one call of the store is between them."""
UNDER_WAY = timedelta(hours=1)
"""A turn that has no answer after so long will have none: deadlines are shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question, by the inference that has it with its answer; `number` counts from 1."""

    inference: str
    number: int
    begin_time: datetime

    def is_over(self, now: datetime) -> bool:
        """Whether it has its answer by now, or never will."""
        return now - self.begin_time > UNDER_WAY

    def would_have_record(self, now: datetime) -> bool:
        """Whether it has its record by now; one never has, whose process died in between, or that was refused there."""
        return now - self.begin_time > RESERVING


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Of the turns up to the number `through`; `documents` are those that their answers were given."""

    text: str
    through: int
    create_time: datetime
    documents: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Conversation(Aggregate):
    """Of one end user with one deployment. It has no text but its summaries: that of turns is in their inferences.

    `count` is the number of the last turn, also after turns were dropped, of which `dropped` had an answer. `learned`
    is the number of the last turn that was searched for facts. `due` says that work may be left, and `epoch` is that
    of the lease of the last worker. Work that a budget has nothing left for goes on at `wait_until`.
    """

    deployment: str
    end_user: str = ""
    turns: tuple[Turn, ...] = ()
    count: int = 0
    dropped: int = 0
    summaries: tuple[Summary, ...] = ()
    learned: int = 0
    due: bool = False
    wait_until: datetime | None = None
    epoch: int = 0

    @property
    def summary(self) -> Summary | None:
        """The newest one."""
        return self.summaries[-1] if self.summaries else None

    @property
    def through(self) -> int:
        """The number of the last turn that the summary has."""
        return self.summary.through if self.summary else 0

    def check_owner(self, *, end_user: str, deployment: str) -> None:
        """Refuse what is no turn of it.

        Raises:
            ConversationOfAnother: another end user began it.
            QuestionRefused: another deployment answers in it.

        """
        if end_user != self.end_user:
            raise ConversationOfAnother(self.id)
        if deployment != self.deployment:
            why = f"is answered by deployment {self.deployment}: ask that one, or begin another conversation"
            raise QuestionRefused(field="conversation", why=why)

    def begin(  # noqa: PLR0913 - how a turn begins
        self, inference: str, *, now: datetime, ended: Mapping[str, bool], max_turns: int, sliding: bool, due: bool
    ) -> None:
        """Give a question its place, the last one; one that has its place keeps it.

        `ended` are inferences that do not go on, and whether they had an answer, which is not kept any more: failed and
        cancelled ones never had. `sliding` drops the oldest turns beyond `max_turns`.

        Raises:
            QuestionRefused: it is full.

        """
        self.drop(ended)
        self.due |= due
        if any(turn.inference == inference for turn in self.turns):
            return
        if len(self.turns) >= max_turns:
            if not sliding:
                why = f"has {len(self.turns)} turns, its limit: begin another, or set `conversation` of the deployment"
                raise QuestionRefused(field="conversation", why=why)
            oldest = self.turns[: len(self.turns) - max_turns + 1]
            self.drop({turn.inference: True for turn in oldest})
        self.count += 1
        self.turns = (*self.turns, Turn(inference=inference, number=self.count, begin_time=now))

    def drop(self, ended: Mapping[str, bool]) -> None:
        """Leave turns out; of those that had an answer, and are in no summary, it is said how many there were."""
        gone = [turn for turn in self.turns if turn.inference in ended]
        self.dropped += sum(ended[turn.inference] and turn.number > self.through for turn in gone)
        self.turns = tuple(turn for turn in self.turns if turn.inference not in ended)

    def before(self, inference: str) -> tuple[Turn, ...]:
        """Return the turns before one, that no summary has."""
        own = next((turn.number for turn in self.turns if turn.inference == inference), self.count + 1)
        return tuple(turn for turn in self.turns if self.through < turn.number < own)

    def summarize(self, summary: Summary, *, of: Collection[str], epoch: int) -> None:
        """Take a summary of these inferences, unless the conversation has changed under it.

        Raises:
            ConversationLeaseLost: a later holder of the lease was there.

        """
        self.hold(epoch)
        known = {turn.inference for turn in self.turns}
        if summary.through > self.through and known.issuperset(of):
            self.summaries = (*self.summaries, summary)[-_KEPT_SUMMARIES:]

    def learn(self, through: int, *, epoch: int) -> None:
        """Say that the turns up to this number were searched for facts.

        Raises:
            ConversationLeaseLost: as `summarize`.

        """
        self.hold(epoch)
        self.learned = max(self.learned, min(through, self.count))

    def finish(self, *, count: int, epoch: int) -> None:
        """Say that no work is left, unless there are more turns than the worker saw.

        Raises:
            ConversationLeaseLost: as `summarize`.

        """
        self.hold(epoch)
        self.due, self.wait_until = self.count > count, None

    def wait(self, until: datetime, *, count: int, epoch: int) -> None:
        """Say that the work goes on then, unless there are more turns than the worker saw.

        Raises:
            ConversationLeaseLost: as `summarize`.

        """
        self.finish(count=count, epoch=epoch)
        self.wait_until = until

    def has_work(self, now: datetime) -> bool:
        """Whether work may be left that can be done now."""
        return self.due or (self.wait_until is not None and self.wait_until <= now)

    def hold(self, epoch: int) -> None:
        """Fence earlier holders of the lease.

        Raises:
            ConversationLeaseLost: a later holder of the lease was there.

        """
        if epoch < self.epoch:
            raise ConversationLeaseLost(self.id)
        self.epoch = epoch

    def forget(self) -> None:
        """Remove what it says; as a tombstone it keeps counting."""
        self.end_user, self.turns, self.summaries, self.due, self.wait_until = "", (), (), False, None
        self.dropped, self.learned, self.labels = 0, self.count, {}

    def forget_document(self, document: str) -> None:
        """Remove summaries that rest on a document; what they summarised is summarised again without it."""
        kept = tuple(each for each in self.summaries if document not in each.documents)
        self.due |= kept != self.summaries
        self.summaries = kept


def check_id(conversation: str) -> None:
    """Refuse what is no id.

    Raises:
        QuestionRefused: names value and rule.

    """
    if not _ID.fullmatch(conversation):
        raise QuestionRefused(field="conversation", why=f"is {conversation[:_QUOTED]!r}; use {ID_FORM}")
