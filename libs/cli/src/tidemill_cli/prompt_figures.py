"""Prompt tests for people: figures of the variants as a table, answers side by side, and both as a page."""

from collections.abc import Iterator, Sequence
from html import escape

from rich.console import Group, RenderableType

from tidemill.evaluator.v1.evaluation_pb2 import EvaluationState
from tidemill.evaluator.v1.prompt_test_pb2 import PromptResult, PromptTest, VariantAnswer, VariantMeasure
from tidemill_cli.html_pages import html_table
from tidemill_cli.output import card, moment, table, word

_HEADS = ("variant", "metric", "n", "mean", "interval", "difference", "interval of the difference")
_SHOWN_SCORES = 6
"""Of an answer on a terminal."""


def picture(test: PromptTest) -> RenderableType:
    """Return a test for people."""
    rows = _rows(test)
    figures: list[RenderableType] = ["", table(_HEADS, rows)] if rows else []
    return Group(card(_facts(test)), *figures)


def answer_tables(test: PromptTest, results: Sequence[PromptResult]) -> Iterator[RenderableType]:
    """Yield the answers to each case as a table."""
    for result in results:
        yield ""
        yield table(("variant", "answer", "scores"), _answers(test, result), title=f"{result.case}: {result.question}")


def html_report(test: PromptTest, results: Sequence[PromptResult]) -> Iterator[str]:
    """Yield the HTML of a test: facts, figures, the unsaved prompts, and all answers."""
    yield from html_table(("", ""), [(name, str(value)) for name, value in _facts(test).items()])
    yield "<h2>Figures</h2>\n"
    yield from html_table(_HEADS, [[str(cell) for cell in row] for row in _rows(test)])
    for variant in test.variants:
        if variant.HasField("unsaved"):
            yield f"<h2>Prompt of {escape(variant.name)}</h2>\n"
            for text in filter(None, (variant.unsaved.system, variant.unsaved.user)):
                yield f"<pre>{escape(text)}</pre>\n"
    for result in results:
        yield f"<h2>{escape(result.case)}: {escape(result.question)}</h2>\n"
        if result.reference:
            yield f"<p>Reference: {escape(result.reference)}</p>\n"
        yield from html_table(("variant", "answer", "scores"), _answers(test, result, every=True))


def _facts(test: PromptTest) -> dict[str, object]:
    unanswered = [
        f"{figures.failures} of {variant.name} ({figures.failure})"
        for variant, figures in zip(test.variants, test.figures, strict=False)
        if figures.failures
    ]
    facts = {
        "test": test.id,
        "state": word(EvaluationState, test.state),
        "why": " ".join(part for part in (test.reason, test.message) if part),
        "cases of": f"{test.suite}@{test.suite_version}" if test.suite else f"{len(test.questions)} own questions",
        "answers": f"{test.answered} of {test.cells}",
        "compared with": test.variants[0].name if len(test.variants) > 1 else "",
        "confidence": f"{test.confidence:.0%}; differences of a metric hold all together" if test.figures else "",
        "unanswered": ", ".join(unanswered),
        "ended": moment(test.finish_time),
    }
    return {key: value for key, value in facts.items() if value}


def _rows(test: PromptTest) -> list[tuple[object, ...]]:
    """Return a row for each metric and variant, the variants of a metric together."""
    metrics = dict.fromkeys(each.metric for figures in test.figures for each in figures.measures)
    rows = list[tuple[object, ...]]()
    for metric in metrics:
        for variant, figures in zip(test.variants, test.figures, strict=False):
            rows += [_row(variant.name, each) for each in figures.measures if each.metric == metric]
    return rows


def _row(variant: str, measure: VariantMeasure) -> tuple[object, ...]:
    interval = f"[{measure.low:.4g}, {measure.high:.4g}]" if measure.HasField("low") else ""
    difference, between = "", ""
    if measure.HasField("difference"):
        difference = f"{measure.difference:+.4g} of {measure.pairs}"
    if measure.HasField("difference_low"):
        between = f"[{measure.difference_low:+.4g}, {measure.difference_high:+.4g}]"
        between += _verdict(measure)
    metric = f"{measure.metric} (less is better)" if measure.less_is_better else measure.metric
    return variant, metric, measure.observations, f"{measure.mean:.4g}", interval, difference, between


def _verdict(measure: VariantMeasure) -> str:
    """Return which way the interval lies; no length of an answer is better than another."""
    if measure.metric == "output_chars" or measure.difference_low <= 0 <= measure.difference_high:
        return ""
    return " better" if (measure.difference_low > 0) is not measure.less_is_better else " worse"


def _answers(test: PromptTest, result: PromptResult, *, every: bool = False) -> list[tuple[str, str, str]]:
    return [
        (variant.name, _text(answer, result), _scores(answer, every=every))
        for variant, answer in zip(test.variants, result.answers, strict=False)
    ]


def _text(answer: VariantAnswer, result: PromptResult) -> str:
    if answer.failure:
        return f"no answer: {answer.failure}"
    return "(rests on documents that you may not read)" if result.restricted else answer.text


def _scores(answer: VariantAnswer, *, every: bool) -> str:
    scores = sorted(answer.scores.items())
    shown = scores if every else scores[:_SHOWN_SCORES]
    return ", ".join(f"{name} {value:.3g}" for name, value in shown)
