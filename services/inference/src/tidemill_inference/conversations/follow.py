"""Give a question the turns of the answer that it goes on from."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.rights import ACT_FOR_USERS, has_right
from tidemill_inference.generation.domain.errors import InferenceNotFound, PreviousNotFound, QuestionRefused
from tidemill_inference.generation.domain.history import History, PastTurn
from tidemill_inference.generation.domain.inference import Inference, State
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.domain.speaker import owned
from tidemill_inference.generation.domain.turns import check_results
from tidemill_inference.generation.ports import Inferences


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowAnswer:
    """A record refers to the turns that its answer was given, so that all of them are known by the last one.

    Nothing is written: many questions may go on from one answer. Turns that were erased since are left out.
    """

    inferences: Inferences
    max_turns: int

    async def __call__(self, caller: Caller, question: Question) -> Question:
        """Return the question with its history; one without an end user is of the end user of `previous`.

        Raises:
            PreviousNotFound: there is no such answer that can be gone on from, or it is of another end user.
            QuestionRefused: it has no answer yet, or too many turns come before it.

        """
        previous = await self._previous(caller, question)
        if not question.end_user and has_right(caller, ACT_FOR_USERS):
            question = replace(question, end_user=previous.end_user)
        if question.end_user != previous.end_user:
            raise PreviousNotFound
        if previous.state is not State.COMPLETED:
            why = f"is {previous.state.name}, and has to be COMPLETED: wait for it, or ask without it"
            raise QuestionRefused(field="previous_inference", why=why)
        ids = (*(previous.history.turns if previous.history else ()), previous.id)
        if len(ids) > self.max_turns and not question.cuttable:
            why = f"has {len(ids)} turns, and the limit is {self.max_turns}: begin anew, or have the oldest left out"
            raise QuestionRefused(field="previous_inference", why=why)
        read = await self.inferences.get_many(caller.project, ids[-self.max_turns :])
        kept = [read[each] for each in ids if each in read and read[each].messages and owned_by(previous, read[each])]
        turns = tuple(_whole(past_turn(record) for record in kept))
        made = {call.id for turn in turns for message in turn.messages for call in message.tool_calls}
        check_results(question.messages, made=made)
        notes = question.notes
        if left_out := len(ids) - len(turns):
            notes = (*notes, f"history cut: {left_out} earlier turns are not given to the model")
        return replace(question, notes=notes, history=History(turns=turns, may_be_cut=question.cuttable))

    async def _previous(self, caller: Caller, question: Question) -> Inference:
        try:
            previous = await self.inferences.get(caller.project, question.previous)
        except InferenceNotFound as error:
            raise PreviousNotFound from error
        if previous.parameters is None or not owned(caller, previous.end_user):
            raise PreviousNotFound
        return previous


def past_turn(record: Inference) -> PastTurn:
    """Return what a record has of its turn."""
    return PastTurn(inference=record.id, messages=record.turn)


def owned_by(previous: Inference, record: Inference) -> bool:
    """Whether a turn is of the same end user as the last one."""
    return record.end_user == previous.end_user


def _whole(turns: Iterable[PastTurn]) -> Iterable[PastTurn]:
    """Yield turns without those that bring results of calls that no turn before them makes."""
    made: set[str] = set()
    for turn in turns:
        calls = {call.id for message in turn.messages for call in message.tool_calls}
        if {result.id for message in turn.messages for result in message.tool_results} <= made | calls:
            made |= calls
            yield turn
