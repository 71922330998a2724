"""What a version lacks of the approvals that its model's policy asks for."""

from dataclasses import dataclass

from tidemill_core.approvals import ApprovalPolicy
from tidemill_trainer.registry.domain.model_version import ModelVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """How many approvals, and of which role; "" where none are missing."""

    count: int = 0
    role: str = ""

    @classmethod
    def of(cls, version: ModelVersion, policy: ApprovalPolicy) -> "Missing":
        """Return what a version lacks."""
        count = policy.missing(version.approvals, version.authors)
        return cls(count=count, role=policy.role) if count else NOTHING_MISSING


NOTHING_MISSING = Missing()
