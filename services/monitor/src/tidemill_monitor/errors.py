"""Errors of monitor.

InvalidInput
├── NotAKind
├── BatchUnusable
└── RoleUnknown
NotFound
├── NothingKnown
├── DeploymentUnknown
├── RolloutUnknown
├── ProjectNotFound, MemberNotFound, ServiceAccountNotFound, ApiKeyNotFound, RoleNotFound, GrantNotFound
├── ErasureNotFound, HoldNotFound, RetentionNotFound
└── CertificateMissing
AlreadyExists
└── MemberExists
PreconditionFailed
├── ProjectIsDeleted
├── ProjectsExhausted
├── LastAdmin
├── RoleInUse
├── TokenTooLarge
├── IssuingNotConfigured
├── LoginNotConfigured
├── UnderLegalHold
├── ErasureNotCompleted
└── CertificateChanged
PermissionDenied
├── NotAMember
├── GivesMoreThanHeld
├── HoldsMore
└── ReleaseByCreator
"""

from collections.abc import Iterable, Sequence

from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import (
    AlreadyExists,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    Violation,
)

_SHOWN = 80
_HOLDERS = 5


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


class _AccessNotFound(NotFound):
    """The caller's project has none with this id; of another project's the same is said."""

    noun = ""

    def __init__(self, resource_id: str) -> None:
        super().__init__(f"there is no {self.noun} {resource_id[:_SHOWN]!r} in this project", id=resource_id[:_SHOWN])


class ProjectNotFound(NotFound):
    """There is no such project, or it is not the caller's."""

    reason = "PROJECT_NOT_FOUND"

    def __init__(self, project: str) -> None:
        message = f"there is no project {project[:_SHOWN]!r} that you have access to"
        super().__init__(message, project=project[:_SHOWN])


class MemberNotFound(_AccessNotFound):
    """The project has no such member."""

    reason, noun = "MEMBER_NOT_FOUND", "member"


class ServiceAccountNotFound(_AccessNotFound):
    """The project has no such service account."""

    reason, noun = "SERVICE_ACCOUNT_NOT_FOUND", "service account"


class ApiKeyNotFound(_AccessNotFound):
    """The project has no such API key."""

    reason, noun = "API_KEY_NOT_FOUND", "API key"


class GrantNotFound(_AccessNotFound):
    """The project has given no such grant."""

    reason, noun = "GRANT_NOT_FOUND", "grant"


class RoleNotFound(_AccessNotFound):
    """The project has no such role."""

    reason, noun = "ROLE_NOT_FOUND", "role"


class ErasureNotFound(_AccessNotFound):
    """The project has no such erasure."""

    reason, noun = "ERASURE_NOT_FOUND", "erasure"


class HoldNotFound(_AccessNotFound):
    """The project has no such legal hold."""

    reason, noun = "HOLD_NOT_FOUND", "legal hold"


class RetentionNotFound(_AccessNotFound):
    """The project has set none of this kind."""

    reason, noun = "RETENTION_NOT_FOUND", "retention"


class CertificateMissing(NotFound):
    """The object of a certificate is gone."""

    reason = "CERTIFICATE_MISSING"

    def __init__(self, erasure: str, ref: ObjectRef) -> None:
        message = (
            f"the certificate of erasure {erasure} is no longer at {ref.bucket}/{ref.key}: its sha256 {ref.sha256} "
            "stands in the audit records; restore the object from a backup"
        )
        super().__init__(message, id=erasure, sha256=ref.sha256)


class RoleUnknown(InvalidInput):
    """A member or an account is given a role that there is not."""

    reason = "ROLE_UNKNOWN"

    def __init__(self, field: str, roles: Sequence[str], *, built_in: Sequence[str]) -> None:
        description = (
            f"has {', '.join(map(repr, roles))}, and there is no such role: use one of {', '.join(built_in)}, or "
            "create a role of this name first"
        )
        super().__init__(violations=[Violation(field, description)])


class MemberExists(AlreadyExists):
    """The subject has roles already."""

    reason = "MEMBER_EXISTS"

    def __init__(self, subject: str, member: str) -> None:
        super().__init__(f"{subject} is a member already: update member {member} instead", id=member)


class ProjectIsDeleted(PreconditionFailed):
    """A deleted project gives no rights and no credentials."""

    reason = "PROJECT_DELETED"

    def __init__(self, project: str) -> None:
        super().__init__(f"project {project} is being deleted: create another one", project=project)


class ProjectsExhausted(PreconditionFailed):
    """The installation has as many projects as it may have."""

    reason = "QUOTA_REACHED"

    def __init__(self, limit: int, setting: str) -> None:
        message = f"this installation has {limit} projects, which is the limit: ask an operator to raise {setting}"
        super().__init__(message, limit=limit, setting=setting)


class LastAdmin(PreconditionFailed):
    """A project without an admin could be changed by none of its members."""

    reason = "LAST_ADMIN"

    def __init__(self, subject: str, project: str) -> None:
        message = f"{subject} is the last admin of project {project}: give another member the role admin first"
        super().__init__(message, project=project)


class RoleInUse(PreconditionFailed):
    """Members or service accounts have the role."""

    reason = "ROLE_IN_USE"

    def __init__(self, role: str, holders: Sequence[str]) -> None:
        named = ", ".join(holders[:_HOLDERS]) + (
            f" and {len(holders) - _HOLDERS} more" if len(holders) > _HOLDERS else ""
        )
        super().__init__(f"role {role} is given to {named}: take it from them first", id=role)


class TokenTooLarge(PreconditionFailed):
    """Services would refuse the token."""

    reason = "TOKEN_TOO_LARGE"

    def __init__(self, *, what: str, size: int, limit: int) -> None:
        message = (
            f"the token would have {size} {what}, and {limit} is the limit: give fewer roles of RPCs, or fewer scopes"
        )
        super().__init__(message, size=size, limit=limit)


class IssuingNotConfigured(PreconditionFailed):
    """This installation issues no tokens."""

    reason = "ISSUING_NOT_CONFIGURED"

    def __init__(self) -> None:
        super().__init__(
            "monitor issues no tokens: set MONITOR_SIGNING_KEYS_FILE to a file of private keys and MONITOR_ISSUER to "
            "the address of its HTTP API"
        )


class LoginNotConfigured(PreconditionFailed):
    """No identity provider vouches for people here."""

    reason = "LOGIN_NOT_CONFIGURED"

    def __init__(self) -> None:
        super().__init__(
            "people cannot log in here: set MONITOR_IDENTITY_PROVIDER to the identity provider's issuer and "
            "MONITOR_IDENTITY_CLIENT_ID to the client that is registered there"
        )


class UnderLegalHold(PreconditionFailed):
    """What is to be erased is evidence."""

    reason = "LEGAL_HOLD"

    def __init__(self, hold: str) -> None:
        super().__init__(f"legal hold {hold} covers what is to be erased: it has to be released first", hold=hold)


class ErasureNotCompleted(PreconditionFailed):
    """There is no certificate yet."""

    reason = "ERASURE_NOT_COMPLETED"

    def __init__(self, erasure: str, *, awaited: Sequence[str]) -> None:
        awaits = f"{', '.join(awaited)} have not reported" if awaited else "its certificate is being made"
        super().__init__(f"erasure {erasure} is not completed: {awaits}; try again later", id=erasure)


class CertificateChanged(PreconditionFailed):
    """The object of a certificate is another one than was stored."""

    reason = "CERTIFICATE_CHANGED"

    def __init__(self, erasure: str, ref: ObjectRef) -> None:
        message = (
            f"the certificate of erasure {erasure} at {ref.bucket}/{ref.key} was changed: its sha256 is not "
            f"{ref.sha256}, which stands in the audit records; restore the object from a backup"
        )
        super().__init__(message, id=erasure, sha256=ref.sha256)


class NotAMember(PermissionDenied):
    """The person has no role in the project, or there is none of this name: which of both is not said."""

    reason = "NOT_A_MEMBER"

    def __init__(self, project: str) -> None:
        message = f"you have no role in a project {project[:_SHOWN]!r}: ask its admin to add you as a member"
        super().__init__(message, project=project[:_SHOWN])


class GivesMoreThanHeld(PermissionDenied):
    """A caller gives rights that it has not itself."""

    reason = "GIVES_MORE_THAN_HELD"

    def __init__(self, *, what: str) -> None:
        super().__init__(f"you give {what}, which your own credential does not allow: ask an admin of the project")


class HoldsMore(PermissionDenied):
    """A caller below an admin changes, or takes rights from, what has more rights."""

    reason = "HOLDS_MORE"

    def __init__(self, *, what: str) -> None:
        super().__init__(f"what you change {what}, and your own credential does not: ask an admin of the project")


class ReleaseByCreator(PermissionDenied):
    """One person alone would decide that evidence may go."""

    reason = "RELEASE_BY_CREATOR"

    def __init__(self, hold: str) -> None:
        super().__init__(f"you created legal hold {hold}: another admin of the project has to release it", id=hold)
