"""What is to be done in a conversation after its answers: summarise turns, remember facts."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Caller, Clock, Request, Requeue, ResourceKey
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed
from tidemill_inference.background import background
from tidemill_inference.budgets.domain.errors import BudgetExhausted
from tidemill_inference.conversations.domain.conversation import Conversation, Turn
from tidemill_inference.conversations.domain.errors import ConversationNotFound
from tidemill_inference.conversations.domain.policy import ConversationPolicy
from tidemill_inference.conversations.ports import Conversations
from tidemill_inference.conversations.remember import RememberFacts
from tidemill_inference.conversations.summarize import SummarizeTurns
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.generation.domain.inference import Inference, State
from tidemill_inference.generation.ports import Inferences

_log = logging.getLogger(__name__)
_AGAIN = timedelta(seconds=5)
"""Where a turn is still answered."""
_MAX_TURNS = 10
"""That are searched for facts, before other conversations have their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOnConversation:
    """One step of it; every write is fenced by the epoch of the lease."""

    conversations: Conversations
    inferences: Inferences
    deployments: Deployments
    summarize: SummarizeTurns
    remember: RememberFacts
    clock: Clock
    max_wait: timedelta
    """After which a spent budget is tried again at the latest: it may have been raised."""

    async def __call__(self, key: ResourceKey, *, epoch: int) -> Requeue | None:
        """Return when to go on, None where nothing is left to do.

        Raises:
            ConversationLeaseLost: another replica works on it.
            TidemillError: a model does not answer.

        """
        try:
            conversation = await self.conversations.get(key.project, key.id)
            return await self._work(background(key.project), conversation, epoch)
        except ConversationNotFound:
            return None  # deleted, or erased

    async def _work(self, caller: Caller, conversation: Conversation, epoch: int) -> Requeue | None:
        if not conversation.has_work(self.clock.now()):
            return None
        policy = await self._policy(conversation)
        turns = left_to_do(conversation, policy) if policy else ()
        ids = [turn.inference for turn in turns]
        records = await self.inferences.get_many(conversation.project, ids) if ids else {}
        try:
            if policy and await self._step(caller, conversation, policy, records, epoch):
                return Requeue(after=timedelta())
        except BudgetExhausted as error:
            await self._wait(conversation, error, epoch)
            return None
        if any(self._is_answered(turn, records) for turn in turns):
            return Requeue(after=_AGAIN)
        await self.conversations.update(
            conversation.project,
            conversation.id,
            lambda stored: stored.finish(count=conversation.count, epoch=epoch),
            request=Request.internal(),
        )
        return None

    async def _wait(self, conversation: Conversation, spent: BudgetExhausted, epoch: int) -> None:
        """Leave the rest until the budget may have something left: the resync finds it then, or after the next turn."""
        pause = min(timedelta(seconds=spent.retry_after_s), self.max_wait)
        until = self.clock.now() + max(pause, _AGAIN)
        _log.info("conversation_work_waits: %s, budget %s", conversation.project, spent.metadata.get("budget", ""))
        await self.conversations.update(
            conversation.project,
            conversation.id,
            lambda stored: stored.wait(until, count=conversation.count, epoch=epoch),
            request=Request.internal(),
        )

    async def _step(
        self,
        caller: Caller,
        conversation: Conversation,
        policy: ConversationPolicy,
        records: Mapping[str, Inference],
        epoch: int,
    ) -> bool:
        """Do some of the work; return whether there may be more.

        What a model refuses, or cannot be as things are, is tried again after the next turn.

        Raises:
            BudgetExhausted: a budget does not have enough left for the next call of a model.

        """
        again = False
        for model, work in ((policy.memory_model, self._learn), (policy.summary_model, self.summarize.__call__)):
            try:
                again |= bool(model) and await work(caller, conversation, policy, records, epoch=epoch)
            except ConversationNotFound:
                raise
            except (InvalidInput, NotFound, PreconditionFailed) as error:
                _log.warning("conversation_work_refused: %s, model %s: %s", conversation.project, model, error.reason)
        return again

    async def _learn(
        self,
        caller: Caller,
        conversation: Conversation,
        policy: ConversationPolicy,
        records: Mapping[str, Inference],
        *,
        epoch: int,
    ) -> bool:
        """Search the next turns for facts, in order; return whether there may be more."""
        searched = 0
        for turn in conversation.turns:
            if turn.number <= conversation.learned:
                continue
            if self._is_answered(turn, records):
                break
            record = records.get(turn.inference)
            if record is not None and record.state is State.COMPLETED:
                await self.remember(caller, conversation, policy, record, number=turn.number, epoch=epoch)
                searched += 1
            if searched == _MAX_TURNS:
                return True
        return False

    def _is_answered(self, turn: Turn, records: Mapping[str, Inference]) -> bool:
        """Whether an answer to a turn is on its way."""
        now, record = self.clock.now(), records.get(turn.inference)
        if record is None:
            return not turn.would_have_record(now)
        return record.state is State.RESERVED and record.lease is not None and record.lease.until > now

    async def _policy(self, conversation: Conversation) -> ConversationPolicy | None:
        try:
            deployment = await self.deployments.get(conversation.project, conversation.deployment)
        except DeploymentNotFound:
            return None
        return deployment.spec.conversation


def left_to_do(conversation: Conversation, policy: ConversationPolicy) -> Sequence[Turn]:
    """Return the turns whose records are read: a conversation may have hundreds that are done."""
    learned = conversation.learned if policy.memory_model else conversation.count
    through = conversation.through if policy.summary_model else conversation.count
    return [turn for turn in conversation.turns if turn.number > min(learned, through)]
