"""What is said, and what it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from tidemill_core.places import described


class Role(Enum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A span of a text, half-open and in code points, and the id of the passage that it rests on."""

    start: int
    end: int
    passage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A function that the model asks the caller to run; its arguments are JSON as the model wrote it, valid or not."""

    id: str
    name: str
    arguments_json: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a function returned, as text; `id` is that of its call."""

    id: str
    text: str = ""
    failed: bool = False

    @property
    def parts(self) -> "tuple[Part, ...]":
        """The text as the parts that the contract has."""
        return (Part(text=self.text),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a message: text, unless one of the other kinds is set."""

    text: str = ""
    citations: tuple[Citation, ...] = ()
    tool_call: ToolCall | None = None
    tool_result: ToolResult | None = None
    reasoning: str | None = None
    """What a model thought before it answered."""
    json: str | None = None
    """An answer in an output format, which is valid JSON."""

    @property
    def spoken(self) -> str | None:
        """What it says to its reader; None of a call and of what a model thought."""
        if self.tool_call is not None or self.reasoning is not None:
            return None
        if self.tool_result is not None:
            return self.tool_result.text
        return self.text if self.json is None else self.json


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    parts: tuple[Part, ...]
    name: str = ""

    @property
    def text(self) -> str:
        """The text of all parts, each on a line of its own."""
        return "\n".join(said for part in self.parts if (said := part.spoken) is not None)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls that it makes."""
        return tuple(part.tool_call for part in self.parts if part.tool_call is not None)

    @property
    def tool_results(self) -> tuple[ToolResult, ...]:
        """The results that it brings."""
        return tuple(part.tool_result for part in self.parts if part.tool_result is not None)

    @property
    def reasoning(self) -> str:
        """What its author thought."""
        return "".join(part.reasoning or "" for part in self.parts)

    def __deepcopy__(self, _copied: object) -> "Message":
        """Return the message itself, of which nothing can be changed: a record of a long conversation has many."""
        return self

    @classmethod
    def of(cls, role: Role, text: str) -> "Message":
        """Return a message of one part."""
        return cls(role=role, parts=(Part(text=text),))


def question_in(messages: Sequence[Message]) -> int:
    """Return where the question is: the last message of the user, after which only calls and their results follow."""
    return max((number for number, message in enumerate(messages) if message.role is Role.USER), default=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopLogprob:
    """A token that could have stood in an answer's place; `utf8` are its bytes, which may be part of a character."""

    text: str
    logprob: float
    utf8: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """A token of an answer, its log probability, and the likeliest tokens in its place."""

    text: str
    logprob: float
    utf8: bytes = b""
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of several answers to the same question."""

    output: tuple[Message, ...]
    finish_reason: str
    logprobs: tuple[TokenLogprob, ...] = ()


class AnchorKind(Enum):
    """What a place of a document's original is."""

    PAGE = "page"
    SLIDE = "slide"
    SHEET = "sheet"
    ROW = "row"
    CHAPTER = "chapter"
    RECORD = "record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One or several places in a row; `name` is that of one that is alone, "" where it has none."""

    kind: AnchorKind
    first: int
    last: int
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A span of a document version, in code points of its masked text; records keep it without `text`."""

    id: str
    document: str
    version: int
    start: int
    end: int
    score: float
    source: str = ""
    key: str = ""
    title: str = ""
    uri: str = ""
    text: str = ""
    header_start: int = 0
    """The span of a table's header that stands before the passage in `text`, on lines of its own; empty for none."""
    header_end: int = 0
    also_in: tuple[str, ...] = ()
    """Other documents that say the same in as many words, as `source/key`."""
    collection: str = ""
    """Where it was found, as `project/collection`, if another project shares that."""
    places: tuple[Place, ...] = ()
    """Where the span is in the original, such as its pages."""
    rerank_score: float | None = None
    """What the collection's reranker made of it, 0 to 1; None where none did."""

    @property
    def place(self) -> str:
        """Return where it is in words, such as `page 7`, "" where that is not known."""
        return described((each.kind.value, each.first, each.last, each.name) for each in self.places)

    def unnamed(self) -> "Passage":
        """Return a copy that says of its document neither name nor text."""
        return replace(self, source="", key="", title="", uri="", text="", also_in=(), places=())
