"""Documents beside a newer version of the service: what it wrote is kept, or waited for, and never lost."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tidemill_core.errors import DependencyUnavailable

UPGRADE = "upgrade"
"""What is waited for where this process cannot read what another one wrote."""


@contextmanager
def readable(document_id: str, *, schema: int, known: int) -> Iterator[None]:
    """Stand around the decoding of a document of form `schema`, where forms up to `known` are.

    Raises:
        DependencyUnavailable: the document has fields or values that this version does not know.

    """
    if schema > known:
        message = f"{document_id} has schema {schema}, and {known} is known here: a newer version wrote it"
        raise DependencyUnavailable(message, dependency=UPGRADE)
    try:
        yield
    except (TypeError, KeyError, ValueError) as error:
        message = f"{document_id} cannot be read here ({type(error).__name__}): it was written by another version"
        raise DependencyUnavailable(message, dependency=UPGRADE) from error


def with_unknown(stored: Any, before: Any, after: Any) -> Any:  # noqa: ANN401 - whatever a document holds
    """Return `after` with those fields of `stored` that its reading `before` lacks, wherever their place still is."""
    if isinstance(stored, Mapping) and isinstance(before, Mapping) and isinstance(after, Mapping):
        unknown = {name: stored[name] for name in stored.keys() - before.keys() - after.keys()}
        kept = stored.keys() & before.keys()
        known = {
            name: with_unknown(stored[name], before[name], value) if name in kept else value
            for name, value in after.items()
        }
        return known | unknown
    if isinstance(stored, list) and isinstance(before, list) and isinstance(after, list) and len(stored) == len(before):
        places = [_place_of(after, index, before) for index in range(len(after))]
        return [
            with_unknown(stored[place], before[place], item) if place is not None else item
            for item, place in zip(after, places, strict=True)
        ]
    return after


def _place_of(after: Sequence[Any], index: int, before: Sequence[Any]) -> int | None:
    """Return where the item was: as it is, or in the same place with other values."""
    if after[index] in before:
        return before.index(after[index])
    return index if index < len(before) and before[index] not in after else None
