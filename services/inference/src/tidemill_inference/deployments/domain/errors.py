"""What can go wrong with deployments.

NotFound
├── DeploymentNotFound
└── ReferenceNotFound       a deployment names a model, prompt or collection that is not there
"""

from collections.abc import Sequence

from tidemill_core.errors import NotFound


class DeploymentNotFound(NotFound):
    """No deployment with this id in the caller's project."""

    reason = "DEPLOYMENT_NOT_FOUND"

    def __init__(self, deployment: str, *, known: Sequence[str] | None = None) -> None:
        there = f"; there are {', '.join(known)}" if known else "; it has none: check the project's name, too"
        there = "" if known is None else there
        super().__init__(f"there is no deployment {deployment} in this project{there}", deployment=deployment)


class ReferenceNotFound(NotFound):
    """A deployment refers to something that is not there."""

    reason = "REFERENCE_NOT_FOUND"

    def __init__(self, requested: str, *, field: str, known: Sequence[str]) -> None:
        there = f"there are {', '.join(known)}" if known else "there is none yet"
        super().__init__(f"{field}: {requested!r} is not there; {there}", field=field, requested=requested)
