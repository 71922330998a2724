"""The user's own marks on a thing."""

from collections.abc import Iterator, Mapping

from tidemill_core.errors import Violation
from tidemill_ingest.limits import Limits


def label_violations(labels: Mapping[str, str], limits: Limits, *, field: str) -> Iterator[Violation]:
    """Yield what is wrong with the labels that a caller sent in `field`."""
    if len(labels) > limits.labels:
        text = f"has {len(labels)} entries, and {limits.labels} is the limit"
        yield Violation(field=field, description=text)
    for key, value in labels.items():
        if not key or max(len(key), len(value)) > limits.label_length:
            text = f"needs a name and at most {limits.label_length} characters on each side"
            yield Violation(field=f"{field}[{key[:40]}]", description=text)
