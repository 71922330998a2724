"""What can go wrong with examples.

PreconditionFailed
├── ExamplesNotApproved     people still have to agree to the dataset version
├── TooManyExamples         the dataset version has more than a set may have
├── TooManyExampleSets      deployments of the project show examples of too many versions
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


class TooManyExampleSets(PreconditionFailed):
    """Deployments of a project show, or showed lately, examples of as many versions as they may."""

    reason = "TOO_MANY_EXAMPLE_SETS"

    def __init__(self, version: str, *, limit: int) -> None:
        message = (
            f"examples.dataset: {version} cannot be loaded beside those of other versions and embedding models, of "
            f"which {limit} is the limit: name one of these, wait until unused ones are removed, or have "
            "INFERENCE_MAX_EXAMPLE_SETS raised"
        )
        super().__init__(message, version=version, limit=limit)


class ExamplesUnusable(PreconditionFailed):
    """An evaluation asks a deployment whose examples cannot be shown: it would measure something else."""

    reason = "EXAMPLES_UNUSABLE"
