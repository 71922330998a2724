"""Wires the runs of harnesses: their store, RPCs and the sweep of old reports."""

from dataclasses import dataclass

from tidemill_core.application import SystemClock
from tidemill_evaluator.errors import HarnessRunNotFound
from tidemill_evaluator.evaluations.messages import TOPIC
from tidemill_evaluator.evaluations.retention import SWEEP_EVERY
from tidemill_evaluator.harness_runs.crud import HarnessRunCrud
from tidemill_evaluator.harness_runs.exchange import ExchangeReports
from tidemill_evaluator.harness_runs.forget_reports import ForgetOldReports, ForgetReports
from tidemill_evaluator.harness_runs.grpc import GrpcHarnessRunService
from tidemill_evaluator.harness_runs.inference import InferenceDeployments
from tidemill_evaluator.harness_runs.mongo import HARNESS_RUNS, MongoKeptReports
from tidemill_evaluator.harness_runs.record_harness_run import RecordHarnessRun
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_kit.access.retention import RetentionKind
from tidemill_kit.erasure.retained import Retained
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.sweeps import SweepKey, sweep_controller


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredHarnessRuns:
    """What `app.py` needs of harness runs."""

    servicer: GrpcHarnessRunService
    forget: ForgetReports
    sweeps: Controller[SweepKey]


def wire_harness_runs(settings: EvaluatorSettings, backend: Backend) -> WiredHarnessRuns:
    """Return the RPCs, what erases reports, and what removes old ones."""
    runs = backend.aggregates(
        "harness_runs",
        HARNESS_RUNS,
        missing=HarnessRunNotFound,
        topic=TOPIC,
        lists=[("deployment",)],
        usually_new=True,
    )
    reports = ExchangeReports(backend.own_bucket(settings.exchange_bucket))
    kept = backend.indexed(MongoKeptReports(backend.database["harness_runs"]))
    inference = backend.channel("inference", settings.inference_address, timeout_s=settings.call_timeout_s)
    forget = ForgetReports(runs=runs, reports=reports, kept=kept)
    record = RecordHarnessRun(
        runs=runs,
        deployments=InferenceDeployments(inference),
        reports=reports,
        max_report_bytes=settings.max_report_bytes,
        clock=SystemClock(),
    )
    return WiredHarnessRuns(
        servicer=GrpcHarnessRunService(runs=HarnessRunCrud(runs=runs, reports=reports), record=record),
        forget=forget,
        sweeps=_sweeps(backend, forget, kept),
    )


def _sweeps(backend: Backend, forget: ForgetReports, kept: MongoKeptReports) -> Controller[SweepKey]:
    retained = Retained(holds=backend.holds, retention=backend.retention, kind=RetentionKind.EVALUATION_RESULTS)
    old = ForgetOldReports(
        forget=forget, kept=kept, ages=retained.projects, spares=retained.spares, clock=SystemClock()
    )
    return sweep_controller(
        {"old_harness_reports": old}, leases=backend.leases("harness_sweep_leases"), poll_interval=SWEEP_EVERY
    )
