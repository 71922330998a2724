"""Size limits of evaluator."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tidemill_core.errors import Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Lengths are in characters."""

    cases: int = 2000
    """Of one suite."""
    evaluation_cases: int = 5000
    """Of one evaluation, over all its sets of cases."""
    part_bytes: int = 64 * 1024 * 1024
    """Of one held-out part."""
    question_length: int = 8000
    reference_length: int = 8000
    context_length: int = 32_000
    """Total of earlier turns and variables of a question."""
    principals: int = 100
    """Reader groups of one case."""
    case_id_length: int = 128
    requirements: int = 20
    suites_by_hand: int = 10
    labels: int = 32
    label_length: int = 256

    def of_labels(self, labels: Mapping[str, str], field: str) -> Iterator[Violation]:
        """Yield the violations of the labels in `field`."""
        if len(labels) > self.labels:
            text = f"has {len(labels)} entries; the limit is {self.labels}"
            yield Violation(field=field, description=text)
        for key, value in labels.items():
            if not key or max(len(key), len(value)) > self.label_length:
                text = f"needs a key, and at most {self.label_length} characters in key and value"
                yield Violation(field=f"{field}[{key[:40]}]", description=text)
