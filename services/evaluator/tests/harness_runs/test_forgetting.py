"""Reports go with the documents whose passages they may have, and with their retention; scores stay."""

from datetime import timedelta

import pytest

from services.evaluator.tests.builders import ADA, DIGEST, TUNED, request
from services.evaluator.tests.harness_runs.harness import DAN, REPORT, Recorder, run_of
from tidemill_evaluator.errors import HarnessReportGone
from tidemill_evaluator.harness_runs.domain.harness_run import HarnessRun, Live


def searching(*projects: str) -> Recorder:
    """Return a recorder whose deployment searches collections of these projects."""
    recorder = Recorder()
    recorder.deployments.live_ones["acme", "helpdesk"] = Live(configuration=DIGEST, model=TUNED, passages_of=projects)
    return recorder


async def test_reports_with_passages_of_a_project_are_removed_and_scores_stay() -> None:
    recorder = searching("acme", "globex")
    run, _ = await recorder.recorded(report=REPORT), await recorder.recorded(report=REPORT)

    removed = [await recorder.forget.with_passages_of("globex") for _ in range(3)]

    assert (removed, recorder.stored) == ([1, 1, 0], [])
    assert (await recorder.crud.get(ADA, run.id)).scores == run.scores
    with pytest.raises(HarnessReportGone):
        await recorder.crud.report(ADA, run.id)


async def test_reports_of_deployments_that_search_nothing_stay() -> None:
    recorder = searching()
    run = await recorder.recorded(report=REPORT)

    assert await recorder.forget.with_passages_of("acme") == 0
    assert await recorder.crud.report(ADA, run.id) == REPORT


async def test_a_report_that_is_stored_while_an_erasure_passes_is_removed() -> None:
    recorder = searching("acme")

    async def erase() -> None:
        while await recorder.forget.with_passages_of("acme"):
            pass

    recorder.objects.before_put = erase
    run = await recorder.recorded(report=REPORT)

    assert (recorder.stored, run.readable) == ([], None)


async def test_a_request_that_is_repeated_after_an_erasure_brings_no_report_back() -> None:
    recorder = searching("acme")
    await recorder.record(ADA, run_of(DAN), REPORT, request=request("r1"))
    await recorder.forget.with_passages_of("acme")

    run = await recorder.record(ADA, run_of(DAN), REPORT, request=request("r1"))

    assert (recorder.stored, run.report_bytes) == ([], 0)


async def test_a_removal_that_was_interrupted_is_done_again_and_is_read_by_no_caller_meanwhile() -> None:
    recorder = searching("acme")
    run = await recorder.recorded(report=REPORT)
    await recorder.runs.update("acme", run.id, HarnessRun.withdraw_report, request=request())

    with pytest.raises(HarnessReportGone):
        await recorder.crud.report(ADA, run.id)
    assert [await recorder.forget.with_passages_of("acme") for _ in range(2)] == [1, 0]
    assert recorder.stored == []


async def test_old_reports_are_removed_unless_a_hold_spares_them() -> None:
    recorder = Recorder()
    await recorder.recorded(report=REPORT)
    recorder.clock.advance(timedelta(days=2))
    await recorder.recorded(report=REPORT)

    assert await recorder.forget_old(age=timedelta(days=1), spared=["acme"])() == 0
    assert await recorder.forget_old(age=timedelta(days=1))() == 1
    assert recorder.stored == [REPORT]
