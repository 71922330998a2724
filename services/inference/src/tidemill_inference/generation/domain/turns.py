"""What a conversation has to be, so that it is the model's turn."""

from collections.abc import Collection, Sequence

from tidemill_inference.generation.domain.content import Message, Role, question_in
from tidemill_inference.generation.domain.errors import QuestionRefused


def check_turns(messages: Sequence[Message], *, go_on: bool = False) -> None:
    """Refuse messages in which it is not the model's turn, or that have results of calls that were not made.

    With `go_on` they follow stored ones, which may have the question and the calls: who reads these checks the results.
    That a call has no result is for the model to see.

    Raises:
        QuestionRefused: names the field and what is supported.

    """
    if not messages:
        raise QuestionRefused(field="messages", why="is empty; send at least one, the last of them from the user")
    for number, message in enumerate(messages):
        if not message.parts:
            raise QuestionRefused(field=f"messages[{number}].parts", why="is empty; send at least one text part")
    last, asked = messages[-1], question_in(messages)
    if last.role not in (Role.USER, Role.TOOL):
        why = f"is {last.role.value}; the last message has to be the user's, or the result of a tool call"
        raise QuestionRefused(field=f"messages[{len(messages) - 1}].role", why=why)
    if go_on and last.role is Role.TOOL:
        return
    if asked < 0:
        raise QuestionRefused(field="messages", why="has no message of the user; send what is to be answered")
    if not messages[asked].text.strip():
        raise QuestionRefused(field=f"messages[{asked}]", why="is blank; ask something")
    if not go_on:
        check_results(messages)


def check_results(messages: Sequence[Message], *, made: Collection[str] = ()) -> None:
    """Refuse results of calls that neither these messages make nor those before them, which made `made`.

    Raises:
        QuestionRefused: names the message and the call.

    """
    made = set(made)
    for number, message in enumerate(messages):
        made |= {call.id for call in message.tool_calls}
        if unknown := [each.id for each in message.tool_results if each.id not in made]:
            why = f"is the result of tool call {unknown[0]!r}, which no message of the assistant before it makes"
            raise QuestionRefused(field=f"messages[{number}]", why=why)
