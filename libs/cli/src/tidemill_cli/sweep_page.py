"""A sweep as one HTML file: a table and inline SVG, no scripts, nothing from elsewhere."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import accumulate
from typing import TYPE_CHECKING

from tidemill.trainer.v1.sweep_pb2 import Sweep, SweepState, SweepTrial, SweepTrialState
from tidemill_cli.html_pages import html_page, html_table
from tidemill_cli.output import word
from tidemill_cli.svg_figures import ACCENT, BAD, FAINT, GOOD, svg_of
from tidemill_cli.sweeps import trial_columns, trial_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MEASURED = SweepTrialState.SWEEP_TRIAL_STATE_MEASURED
_COLOURS = {
    _MEASURED: ACCENT,
    SweepTrialState.SWEEP_TRIAL_STATE_PRUNED: FAINT,
    SweepTrialState.SWEEP_TRIAL_STATE_FAILED: BAD,
    SweepTrialState.SWEEP_TRIAL_STATE_RUNNING: FAINT,
}


def sweep_page(sweep: Sweep) -> str:
    """Return the page of a sweep: its trials, the best so far, and the loss of each while it was trained."""
    return html_page(f"sweep {sweep.id} of plan {sweep.plan}", sweep_body(sweep))


def sweep_body(sweep: Sweep) -> Iterator[str]:
    """Yield the HTML of a sweep, for a page of its own or a part of one: figures, and a table of the trials."""
    yield f"<p>{escape(_summary(sweep))}</p>\n"
    known = [trial for trial in sweep.trials if trial.losses]
    if known:
        yield f"<h2>Held-out loss by trial, and the best so far</h2>\n<figure>\n{_by_trial(known)}</figure>\n"
        yield f"<h2>Held-out loss by measurement</h2>\n<figure>\n{_by_measurement(sweep, known)}</figure>\n"
    yield "<h2>Trials of the sweep</h2>\n"
    yield from html_table(trial_columns(sweep), trial_rows(sweep))


def _summary(sweep: Sweep) -> str:
    made = f"; it made {sweep.model_version}" if sweep.model_version else ""
    return f"{word(SweepState, sweep.state)} on {sweep.dataset_version}, base {sweep.base}{made}"


def _by_trial(trials: Sequence[SweepTrial]) -> str:
    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        numbers, losses = [trial.number for trial in trials], [trial.losses[-1] for trial in trials]
        axes.scatter(numbers, losses, color=[_COLOURS[trial.state] for trial in trials])
        ended = [trial for trial in trials if trial.state == _MEASURED]
        if ended:
            best = list(accumulate((trial.losses[-1] for trial in ended), min))
            axes.step([trial.number for trial in ended], best, where="post", color=GOOD)
        axes.set_xlabel("trial")
        axes.set_ylabel("held-out loss")

    return svg_of((8, 3), draw, name="by-trial")


def _by_measurement(sweep: Sweep, trials: Sequence[SweepTrial]) -> str:
    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for trial in trials:
            colour = GOOD if trial.number == sweep.winner else _COLOURS[trial.state]
            axes.plot(range(1, len(trial.losses) + 1), list(trial.losses), color=colour, marker=".", linewidth=1)
        axes.set_xlabel("measurement")
        axes.set_ylabel("held-out loss")

    return svg_of((8, 3), draw, name="by-measurement")
