"""What can go wrong with models, and with other services: raised by several features.

What can go wrong with one feature alone is in the errors of its domain.

InvalidInput
├── CapabilityMissing       no model of the deployment can do what is asked for
└── PromptTooLong           the messages alone do not fit the model
PreconditionFailed
├── ModelNotReady
├── ModelNotShared          another project's, which it does not share any more
├── ModelRefused            its files are not what the registry says, or cannot be served
├── AddressRefused          a remote model's, which this service does not call
└── ServiceNotNamed         the address of another service is not configured
DependencyUnavailable
└── ServerEnded             the server that answers for a model has ended, and is started again
"""

from tidemill_core.errors import Blame, DependencyUnavailable, InvalidInput, PreconditionFailed, Violation


class CapabilityMissing(InvalidInput):
    """A question asks for what the model that is to answer it cannot do."""

    reason = "CAPABILITY_MISSING"

    def __init__(self, *fields: str, model: str) -> None:
        text = f"is not supported by model {model}: leave it out, or ask a deployment whose model supports it"
        super().__init__(violations=[Violation(each, text) for each in fields], model=model)


class PromptTooLong(InvalidInput):
    """The messages, even without passages, do not fit the model's context together with an answer."""

    reason = "PROMPT_TOO_LONG"

    def __init__(self, *, tokens: int | None = None, limit: int | None = None, output_tokens: int = 0) -> None:
        """Use OpenAI's words, which its clients match; of a remote model the figures are unknown."""
        text = (
            f"This model's maximum context length is {limit} tokens, of which {output_tokens} are kept for the answer; "
            f"these come to {tokens} without any passage: send less, or lower max_output_tokens"
            if limit
            else "This model's maximum context length is exceeded: send less, or lower max_output_tokens"
        )
        super().__init__(violations=[Violation("messages", text)], tokens=tokens, limit=limit)


class ModelNotReady(PreconditionFailed):
    """A model is named whose import has not ended well."""

    reason = "MODEL_NOT_READY"

    def __init__(self, model: str, *, state: str) -> None:
        super().__init__(f"model {model} is {state}: wait until it is ready, or import it again", model=model)


class ModelNotShared(PreconditionFailed):
    """A deployment answers with another project's model, which is not shared any more, or not there."""

    reason = "MODEL_NOT_SHARED"

    def __init__(self, model: str) -> None:
        message = f"model {model} is not shared with this project any more, or not there: give the deployment another"
        super().__init__(message, model=model)


class ModelRefused(PreconditionFailed):
    """A model's files are not what the registry says, or this service cannot serve them."""

    reason = "MODEL_REFUSED"

    def __init__(self, model: str, *, why: str) -> None:
        super().__init__(f"model {model} is refused: {why}", model=model)


class AddressRefused(PreconditionFailed):
    """A remote model's address is not one that this service calls."""

    reason = "ADDRESS_REFUSED"

    def __init__(self, model: str, *, why: str) -> None:
        super().__init__(f"the remote model {model} is not called: {why}", model=model)


class ServiceNotNamed(PreconditionFailed):
    """The address of another service is not configured."""

    reason = "SERVICE_NOT_NAMED"

    def __init__(self, *, service: str, setting: str) -> None:
        super().__init__(f"the address of {service} is not configured: set {setting}", service=service)


class ServerEnded(DependencyUnavailable):
    """The server that answers for a base model, and for adapters of it, has ended: it is started again.

    `base` is the digest of that model. `incarnation` names the start that ended while it gave this answer; it is empty
    where the server was down before.
    """

    def __init__(self, message: str, *, model: str, base: str, incarnation: str = "") -> None:
        super().__init__(message, dependency="vllm", blame=Blame.CAPACITY, model=model)
        self.base = base
        self.incarnation = incarnation
