"""The composition root: the only module that sees all features."""

from tidemill.evaluator.v1.evaluation_service_pb2_grpc import (
    add_EvaluationServiceServicer_to_server,
)
from tidemill.evaluator.v1.harness_run_service_pb2_grpc import add_HarnessRunServiceServicer_to_server
from tidemill.evaluator.v1.judge_service_pb2_grpc import add_JudgeServiceServicer_to_server
from tidemill.evaluator.v1.prompt_test_service_pb2_grpc import add_PromptTestServiceServicer_to_server
from tidemill.evaluator.v1.retrieval_evaluation_service_pb2_grpc import (
    add_RetrievalEvaluationServiceServicer_to_server,
)
from tidemill.evaluator.v1.suite_proposal_service_pb2_grpc import add_SuiteProposalServiceServicer_to_server
from tidemill.evaluator.v1.suite_service_pb2_grpc import add_SuiteServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_evaluator.erasure import erased_by, erasures
from tidemill_evaluator.errors import GateNotFound, SpentLevelNotFound, SuiteNotFound
from tidemill_evaluator.evaluations.events import candidates
from tidemill_evaluator.evaluations.wiring import OfOtherFeatures, WiredEvaluations, wire_evaluations
from tidemill_evaluator.gates.crud import GateCrud
from tidemill_evaluator.gates.mongo import GATE_LISTS, GATES, SPENT_LEVELS
from tidemill_evaluator.harness_runs.wiring import wire_harness_runs
from tidemill_evaluator.judges.wiring import WiredJudges, wire_judges
from tidemill_evaluator.metrics import library_scores
from tidemill_evaluator.metrics.registry import Registry
from tidemill_evaluator.metrics.wiring import wire_metrics
from tidemill_evaluator.prompt_tests.wiring import OfOthers, wire_prompt_tests
from tidemill_evaluator.proposals.wiring import wire_proposals
from tidemill_evaluator.retrieval_evaluations.wiring import wire_retrieval_evaluations
from tidemill_evaluator.safety.expectation_metrics import ExpectationMetrics
from tidemill_evaluator.safety.shipped_files import ShippedFiles
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_evaluator.suites import schema_checks
from tidemill_evaluator.suites.crud import SuiteCrud
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.erasure import EraseCases
from tidemill_evaluator.suites.exchange import ExchangeCases
from tidemill_evaluator.suites.grpc import GrpcSuiteService
from tidemill_evaluator.suites.mongo import SUITES, MongoCaseOrigins
from tidemill_evaluator.suites.ports import Suites
from tidemill_evaluator.suites.schemas import BoundedSchemas
from tidemill_kit.access.grants import Shared
from tidemill_kit.service.app import App
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.bounded_processes import BoundedProcesses
from tidemill_kit.workers.fair_share import Turns


async def build_app(settings: EvaluatorSettings) -> App:
    """Build evaluator on the running event loop; nothing connects before `start`."""
    backend, limits = Backend(settings), settings.limits
    suites = backend.aggregates("suites", SUITES, missing=SuiteNotFound, quota=settings.quota("suites"))
    gates = backend.aggregates("gates", GATES, missing=GateNotFound, lists=GATE_LISTS, quota=settings.quota("gates"))
    origins = backend.indexed(MongoCaseOrigins(backend.database["suite_origins"]))
    cases = ExchangeCases(
        backend.own_bucket(settings.exchange_bucket),
        origins=origins,
        of_datasets={name: backend.bucket(name) for name in settings.dataset_buckets},
        shared=backend.shared(Shared.DATASET),
    )
    judges = wire_judges(settings, backend, intervals=BettingIntervals())
    processes = _processes(settings, backend)
    metrics = _metrics(settings, backend, processes, judges)
    retrieval = wire_retrieval_evaluations(settings, backend, suites=suites, cases=cases)
    known = OfOthers(suites=suites, cases=cases, metrics=metrics, comparing=judges.metrics.comparing)
    prompt_tests = wire_prompt_tests(settings, backend, known)
    harness_runs = wire_harness_runs(settings, backend)
    others = OfOtherFeatures(
        suites=suites,
        cases=cases,
        gates=gates,
        levels=backend.aggregates("spent_levels", SPENT_LEVELS, missing=SpentLevelNotFound),
        retrieval=retrieval.for_gates,
        metrics=metrics,
        pairwise=judges.metrics.comparing,
        judging=judges.metrics.models_of,
    )
    evaluations = wire_evaluations(settings, backend, others)
    changed = evaluations.triggers.gate_changed
    gate_crud = GateCrud(gates=gates, changed=changed, metrics=metrics, limits=limits, clock=SystemClock())
    suite_crud = _suite_crud(suites, cases, processes, evaluations, gates=gate_crud, limits=limits)
    erase = EraseCases(suites=suites, cases=cases, origins=origins)
    erased = erased_by(erase, cases, evaluations, retrieval, prompt_tests, judges, harness_runs)
    return backend.app(
        servicers=[
            (add_SuiteServiceServicer_to_server, GrpcSuiteService(suites=suite_crud)),
            (add_SuiteProposalServiceServicer_to_server, wire_proposals(settings, backend, suite_crud, processes)),
            (add_EvaluationServiceServicer_to_server, evaluations.servicer(gate_crud)),
            (add_JudgeServiceServicer_to_server, judges.servicer(gate_crud.measuring)),
            (add_RetrievalEvaluationServiceServicer_to_server, retrieval.servicer),
            (add_PromptTestServiceServicer_to_server, prompt_tests.servicer),
            (add_HarnessRunServiceServicer_to_server, harness_runs.servicer),
        ],
        consumers=[candidates(evaluations.triggers, evaluations.provider_changed)],
        workers=[
            evaluations.controller,
            evaluations.deferred,
            evaluations.reevaluations,
            evaluations.sweeps,
            judges.controller,
            retrieval.controller,
            retrieval.sweeps,
            prompt_tests.controller,
            prompt_tests.sweeps,
            harness_runs.sweeps,
        ],
        erasures=erasures(backend, settings, erased),
    )


def _suite_crud(  # noqa: PLR0913 - what it is made of
    suites: Suites,
    cases: ExchangeCases,
    processes: BoundedProcesses,
    evaluations: WiredEvaluations,
    *,
    gates: GateCrud,
    limits: Limits,
) -> SuiteCrud:
    return SuiteCrud(
        suites=suites,
        cases=cases,
        schemas=BoundedSchemas(processes),
        gates_of=gates.requiring,
        shipped=ShippedFiles(),
        restricted=evaluations.list_case_results.readers.restricted,
        limits=limits,
    )


def _processes(settings: EvaluatorSettings, backend: Backend) -> BoundedProcesses:
    imports = (*library_scores.IMPORTS, *schema_checks.IMPORTS)
    processes = BoundedProcesses(settings.score_limits, "scores", imports, background=True)
    backend.on_stop(processes.stop)
    return processes


def _metrics(
    settings: EvaluatorSettings, backend: Backend, processes: BoundedProcesses, judges: WiredJudges
) -> Registry:
    turns = Turns(settings.max_concurrent_scores)
    others = (ExpectationMetrics(turns), judges.metrics)
    return wire_metrics(settings, backend, processes, turns=turns, others=others)
