"""What is said, and what it rests on."""

from dataclasses import dataclass, replace
from enum import Enum


class Role(Enum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A span of a text, half-open and in code points, and the id of the passage that it rests on."""

    start: int
    end: int
    passage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a message."""

    text: str
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    parts: tuple[Part, ...]
    name: str = ""

    @property
    def text(self) -> str:
        """The text of all parts, each on a line of its own."""
        return "\n".join(part.text for part in self.parts)

    @classmethod
    def of(cls, role: Role, text: str) -> "Message":
        """Return a message of one part."""
        return cls(role=role, parts=(Part(text=text),))


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

    def unnamed(self) -> "Passage":
        """Return a copy that says of its document neither name nor text."""
        return replace(self, source="", key="", title="", uri="", text="", also_in=())
