"""What can go wrong with projects' secrets.

NotFound
└── SecretNotFound
PreconditionFailed
├── SecretMissing
└── SecretsNotKept          the operator has configured no key to encrypt secrets by
"""

from tidemill_core.errors import NotFound, PreconditionFailed


class SecretNotFound(NotFound):
    """No secret with this id in the caller's project."""

    reason = "SECRET_NOT_FOUND"

    def __init__(self, secret: str) -> None:
        super().__init__(f"there is no secret {secret} in this project", secret=secret)


class SecretMissing(PreconditionFailed):
    """A model needs a key that its project does not have for this host."""

    reason = "SECRET_MISSING"

    def __init__(self, name: str, *, project: str, origin: str, variable: str) -> None:
        by_variable = f"{variable} and {variable}__HOSTS, or " if variable else ""
        super().__init__(
            f"project {project} has no secret {name} that may be sent to {origin}: an admin of the project sets it by "
            f"`tidemill secrets set {name} --host {origin}`, or the operator by {by_variable}the files {name} and "
            f"{name}.hosts in the folder {project} of INFERENCE_SECRETS_DIR",
            secret=name,
        )


class SecretsNotKept(PreconditionFailed):
    """This installation has no key to encrypt secrets by."""

    reason = "SECRETS_NOT_KEPT"

    def __init__(self) -> None:
        super().__init__(
            "this installation keeps no secrets of projects: have the operator set INFERENCE_SECRETS_KEY_FILE, a file "
            "(mode 0600) with the output of `openssl rand -base64 32`"
        )
