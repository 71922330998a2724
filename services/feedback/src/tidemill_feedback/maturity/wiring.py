"""Wires what matures: its store, use cases and controller."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Caller, ResourceKey, SystemClock
from tidemill_feedback.maturity.expect_values import ExpectValues, MaturingMetrics
from tidemill_feedback.maturity.mature_value import MatureValue
from tidemill_feedback.maturity.mongo import MongoExpectedValues
from tidemill_feedback.metrics.find_metric import FindMetric
from tidemill_feedback.reactions.match_pending import MatchPending
from tidemill_feedback.settings import FeedbackSettings
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredMaturity:
    """What `app.py` needs of what matures."""

    expect: ExpectValues
    controller: Controller[ResourceKey]


def wire_maturity(
    settings: FeedbackSettings, backend: Backend, metric: FindMetric, match: MatchPending
) -> WiredMaturity:
    """Return the use case of new answers, and the controller that records defaults."""
    clock = SystemClock()
    expected = backend.indexed(MongoExpectedValues(backend.database["expected"]))
    recheck = timedelta(seconds=settings.metrics_recheck_s)
    mature = MatureValue(
        expected=expected,
        feedback=match.submit.feedback,
        inferences=match.inferences,
        metric=metric,
        submit=match.submit,
        erased=match.erased,
        late=match.late,
        clock=clock,
    )
    controller = Controller(
        "maturity",
        reconcile=lambda key, _: mature(Caller.of_service(key.project, "feedback"), key),
        pending=mature.due,
        leases=backend.leases("maturity_leases"),
        max_concurrent=settings.maturity_max_concurrent,
        poll_interval=timedelta(seconds=settings.maturity_poll_interval_s),
        deleted=backend.access.revocations.deleted,
    )
    return WiredMaturity(
        expect=ExpectValues(
            maturing=MaturingMetrics(metric.metrics, clock, recheck=recheck),
            expected=expected,
            deleted=backend.access.revocations.deleted,
        ),
        controller=controller,
    )
