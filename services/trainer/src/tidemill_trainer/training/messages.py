"""Mapping between messages of the contract and plans and runs."""

from dataclasses import replace
from datetime import timedelta

from google.protobuf.message import Message

from tidemill.trainer.v1 import events_pb2 as events
from tidemill.trainer.v1 import training_pb2 as pb
from tidemill.trainer.v1 import training_service_pb2 as rpc
from tidemill_core.aggregate import Event
from tidemill_kit.mapping import REST, from_message, to_message
from tidemill_trainer.training.domain.cluster import DEFAULT_CPUS, Cluster
from tidemill_trainer.training.domain.fit import Fit
from tidemill_trainer.training.domain.imported_run import ImportedRun
from tidemill_trainer.training.domain.memorisation import MemorisationCheck
from tidemill_trainer.training.domain.plan import PlanSettings, TrainingPlan
from tidemill_trainer.training.domain.progress import Progress
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.domain.run_events import RunHasFailed, RunHasSucceeded, RunWasQueued
from tidemill_trainer.training.domain.run_notes import RunNotes
from tidemill_trainer.training.search_messages import search_message, search_of


def settings_of(message: pb.TrainingPlan) -> PlanSettings:
    """Return the plan's settings from a request, with defaults for unset fields.

    Raises:
        InvalidInput: lora or args hold a number that JSON has not.

    """
    sweep = search_of(message.sweep, field="plan.sweep") if message.HasField("sweep") else None
    return from_message(
        PlanSettings,
        message,
        prefix="plan",
        ignore={"id", "authors"},
        sweep=sweep,
        processes=message.processes or 1,
        memorisation=_check_of(message.memorisation) if message.HasField("memorisation") else None,
    )


def _check_of(message: pb.MemorisationCheck) -> MemorisationCheck:
    default = MemorisationCheck()
    return MemorisationCheck(
        canaries=message.canaries or default.canaries,
        repeats=tuple(message.repeats) or default.repeats,
        candidates=message.candidates or default.candidates,
        examples=message.examples if message.HasField("examples") else default.examples,
        seed=message.seed,
    )


def plan_message(plan: TrainingPlan) -> pb.TrainingPlan:
    """Return the plan message."""
    search = plan.settings.sweep
    return to_message(pb.TrainingPlan, plan, plan.settings, sweep=search and search_message(search))


def notes_of(message: pb.TrainingRun) -> RunNotes:
    """Return what a request says about a run."""
    return from_message(RunNotes, message, prefix="run", ignore=REST)


def imported_of(request: rpc.ImportTrainingRunRequest) -> ImportedRun:
    """Return what a request says of a run of another tool.

    Raises:
        InvalidInput: a time is none.

    """
    return from_message(ImportedRun, request)


def cluster_of(request: rpc.RenderTrainingManifestRequest) -> Cluster:
    """Return what a manifest takes of a cluster, with defaults for unset fields."""
    return Cluster(
        nodes=request.nodes,
        processes_per_node=request.processes_per_node or 1,
        cpus_per_node=request.cpus_per_node or DEFAULT_CPUS,
        memory_bytes_per_node=request.memory_bytes_per_node,
        gpus=request.gpus,
        image=request.image,
        namespace=request.namespace or "default",
        secret=request.secret,
        volume_claim=request.volume_claim,
    )


def listed_run_message(run: TrainingRun) -> pb.TrainingRun:
    """Return the message of a run among others: without curves, which are long."""
    return _run_message(run, replace(run.progress, curves=()))


def run_message(run: TrainingRun) -> pb.TrainingRun:
    """Return the run message."""
    return _run_message(run, run.progress)


def _run_message(run: TrainingRun, shown: Progress) -> pb.TrainingRun:
    trial = run.trial.number if run.trial else 0
    time = timedelta(seconds=run.progress.seconds) if run.progress.seconds else None
    progress = to_message(pb.TrainingProgress, shown, time=time)
    return to_message(
        pb.TrainingRun,
        run,
        dataset_version=run.dataset.id,
        recipe=None if run.state is RunState.IMPORTED else run.recipe.declared,
        fit=_fit(run.fit),
        trial=trial,
        progress=progress,
    )


def run_event(run: TrainingRun, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload."""
    common = {"run": run.id, "seq": seq, "dataset_version": run.dataset.id}
    match event:
        case RunWasQueued():
            return "tidemill.trainer.run.queued.v1", to_message(
                events.TrainingRunQueued, run, **common, teacher=run.recipe.teacher
            )
        case RunHasSucceeded():
            time = timedelta(seconds=event.seconds)
            return "tidemill.trainer.run.succeeded.v1", to_message(
                events.TrainingRunSucceeded, event, run, time=time, fit=_fit(event.fit), **common
            )
        case RunHasFailed():
            return "tidemill.trainer.run.failed.v1", to_message(events.TrainingRunFailed, event, run, **common)
        case _:
            raise TypeError(event)


def _fit(fit: Fit | None) -> pb.TrainingFit | None:
    return None if fit is None else to_message(pb.TrainingFit, fit, **fit.choice.args)
