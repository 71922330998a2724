"""What can go wrong in the registry and in training, beyond bad input.

Files that may not be loaded: tidemill_core.models.manifest. Derivations: derivations.errors.

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
├── SweepNotFound
├── TrainingPlanNotFound
├── TrainingRunNotFound
└── DatasetVersionNotFound
Conflict
├── ModelChanged
├── ImportForgotten
├── ImportLost
├── PlanChanged
├── RunChanged
├── RunLost
├── SweepChanged
└── SweepLost
PreconditionFailed
├── VersionNotReady
├── VersionNotUploading
├── FilesMissing
├── BaseNotTrainable
├── RewardModelRefused
├── TeacherRefused
├── JudgeRefused            `reason` is evaluator's
├── PlanPaused
├── RunFinished
├── RunNotImported
├── RunNotRetriable
├── SweepFinished
├── SweepUnfinished
├── SweepNotStarted
├── SweepNotRetriable
├── TrialNotRetriable
└── TrainingFailed          a run made nothing; `reason` says why
"""

from collections.abc import Sequence

from tidemill_core.errors import Conflict, InvalidInput, NotFound, PreconditionFailed, TidemillError, Violation

SHOWN = 20
"""Maximum number of names in an error."""


def listed(names: Sequence[str]) -> str:
    """Return the first names and the number of the others."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


class LimitExceeded(InvalidInput):
    """A source exceeds a limit of the registry."""

    reason = "LIMIT_EXCEEDED"

    def __init__(self, *, field: str, value: int, limit: int, what: str) -> None:
        super().__init__(violations=[Violation(field, f"{what} is {value}; the limit is {limit}")], limit=limit)


class RecipeNotForBase(InvalidInput):
    """The base does not support the recipe; each violation names field, value and the supported values."""

    reason = "BAD_RECIPE"


class SecretGiven(InvalidInput):
    """A field that must hold a secret's name seems to hold a key; the error does not repeat the value."""

    reason = "SECRET_GIVEN"

    def __init__(self, field: str) -> None:
        description = (
            "must be the name of a secret, such as OPENAI_API_KEY (capitals, digits and _), never the key; "
            "if it is a key, revoke it"
        )
        super().__init__(violations=[Violation(field, description)])


class SourceRefused(InvalidInput):
    """The source cannot be imported."""

    reason = "SOURCE_REFUSED"


class UploadRefused(InvalidInput):
    """The uploaded bytes do not match the manifest."""

    reason = "UPLOAD_REFUSED"

    def __init__(self, path: str, description: str) -> None:
        super().__init__(f"{path}: {description}", violations=[Violation("chunk", description)], path=path)


class ModelNotFound(NotFound):
    """The caller's project has no such model."""

    reason = "MODEL_NOT_FOUND"

    def __init__(self, model: str, *, existing: Sequence[str] = ()) -> None:
        there = f"existing: {listed(existing)}" if existing else "there are none: import one first"
        super().__init__(f"model {model} does not exist in this project: {there}", model=model)


class ModelVersionNotFound(NotFound):
    """The model has no such version, or no ready version."""

    reason = "MODEL_VERSION_NOT_FOUND"

    def __init__(self, version: str, *, existing: Sequence[str] = ()) -> None:
        there = f"existing: {listed(existing)}" if existing else "it has none"
        super().__init__(f"version {version} does not exist or is not ready: {there}", version=version)


class FileNotExpected(NotFound):
    """The version's manifest has no such file."""

    reason = "FILE_NOT_EXPECTED"

    def __init__(self, version: str, path: str, *, expected: Sequence[str]) -> None:
        super().__init__(
            f"the manifest of {version} has no file {path}: it has {listed(expected)}", version=version, path=path
        )


class ModelChanged(Conflict):
    """The model changed since the caller read it."""

    reason = "MODEL_CHANGED"


class ImportForgotten(Conflict):
    """A repeated request began an import of a model that was deleted, and made anew, since."""

    reason = "IMPORT_FORGOTTEN"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"model {model} was deleted since this request: import it with another request_id", model=model
        )


class ImportLost(Conflict):
    """Another worker took over the import; writes of this worker are refused."""

    reason = "IMPORT_LOST"

    def __init__(self, version: str) -> None:
        super().__init__(f"the import of {version} was taken over by another worker", version=version)


class VersionNotUploading(PreconditionFailed):
    """The version accepts no files in its state."""

    reason = "VERSION_NOT_UPLOADING"

    def __init__(self, version: str, *, state: str, message: str) -> None:
        why = f": {message}" if message else ""
        super().__init__(f"version {version} accepts no files: it is {state}{why}", version=version, state=state)


class VersionNotReady(PreconditionFailed):
    """Only files of a READY version can be downloaded."""

    reason = "MODEL_VERSION_NOT_READY"

    def __init__(self, version: str, *, state: str) -> None:
        super().__init__(f"version {version} cannot be downloaded: it is {state}", version=version, state=state)


class FilesMissing(PreconditionFailed):
    """Some files of the version are not uploaded."""

    reason = "FILES_MISSING"

    def __init__(self, version: str, *, missing: Sequence[str]) -> None:
        super().__init__(
            f"{len(missing)} files of {version} are missing, upload them first: {listed(missing)}",
            version=version,
        )


class TrainingPlanNotFound(NotFound):
    """The caller's project has no such plan."""

    reason = "TRAINING_PLAN_NOT_FOUND"

    def __init__(self, plan: str) -> None:
        super().__init__(f"training plan {plan} does not exist in this project: create it first", plan=plan)


class TrainingRunNotFound(NotFound):
    """The caller's project has no such run."""

    reason = "TRAINING_RUN_NOT_FOUND"

    def __init__(self, run: str) -> None:
        super().__init__(f"training run {run} does not exist in this project", run=run)


class DatasetVersionNotFound(NotFound):
    """ingest has no such version."""

    reason = "DATASET_VERSION_NOT_FOUND"

    def __init__(self, version: str) -> None:
        super().__init__(f"dataset version {version} does not exist in this project", version=version)


class PlanChanged(Conflict):
    """The plan changed since the caller read it."""

    reason = "TRAINING_PLAN_CHANGED"


class RunChanged(Conflict):
    """The run changed since the caller read it."""

    reason = "TRAINING_RUN_CHANGED"


class RunLost(Conflict):
    """The run was cancelled or taken over by another worker; writes of this worker are refused."""

    reason = "RUN_LOST"

    def __init__(self, run: str) -> None:
        super().__init__(f"training run {run} was cancelled or taken over by another worker", run=run)


class BaseNotTrainable(PreconditionFailed):
    """The base is not a READY version with full weights in this registry."""

    reason = "BASE_NOT_TRAINABLE"

    def __init__(self, base: str, *, why: str) -> None:
        super().__init__(f"plan.base: {base} cannot be trained on: {why}", base=base)


class RewardModelRefused(PreconditionFailed):
    """A reward is no reward model, or one whose scores are of other tokens."""

    reason = "REWARD_MODEL_REFUSED"

    def __init__(self, version: str, *, field: str, why: str) -> None:
        super().__init__(f"{field}: {version} cannot reward answers: {why}", version=version)


class TeacherRefused(PreconditionFailed):
    """A teacher has no weights to learn from, or what it says is of other tokens."""

    reason = "TEACHER_REFUSED"

    def __init__(self, version: str, *, why: str) -> None:
        super().__init__(f"plan.teacher: {version} cannot teach: {why}", version=version)


class JudgeRefused(PreconditionFailed):
    """A judge may not decide what a run learns, as evaluator says."""

    def __init__(self, field: str, cause: TidemillError) -> None:
        super().__init__(f"{field}: {cause.message}", **cause.metadata)
        self.reason = cause.reason


class PlanPaused(PreconditionFailed):
    """The plan is paused, so no run can start."""

    reason = "TRAINING_PLAN_PAUSED"

    def __init__(self, plan: str) -> None:
        super().__init__(f"training plan {plan} is paused: set paused to false first", plan=plan)


class RunFinished(PreconditionFailed):
    """The run is finished or registering, so it cannot be cancelled."""

    reason = "RUN_FINISHED"

    def __init__(self, run: str, *, state: str) -> None:
        super().__init__(f"training run {run} cannot be cancelled: it is {state}", run=run, state=state)


class RunNotImported(PreconditionFailed):
    """Only imported runs can be deleted."""

    reason = "TRAINING_RUN_NOT_IMPORTED"

    def __init__(self, run: str, *, state: str) -> None:
        message = f"training run {run} cannot be deleted: it is {state}, and only imported runs may be"
        super().__init__(message, run=run, state=state)


class RunNotRetriable(PreconditionFailed):
    """Only failed and cancelled runs can be retried."""

    reason = "RUN_NOT_RETRIABLE"

    def __init__(self, run: str, *, state: str) -> None:
        super().__init__(
            f"training run {run} is {state}: only failed and cancelled runs can be retried", run=run, state=state
        )


class SweepNotStarted(PreconditionFailed):
    """The sweep that a plan declares could not start."""

    reason = "SWEEP_NOT_STARTED"

    def __init__(self, plan: str, cause: TidemillError) -> None:
        message = (
            f"the sweep that plan {plan} declares could not start: {cause.reason}: {cause.message}; "
            "once that is fixed, start one by `tidemill sweeps create`"
        )
        super().__init__(message, plan=plan, cause=cause.reason)


class SweepNotRetriable(PreconditionFailed):
    """The run stands for a sweep that could not start: one run would train without the search."""

    reason = "SWEEP_NOT_RETRIABLE"

    def __init__(self, run: str, *, plan: str, version: str) -> None:
        message = (
            f"training run {run} stands for a sweep of plan {plan} on {version} that could not start: start one by "
            "`tidemill sweeps create`, or one run without a search by `tidemill training start`"
        )
        super().__init__(message, run=run, plan=plan)


class TrialNotRetriable(PreconditionFailed):
    """A trial is not retried: its sweep has counted it."""

    reason = "TRIAL_NOT_RETRIABLE"

    def __init__(self, run: str, *, sweep: str) -> None:
        message = f"training run {run} is a trial of sweep {sweep}, which has counted it: create another sweep"
        super().__init__(message, run=run, sweep=sweep)


class SweepNotFound(NotFound):
    """The caller's project has no such sweep."""

    reason = "SWEEP_NOT_FOUND"

    def __init__(self, sweep: str) -> None:
        super().__init__(f"sweep {sweep} does not exist in this project", sweep=sweep)


class SweepChanged(Conflict):
    """The sweep changed since the caller read it."""

    reason = "SWEEP_CHANGED"


class SweepLost(Conflict):
    """The sweep ended or was taken over by another worker; writes of this worker are refused."""

    reason = "SWEEP_LOST"

    def __init__(self, sweep: str) -> None:
        super().__init__(f"sweep {sweep} ended or was taken over by another worker", sweep=sweep)


class SweepFinished(PreconditionFailed):
    """The sweep has ended, so it cannot be cancelled."""

    reason = "SWEEP_FINISHED"

    def __init__(self, sweep: str, *, state: str) -> None:
        super().__init__(f"sweep {sweep} cannot be cancelled: it is {state}", sweep=sweep, state=state)


class SweepUnfinished(PreconditionFailed):
    """The sweep still has work, so it cannot be deleted."""

    reason = "SWEEP_UNFINISHED"

    def __init__(self, sweep: str) -> None:
        super().__init__(f"sweep {sweep} has runs in work: cancel it, and delete it once they ended", sweep=sweep)


class TrainingFailed(PreconditionFailed):
    """A training failed; `reason` is OUT_OF_MEMORY, DIVERGED, TIME_LIMIT, CRASHED, ..."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
