"""What evaluator erases of a project, an end user and a document."""

from dataclasses import dataclass

from tidemill_core.application import SystemClock
from tidemill_evaluator.evaluations.erasure import (
    CancelEvaluations,
    EndEvaluationsOfShared,
    EndEvaluationsOfUser,
    results_of_shared,
    results_of_user,
    results_with_document,
    results_with_passages,
)
from tidemill_evaluator.evaluations.ports import Evaluations
from tidemill_evaluator.evaluations.wiring import WiredEvaluations
from tidemill_evaluator.harness_runs.forget_reports import ForgetReports
from tidemill_evaluator.harness_runs.wiring import WiredHarnessRuns
from tidemill_evaluator.judges.erasure import StopMeasurements
from tidemill_evaluator.judges.mongo_items import items_of_user
from tidemill_evaluator.judges.ports import Judges
from tidemill_evaluator.judges.wiring import WiredJudges
from tidemill_evaluator.prompt_tests.mongo_results import prompt_results_of_user
from tidemill_evaluator.prompt_tests.ports import PromptTests
from tidemill_evaluator.prompt_tests.wiring import WiredPromptTests
from tidemill_evaluator.proposals.mongo import candidates_of_user, candidates_with_document
from tidemill_evaluator.retrieval_evaluations.ports import RetrievalEvaluations
from tidemill_evaluator.retrieval_evaluations.wiring import WiredRetrievalEvaluations
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_evaluator.suites.erasure import EraseCases
from tidemill_evaluator.suites.ports import Cases
from tidemill_kit.erasure.documents import documents, documents_of_jobs
from tidemill_kit.erasure.objects import objects
from tidemill_kit.erasure.steps import Scope, Step, Steps
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.leases import Leases


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What the steps need of evaluations, besides the collections."""

    evaluations: Evaluations
    leases: Leases
    cases: Cases
    erase_cases: EraseCases
    retrieval_evaluations: RetrievalEvaluations
    retrieval_leases: Leases
    prompt_tests: PromptTests
    prompt_leases: Leases
    judges: Judges
    judge_leases: Leases
    forget_reports: ForgetReports


def erased_by(  # noqa: PLR0913, PLR0917 - all features that store something
    erase_cases: EraseCases,
    cases: Cases,
    evaluations: WiredEvaluations,
    retrieval: WiredRetrievalEvaluations,
    prompt_tests: WiredPromptTests,
    judges: WiredJudges,
    harness_runs: WiredHarnessRuns,
) -> Erased:
    """Return what the steps need of what `app.py` has wired."""
    return Erased(
        cases=cases,
        erase_cases=erase_cases,
        evaluations=evaluations.evaluations,
        leases=evaluations.leases,
        retrieval_evaluations=retrieval.evaluations,
        retrieval_leases=retrieval.leases,
        prompt_tests=prompt_tests.tests,
        prompt_leases=prompt_tests.leases,
        judges=judges.judges,
        judge_leases=judges.leases,
        forget_reports=harness_runs.forget,
    )


def erasures(backend: Backend, settings: EvaluatorSettings, parts: Erased) -> Steps:
    """Return the steps: first what starts work and has work done, then what that leaves."""
    database, clock = backend.database, SystemClock()
    collection, results = database["evaluations"], database["case_results"]
    proposed = database["proposed_cases"]
    cancel = CancelEvaluations(evaluations=parts.evaluations, clock=clock)
    cancel_retrieval = CancelEvaluations(evaluations=parts.retrieval_evaluations, clock=clock)
    cancel_tests = CancelEvaluations(evaluations=parts.prompt_tests, clock=clock)
    of_user = EndEvaluationsOfUser(evaluations=parts.evaluations, collection=collection, cases=parts.cases, clock=clock)
    of_shared = EndEvaluationsOfShared(evaluations=parts.evaluations, collection=collection, clock=clock)
    stop = StopMeasurements(judges=parts.judges)
    reports = Step(
        kind="reports of harness runs that may have passages",
        erase=lambda target: parts.forget_reports.with_passages_of(target.project),
    )
    return {
        Scope.PROJECT: [
            documents("gates", database["gates"]),
            documents_of_jobs("judges", database["judges"], end=stop, leases=parts.judge_leases),
            documents("judged answers", database["judged_items"]),
            documents_of_jobs("evaluations", collection, end=cancel, leases=parts.leases),
            Step(kind="evaluations on shared datasets that were ended", erase=of_shared),
            documents("spent levels", database["spent_levels"]),
            documents("case results", results),
            documents("case results of shared datasets", results, where=results_of_shared),
            documents("case results with passages of shared collections", results, where=results_with_passages),
            documents_of_jobs(
                "retrieval evaluations",
                database["retrieval_evaluations"],
                end=cancel_retrieval,
                leases=parts.retrieval_leases,
            ),
            documents("retrieval results", database["retrieval_results"]),
            documents_of_jobs("prompt tests", database["prompt_tests"], end=cancel_tests, leases=parts.prompt_leases),
            documents("results of prompt tests", database["prompt_results"]),
            documents("suites", database["suites"]),
            documents("names of versions with cases of people", database["suite_origins"]),
            documents("proposals of cases", database["suite_proposals"]),
            documents("proposed cases", database["proposed_cases"]),
            documents("harness runs", database["harness_runs"]),
            reports,
            objects("cases of suites and reports of harness runs", backend.objects, settings.exchange_bucket),
        ],
        Scope.END_USER: [
            Step(kind="evaluations that were ended", erase=of_user),
            documents("proposed cases", proposed, where=candidates_of_user),
            Step(kind="versions of suites with cases", erase=parts.erase_cases.of_user),
            documents("case results", results, where=results_of_user),
            documents("results of prompt tests", database["prompt_results"], where=prompt_results_of_user),
            Step(kind="measurements of judges that were stopped", erase=stop.of_user),
            documents("judged answers", database["judged_items"], where=items_of_user),
        ],
        Scope.DOCUMENT: [
            documents("case results with passages", results, where=results_with_document),
            documents("proposed cases", proposed, where=candidates_with_document),
            Step(kind="versions of suites with cases", erase=parts.erase_cases.of_document),
            reports,
        ],
    }
