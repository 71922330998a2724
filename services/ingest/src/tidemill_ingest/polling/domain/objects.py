"""Files of an origin: those that it lists, and what is known of those that were fetched before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedObject:
    """A file that is there. `version` changes with its content: an ETag, or the hash of a blob.

    Of a file whose size is not listed it is None.
    """

    key: str
    version: str
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Everything that an origin has; it is whole, or there is none. `position` names what was listed."""

    objects: Sequence[ListedObject]
    position: str = ""
    skipped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledObject:
    """A file that was fetched, or refused: it is not fetched again until its version or the source's rules change."""

    key: str
    version: str
    rules: str
    refused: str = ""
    """Why it has no document of this version, in UPPER_SNAKE."""
    attempts: int = 0
    """How often its processing broke; at first it is tried again."""

    def is_current(self, listed: ListedObject, rules: str) -> bool:
        """Return whether nothing is to be done about it."""
        return (self.version, self.rules) == (listed.version, rules) and not self.attempts


@dataclass(slots=True)
class Comparison:
    """What differs between what an origin lists and what is known; pages of the latter come one after another."""

    listed: Mapping[str, ListedObject]
    rules: str
    known: int = 0
    gone: list[str] = field(default_factory=list)
    current: set[str] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=dict)

    def add(self, page: Sequence[PolledObject]) -> None:
        """Compare a page of what is known."""
        self.known += len(page)
        for each in page:
            listed = self.listed.get(each.key)
            if listed is None:
                self.gone.append(each.key)
            elif each.is_current(listed, self.rules):
                self.current.add(each.key)
            elif (each.version, each.rules) == (listed.version, self.rules):
                self.attempts[each.key] = each.attempts

    def changed(self) -> Iterator[ListedObject]:
        """Yield what is new, or has another version than is known."""
        for key in sorted(self.listed):
            if key not in self.current:
                yield self.listed[key]


def failed(listed: ListedObject, rules: str, *, attempts: int) -> PolledObject:
    """Return an object whose processing broke; after some attempts it is refused."""
    made = PolledObject(key=listed.key, version=listed.version, rules=rules, attempts=attempts + 1)
    return made if made.attempts < MAX_ATTEMPTS else replace(made, refused="PROCESSING_FAILED", attempts=0)
