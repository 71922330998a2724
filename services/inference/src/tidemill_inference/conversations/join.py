"""Give a question what was said before it in its conversation, and its place there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tidemill_core.application import Caller, Clock, Request, ResourceKey
from tidemill_core.rights import ACT_FOR_USERS, has_right
from tidemill_inference.conversations.domain.conversation import Conversation, Turn, check_id
from tidemill_inference.conversations.domain.errors import ConversationNotFound
from tidemill_inference.conversations.domain.memory import memory_id
from tidemill_inference.conversations.domain.policy import ConversationPolicy
from tidemill_inference.conversations.follow import FollowAnswer, past_turn
from tidemill_inference.conversations.ports import Conversations, Memories
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.errors import PromptNotRecorded, QuestionRefused
from tidemill_inference.generation.domain.history import History, HistoryUse, RememberedFact
from tidemill_inference.generation.domain.inference import Inference, State
from tidemill_inference.generation.domain.question import Purpose, Question
from tidemill_inference.generation.domain.turns import check_turns
from tidemill_inference.generation.ports import Inferences, Joined

DEFAULT_MAX_TURNS = 500
_SPARE = 2
"""So many times the turns that are given are read: some failed, or are still answered."""


def _noop(_key: ResourceKey) -> None:
    """Enqueues nothing: what is to be done is found in the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinConversation:
    """Implements `generation.ports.Conversing`.

    A turn takes its place before it is answered, by one write, once nothing refuses it any more, and what became of it
    is in its record: a process that dies in between loses none, and a retry finds its place taken. An answer is given
    the turns before its own that were complete when it began.
    """

    conversations: Conversations
    memories: Memories
    inferences: Inferences
    clock: Clock
    max_turns: int = DEFAULT_MAX_TURNS
    enqueue: Callable[[ResourceKey], None] = _noop
    """Called with the conversations in which something is to be done; must not block."""

    def answered(self, project: str, question: Question) -> None:
        """See `Conversing.answered`."""
        if question.conversation and question.history.has_work:
            self.enqueue(ResourceKey(project=project, id=question.conversation))

    async def join(
        self, caller: Caller, question: Question, deployment: Deployment, *, inference_id: str, digest: str
    ) -> Joined:
        """See `Conversing.join`."""
        policy, joined = deployment.spec.conversation, Joined(question=question)
        if question.purpose is not Purpose.LIVE:
            return joined
        if question.previous:
            follow = FollowAnswer(inferences=self.inferences, max_turns=self.max_turns)
            joined = Joined(question=await follow(caller, question))
            question = joined.question
        elif question.conversation:
            joined = await self._joined(caller, question, deployment, inference_id, digest)
            question = joined.question
        if policy and policy.memory_model and question.end_user:
            facts = await self._facts(caller.project, question.end_user, deployment.id)
            question = replace(question, history=replace(question.history, memories=facts))
        return replace(joined, question=question)

    async def recall(self, inference: Inference) -> History:
        """See `Conversing.recall`."""
        use = inference.history or HistoryUse()
        records = await self.inferences.get_many(inference.project, use.turns)
        if any(each not in records or not records[each].messages for each in use.turns):
            raise PromptNotRecorded(inference.id, why="an earlier turn of its conversation is not kept any more")
        return History(
            turns=tuple(past_turn(records[each]) for each in use.turns),
            summary=await self._summary(inference, use.summary) if use.summary else "",
            summary_through=use.summary,
            memories=await self._recalled(inference, use) if use.memories else (),
        )

    async def _summary(self, inference: Inference, through: int) -> str:
        found = await self.conversations.get_many(inference.project, [inference.conversation])
        summaries = found[inference.conversation].summaries if found else ()
        for summary in summaries:
            if summary.through == through:
                return summary.text
        raise PromptNotRecorded(inference.id, why="the summary of its conversation is not kept any more")

    async def _recalled(self, inference: Inference, use: HistoryUse) -> tuple[RememberedFact, ...]:
        facts = await self._facts(inference.project, inference.end_user, inference.deployment)
        known = {fact.reference: fact for fact in facts}
        if not known.keys() >= set(use.memories):
            raise PromptNotRecorded(inference.id, why="what is remembered of the end user has changed since")
        return tuple(known[each] for each in use.memories)

    async def _joined(
        self, caller: Caller, question: Question, deployment: Deployment, inference_id: str, digest: str
    ) -> Joined:
        check_id(question.conversation)
        spec = deployment.spec
        if spec.record is not RecordMode.FULL:
            why = f"needs full records, and deployment {deployment.id} records {spec.record.name}"
            raise QuestionRefused(field="conversation", why=why)
        stored = await self._stored(caller, question)
        if stored is None:
            if question.record is not RecordMode.FULL:
                check_turns(question.messages)
                return Joined(question=replace(question, notes=(*question.notes, _NOT_KEPT)))
            stored = Conversation(
                id=question.conversation,
                project=caller.project,
                deployment=deployment.id,
                end_user=question.end_user,
            )
        elif not question.end_user and has_right(caller, ACT_FOR_USERS):
            question = replace(question, end_user=stored.end_user)
        stored.check_owner(end_user=question.end_user, deployment=deployment.id)
        last = _last(stored, spec.conversation)
        read = await self.inferences.get_many(
            caller.project, sorted({turn.inference for turn in last} | {inference_id})
        )
        own = read.get(inference_id)
        if own is not None and (own.state is State.COMPLETED or own.request_digest != digest):
            return Joined(question=question)  # nothing is answered
        ended = self._ended(last, read)
        if any(message.tool_results for message in question.messages):
            so_far = _with_history(question, stored, read, spec.conversation, inference_id=inference_id, unread=0)
            check_turns((*so_far.history.messages, *question.messages))
        place = None
        if question.record is RecordMode.FULL:
            begin = self._beginning(question, spec.conversation, inference_id, ended)
            begin(stored)
            place = partial(self._place, caller.project, question, begin)
        else:
            stored.drop(ended)
            question = replace(question, notes=(*question.notes, _NOT_KEPT))
        unread = max(0, len(stored.before(inference_id)) - len(last)) if spec.conversation else 0
        question = _with_history(question, stored, read, spec.conversation, inference_id=inference_id, unread=unread)
        return Joined(question=question, place=place)

    async def _stored(self, caller: Caller, question: Question) -> Conversation | None:
        try:
            return await self.conversations.get(caller.project, question.conversation)
        except ConversationNotFound:
            return None

    async def _place(self, project: str, question: Question, begin: Callable[[Conversation], None]) -> None:
        fresh = Conversation(
            id=question.conversation, project=project, deployment=question.deployment, end_user=question.end_user
        )
        await self.conversations.upsert(fresh, begin, request=Request.internal())

    def _beginning(
        self,
        question: Question,
        policy: ConversationPolicy | None,
        inference_id: str,
        ended: Mapping[str, bool],
    ) -> Callable[[Conversation], None]:
        """Return what gives a question its place in a conversation, also in one that has changed since it was read."""

        def begin(conversation: Conversation) -> None:
            if conversation.deleted:
                conversation.deleted = False
                conversation.end_user, conversation.deployment = question.end_user, question.deployment
            conversation.check_owner(end_user=question.end_user, deployment=question.deployment)
            conversation.begin(
                inference_id,
                now=self.clock.now(),
                ended=ended,
                max_turns=self.max_turns,
                sliding=policy is not None,
                due=policy is not None and policy.has_work,
            )

        return begin

    def _ended(self, turns: Sequence[Turn], read: Mapping[str, Inference]) -> Mapping[str, bool]:
        """Return the turns that do not go on, and whether an answer of theirs is kept no more."""
        now, ended = self.clock.now(), dict[str, bool]()
        for turn in turns:
            record = read.get(turn.inference)
            if record is None:
                if turn.would_have_record(now):
                    ended[turn.inference] = turn.is_over(now)  # an old one may have had an answer
            elif record.state is State.COMPLETED:
                if not record.messages:
                    ended[turn.inference] = True
            elif record.state is not State.RESERVED or turn.is_over(now):
                ended[turn.inference] = False
        return ended

    async def _facts(self, project: str, end_user: str, deployment: str) -> tuple[RememberedFact, ...]:
        key = memory_id(project, end_user)
        memory = (await self.memories.get_many(project, [key])).get(key)
        facts = memory.of(deployment) if memory else ()
        return tuple(RememberedFact(id=each.id, text=each.text, revision=each.revision) for each in facts)


_NOT_KEPT = "this turn is not kept in the conversation: its record mode is lower than FULL"


def _last(conversation: Conversation, policy: ConversationPolicy | None) -> Sequence[Turn]:
    """Return the turns whose records are read."""
    if policy is None:
        return conversation.turns
    return conversation.turns[-(policy.max_turns + 1) * _SPARE :]


def _with_history(  # noqa: PLR0913 - all that says what is given
    question: Question,
    conversation: Conversation,
    read: Mapping[str, Inference],
    policy: ConversationPolicy | None,
    *,
    inference_id: str,
    unread: int,
) -> Question:
    """Return the question with the turns before it, the last ones that the policy gives, and notes of what is cut."""
    found = [read[turn.inference] for turn in conversation.before(inference_id) if turn.inference in read]
    complete = [record for record in found if record.state is State.COMPLETED]
    turns = History(turns=tuple(past_turn(record) for record in complete))
    given = turns.last(max(policy.max_turns, turns.min_turns(question.messages))) if policy else turns
    left_out = conversation.dropped + unread + len(complete) - len(given.turns)
    notes, summary = list(question.notes), conversation.summary
    if summary:
        notes.append(f"history cut: the turns up to {summary.through} are given as a summary")
    if left_out:
        notes.append(f"history cut: {left_out} earlier turns are not given to the model")
    history = History(
        turns=given.beginning_whole().turns,
        summary=summary.text if summary else "",
        summary_through=summary.through if summary else 0,
        may_be_cut=policy is not None,
        max_tokens=policy.max_history_tokens if policy else 0,
        has_work=policy is not None and policy.has_work,
    )
    return replace(question, history=history, notes=tuple(notes))
