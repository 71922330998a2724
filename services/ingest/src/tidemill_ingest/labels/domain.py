"""What reviewers agreed on, of documents and of examples of datasets: labels, and names that find them."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Self

from tidemill_core.errors import InvalidInput
from tidemill_core.resources import SLUG, SLUG_FORM

LabelValue = str | bool | float
"""A category, true or false, or a number."""


class SubjectKind(Enum):
    """What is labelled."""

    DOCUMENT = "document"
    EXAMPLE = "example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A value of one field of a review queue."""

    field: str
    value: LabelValue


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemLabels:
    """What counts of one item of a review queue; without `subject`, nothing does any more."""

    item: str
    seq: int
    queue: str = ""
    kind: SubjectKind = SubjectKind.DOCUMENT
    subject: str = ""
    """The id of the document or example."""
    dataset: str = ""
    source: str = ""
    """Of a document; "" where it was not there yet."""
    labels: tuple[Label, ...] = ()
    reviewers: tuple[str, ...] = ()
    adjudicator: str = ""
    resolve_time: datetime | None = None

    @property
    def named(self) -> tuple[str, ...]:
        """Everyone whom it names."""
        return tuple(dict.fromkeys((*self.reviewers, *((self.adjudicator,) if self.adjudicator else ()))))

    @property
    def terms(self) -> tuple[str, ...]:
        """What finds it: the queue, each field, and each value of one."""
        fields = [field_term(self.queue, each.field) for each in self.labels]
        return (self.queue, *fields, *values_of([self]))

    def removed(self) -> Self:
        """Return that nothing counts any more."""
        return type(self)(item=self.item, seq=self.seq)

    def without(self, people: Collection[str]) -> Self:
        """Return it without the names of some people."""
        return replace(
            self,
            reviewers=tuple(each for each in self.reviewers if each not in people),
            adjudicator="" if self.adjudicator in people else self.adjudicator,
        )


def field_term(queue: str, field: str) -> str:
    """Return the name of a field among those of all queues."""
    return f"{queue}.{field}"


def text_of(value: LabelValue) -> str:
    """Return a value as callers write it: true, 4, 0.25, or the category."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return value
        case _:
            return str(int(value)) if float(value).is_integer() else repr(float(value))


def check_term(term: str, *, field: str) -> None:
    """Refuse what can find no label.

    Raises:
        InvalidInput: it is neither a queue, nor a field of one, nor a value of that.

    """
    name, is_value, value = term.partition("=")
    parts = name.split(".")
    if len(parts) > 2 or (is_value and (len(parts) == 1 or not value)) or not all(map(SLUG.fullmatch, parts)):  # noqa: PLR2004 - queue and field
        text = f"is {term[:80]!r}; use QUEUE, QUEUE.FIELD or QUEUE.FIELD=VALUE, each name of {SLUG_FORM}"
        raise InvalidInput.at(field=field, text=text)


def values_of(found: Iterable[ItemLabels]) -> Iterator[str]:
    """Yield what something is labelled with, as `quality.verdict=good`."""
    for item in found:
        yield from (f"{field_term(item.queue, each.field)}={text_of(each.value)}" for each in item.labels)
