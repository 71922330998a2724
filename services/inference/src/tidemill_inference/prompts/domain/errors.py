"""What can go wrong with prompts.

InvalidInput
└── PromptRefused           a template or schema that cannot be used, with its line
NotFound
├── PromptNotFound
└── PromptVersionNotFound
PreconditionFailed
├── PromptInUse
├── PromptMergeConflict     fields that two prompts changed in different ways
└── TooManyPromptVersions
"""

from collections.abc import Sequence

from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed, Violation


class PromptRefused(InvalidInput):
    """A template or the schema of its variables cannot be used."""

    reason = "PROMPT_REFUSED"

    def __init__(self, *violations: Violation) -> None:
        super().__init__(violations=violations)


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


class PromptInUse(PreconditionFailed):
    """A deployment still answers with the prompt."""

    reason = "PROMPT_IN_USE"

    def __init__(self, prompt: str, *, deployments: Sequence[str]) -> None:
        users = ", ".join(deployments)
        super().__init__(f"prompt {prompt} is used by {users}: change or delete these first", deployments=users)


class PromptMergeConflict(PreconditionFailed):
    """Two prompts have changed a field in different ways."""

    reason = "PROMPT_MERGE_CONFLICT"

    def __init__(self, target: str, source: str, *, fields: Sequence[str], since: Sequence[str]) -> None:
        named = ", ".join(fields)
        what = f"both changed {named} since {' and '.join(since)}" if since else f"have no version in common: {named}"
        super().__init__(
            f"prompts {target} and {source} {what}: give the content of {named} in `resolutions`",
            target=target,
            source=source,
            fields=named,
        )


class TooManyPromptVersions(PreconditionFailed):
    """A prompt takes no further version."""

    reason = "TOO_MANY_PROMPT_VERSIONS"

    def __init__(self, prompt: str, *, versions: int, characters: int) -> None:
        super().__init__(
            f"prompt {prompt} has {versions} versions, {characters} characters with this one: create another prompt",
            prompt=prompt,
            versions=versions,
        )
