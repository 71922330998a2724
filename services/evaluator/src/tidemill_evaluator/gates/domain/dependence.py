"""By what cases depend on one another, so that all that share it are one observation."""

from collections.abc import Iterator, Sequence

from tidemill_core.errors import Violation
from tidemill_core.resources import MAX_LABEL_LENGTH

QUESTION, END_USER, DOCUMENT = "question", "end_user", "document"
LABEL = "labels."
"""Prefix of a label's name."""
MAX_CLUSTER_BY = 5
DEFAULT: Sequence[str] = (END_USER,)
"""Where nothing is named; a question that is repeated is one in any case."""


def cluster_by_violations(names: Sequence[str], path: str) -> Iterator[Violation]:
    """Yield what is no way to depend on one another."""
    if len(names) > MAX_CLUSTER_BY:
        yield Violation(path, f"has {len(names)} entries; the limit is {MAX_CLUSTER_BY}")
    for number, name in enumerate(names[:MAX_CLUSTER_BY]):
        where, label = f"{path}[{number}]", name.removeprefix(LABEL)
        if name not in {QUESTION, END_USER, DOCUMENT} and not (name.startswith(LABEL) and label.strip()):
            text = f"is {name[:40]!r}: use {END_USER}, {DOCUMENT} or {LABEL}NAME, or {QUESTION} for none of them"
            yield Violation(where, text)
        elif len(label) > MAX_LABEL_LENGTH:
            yield Violation(where, f"has {len(label)} characters after {LABEL!r}; the limit is {MAX_LABEL_LENGTH}")
        elif name in names[:number]:
            yield Violation(where, f"is {name[:40]}, which is named already")
