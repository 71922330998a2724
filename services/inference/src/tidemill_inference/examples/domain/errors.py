"""What can go wrong with examples.

PreconditionFailed
├── ExamplesNotApproved     people still have to agree to the dataset version
├── TooManyExamples         the dataset version has more than a set may have
└── ExamplesUnusable        what an evaluation would be asked with cannot be loaded
"""

from tidemill_core.errors import PreconditionFailed


class ExamplesNotApproved(PreconditionFailed):
    """A deployment would show examples of a version that still needs approvals."""

    reason = "EXAMPLES_NOT_APPROVED"

    def __init__(self, version: str, *, missing: int) -> None:
        message = (
            f"examples.dataset: {version} needs {missing} more approvals: have it approved, or name another version"
        )
        super().__init__(message, version=version, missing=missing)


class TooManyExamples(PreconditionFailed):
    """A dataset version has more examples than a set may have."""

    reason = "TOO_MANY_EXAMPLES"

    def __init__(self, version: str, *, examples: int, limit: int) -> None:
        message = (
            f"examples.dataset: {version} has {examples} examples to choose from, and {limit} is the limit: name a "
            "smaller version, or have INFERENCE_MAX_EXAMPLES raised"
        )
        super().__init__(message, version=version, examples=examples, limit=limit)


class ExamplesUnusable(PreconditionFailed):
    """An evaluation asks a deployment whose examples cannot be shown: it would measure something else."""

    reason = "EXAMPLES_UNUSABLE"
