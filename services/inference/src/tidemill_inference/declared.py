"""Puts together what projects declare: prompts, deployments with their rollouts, experiments, budgets and prices."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.inference.v1.deployment_service_pb2_grpc import add_DeploymentServiceServicer_to_server
from tidemill.inference.v1.prompt_service_pb2_grpc import add_PromptServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_inference.answering import Answering
from tidemill_inference.deployments.crud import DeploymentCrud
from tidemill_inference.deployments.grpc import GrpcDeploymentService
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.experiments.wiring import ExperimentParts, wire_experiments
from tidemill_inference.prompts.branches import PromptBranches
from tidemill_inference.prompts.crud import PromptCrud
from tidemill_inference.prompts.grpc import GrpcPromptService
from tidemill_inference.rollouts.commands import RolloutCommands
from tidemill_inference.settings import InferenceSettings
from tidemill_inference.stores import Stores
from tidemill_kit.grpc.server import Registration
from tidemill_kit.service.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredParts:
    """Their APIs, and the experiments."""

    servicers: Sequence[Registration]
    experiments: ExperimentParts


def wire_declared(
    settings: InferenceSettings, backend: Backend, *, stores: Stores, answering: Answering
) -> DeclaredParts:
    """Return the APIs of what projects declare."""
    rollouts, resolve = answering.rollouts, _resolve(answering)
    experiments = wire_experiments(
        settings,
        backend,
        deployments=stores.deployments,
        resolve=resolve,
        prompts=answering.prompts,
        candidates=rollouts.prepare.candidates,
        indexes=rollouts.prepare.indexes,
        searched=resolve.retriever,
        outcomes=rollouts.outcomes,
        metrics=rollouts.metrics,
        warm=answering.engines.warm_up.preload,
    )
    return DeclaredParts(
        servicers=[
            (add_PromptServiceServicer_to_server, _prompt_service(stores, answering)),
            (add_DeploymentServiceServicer_to_server, _deployment_service(settings, stores, answering, resolve)),
            experiments.servicer,
            *answering.budgets.servicers,
        ],
        experiments=experiments,
    )


def _prompt_service(stores: Stores, answering: Answering) -> GrpcPromptService:
    prompts, templates, clock = stores.prompts, answering.templates, SystemClock()
    crud = PromptCrud(prompts=prompts, templates=templates, deployments=stores.deployments, clock=clock)
    branches = PromptBranches(prompts=prompts, readable=answering.prompts, templates=templates, crud=crud, clock=clock)
    return GrpcPromptService(answering.prompts, crud, branches=branches)


def _resolve(answering: Answering) -> ResolveConfiguration:
    return ResolveConfiguration(
        prompts=answering.prompts,
        models=answering.engines.models,
        retriever=answering.generation.answer.make.retriever,
        candidates=answering.rollouts.prepare.candidates,
        questions=answering.caching.questions,
        examples=answering.examples.resolve,
    )


def _deployment_service(
    settings: InferenceSettings, stores: Stores, answering: Answering, resolve: ResolveConfiguration
) -> GrpcDeploymentService:
    """Return the API of deployments and their rollouts."""
    deployments, rollouts, clock = stores.deployments, answering.rollouts, SystemClock()
    warm = answering.engines.warm_up.preload
    crud = DeploymentCrud(
        deployments=deployments,
        resolve=resolve,
        outcomes=rollouts.outcomes,
        metrics=rollouts.metrics,
        clock=clock,
        warm=warm,
        limits=settings.sampling_limits,
        examples=answering.examples.choose,
    )
    commands = RolloutCommands(
        deployments=deployments,
        prepare=rollouts.prepare,
        count=rollouts.count,
        clock=clock,
        warm=warm,
        enqueue=rollouts.controllers.enqueue,
    )
    return GrpcDeploymentService(
        deployments, crud, count=rollouts.count, rollouts=commands, savings=answering.caching.read_savings
    )
