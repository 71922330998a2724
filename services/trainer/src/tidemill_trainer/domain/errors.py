"""What can go wrong in the registry and in training, beyond bad input.

Files that may not be loaded: tidemill_kit.models.manifest.

InvalidInput
├── LimitExceeded
├── RecipeNotForBase
├── SecretGiven
├── SourceRefused
└── UploadRefused
NotFound
├── ModelNotFound
├── ModelVersionNotFound
├── FileNotExpected
├── TrainingPlanNotFound
├── TrainingRunNotFound
└── DatasetVersionNotFound
Conflict
├── ModelChanged
├── ImportLost
├── PlanChanged
└── RunLost
PreconditionFailed
├── VersionNotUploading
├── FilesMissing
├── BaseNotTrainable
├── PlanPaused
├── RunFinished
├── RunNotRetriable
└── TrainingFailed          a run made nothing; `reason` says why
"""

from collections.abc import Sequence

from tidemill_kit.core.errors import Conflict, InvalidInput, NotFound, PreconditionFailed, Violation

SHOWN = 20
"""How many names an error lists at most."""


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
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


class RecipeNotForBase(InvalidInput):
    """A recipe asks for what its base does not have; every violation names field, value and what there is."""

    reason = "BAD_RECIPE"


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
        there = f"there are {listed(existing)}" if existing else "there are none; import one first"
        super().__init__(f"there is no model {model} in this project: {there}", model=model)


class ModelVersionNotFound(NotFound):
    """The model has no such version, or none that is ready."""

    reason = "MODEL_VERSION_NOT_FOUND"

    def __init__(self, version: str, *, existing: Sequence[str] = ()) -> None:
        there = f"there are {listed(existing)}" if existing else "the model has none"
        super().__init__(f"there is no version {version} that could be returned: {there}", version=version)


class FileNotExpected(NotFound):
    """The version's manifest has no such file."""

    reason = "FILE_NOT_EXPECTED"

    def __init__(self, version: str, path: str, *, expected: Sequence[str]) -> None:
        super().__init__(
            f"the manifest of {version} has no file {path}: it has {listed(expected)}", version=version, path=path
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
            f"{len(missing)} files of {version} are not stored yet, upload them first: {listed(missing)}",
            version=version,
        )


class TrainingPlanNotFound(NotFound):
    """The caller's project has no such plan."""

    reason = "TRAINING_PLAN_NOT_FOUND"

    def __init__(self, plan: str) -> None:
        super().__init__(f"there is no training plan {plan} in this project: list them, or create it first", plan=plan)


class TrainingRunNotFound(NotFound):
    """The caller's project has no such run."""

    reason = "TRAINING_RUN_NOT_FOUND"

    def __init__(self, run: str) -> None:
        super().__init__(f"there is no training run {run} in this project: list those of its plan", run=run)


class DatasetVersionNotFound(NotFound):
    """ingest knows no such version."""

    reason = "DATASET_VERSION_NOT_FOUND"

    def __init__(self, version: str) -> None:
        super().__init__(
            f"there is no version {version} of a dataset in this project: versions come from ingest", version=version
        )


class PlanChanged(Conflict):
    """The plan is not the one that the caller saw."""

    reason = "TRAINING_PLAN_CHANGED"

    def __init__(self, plan: str) -> None:
        super().__init__(f"training plan {plan} has changed since: read it again and decide again", plan=plan)


class RunLost(Conflict):
    """The run was cancelled, or another worker has it; what this one still had to write is void."""

    reason = "RUN_LOST"

    def __init__(self, run: str) -> None:
        super().__init__(f"training run {run} is no longer this worker's", run=run)


class BaseNotTrainable(PreconditionFailed):
    """Adapters can only be trained on full weights that are here."""

    reason = "BASE_NOT_TRAINABLE"

    def __init__(self, base: str, *, why: str) -> None:
        super().__init__(f"plan.base: {base} cannot be trained on: {why}", base=base)


class PlanPaused(PreconditionFailed):
    """A paused plan starts nothing."""

    reason = "TRAINING_PLAN_PAUSED"

    def __init__(self, plan: str) -> None:
        super().__init__(f"training plan {plan} is paused: update it with paused = false first", plan=plan)


class RunFinished(PreconditionFailed):
    """What is done, or being registered, cannot be cancelled."""

    reason = "RUN_FINISHED"

    def __init__(self, run: str, *, state: str) -> None:
        super().__init__(f"training run {run} cannot be cancelled any more: it is {state}", run=run, state=state)


class RunNotRetriable(PreconditionFailed):
    """Only what failed or was cancelled can be tried again."""

    reason = "RUN_NOT_RETRIABLE"

    def __init__(self, run: str, *, state: str) -> None:
        super().__init__(
            f"training run {run} is {state}: only a failed or cancelled one is tried again", run=run, state=state
        )


class TrainingFailed(PreconditionFailed):
    """A training made nothing. The reason is its own: OUT_OF_MEMORY, DIVERGED, TIME_LIMIT, CRASHED and so on."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
