"""conversations and memories: what is kept of end users, shown, corrected and removed."""

from typing import Annotated

import typer

from tidemill.inference.v1.conversation_pb2 import Conversation
from tidemill.inference.v1.conversation_service_pb2 import ListConversationsRequest, ListMemoriesRequest
from tidemill.inference.v1.inference_pb2 import InferenceState
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, moment, plain, show, word
from tidemill_cli.pages import lists
from tidemill_client.conversations import Conversations, Memories
from tidemill_client.pages import filter_of

conversations = Commands(help="Conversations of end users: list, show, delete.")
memories = Commands(help="What is remembered of end users: list, correct, delete.")

ConversationArgument = Annotated[str, typer.Argument(help="The conversation, as its first question named it.")]
MemoryArgument = Annotated[str, typer.Argument(help="The memory's id, as `tidemill memories list` shows it.")]
EndUserOption = Annotated[str, typer.Option(help="Only those of this end user, for example u-17.")]


@lists(
    conversations,
    "list",
    lambda c: c.conversations.ListConversations,
    ("conversation", "deployment", "end user", "began", "last turn"),
    lambda c: (c.id, c.deployment, c.end_user, moment(c.create_time), moment(c.update_time)),
)
def list_conversations(
    *,
    end_user: EndUserOption = "",
    deployment: Annotated[str, typer.Option(help="Only those with this deployment.")] = "",
) -> ListConversationsRequest:
    """List conversations, without what was said."""
    return ListConversationsRequest(filter=filter_of(end_user=end_user, deployment=deployment))


@conversations.command("show")
def show_conversation(conversation: ConversationArgument) -> None:
    """Show the turns of a conversation by their inferences, and its summary."""
    found = call(lambda c: Conversations(c).get(conversation))
    show(plain(found), card(_facts(found)))


@conversations.command("delete")
def delete_conversation(conversation: ConversationArgument) -> None:
    """Delete a conversation with its summary; its inferences stay as long as the deployment keeps them."""
    call(lambda c: Conversations(c).delete(conversation))
    show({"id": conversation}, f"{conversation} is deleted")


@lists(
    memories,
    "list",
    lambda c: c.conversations.ListMemories,
    ("memory", "end user", "deployment", "text", "changed", "note"),
    lambda m: (m.id, m.end_user, m.deployment, m.text, moment(m.update_time), "corrected" if m.corrected else ""),
)
def list_memories(*, end_user: EndUserOption = "") -> ListMemoriesRequest:
    """List what is remembered of end users."""
    return ListMemoriesRequest(filter=filter_of(end_user=end_user))


@memories.command("correct")
def correct_memory(
    memory: MemoryArgument, text: Annotated[str, typer.Argument(help="What it is to say: one line.")]
) -> None:
    """Correct a memory; answers see the new text from then on."""
    corrected = call(lambda c: Memories(c).correct(memory, text))
    show(plain(corrected), f"{corrected.id} is corrected")


@memories.command("delete")
def delete_memory(memory: MemoryArgument) -> None:
    """Erase a memory."""
    call(lambda c: Memories(c).delete(memory))
    show({"id": memory}, f"{memory} is erased")


def _facts(found: Conversation) -> dict[str, str]:
    turns = [f"{turn.number}  {turn.inference}  {word(InferenceState, turn.state)}" for turn in found.turns]
    summary = f"up to turn {found.summary.through}: {found.summary.text}" if found.HasField("summary") else ""
    return {
        "conversation": found.id,
        "deployment": found.deployment,
        "end user": found.end_user,
        "turns": "\n".join(turns),
        "summary": summary,
    }
