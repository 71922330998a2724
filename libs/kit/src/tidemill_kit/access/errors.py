"""What is wrong with a credential. No error says which check refused it, or has a byte of it."""

from tidemill_core.errors import DependencyUnavailable, PermissionDenied, RateLimited, Unauthenticated


class CredentialMissing(Unauthenticated):
    """No credential was sent."""

    reason = "CREDENTIAL_MISSING"

    def __init__(self) -> None:
        super().__init__(
            "send a credential: an API key, or the token of `tidemill login`, as the header "
            '"authorization: Bearer CREDENTIAL"'
        )


class CredentialInvalid(Unauthenticated):
    """Anything is wrong with the credential: the caller learns no more, and the log neither."""

    reason = "CREDENTIAL_INVALID"

    def __init__(self) -> None:
        super().__init__("the credential is not accepted: send one that this installation issued or trusts")


class TooManyBadCredentials(RateLimited):
    """So many bad credentials came from one address that no unknown one is verified, which costs time."""

    reason = "TOO_MANY_BAD_CREDENTIALS"

    def __init__(self, wait_s: float) -> None:
        message = "too many credentials that are not accepted came from this address: wait, and send a good one"
        super().__init__(message, retry_after_s=max(wait_s, 1.0))


class CredentialExpired(Unauthenticated):
    """It was a good one."""

    reason = "CREDENTIAL_EXPIRED"

    def __init__(self) -> None:
        super().__init__("the credential has expired: run `tidemill login`, or create another API key")


class CredentialRevoked(Unauthenticated):
    """It was taken back, or its subject lost what it says, or its project was deleted."""

    reason = "CREDENTIAL_REVOKED"

    def __init__(self) -> None:
        super().__init__("the credential was revoked: run `tidemill login`, or create another API key")


class KeysUnavailable(DependencyUnavailable):
    """Credentials cannot be checked now: nothing is answered that needs one."""

    reason = "ACCESS_KEYS_UNAVAILABLE"

    def __init__(self, *, dependency: str = "issuer") -> None:
        super().__init__("credentials cannot be checked now: try again", dependency=dependency)


class ProjectNotAllowed(PermissionDenied):
    """The credential is for another project; whether the named one exists is not said."""

    reason = "PROJECT_NOT_ALLOWED"

    def __init__(self) -> None:
        super().__init__("the credential gives no access to the project that the call names, if there is one")


class ProjectDeleted(PermissionDenied):
    """The project was deleted; one for every project opens it no more, but at the service that reports erasures."""

    reason = "PROJECT_DELETED"

    def __init__(self, project: str) -> None:
        super().__init__(f"project {project} was deleted: its id is never given again")


class OnBehalfNotAllowed(PermissionDenied):
    """Only services call on behalf of others."""

    reason = "ON_BEHALF_NOT_ALLOWED"

    def __init__(self) -> None:
        super().__init__("only a service may call on behalf of a person or an account")


class RoleRequired(PermissionDenied):
    """The caller's roles and permissions do not cover the RPC."""

    reason = "ROLE_REQUIRED"


class ServiceNotAllowed(PermissionDenied):
    """The contract does not name the calling service among the RPC's callers."""

    reason = "SERVICE_NOT_ALLOWED"


class ScopeMissing(PermissionDenied):
    """The credential is for other RPCs."""

    reason = "SCOPE_MISSING"
