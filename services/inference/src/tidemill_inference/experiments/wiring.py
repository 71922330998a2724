"""Puts the experiments together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from tidemill.inference.v1.experiment_service_pb2_grpc import add_ExperimentServiceServicer_to_server
from tidemill_core.application import ResourceKey, SystemClock
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.engines.ports import Warm
from tidemill_inference.experiments.arms import Arms
from tidemill_inference.experiments.count_arms import CountArms
from tidemill_inference.experiments.crud import ExperimentCrud
from tidemill_inference.experiments.domain.errors import ExperimentNotFound
from tidemill_inference.experiments.grpc import GrpcExperimentService
from tidemill_inference.experiments.hand_over import HandOver
from tidemill_inference.experiments.mongo import EXPERIMENTS, MongoRunningExperiments
from tidemill_inference.experiments.ports import Resolving, Searched
from tidemill_inference.experiments.reconcile import AdvanceExperiment
from tidemill_inference.experiments.reconcile_experiment import ReconcileExperiment
from tidemill_inference.prompts.ports import ReadPrompts
from tidemill_inference.rollouts.ports import Candidates, DeclaredMetrics, Indexes, Outcomes
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.steps import Step
from tidemill_kit.grpc.server import Registration
from tidemill_kit.service.backend import Backend
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.controller import Controller


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentParts:
    """What experiments are made of."""

    servicer: Registration
    controller: Controller[ResourceKey]
    running: MongoRunningExperiments
    experiments: Collection

    @property
    def of_projects(self) -> Sequence[Step]:
        """What is erased with a project, beside the outcomes, which are those of rollouts."""
        return [documents("experiments", self.experiments)]

    @property
    def of_end_users(self) -> Sequence[Step]:
        """See `Erasing.of_end_users`: the outcomes are those of rollouts."""
        return []


def wire_experiments(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    backend: Backend,
    *,
    deployments: Deployments,
    resolve: Resolving,
    prompts: ReadPrompts,
    candidates: Candidates,
    indexes: Indexes,
    searched: Searched,
    outcomes: Outcomes,
    metrics: DeclaredMetrics,
    warm: Warm,
) -> ExperimentParts:
    """Return the experiments on the deployments."""
    clock = SystemClock()
    experiments = backend.aggregates(
        "experiments", EXPERIMENTS, missing=ExperimentNotFound, quota=settings.quota("experiments")
    )
    running = backend.indexed(MongoRunningExperiments(backend.database["experiments"]))
    arms = Arms(resolve=resolve, prompts=prompts, candidates=candidates, indexes=indexes, searched=searched)
    count = CountArms(outcomes=outcomes, clock=clock, min_cohort_users=settings.experiment_cohort_min_users)
    hand_over = HandOver(experiments=experiments, deployments=deployments, outcomes=outcomes, count=count, clock=clock)
    reconcile = ReconcileExperiment(
        experiments=experiments,
        arms=arms,
        count=count,
        hand_over=hand_over,
        clock=clock,
        max_answers=settings.experiment_max_answers,
    )
    controller = Controller(
        "experiments",
        reconcile=AdvanceExperiment(reconcile=reconcile, tick=timedelta(seconds=settings.experiment_tick_s)),
        pending=running.pending,
        leases=backend.leases("experiment_leases"),
        max_concurrent=settings.experiment_max_concurrent,
        poll_interval=timedelta(seconds=settings.rollout_poll_interval_s),
    )
    crud = ExperimentCrud(
        experiments=experiments,
        deployments=deployments,
        arms=arms,
        metrics=metrics,
        count=count,
        hand_over=hand_over,
        clock=clock,
        enqueue=controller.enqueue,
        warm=warm,
        limits=settings.sampling_limits,
        max_cohorts=settings.experiment_max_cohorts,
    )
    return ExperimentParts(
        servicer=(add_ExperimentServiceServicer_to_server, GrpcExperimentService(experiments=crud)),
        controller=controller,
        running=running,
        experiments=backend.database["experiments"],
    )
