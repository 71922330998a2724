"""Wires the prompt tests: stores, use cases, and the controller."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Caller, ResourceKey, SystemClock
from tidemill_evaluator.errors import EvaluationNotFound
from tidemill_evaluator.evaluations.ask_patiently import AskPatiently, Patience
from tidemill_evaluator.evaluations.domain.pace import Pace
from tidemill_evaluator.evaluations.inference import InferenceService
from tidemill_evaluator.evaluations.ingest import IngestReaders
from tidemill_evaluator.evaluations.retention import SWEEP_EVERY, ForgetResults
from tidemill_evaluator.evaluations.trainer import TrainerModels
from tidemill_evaluator.evaluations.turns import Turns
from tidemill_evaluator.metrics.registry import Registry
from tidemill_evaluator.prompt_tests.answer_case import AnswerCase
from tidemill_evaluator.prompt_tests.compute_grid import ComputeGrid
from tidemill_evaluator.prompt_tests.crud import PromptTestCrud
from tidemill_evaluator.prompt_tests.domain.prompt_test import PromptTest
from tidemill_evaluator.prompt_tests.grpc import GrpcPromptTestService
from tidemill_evaluator.prompt_tests.list_prompt_results import ListPromptResults
from tidemill_evaluator.prompt_tests.mongo import PROMPT_TESTS, unfinished_prompt_tests
from tidemill_evaluator.prompt_tests.mongo_results import MongoPromptResults
from tidemill_evaluator.prompt_tests.ports import ComparingJudges, PromptTests
from tidemill_evaluator.prompt_tests.run_prompt_test import RunPromptTest
from tidemill_evaluator.prompt_tests.start_prompt_test import StartPromptTest
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_evaluator.suites.ports import Cases, Suites
from tidemill_kit.access.retention import RetentionKind
from tidemill_kit.erasure.retained import Retained
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases
from tidemill_kit.workers.sweeps import SweepKey, sweep_controller


@dataclass(frozen=True, slots=True, kw_only=True)
class OfOthers:
    """What suites store, the metrics, and the judges among them."""

    suites: Suites
    cases: Cases
    metrics: Registry
    comparing: ComparingJudges


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredPromptTests:
    """What `app.py` needs of prompt tests."""

    servicer: GrpcPromptTestService
    controller: Controller[ResourceKey]
    tests: PromptTests
    leases: Leases
    sweeps: Controller[SweepKey]


class _Adapters:
    """What prompt tests store, and the services that they call."""

    def __init__(self, settings: EvaluatorSettings, backend: Backend) -> None:
        self.tests: PromptTests = backend.aggregates(
            "prompt_tests", PROMPT_TESTS, missing=EvaluationNotFound, lists=[("suite",), ("state",)]
        )
        self.results = backend.indexed(MongoPromptResults(backend.database["prompt_results"]))
        timeout_s = settings.call_timeout_s
        inference = backend.channel("inference", settings.inference_address, timeout_s=timeout_s)
        self.inference = InferenceService(inference, answer_timeout_s=settings.answer_timeout_s)
        self.models = TrainerModels(backend.channel("trainer", settings.trainer_address, timeout_s=timeout_s))
        ingest = backend.channel("ingest", settings.ingest_address, timeout_s=timeout_s)
        self.readers = IngestReaders(ingest, timeout_s=timeout_s)


def wire_prompt_tests(settings: EvaluatorSettings, backend: Backend, others: OfOthers) -> WiredPromptTests:
    """Return the RPCs and the controller."""
    adapters = _Adapters(settings, backend)
    leases, run = backend.leases("prompt_test_leases"), _run_prompt_test(settings, adapters, others)
    controller = Controller[ResourceKey](
        "prompt_tests",
        reconcile=lambda key, epoch: run(Caller.of_service(key.project, "evaluator"), key.id, epoch=epoch),
        pending=backend.indexed(unfinished_prompt_tests(backend.database["prompt_tests"])),
        leases=leases,
        max_concurrent=settings.prompt_test_max_concurrent,
        poll_interval=timedelta(seconds=settings.evaluation_poll_interval_s),
    )
    servicer = GrpcPromptTestService(
        tests=PromptTestCrud(tests=adapters.tests, clock=SystemClock()),
        start=StartPromptTest(
            tests=adapters.tests,
            suites=others.suites,
            models=adapters.models,
            inference=adapters.inference,
            prompts=adapters.inference,
            metrics=others.metrics,
            comparing=others.comparing,
            limits=settings.limits,
            size=settings.grid_limits,
            enqueue=controller.enqueue,
        ),
        list_results=ListPromptResults(
            tests=adapters.tests,
            cases=others.cases,
            results=adapters.results,
            readers=adapters.readers,
            metrics=others.metrics,
        ),
    )
    return WiredPromptTests(
        servicer=servicer,
        controller=controller,
        tests=adapters.tests,
        leases=leases,
        sweeps=_sweeps(backend, adapters.tests),
    )


def _run_prompt_test(settings: EvaluatorSettings, adapters: _Adapters, others: OfOthers) -> RunPromptTest:
    maximum, share = settings.max_concurrent_answers, settings.answer_share
    patience = Patience(
        attempts=settings.answer_attempts,
        pause_s=settings.answer_pause_s,
        attempts_in_time=settings.answer_attempts_in_time,
    )
    return RunPromptTest(
        tests=adapters.tests,
        suites=others.suites,
        cases=others.cases,
        results=adapters.results,
        inference=adapters.inference,
        metrics=others.metrics,
        answer=AnswerCase(ask=AskPatiently(inference=adapters.inference, patience=patience), metrics=others.metrics),
        compute_grid=ComputeGrid(intervals=BettingIntervals(), metrics=others.metrics),
        max_concurrent=asyncio.Semaphore(maximum),
        turns=lambda deadline_s, *, steady: Turns(
            Pace(maximum=maximum, share=share, steady=steady), deadline_s=deadline_s
        ),
        clock=SystemClock(),
    )


def _sweeps(backend: Backend, tests: PromptTests) -> Controller[SweepKey]:
    retained = Retained(holds=backend.holds, retention=backend.retention, kind=RetentionKind.EVALUATION_RESULTS)
    forget = ForgetResults(
        evaluations=tests,
        results=backend.database["prompt_results"],
        ages=retained.projects,
        spares=retained.spares,
        clock=SystemClock(),
        texts=PromptTest.forget_texts,
    )
    return sweep_controller(
        {"old_prompt_results": forget}, leases=backend.leases("prompt_sweep_leases"), poll_interval=SWEEP_EVERY
    )
