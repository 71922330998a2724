"""Errors of monitor.

InvalidInput
├── NotAKind
└── BatchUnusable
NotFound
├── NothingKnown
├── DeploymentUnknown
└── RolloutUnknown
"""

from collections.abc import Iterable

from tidemill_core.errors import InvalidInput, NotFound, Violation

_SHOWN = 80


class NotAKind(InvalidInput):
    """Nothing is called so."""

    reason = "NOT_A_KIND"

    def __init__(self, kind: str, *, known: Iterable[str]) -> None:
        super().__init__(violations=[Violation("kind", f"is {kind[:_SHOWN]!r}; it must be one of {', '.join(known)}")])


class BatchUnusable(InvalidInput):
    """The examples of a curation can never be read."""

    reason = "BATCH_UNUSABLE"

    def __init__(self, curation: str, why: str) -> None:
        super().__init__(f"the examples of {curation} cannot be read: {why}", curation=curation)


class NothingKnown(NotFound):
    """The graph has no such node."""

    reason = "NOTHING_KNOWN"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"there is no {kind} {name} in the lineage of this project: check its id (versions are name@number), "
            "or retry if it is only seconds old",
            kind=kind,
            id=name,
        )


class DeploymentUnknown(NotFound):
    """The graph has no such deployment."""

    reason = "DEPLOYMENT_UNKNOWN"

    def __init__(self, deployment: str) -> None:
        super().__init__(f"there is no deployment {deployment} in the lineage of this project", deployment=deployment)


class RolloutUnknown(NotFound):
    """The deployment has no such rollout."""

    reason = "ROLLOUT_UNKNOWN"

    def __init__(self, rollout: str, deployment: str) -> None:
        message = f"deployment {deployment} has no rollout {rollout}: leave it empty for all of them"
        super().__init__(message, rollout=rollout, deployment=deployment)
