"""metrics: list, show and delete what a project declares for its feedback; loop.yaml declares it."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from tidemill.feedback.v1.feedback_metric_pb2 import (
    FEEDBACK_METRIC_KIND_BOOLEAN,
    FEEDBACK_METRIC_KIND_NUMBER,
    FeedbackMetric,
    FeedbackMetricKind,
    FeedbackMetricLevel,
    FeedbackMetricOptimise,
)
from tidemill.feedback.v1.feedback_metric_service_pb2 import (
    GetFeedbackMetricFiguresRequest,
    ListFeedbackMetricsRequest,
    VariantFigures,
)
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, plain, show, table, word
from tidemill_cli.pages import lists
from tidemill_client.declared import FeedbackMetrics

metrics = Commands(help="Metrics of feedback that the project declares.")

NameArgument = Annotated[str, typer.Argument(help="The metric.")]
_FLAGS = {"true": True, "false": False}
_COLUMNS = ("metric", "kind", "of", "optimise", "values", "worth", "weights")


def _row(metric: FeedbackMetric) -> Sequence[str]:
    return (
        metric.id,
        word(FeedbackMetricKind, metric.kind),
        word(FeedbackMetricLevel, metric.level),
        ", ".join(metric.good_choices) or word(FeedbackMetricOptimise, metric.optimise),
        _values(metric),
        ", ".join(_worth(metric)) or "-",
        _weights(metric),
    )


@lists(metrics, "list", lambda c: c.metrics.ListFeedbackMetrics, _COLUMNS, _row)
def list_metrics() -> ListFeedbackMetricsRequest:
    """List the metrics that the project declares; rating, comment and correction are always there."""
    return ListFeedbackMetricsRequest()


@metrics.command("show")
def show_metric(name: NameArgument) -> None:
    """Show a metric."""
    metric = call(lambda c: FeedbackMetrics(c).get(name))
    show(plain(metric), card(dict(zip(_COLUMNS, _row(metric), strict=True))))


@metrics.command("figures")
def show_figures(
    name: Annotated[str, typer.Argument(help="The metric, or rating.")],
    *,
    deployment: Annotated[str, typer.Option("--deployment", "-d", help="The deployment that answered.")],
) -> None:
    """Show what the values of a metric say of the variants of a deployment."""
    request = GetFeedbackMetricFiguresRequest(id=name, deployment=deployment)
    reply = call(lambda c: c.metrics.GetFeedbackMetricFigures(request))
    columns = ("variant", "rollout", "values", "not given", "immature", "mean", "95 %", f"worth {reply.unit}".strip())
    rows = [
        (
            each.variant,
            each.rollout or "-",
            each.count,
            each.absent,
            each.immature,
            f"{each.mean:.3f}" if each.HasField("mean") else ", ".join(_choices(each)) or "-",
            f"{each.low:.3f} to {each.high:.3f}" if each.HasField("low") else "-",
            f"{each.business_value:g}",
        )
        for each in reply.figures
    ]
    title = "There are more values: these are of the newest." if reply.truncated else ""
    show(plain(reply), table(columns, rows, title=title))


@metrics.command("delete")
def delete_metric(name: NameArgument) -> None:
    """Delete a metric; its feedback is kept, and no further one is taken."""
    metric = call(lambda c: FeedbackMetrics(c).delete(name))
    show(plain(metric), f"{metric.id} is deleted")


def value_of(kind: FeedbackMetricKind.ValueType, text: str) -> bool | float | str:
    """Return the value of a metric as it was typed."""
    if kind == FEEDBACK_METRIC_KIND_BOOLEAN:
        if (flag := _FLAGS.get(text.lower())) is None:
            message = f"{text!r} is neither true nor false"
            raise typer.BadParameter(message)
        return flag
    if kind == FEEDBACK_METRIC_KIND_NUMBER:
        try:
            return float(text)
        except ValueError:
            message = f"{text!r} is no number"
            raise typer.BadParameter(message) from None
    return text


def _values(metric: FeedbackMetric) -> str:
    values = ", ".join(metric.choices) or "true, false"
    if metric.HasField("min"):
        values = f"{metric.min:g} to {metric.max:g}"
    if not metric.HasField("matures_after"):
        return values
    absent = f"{metric.absent_number:g}" if metric.HasField("absent_number") else str(metric.absent).lower()
    return f"{values}; {absent} after {metric.matures_after.ToTimedelta()} without a value"


def _worth(metric: FeedbackMetric) -> Iterator[str]:
    value = metric.value
    if value.HasField("amount"):
        yield f"{value.amount:g} {value.unit}"
    for choice, amount in sorted(value.amounts.items()):
        yield f"{choice} {amount:g} {value.unit}"


def _choices(figures: VariantFigures) -> Iterator[str]:
    for choice, count in sorted(figures.choices.items()):
        yield f"{choice} {count}"


def _weights(metric: FeedbackMetric) -> str:
    weights = metric.weights
    return f"user {weights.user:g}, reviewer {weights.reviewer:g}, judge {weights.judge:g}"
