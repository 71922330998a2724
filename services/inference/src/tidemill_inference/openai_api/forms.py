"""How each API asks for answers, and says them: chats, completions, responses."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tidemill_core.errors import InvalidInput, TidemillError
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.ports import Delta, Finished, ToolCallDelta
from tidemill_inference.openai_api.completions import Chunks, completion
from tidemill_inference.openai_api.errors import error_body
from tidemill_inference.openai_api.legacy import CompletionRequest, Texts, completion_request_of
from tidemill_inference.openai_api.responses.events import Events, error_event
from tidemill_inference.openai_api.responses.objects import Asked, response_object
from tidemill_inference.openai_api.responses.requests import response_request_of
from tidemill_inference.openai_api.schemas import ChatRequest, chat_request_of

Json = dict[str, Any]
IssueToken = Callable[[str, str], str]
"""Makes the token of an answer, by its project and id."""


class AskedBy(Protocol):
    """A request for an answer."""

    @property
    def stream(self) -> bool:
        """Whether the answer is streamed."""
        ...

    @property
    def end_user_field(self) -> str:
        """What the caller called the end user."""
        ...

    def questions(self) -> Sequence[Question]:
        """Return what is asked: one question, or one for each prompt of a completion."""
        ...

    def blamed(self, error: InvalidInput) -> InvalidInput:
        """Return the error with its fields called as this caller called them."""
        ...


class Saying(Protocol):
    """Says one answer, whole or in events. None of `events` is an event that the API leaves out."""

    def whole(self, answered: Inference) -> Json | None:
        """Return the reply."""
        ...

    def begun(self, started: Inference) -> Iterator[Json | None]:
        """Yield the first events."""
        ...

    def more(self, step: Delta | ToolCallDelta | Finished) -> Iterator[Json | None]:
        """Yield the events of a step."""
        ...

    def failed(self, error: TidemillError) -> Iterator[Json]:
        """Yield the last events of an answer that did not come to its end."""
        ...


@dataclass(frozen=True, kw_only=True)
class Form:
    """How an API asks for answers and says them; `says` begins to say one."""

    read: Callable[[bytes], AskedBy]
    says: Callable[[AskedBy, Question, IssueToken], Saying]
    done: str = "[DONE]"
    """What ends a whole stream; "" ends it without."""
    names_events: bool = False
    """Whether each event of a stream is named by its type."""


class _ChatSaying:
    """Says chats, and with `said` what goes by way of them."""

    def __init__(self, asked: ChatRequest, issue: IssueToken, said: Callable[[Json], Json | None]) -> None:
        self._asked = asked
        self._issue = issue
        self._said = said
        self._chunks: Chunks | None = None

    def whole(self, answered: Inference) -> Json | None:
        return self._said(completion(answered, feedback_token=self._issue(answered.project, answered.id)))

    def begun(self, started: Inference) -> Iterator[Json | None]:
        token = self._issue(started.project, started.id)
        self._chunks = Chunks(
            started, include_usage=self._asked.includes_usage, feedback_token=token, candidates=self._asked.n
        )
        yield from map(self._said, self._chunks.first())

    def more(self, step: Delta | ToolCallDelta | Finished) -> Iterator[Json | None]:
        if self._chunks:
            yield from map(self._said, self._chunks.of(step))

    def failed(self, error: TidemillError) -> Iterator[Json]:
        yield error_body(error)


class _ResponseSaying:
    """Says responses."""

    def __init__(self, question: Question, issue: IssueToken) -> None:
        self._asked = Asked.by(question)
        self._issue = issue
        self._events: Events | None = None

    def whole(self, answered: Inference) -> Json | None:
        token = self._issue(answered.project, answered.id)
        return response_object(answered, self._asked, feedback_token=token)

    def begun(self, started: Inference) -> Iterator[Json | None]:
        self._events = Events(started, self._asked, feedback_token=self._issue(started.project, started.id))
        yield from self._events.first()

    def more(self, step: Delta | ToolCallDelta | Finished) -> Iterator[Json | None]:
        if self._events:
            yield from self._events.of(step)

    def failed(self, error: TidemillError) -> Iterator[Json]:
        if self._events:
            yield from self._events.failed(error)
        else:
            yield error_event(error, 0)


class _CompletionSaying(_ChatSaying):
    """Says completions: what a chat says as texts, each behind its prompt where that is asked for."""

    def __init__(self, asked: CompletionRequest, question: Question, issue: IssueToken) -> None:
        super().__init__(asked.chat, issue, Texts())
        self._before = question.messages[0].text if asked.echo else ""

    def whole(self, answered: Inference) -> Json | None:
        reply = super().whole(answered)
        for choice in reply["choices"] if reply else ():
            choice["text"] = self._before + choice["text"]
        return reply

    def begun(self, started: Inference) -> Iterator[Json | None]:
        yield from super().begun(started)
        for candidate in range(self._asked.n if self._before else 0):
            yield from self.more(Delta(text=self._before, candidate=candidate))


def _as_it_is(said: Json) -> Json:
    return said


def _says_chat(asked: AskedBy, _question: Question, issue: IssueToken) -> Saying:
    assert isinstance(asked, ChatRequest)  # noqa: S101 - of the same form
    return _ChatSaying(asked, issue, _as_it_is)


def _says_completion(asked: AskedBy, question: Question, issue: IssueToken) -> Saying:
    assert isinstance(asked, CompletionRequest)  # noqa: S101 - of the same form
    return _CompletionSaying(asked, question, issue)


def _says_response(_asked: AskedBy, question: Question, issue: IssueToken) -> Saying:
    return _ResponseSaying(question, issue)


CHATS = Form(read=chat_request_of, says=_says_chat)
COMPLETIONS = Form(read=completion_request_of, says=_says_completion)
RESPONSES = Form(read=response_request_of, says=_says_response, done="", names_events=True)
