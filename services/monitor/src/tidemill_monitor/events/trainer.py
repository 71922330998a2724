"""Events of trainer: runs and model versions."""

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill_monitor.events.meta import Counted


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQueued:
    """run.queued."""

    run: str
    seq: int
    plan: str = ""
    dataset_version: str = ""
    base: str = ""
    reward_models: tuple[str, ...] = ()
    teacher: str = ""
    judge_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunExamples:
    """How many examples a run was given, and what became of them; none is cut."""

    offered: int = 0
    fitted: int = 0
    too_long: int = 0
    refused: int = 0
    empty: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSucceeded:
    """run.succeeded."""

    run: str
    seq: int
    plan: str = ""
    dataset_version: str = ""
    model_version: str = ""
    time: str = ""
    """As proto-JSON has it ("74.200s")."""
    loss: float | None = None
    examples: RunExamples | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    """run.failed."""

    run: str
    seq: int
    plan: str = ""
    dataset_version: str = ""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersionRegistered:
    """model.version_registered."""

    version: str
    seq: int
    digest: str = ""
    total_bytes: int = 0
    run: str = ""
    base: str = ""
    dataset_version: str = ""
    derived_from: str = ""
    finetuned_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersionFailed:
    """model.version_failed."""

    version: str
    seq: int
    reason: str = ""
    message: str = ""


TYPES: Mapping[str, type] = {
    "tidemill.trainer.run.queued.v1": RunQueued,
    "tidemill.trainer.run.succeeded.v1": RunSucceeded,
    "tidemill.trainer.run.failed.v1": RunFailed,
    "tidemill.trainer.model.version_registered.v1": ModelVersionRegistered,
    "tidemill.trainer.model.version_failed.v1": ModelVersionFailed,
    "tidemill.trainer.model.deleted.v1": Counted,
    "tidemill.trainer.sweep.ended.v1": Counted,
    "tidemill.trainer.derivation.ended.v1": Counted,
}
