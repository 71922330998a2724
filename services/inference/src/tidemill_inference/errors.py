"""What can go wrong in inference, beyond bad input.

InvalidInput
├── FileTooLarge
├── PromptRefused           a template or schema that cannot be used, with its line
├── QuestionRefused         a question that cannot be answered as it is
├── CapabilityMissing       no model of the deployment can do what is asked for
└── PromptTooLong           the messages alone do not fit the model
NotFound
├── PromptNotFound
├── PromptVersionNotFound
├── DeploymentNotFound
├── InferenceNotFound
├── RolloutNotFound
├── FileNotFound
├── BatchNotFound
├── SecretNotFound
├── TextGone                a passage's text was erased, or is past its retention
└── ReferenceNotFound       a deployment names a model, prompt or collection that is not there
PreconditionFailed
├── PromptInUse
├── PromptNotRecorded       what a model saw cannot be shown
├── ServiceNotNamed         the address of another service is not configured
├── ModelNotReady
├── ModelNotShared          another project's, which it does not share any more
├── ModelRefused            its files are not what the registry says, or cannot be served
├── SecretMissing
├── SecretsNotKept          the operator has configured no key to encrypt secrets by
├── NoActiveRollout         there is no candidate to promote, approve or roll back
├── ApprovalsMissing        of a rollout
├── ApprovalMissing         of a prompt's or a model's version
└── CandidateNotReady       its version is gone, not ready, or cannot be loaded
PermissionDenied
├── AnswerRestricted        it rests on documents that the caller may not read
├── FileRestricted          its content, or the batch that it belongs to, is another's
├── ApproverNotAllowed      an approval that does not count
└── ApprovalPolicyLowered   by another than an admin
DependencyUnavailable
└── CircuitOpen             a remote model failed too often, and is not called for a while
Conflict
├── LeaseLost               another replica has taken over the inference
├── BatchLeaseLost          another replica works on the batch
└── RolloutLeaseLost        another replica reconciles the rollout
"""

from collections.abc import Sequence

from tidemill_core.errors import (
    Blame,
    Conflict,
    DependencyUnavailable,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    Violation,
)


class PromptRefused(InvalidInput):
    """A template or the schema of its variables cannot be used."""

    reason = "PROMPT_REFUSED"

    def __init__(self, *violations: Violation) -> None:
        super().__init__(violations=violations)


class TooManyPromptVersions(PreconditionFailed):
    """A prompt takes no further version."""

    reason = "TOO_MANY_PROMPT_VERSIONS"

    def __init__(self, prompt: str, *, versions: int, characters: int) -> None:
        super().__init__(
            f"prompt {prompt} has {versions} versions, {characters} characters with this one: create another prompt",
            prompt=prompt,
            versions=versions,
        )


class QuestionRefused(InvalidInput):
    """A question cannot be answered as it is."""

    reason = "QUESTION_REFUSED"

    def __init__(self, *, field: str, why: str) -> None:
        super().__init__(violations=[Violation(field, why)])


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


class PromptNotFound(NotFound):
    """No prompt with this id in the caller's project."""

    reason = "PROMPT_NOT_FOUND"

    def __init__(self, prompt: str) -> None:
        super().__init__(f"there is no prompt {prompt} in this project", prompt=prompt)


class PromptVersionNotFound(NotFound):
    """The prompt has no such version or label."""

    reason = "PROMPT_VERSION_NOT_FOUND"

    def __init__(self, prompt: str, *, requested: str, latest: int, labels: Sequence[str]) -> None:
        known = f"versions 1 to {latest}" + (f" and the labels {', '.join(labels)}" if labels else "")
        super().__init__(f"prompt {prompt} has no {requested!r}; it has {known}", prompt=prompt, requested=requested)


class DeploymentNotFound(NotFound):
    """No deployment with this id in the caller's project."""

    reason = "DEPLOYMENT_NOT_FOUND"

    def __init__(self, deployment: str, *, known: Sequence[str] | None = None) -> None:
        there = f"; there are {', '.join(known)}" if known else "; it has none: check the project's name, too"
        there = "" if known is None else there
        super().__init__(f"there is no deployment {deployment} in this project{there}", deployment=deployment)


class InferenceNotFound(NotFound):
    """No inference with this id in the caller's project."""

    reason = "INFERENCE_NOT_FOUND"

    def __init__(self, inference: str) -> None:
        super().__init__(f"there is no inference {inference} in this project", inference=inference)


class ReferenceNotFound(NotFound):
    """A deployment refers to something that is not there."""

    reason = "REFERENCE_NOT_FOUND"

    def __init__(self, requested: str, *, field: str, known: Sequence[str]) -> None:
        there = f"there are {', '.join(known)}" if known else "there is none yet"
        super().__init__(f"{field}: {requested!r} is not there; {there}", field=field, requested=requested)


class ModelNotShared(PreconditionFailed):
    """A deployment answers with another project's model, which is not shared any more, or not there."""

    reason = "MODEL_NOT_SHARED"

    def __init__(self, model: str) -> None:
        message = f"model {model} is not shared with this project any more, or not there: give the deployment another"
        super().__init__(message, model=model)


class CircuitOpen(DependencyUnavailable):
    """A remote model failed again and again, and is not called for a while."""

    reason = "CIRCUIT_OPEN"

    def __init__(self, model: str, *, rest_s: float) -> None:
        super().__init__(
            f"model {model} failed several times in a row and is not called for {rest_s:.0f} s: try again later, or "
            "give the deployment a fallback",
            dependency=f"model {model}",
            blame=Blame.VARIANT,
            model=model,
            retry_after_s=round(rest_s, 3),
        )
        self.rest_s = rest_s


class RolloutNotFound(NotFound):
    """The deployment's rollout is another one, or it never had any."""

    reason = "ROLLOUT_NOT_FOUND"

    def __init__(self, rollout: str, *, deployment: str, last: str) -> None:
        there = f"its last one is {last}" if last else "it never had one"
        super().__init__(f"deployment {deployment} has no rollout {rollout}; {there}", rollout=rollout, last=last)


class PromptInUse(PreconditionFailed):
    """A deployment still answers with the prompt."""

    reason = "PROMPT_IN_USE"

    def __init__(self, prompt: str, *, deployments: Sequence[str]) -> None:
        users = ", ".join(deployments)
        super().__init__(f"prompt {prompt} is used by {users}: change or delete these first", deployments=users)


class ModelNotReady(PreconditionFailed):
    """A model is named whose import has not ended well."""

    reason = "MODEL_NOT_READY"

    def __init__(self, model: str, *, state: str) -> None:
        super().__init__(f"model {model} is {state}: wait until it is ready, or import it again", model=model)


class ModelRefused(PreconditionFailed):
    """A model's files are not what the registry says, or this service cannot serve them."""

    reason = "MODEL_REFUSED"

    def __init__(self, model: str, *, why: str) -> None:
        super().__init__(f"model {model} is refused: {why}", model=model)


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


class SecretNotFound(NotFound):
    """No secret with this id in the caller's project."""

    reason = "SECRET_NOT_FOUND"

    def __init__(self, secret: str) -> None:
        super().__init__(f"there is no secret {secret} in this project", secret=secret)


class SecretsNotKept(PreconditionFailed):
    """This installation has no key to encrypt secrets by."""

    reason = "SECRETS_NOT_KEPT"

    def __init__(self) -> None:
        super().__init__(
            "this installation keeps no secrets of projects: have the operator set INFERENCE_SECRETS_KEY_FILE, a file "
            "(mode 0600) with the output of `openssl rand -base64 32`"
        )


class AddressRefused(PreconditionFailed):
    """A remote model's address is not one that this service calls."""

    reason = "ADDRESS_REFUSED"

    def __init__(self, model: str, *, why: str) -> None:
        super().__init__(f"the remote model {model} is not called: {why}", model=model)


class NoActiveRollout(PreconditionFailed):
    """There is nothing to promote, approve or take back."""

    reason = "NO_ACTIVE_ROLLOUT"

    def __init__(self, deployment: str, *, missing: str) -> None:
        super().__init__(f"deployment {deployment} has no active rollout: {missing}", deployment=deployment)


class ApprovalsMissing(PreconditionFailed):
    """Approvals are missing."""

    reason = "APPROVALS_MISSING"

    def __init__(self, rollout: str, *, given: int, requested: int) -> None:
        super().__init__(
            f"rollout {rollout} has {given} of {requested} approvals: have it approved first",
            given=given,
            requested=requested,
        )


class CandidateNotReady(PreconditionFailed):
    """The candidate's version cannot answer."""

    reason = "MODEL_NOT_READY"

    def __init__(self, model: str, *, why: str) -> None:
        super().__init__(f"candidate {model} cannot answer: {why}", model=model)


class RolloutLeaseLost(Conflict):
    """Another replica reconciles the rollout."""

    reason = "ROLLOUT_LEASE_LOST"

    def __init__(self, rollout: str) -> None:
        super().__init__(f"another replica reconciles rollout {rollout}", rollout=rollout)


class LeaseLost(Conflict):
    """Another replica has taken over the inference."""

    reason = "LEASE_LOST"

    def __init__(self, inference: str) -> None:
        super().__init__(f"another replica has taken over inference {inference}: try again", inference=inference)


class TextGone(NotFound):
    """The text of a passage is not there any more."""

    reason = "TEXT_GONE"

    def __init__(self, document: str, *, version: int) -> None:
        super().__init__(
            f"the text of document {document}, version {version}, was erased or is past its retention: what a model "
            "saw of it cannot be shown again",
            document=document,
            version=version,
        )


class AnswerRestricted(PermissionDenied):
    """An answer that rests on documents that the caller may not read."""

    reason = "ANSWER_RESTRICTED"

    def __init__(self, inference: str) -> None:
        super().__init__(
            f"inference {inference} rests on documents with readers that the credential is not among: "
            "use another key, or have an operator read it",
            inference=inference,
        )


class PromptNotRecorded(PreconditionFailed):
    """What the model saw for an inference cannot be shown."""

    reason = "PROMPT_NOT_RECORDED"

    def __init__(self, inference: str, *, why: str) -> None:
        super().__init__(f"the prompt of inference {inference} cannot be shown: {why}", inference=inference)


class ServiceNotNamed(PreconditionFailed):
    """The address of another service is not configured."""

    reason = "SERVICE_NOT_NAMED"

    def __init__(self, *, service: str, setting: str) -> None:
        super().__init__(f"the address of {service} is not configured: set {setting}", service=service)


class FileNotFound(NotFound):
    """No file with this id in the caller's project."""

    reason = "FILE_NOT_FOUND"

    def __init__(self, file: str) -> None:
        super().__init__(f"there is no file {file} in this project: it may have been deleted, or expired", file=file)


class BatchNotFound(NotFound):
    """No batch with this id in the caller's project."""

    reason = "BATCH_NOT_FOUND"

    def __init__(self, batch: str) -> None:
        super().__init__(f"there is no batch {batch} in this project", batch=batch)


class FileTooLarge(InvalidInput):
    """A file has more bytes than one may have."""

    reason = "FILE_TOO_LARGE"

    def __init__(self, *, limit: int, setting: str) -> None:
        text = f"has more than {limit} bytes, which is the limit: send several files, or have {setting} raised"
        super().__init__(violations=[Violation("file", text)], limit=limit, setting=setting)


class FileRestricted(PermissionDenied):
    """Content and batches are for who made them, and for who acts for users."""

    reason = "FILE_RESTRICTED"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is another's: answers in it may rest on documents that you may not read. "
            "Use the credential that made it, or one with the right act_for_users",
            id=name,
        )


class BatchLeaseLost(Conflict):
    """Another worker has the batch, or it is at its end."""

    reason = "BATCH_LEASE_LOST"

    def __init__(self, batch: str) -> None:
        super().__init__(f"another worker goes on with batch {batch}, or it has ended", batch=batch)
