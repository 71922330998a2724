"""A question: what is asked of a deployment, and what is no question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from tidemill_core.characters import clean_line
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import Message, Passage, Role, question_in
from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_inference.generation.domain.history import NO_HISTORY, History
from tidemill_inference.generation.domain.limits import DEFAULT_LIMITS, PARTS, QuestionLimits
from tidemill_inference.generation.domain.tools import OutputFormat, Tool, ToolChoice, check_asked
from tidemill_inference.generation.domain.turns import check_turns
from tidemill_inference.prompts.domain.prompt import PromptContent

MAX_EARLIER_CHARACTERS = 1000
"""Of one earlier message in a search."""


class Purpose(Enum):
    """Why an inference was asked."""

    LIVE = 1
    SHADOW = 2
    EVALUATION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a deployment."""

    deployment: str
    messages: tuple[Message, ...]
    variables: Mapping[str, object] = field(default_factory=dict)
    conversation: str = ""
    end_user: str = ""
    principals: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    output: OutputFormat | None = None
    candidates: int = 1
    """How many answers are given; all but the first are alternatives."""
    best_of: int = 0
    """How many are made, where the likeliest `candidates` of them are given; 0 gives what is made.

    More than `candidates` go without tools: calls have no log probabilities.
    """
    record: RecordMode | None = None
    purpose: Purpose = Purpose.LIVE
    variant: str = ""
    """`model@version` that answers instead of the live model; not for live questions."""
    prompt: str = ""
    """`prompt@version` that is rendered instead of the live prompt; not for live questions."""
    unsaved: PromptContent | None = None
    """A prompt of no name that is rendered instead; for evaluations only."""
    free_sampling: bool = False
    """Whether its sampling may be any, whatever its deployment says: who manages the project compares by it."""
    index: int = 0
    """The index version that is searched instead of the live one; not for live questions."""
    passages: tuple[Passage, ...] | None = None
    """Given instead of searched, each with its text; None searches. Not for live questions."""
    rollout: str = ""
    """The rollout whose candidate answers: only this service itself asks so, for shadows."""
    yielding: bool = False
    """Whether the deployment's sampling wins, with a warning, where a caller may not override it; else that is refused.
    """
    no_cache: bool = False
    """Whether an answer that was given before is not given again."""
    notes: tuple[str, ...] = ()
    """What the answer is to warn of before anything has happened."""
    engine: str = ""
    """What is to run the model's files: the deployment's choice."""
    store: bool | None = None
    """Whether the answer can be shown again and gone on from by its id: False keeps no text, None leaves it out."""
    previous: str = ""
    """The inference that it goes on from, whose turns come before it."""
    instructed: bool = False
    """See `Parameters`."""
    cuttable: bool = False
    """Whether the oldest turns of `previous` are left out where they do not fit; else that is an error."""
    history: History = NO_HISTORY
    """What was said before, which its conversation has; no caller sends it."""

    def __post_init__(self) -> None:
        """Remove invisible characters from a name, which operators and other services read."""
        object.__setattr__(self, "end_user", clean_line(self.end_user))  # frozen

    @property
    def text(self) -> str:
        """The user's last message: what is to be answered, also where calls and their results follow it."""
        asked = (*self.history.messages, *self.messages)
        return asked[question_in(asked)].text

    @property
    def drawn(self) -> int:
        """How many answers a model is asked for."""
        return max(self.best_of, self.candidates)

    @property
    def ranked(self) -> bool:
        """Whether the likeliest are given of more answers than that."""
        return self.best_of > self.candidates

    def queries(self, turns: int, *, alone: str = "") -> tuple[str, ...]:
        """Return what is searched with: the last message, and behind it, where it may go on from them, those before it.

        `alone` is searched with in place of the last message alone.

        "And what is it made of?" finds nothing alone, and a new subject nothing in the company of an old one. The last
        message comes first also in the longer query, which an embedding model may cut.
        """
        asked = (*self.history.messages, *self.messages)
        said = [message.text for message in asked if message.role is Role.USER][-turns:]
        earlier = [text[:MAX_EARLIER_CHARACTERS] for text in reversed(said[:-1]) if text.strip()]
        together = ["\n".join([self.text, *earlier])] if earlier else []
        return tuple(dict.fromkeys([alone or self.text, *together]))

    def check(self, limits: QuestionLimits = DEFAULT_LIMITS) -> None:
        """Refuse what is no question, or brings more than one may.

        Raises:
            QuestionRefused: names the field and what is supported.

        """
        self._check_sizes(limits)
        if self.conversation and self.previous:
            raise QuestionRefused(field="previous_inference", why="cannot go with a conversation: send one of them")
        check_turns(self.messages, go_on=bool(self.conversation or self.previous))
        check_asked(self.tools, self.tool_choice, self.output)
        if self.candidates < 1:
            raise QuestionRefused(field="candidate_count", why=f"is {self.candidates}; use 1 to {limits.candidates}")
        if self.best_of and self.best_of < self.candidates:
            fewer = f"is {self.best_of}, fewer than the {self.candidates} answers that are asked for"
            raise QuestionRefused(field="best_of", why=f"{fewer}; use {self.candidates} to {limits.candidates}")
        if self.ranked and self.tools:
            why = f"is {self.best_of}, and calls of tools cannot be compared: leave one of them out"
            raise QuestionRefused(field="best_of", why=why)
        if found := self.sampling.violations("sampling", limits.sampling):
            raise QuestionRefused(field=found[0].field, why=found[0].description)
        self._check_comparison()

    def _check_sizes(self, limits: QuestionLimits) -> None:
        for name, asked in (
            ("messages", self.messages),
            ("principals", self.principals),
            ("labels", self.labels),
            ("passages", self.passages or ()),
            ("tools", self.tools),
        ):
            limits.check(name, len(asked))
        limits.check("parts", sum(len(each.parts) for each in self.messages), where="messages", what=PARTS)
        limits.check("candidates", self.candidates, where="candidate_count", what="is {}; use 1 to {}")
        limits.check("candidates", self.best_of, where="best_of", what="is {}; use 1 to {}")

    def _check_comparison(self) -> None:
        """Refuse what only comparisons may say, and passages that cannot be answered on."""
        passages = self.passages or ()
        if self.purpose is not Purpose.LIVE and self.conversation:
            raise QuestionRefused(field="conversation", why=f"is for purpose LIVE only; purpose is {self.purpose.name}")
        compared = {"variant": self.variant, "index": self.index, "passages": passages, "prompt": self.prompt}
        if self.purpose is Purpose.LIVE and (field := next((name for name, given in compared.items() if given), "")):
            raise QuestionRefused(field=field, why="is for purposes SHADOW and EVALUATION only; purpose is LIVE")
        self._check_compared()
        if self.index < 0:
            raise QuestionRefused(field="index", why=f"is {self.index}; send the number of an index version")
        if self.index and passages:
            raise QuestionRefused(field="index", why="goes without passages, which are given instead of searched")
        self._check_passages(passages)

    def _check_passages(self, passages: Sequence[Passage]) -> None:
        for number, passage in enumerate(passages):
            path = f"passages[{number}]"
            if not passage.text:
                raise QuestionRefused(field=f"{path}.text", why="is empty; send the text of the span")
            if not passage.document or passage.version < 1:
                raise QuestionRefused(field=f"{path}.document", why="send the document and its version, 1 or more")
            if not 0 <= passage.start <= passage.end:
                span = f"is {passage.start} to {passage.end}; use 0 or more, ending where it starts or after"
                raise QuestionRefused(field=f"{path}.start", why=span)

    def _check_compared(self) -> None:
        """Refuse names that are none, and a prompt that is no part of an evaluation."""
        if self.variant and not all(self.variant.partition("@")):
            raise QuestionRefused(field="variant", why=f"is {self.variant!r}; send model@version")
        if self.prompt and not all(self.prompt.partition("@")):
            raise QuestionRefused(field="prompt", why=f"is {self.prompt[:80]!r}; send prompt@version")
        if self.unsaved and self.purpose is not Purpose.EVALUATION:
            why = f"is for purpose EVALUATION only; purpose is {self.purpose.name}"
            raise QuestionRefused(field="unsaved_prompt", why=why)
        if self.unsaved and self.prompt:
            raise QuestionRefused(field="unsaved_prompt", why="cannot go with prompt: send one of them")
