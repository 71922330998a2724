"""A run of a harness is recorded once, with what was live."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.evaluator.tests.builders import ADA, DIGEST, TUNED, request
from services.evaluator.tests.harness_runs.harness import DAN, REPORT, Recorder, run_of
from tidemill_core.errors import InvalidInput, NotFound, RequestIdReused
from tidemill_evaluator.errors import DEPLOYMENT_CHANGED, HarnessReportGone, HarnessRunNotFound
from tidemill_evaluator.harness_runs.domain.harness_run import HarnessRun, HarnessRunState, Live
from tidemill_testkit.clocks import NOON


async def test_a_run_is_recorded_with_the_model_that_was_live_and_its_report() -> None:
    recorder = Recorder()

    run = await recorder.record(ADA, run_of(DAN), REPORT, request=request())

    assert (run.state, run.model, run.requester) == (HarnessRunState.COMPLETED, TUNED, ADA.proven_subject)
    assert await recorder.crud.get(ADA, run.id) == run
    assert (await recorder.crud.report(ADA, run.id), run.report_bytes) == (REPORT, len(REPORT))
    assert len(recorder.runs.published) == 1


async def test_a_repeated_request_records_one_run_and_stores_its_report_if_that_was_lost() -> None:
    recorder = Recorder()

    async def crash() -> None:
        raise ConnectionError

    recorder.objects.before_put = crash
    with pytest.raises(ConnectionError):
        await recorder.record(ADA, run_of(DAN), REPORT, request=request("r1"))
    recorder.objects.before_put = None
    run = await recorder.record(ADA, run_of(DAN), REPORT, request=request("r1"))

    assert await recorder.crud.report(ADA, run.id) == REPORT
    assert len(recorder.runs.published) == 1
    other = replace(request("r1"), digest="of another body")
    with pytest.raises(RequestIdReused):
        await recorder.record(ADA, run_of(replace(DAN, passed=9)), REPORT, request=other)


@pytest.mark.parametrize(
    "live",
    [
        Live(configuration="another", model=TUNED),
        Live(configuration=DIGEST, model=TUNED, rolling_out=True),
    ],
)
async def test_scores_of_a_deployment_that_changed_meanwhile_are_of_nothing(live: Live) -> None:
    recorder = Recorder()
    recorder.deployments.live_ones["acme", "helpdesk"] = live

    run = await recorder.recorded(report=REPORT)

    assert (run.state, run.reason, run.scores, run.model) == (HarnessRunState.FAILED, DEPLOYMENT_CHANGED, (), "")
    assert (run.report_bytes, recorder.stored) == (0, []), "whose passages it has is not known"


async def test_a_run_that_had_a_reason_already_keeps_it() -> None:
    recorder = Recorder()
    recorder.deployments.live_ones["acme", "helpdesk"] = Live(configuration="another", model=TUNED)

    run = await recorder.record(ADA, run_of(reason="HARNESS_MISSING"), b"", request=request())

    assert (run.state, run.reason) == (HarnessRunState.FAILED, "HARNESS_MISSING")
    with pytest.raises(HarnessReportGone, match="its scores stay"):
        await recorder.crud.report(ADA, run.id)


async def test_a_report_that_is_stored_while_its_project_is_erased_is_removed() -> None:
    recorder = Recorder()

    async def erase() -> None:
        for each in recorder.runs.all():
            recorder.runs.remove("acme", each.id)

    recorder.objects.before_put = erase
    with pytest.raises(HarnessRunNotFound):
        await recorder.recorded(report=REPORT)

    assert recorder.stored == []


async def test_validation_stores_nothing() -> None:
    recorder = Recorder()

    run = await recorder.record(ADA, run_of(DAN), REPORT, request=request(), validate_only=True)

    assert (run.model, recorder.stored, recorder.runs.published) == (TUNED, [], [])


async def test_a_deployment_that_is_not_there_has_no_runs() -> None:
    with pytest.raises(NotFound):
        await Recorder().record(ADA, replace(run_of(DAN), deployment="wiki"), b"", request=request())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (run_of(), "run.scores: has 0 entries: send scores, or the reason"),
        (run_of(DAN, reason="HARNESS_MISSING"), "run.scores: has 1 entries: send scores, or the reason"),
        (run_of(DAN, DAN), "run.scores: has 1 tests twice"),
        (run_of(replace(DAN, passed=11)), r"run.scores\[0\].passed: is 11 of 10"),
        (run_of(replace(DAN, passed=0, total=0)), r"run.scores\[0\].total: is 0: send 1 to"),
        (run_of(*(replace(DAN, test=str(n)) for n in range(1001))), "has 1001 entries, and 1000 is the limit"),
        (run_of(reason="Not found"), "run.reason: is no UPPER_SNAKE"),
        (run_of(DAN, configuration=""), "run.configuration: has 0 characters: send 1 to 200"),
        (replace(run_of(DAN), end_time=NOON - timedelta(seconds=1)), "run.end_time: is before start_time"),
        (replace(run_of(DAN), deployment="Help Desk"), "run.deployment: is 'Help Desk'"),
        (replace(run_of(DAN), tests=("",)), r"run.tests\[0\]: has 0 characters"),
        (replace(run_of(DAN), tests=("t",) * 201), "run.tests: has 201 entries, and 200 is the limit"),
    ],
)
async def test_bad_input_is_named_by_its_field(given: HarnessRun, says: str) -> None:
    recorder = Recorder()

    with pytest.raises(InvalidInput, match=says):
        await recorder.record(ADA, given, b"", request=request())


@pytest.mark.parametrize(
    ("report", "says"),
    [(b"plain text", "is not compressed by gzip"), (REPORT * 100, "bytes, and 1024 is the limit")],
)
async def test_reports_are_compressed_and_bounded(report: bytes, says: str) -> None:
    recorder = Recorder()

    with pytest.raises(InvalidInput, match=says):
        await recorder.record(ADA, run_of(DAN), report, request=request())
    assert recorder.stored == []
