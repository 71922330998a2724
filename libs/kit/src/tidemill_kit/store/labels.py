"""The labels of an aggregate, as they are stored."""

from collections.abc import Mapping

from tidemill_core.aggregate import Aggregate
from tidemill_core.characters import clean_line
from tidemill_core.errors import InvalidInput


def readable_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return labels without control characters, which would reach terminals and pages."""
    return {clean_line(key): clean_line(value) for key, value in labels.items()}


def refuse_label_keys(aggregate: Aggregate) -> None:
    """Refuse keys that BSON cannot hold, or reads back as something else: `$ref` and `$id` make a reference.

    Raises:
        InvalidInput: names the first of them.

    """
    refused = [key for key in aggregate.labels if not clean_line(key) or key.startswith("$") or "\0" in key]
    if refused:
        text = f"has the key {refused[0][:80]!r}; use keys that are not empty, do not begin with $ and hold no NUL"
        raise InvalidInput.at(field="labels", text=text)
