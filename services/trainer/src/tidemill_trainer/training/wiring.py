"""Builds training from its adapters."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from tidemill.trainer.v1.training_service_pb2_grpc import add_TrainingServiceServicer_to_server
from tidemill_core.application import ResourceKey, SystemClock
from tidemill_kit.access.grants import Shared
from tidemill_kit.access.retention import RetentionKind
from tidemill_kit.events.subscriptions import Subscription
from tidemill_kit.grpc.server import Registration
from tidemill_kit.service.app import Component, Worker
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases
from tidemill_trainer.errors import TrainingPlanNotFound, TrainingRunNotFound
from tidemill_trainer.registry.wiring import Registry
from tidemill_trainer.settings import RUNS_FOLDER, TrainerSettings
from tidemill_trainer.training.check_plan import CheckPlan
from tidemill_trainer.training.crud import TrainingPlanCrud
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.domain.vocabulary import VocabularyLimits
from tidemill_trainer.training.evaluator_judges import EvaluatorJudges, UnknownJudges
from tidemill_trainer.training.events import datasets
from tidemill_trainer.training.grpc import GrpcTrainingService
from tidemill_trainer.training.import_run import ImportRun
from tidemill_trainer.training.ingest_datasets import IngestDatasets
from tidemill_trainer.training.judge_answers import JudgeAnswers, JudgingLimits
from tidemill_trainer.training.mongo import PLANS, RUN_LISTS, RUNS, MongoImportedRuns, deferring_plans, pending_runs
from tidemill_trainer.training.ports import Datasets, Judges, PlannedSweeps, Plans, Runs
from tidemill_trainer.training.queue_run import QueueRun
from tidemill_trainer.training.reconcile import refresh_queue, sweep_folders
from tidemill_trainer.training.register_trained import RegisterTrained
from tidemill_trainer.training.render_manifest import ClusterDefaults, RenderManifest
from tidemill_trainer.training.run_capacity import RunCapacity
from tidemill_trainer.training.run_folders import RunFolders
from tidemill_trainer.training.run_queue import QueueRules, RunQueue
from tidemill_trainer.training.runs import TrainingRunCrud
from tidemill_trainer.training.start_deferred_run import StartDeferredRun
from tidemill_trainer.training.start_runs_for_dataset_version import StartRunsForDatasetVersion
from tidemill_trainer.training.train_run import TrainingNeeds, TrainRun
from tidemill_trainer.training.training_memory import total_bytes
from tidemill_trainer.training.training_processes import ProcessSettings, TrainingProcesses
from tidemill_trainer.training.worker_devices import visible_devices

_log = structlog.get_logger()

TOPIC = "tidemill.trainer.run.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Entry points of training."""

    service: Registration
    subscription: Subscription
    workers: list[Component]
    runs: Runs
    plans: Plans
    datasets: Datasets
    check: CheckPlan
    enqueue: Callable[[ResourceKey], None]
    """Has a run done soon."""
    leases: Leases
    """Of the runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stores:
    plans: Plans
    runs: Runs
    datasets: Datasets
    judges: Judges


def wire_training(
    backend: Backend,
    settings: TrainerSettings,
    registry: Registry,
    *,
    planned_sweeps: PlannedSweeps,
    notify_sweep: Callable[[ResourceKey], None],
) -> Training:
    """Build training on the registry; `notify_sweep` learns of each sweep whose run was measured or ended."""
    stores = _stores(backend, settings)
    poll_interval = timedelta(seconds=settings.run_poll_interval_s)
    waiting = _run_queue(settings, stores.runs)
    train = _train(backend, settings, registry, stores, queue=waiting, notify_sweep=notify_sweep)
    leases = backend.leases("run_leases")
    runs = Controller(
        "runs",
        reconcile=lambda run, epoch: train(run, epoch=epoch),
        pending=backend.indexed(pending_runs(backend.database["training_runs"])),
        leases=leases,
        max_concurrent=settings.run_max_concurrent,
        poll_interval=poll_interval,
        rank=waiting.rank,
        capacity=waiting.capacity,
    )
    waiting.capacity.on_left = runs.serve
    refresh = Worker("run_queue", lambda: refresh_queue(waiting, runs.serve, every_s=settings.run_poll_interval_s))
    check = _check(settings, registry, stores.judges)
    queue = QueueRun(runs=stores.runs, check=check, clock=SystemClock(), enqueue=runs.enqueue)
    start_deferred = StartDeferredRun(plans=stores.plans, queue=queue, sweeps=planned_sweeps)
    deferred: Controller[ResourceKey] = Controller(
        "deferred_runs",
        reconcile=lambda plan, _: start_deferred.reconcile(plan),
        pending=backend.indexed(deferring_plans(backend.database["training_plans"])),
        max_concurrent=1,
        poll_interval=poll_interval,
    )
    service = GrpcTrainingService(
        TrainingPlanCrud(plans=stores.plans, check=check, start_deferred=start_deferred, sweeps=planned_sweeps),
        TrainingRunCrud(plans=stores.plans, runs=stores.runs, datasets=stores.datasets, queue=queue),
        _import_run(backend, settings, stores),
        _render_manifest(settings, stores, check),
    )
    start_runs = StartRunsForDatasetVersion(
        plans=stores.plans,
        datasets=stores.datasets,
        start_deferred=start_deferred,
        readers=backend.shared(Shared.DATASET).readers,
    )
    sweep = Worker("run_folders", lambda: sweep_folders(train.folders, stores.runs, lambda: runs.scheduled))
    return Training(
        service=(add_TrainingServiceServicer_to_server, service),
        subscription=datasets(start_runs),
        workers=[sweep, refresh, runs, deferred],
        runs=stores.runs,
        plans=stores.plans,
        datasets=stores.datasets,
        check=check,
        enqueue=runs.enqueue,
        leases=leases,
    )


def _run_queue(settings: TrainerSettings, runs: Runs) -> RunQueue:
    return RunQueue(
        runs=runs,
        clock=SystemClock(),
        capacity=_worker_capacity(settings),
        default_memory_bytes=settings.run_memory_bytes,
        rules=_queue_rules(settings),
    )


def _worker_capacity(settings: TrainerSettings) -> RunCapacity:
    """Return what this worker has for runs: as set, else what it finds."""
    memory = settings.run_total_memory_bytes
    if not memory:
        try:
            memory = max(0, total_bytes() - settings.run_memory_spare_bytes)
        except OSError:  # it is not Linux, and does not say
            memory = sys.maxsize
    return RunCapacity(
        clock=SystemClock(),
        memory_bytes=memory,
        places=settings.run_max_concurrent,
        devices=() if settings.run_device == "cpu" else settings.run_devices or visible_devices(),
        reserve_after=timedelta(seconds=settings.run_reserve_after_s),
    )


def _queue_rules(settings: TrainerSettings) -> QueueRules:
    return QueueRules(
        age=timedelta(seconds=settings.run_priority_age_s),
        waits=timedelta(seconds=settings.run_preempt_after_s),
        checkpoint=timedelta(seconds=settings.run_preempt_within_s),
        max_preemptions=settings.run_max_preemptions,
    )


def _check(settings: TrainerSettings, registry: Registry, judges: Judges) -> CheckPlan:
    return CheckPlan(
        references=registry.shared,
        judges=judges,
        max_time=timedelta(seconds=settings.run_time_s),
        max_memory_bytes=settings.run_memory_bytes,
        max_processes=settings.run_max_processes,
        vocabulary=VocabularyLimits(
            tokens=settings.run_max_added_tokens, characters=settings.run_max_added_token_characters
        ),
        max_judge_calls=settings.judge_max_calls,
    )


def _import_run(backend: Backend, settings: TrainerSettings, stores: _Stores) -> ImportRun:
    imported = MongoImportedRuns(backend.database["training_runs"])
    return ImportRun(runs=stores.runs, imported=imported, quota=settings.quota("imported_runs"))


def _render_manifest(settings: TrainerSettings, stores: _Stores, check: CheckPlan) -> RenderManifest:
    defaults = ClusterDefaults(
        image=settings.manifest_image,
        max_processes=settings.manifest_max_processes,
        memory_bytes=settings.run_memory_bytes,
        min_examples=settings.run_min_examples,
        checkpoint_steps=settings.run_checkpoint_steps,
        numeric_format=settings.numeric_format,
        rank_timeout_s=settings.run_rank_timeout_s,
    )
    return RenderManifest(
        plans=stores.plans, runs=stores.runs, datasets=stores.datasets, check=check, defaults=defaults
    )


def _stores(backend: Backend, settings: TrainerSettings) -> _Stores:
    return _Stores(
        plans=backend.aggregates(
            "training_plans",
            PLANS,
            missing=TrainingPlanNotFound,
            lists=[("dataset",)],
            quota=settings.quota("training_plans"),
        ),
        runs=backend.aggregates("training_runs", RUNS, missing=TrainingRunNotFound, topic=TOPIC, lists=RUN_LISTS),
        datasets=IngestDatasets(
            backend.channel("ingest", settings.ingest_address),
            {name: backend.bucket(name) for name in settings.dataset_buckets.split(",")},
            shared=backend.shared(Shared.DATASET),
        ),
        judges=_judges(backend, settings),
    )


def _judges(backend: Backend, settings: TrainerSettings) -> Judges:
    if not settings.evaluator_address:
        return UnknownJudges()
    channel = backend.channel("evaluator", settings.evaluator_address)
    return EvaluatorJudges(channel, timeout_s=settings.judge_timeout_s)


def _judging(settings: TrainerSettings, judges: Judges) -> JudgeAnswers:
    limits = JudgingLimits(
        max_calls=settings.judge_max_calls,
        max_concurrent=settings.judge_max_concurrent,
        wait_s=settings.judge_wait_s,
        max_unscored=settings.judge_max_unscored,
    )
    return JudgeAnswers(judges=judges, limits=limits)


def _train(  # noqa: PLR0913 - it is made of all of it
    backend: Backend,
    settings: TrainerSettings,
    registry: Registry,
    stores: _Stores,
    *,
    queue: RunQueue,
    notify_sweep: Callable[[ResourceKey], None],
) -> TrainRun:
    clock = SystemClock()
    folders = RunFolders(
        settings.data_dir / RUNS_FOLDER,
        keep_s=settings.run_keep_s,
        keep_of=lambda project: backend.retention.of(project, RetentionKind.TRAINING_RUNS),
        spares=backend.holds.spares,
    )
    return TrainRun(
        runs=stores.runs,
        plans=stores.plans,
        references=registry.shared,
        datasets=stores.datasets,
        bases=registry.files,
        folders=folders,
        trainings=TrainingProcesses(_process_settings(settings)),
        register=RegisterTrained(register=registry.register, inspector=registry.inspector, folders=folders),
        judging=_judging(settings, stores.judges),
        needs=TrainingNeeds(
            min_examples=settings.run_min_examples,
            max_fruitless=settings.run_fruitless_attempts,
            max_processes=settings.run_max_processes,
            warn_left_out=settings.run_warn_left_out,
        ),
        queue=queue,
        clock=clock,
        notify_sweep=notify_sweep,
        on_gave_way=_log_gave_way,
    )


def _log_gave_way(run: TrainingRun, to: TrainingRun) -> None:
    step = run.progress.step
    _log.info("run_gave_way", project=run.project, run=run.id, to=to.id, step=step, preemptions=run.preemptions)


def _process_settings(settings: TrainerSettings) -> ProcessSettings:
    return ProcessSettings(
        min_examples=settings.run_min_examples,
        checkpoint_steps=settings.run_checkpoint_steps,
        device=settings.run_device,
        numeric_format=settings.numeric_format,
        threads=settings.run_threads,
        rank_timeout_s=settings.run_rank_timeout_s,
        spare_bytes=settings.run_memory_spare_bytes,
        max_kl=settings.run_max_kl,
        measure_s=settings.run_measure_s,
        max_file_bytes=settings.max_file_bytes,
    )
