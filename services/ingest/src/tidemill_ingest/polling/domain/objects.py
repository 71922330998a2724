"""Files of an origin: those that it lists, and what is known of those that were fetched before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tidemill_ingest.documents.domain.submission import document_key
from tidemill_ingest.errors import DocumentRestricted, FileUnreadable, KeyTaken

MAX_ATTEMPTS = 3
RETRIED = frozenset({FileUnreadable.reason, KeyTaken.reason, DocumentRestricted.reason})
"""Refusals of something else than the file's content, which may end without another version of it."""


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
    """What differs between what an origin lists and what is known; pages of the latter come one after another.

    Keys that write their accents differently name one document: where one of them is listed, it is not gone. `of` and
    `changed` take long where many files are listed: they are called in a thread.
    """

    listed: Mapping[str, ListedObject]
    documents: frozenset[str]
    """The keys of the documents of what is listed."""
    rules: str
    refusing: str
    """What refusals go by: the rules, and what can be converted here."""
    known: int = 0
    gone: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    """Keys that are not listed any more, of documents that are: by another spelling."""
    judged_anew: set[str] = field(default_factory=set)
    """Keys of which nothing but the source's rules changed."""
    retried: set[str] = field(default_factory=set)
    """Keys of files that were refused, and may not be any more."""
    current: set[str] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Sequence[ListedObject], *, rules: str, refusing: str) -> "Comparison":
        """Return the comparison of what is listed with nothing yet."""
        listed = {each.key: each for each in objects}
        return cls(listed=listed, documents=frozenset(map(document_key, listed)), rules=rules, refusing=refusing)

    def add(self, page: Sequence[PolledObject]) -> None:
        """Compare a page of what is known."""
        self.known += len(page)
        for each in page:
            listed = self.listed.get(each.key)
            rules = self.refusing if each.refused else self.rules
            if listed is None:
                (self.renamed if document_key(each.key) in self.documents else self.gone).append(each.key)
            elif each.is_current(listed, rules):
                self.current.add(each.key)
                if each.refused in RETRIED:
                    self.retried.add(each.key)
            elif each.version == listed.version and each.rules != rules:
                self.judged_anew.add(each.key)
            elif (each.version, each.rules) == (listed.version, rules):
                self.attempts[each.key] = each.attempts

    def changed(self) -> Sequence[ListedObject]:
        """Return what is new, or has another version than is known, in the order of keys."""
        return [self.listed[key] for key in sorted(self.listed.keys() - self.current)]

    def again(self, number: int) -> Sequence[ListedObject]:
        """Return what is tried again, beginning at another file for each number: there may be no time for all."""
        keys = sorted(self.retried)
        start = number % len(keys) if keys else 0
        return [self.listed[key] for key in (*keys[start:], *keys[:start])]


def not_as_listed(listed: ListedObject, rules: str, *, attempts: int) -> PolledObject:
    """Return an object that was not there in the version that was listed; the next polls list it anew.

    What answers so each time is refused: a server may know its files by other versions than it lists.
    """
    made = PolledObject(key=listed.key, version=listed.version, rules=rules, attempts=attempts + 1)
    return replace(made, refused=FileUnreadable.reason, attempts=0 if made.attempts >= MAX_ATTEMPTS else made.attempts)


def failed(listed: ListedObject, rules: str, *, attempts: int) -> PolledObject:
    """Return an object whose processing broke; after some attempts it is refused."""
    made = PolledObject(key=listed.key, version=listed.version, rules=rules, attempts=attempts + 1)
    return made if made.attempts < MAX_ATTEMPTS else replace(made, refused="PROCESSING_FAILED", attempts=0)
