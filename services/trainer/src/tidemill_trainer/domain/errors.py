"""What can go wrong in the registry, beyond bad input. Files that may not be loaded: tidemill_kit.manifest.

InvalidInput
├── LimitExceeded
├── SecretGiven
├── SourceRefused
└── UploadRefused
NotFound
├── ModelNotFound
├── ModelVersionNotFound
└── FileNotExpected
Conflict
├── ModelChanged
└── ImportLost
PreconditionFailed
├── VersionNotUploading
└── FilesMissing
"""

from collections.abc import Sequence

from tidemill_kit.errors import Conflict, InvalidInput, NotFound, PreconditionFailed, Violation

SHOWN = 20
"""How many names an error lists at most."""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


class LimitExceeded(InvalidInput):
    """A source is larger than this registry takes."""

    reason = "LIMIT_EXCEEDED"

    def __init__(self, *, field: str, value: int, limit: int, what: str) -> None:
        description = f"{what} is {value}; the limit is {limit}"
        super().__init__(
            f"{field}: {description}", violations=[Violation(field=field, description=description)], limit=limit
        )


class SecretGiven(InvalidInput):
    """A key stands where only the name of a secret may stand. The value is never repeated."""

    reason = "SECRET_GIVEN"

    def __init__(self, field: str) -> None:
        description = (
            "must be the name of a secret, such as OPENAI_API_KEY (capitals, digits and _), never a key itself; "
            "if it is a key, revoke it"
        )
        super().__init__(f"{field}: {description}", violations=[Violation(field=field, description=description)])


class SourceRefused(InvalidInput):
    """A source as a whole can never become a version."""

    reason = "SOURCE_REFUSED"


class UploadRefused(InvalidInput):
    """The bytes that came are not those that the manifest announced."""

    reason = "UPLOAD_REFUSED"

    def __init__(self, path: str, description: str) -> None:
        super().__init__(
            f"{path}: {description}", violations=[Violation(field="chunk", description=description)], path=path
        )


class ModelNotFound(NotFound):
    """The caller's project has no such model."""

    reason = "MODEL_NOT_FOUND"

    def __init__(self, model: str, *, existing: Sequence[str] = ()) -> None:
        there = f"there are {_listed(existing)}" if existing else "there are none; import one first"
        super().__init__(f"there is no model {model} in this project: {there}", model=model)


class ModelVersionNotFound(NotFound):
    """The model has no such version, or none that is ready."""

    reason = "MODEL_VERSION_NOT_FOUND"

    def __init__(self, version: str, *, existing: Sequence[str] = ()) -> None:
        there = f"there are {_listed(existing)}" if existing else "the model has none"
        super().__init__(f"there is no version {version} that could be returned: {there}", version=version)


class FileNotExpected(NotFound):
    """The version's manifest has no such file."""

    reason = "FILE_NOT_EXPECTED"

    def __init__(self, version: str, path: str, *, expected: Sequence[str]) -> None:
        super().__init__(
            f"the manifest of {version} has no file {path}: it has {_listed(expected)}", version=version, path=path
        )


class ModelChanged(Conflict):
    """The model is not the one that the caller saw."""

    reason = "MODEL_CHANGED"

    def __init__(self, model: str) -> None:
        super().__init__(f"model {model} has changed since: read it again and decide again", model=model)


class ImportLost(Conflict):
    """Another worker has taken the import over; what this one still had to write is void."""

    reason = "IMPORT_LOST"

    def __init__(self, version: str) -> None:
        super().__init__(f"the import of {version} is now done by another worker", version=version)


class VersionNotUploading(PreconditionFailed):
    """Files can only be added to a version that waits for them."""

    reason = "VERSION_NOT_UPLOADING"

    def __init__(self, version: str, *, state: str, message: str) -> None:
        why = f": {message}" if message else ""
        super().__init__(f"version {version} takes no files, it is {state}{why}", version=version, state=state)


class FilesMissing(PreconditionFailed):
    """A version is complete only when each of its files is stored."""

    reason = "FILES_MISSING"

    def __init__(self, version: str, *, missing: Sequence[str]) -> None:
        super().__init__(
            f"{len(missing)} files of {version} are not stored yet, upload them first: {_listed(missing)}",
            version=version,
        )
