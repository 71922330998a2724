"""Mapping of harness runs to their messages and event."""

from google.protobuf.message import Message

from tidemill.evaluator.v1 import events_pb2 as events
from tidemill.evaluator.v1 import harness_run_pb2 as pb
from tidemill.evaluator.v1 import harness_run_service_pb2 as rpc
from tidemill_core.aggregate import Event
from tidemill_evaluator.harness_runs.crud import ComparedRuns
from tidemill_evaluator.harness_runs.domain.harness_run import HarnessRun
from tidemill_evaluator.harness_runs.domain.scores import CONFIDENCE, HarnessComparison, HarnessScore
from tidemill_kit.mapping import from_message, to_message

_RECORDED = "tidemill.evaluator.harness_run.recorded.v1"
_SERVERS = frozenset({"model", "state", "confidence", "requester", "report_bytes"})
_OF_SCORES = frozenset({"rate", "low", "high"})


def run_of(message: pb.HarnessRun, project: str) -> HarnessRun:
    """Return the run of a request, without what the evaluator knows.

    Raises:
        InvalidInput: the tool, or a time, is missing.

    """
    scores = tuple(from_message(HarnessScore, each, ignore=_OF_SCORES) for each in message.scores)
    defaults = {each: HarnessRun.__dataclass_fields__[each].default for each in ("model", "state", "requester")}
    return from_message(
        HarnessRun,
        message,
        prefix="run",
        ignore=_SERVERS,
        project=project,
        scores=scores,
        asked_by="",
        report=None,
        report_time=None,
        passages_of=(),
        withdrawn=False,
        **defaults,
    )


def run_message(run: HarnessRun) -> pb.HarnessRun:
    """Return the message of a run."""
    return to_message(pb.HarnessRun, run, scores=[*map(_score_message, run.scores)], confidence=CONFIDENCE)


def compared_message(compared: ComparedRuns) -> rpc.CompareHarnessRunsResponse:
    """Return the message of a comparison."""
    return rpc.CompareHarnessRunsResponse(
        baseline=run_message(compared.baseline),
        candidate=run_message(compared.candidate),
        comparisons=[*map(_comparison_message, compared.comparisons)],
        unmatched=compared.unmatched,
        confidence=CONFIDENCE,
    )


def event_message(run: HarnessRun, _event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event."""
    return _RECORDED, to_message(
        events.HarnessRunRecorded,
        run,
        seq=seq,
        run=run.id,
        passed=sum(each.passed for each in run.scores),
        total=sum(each.total for each in run.scores),
        scores=len(run.scores),
    )


def _score_message(score: HarnessScore) -> pb.HarnessScore:
    return to_message(pb.HarnessScore, score)


def _comparison_message(comparison: HarnessComparison) -> pb.HarnessComparison:
    sides = {"baseline": _score_message(comparison.baseline), "candidate": _score_message(comparison.candidate)}
    return to_message(pb.HarnessComparison, comparison, **sides)
