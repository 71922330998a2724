"""What can go wrong in derivations, beyond bad input.

NotFound
└── DerivationNotFound
Conflict
├── DerivationChanged
└── DerivationLost
PreconditionFailed
├── DerivationFailed        a derivation made nothing; `reason` says why
├── DerivationFinished
├── DerivationUnfinished
└── NotDerivable
"""

from tidemill_core.errors import Conflict, NotFound, PreconditionFailed


class DerivationNotFound(NotFound):
    """The caller's project has no such derivation."""

    reason = "DERIVATION_NOT_FOUND"

    def __init__(self, derivation: str) -> None:
        super().__init__(f"derivation {derivation} does not exist in this project", derivation=derivation)


class DerivationLost(Conflict):
    """The derivation ended or was taken over by another worker; writes of this worker are refused."""

    reason = "DERIVATION_LOST"

    def __init__(self, derivation: str) -> None:
        super().__init__(f"derivation {derivation} ended or was taken over by another worker", derivation=derivation)


class DerivationFinished(PreconditionFailed):
    """The derivation is registering or has ended, so it cannot be cancelled."""

    reason = "DERIVATION_FINISHED"

    def __init__(self, derivation: str, *, state: str) -> None:
        message = f"derivation {derivation} cannot be cancelled: it is {state}"
        super().__init__(message, derivation=derivation, state=state)


class DerivationUnfinished(PreconditionFailed):
    """The derivation has not ended, so it cannot be deleted."""

    reason = "DERIVATION_UNFINISHED"

    def __init__(self, derivation: str) -> None:
        super().__init__(f"derivation {derivation} has not ended: cancel it first", derivation=derivation)


class DerivationChanged(Conflict):
    """The derivation changed since the caller read it."""

    reason = "DERIVATION_CHANGED"


class NotDerivable(PreconditionFailed):
    """Nothing can be made of the version."""

    reason = "NOT_DERIVABLE"

    def __init__(self, version: str, *, why: str) -> None:
        super().__init__(f"derivation.source_version: nothing can be derived from {version}: {why}", version=version)


class DerivationFailed(PreconditionFailed):
    """A derivation failed; `reason` is OUT_OF_MEMORY, TIME_LIMIT, NOT_SUPPORTED, CRASHED, ..."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
