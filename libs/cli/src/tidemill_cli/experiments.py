"""experiments: list, show, stop and delete them; loop.yaml declares them."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from tidemill.inference.v1.experiment_pb2 import (
    ArmResult,
    ArmScore,
    CohortArmResult,
    CohortResult,
    Experiment,
    ExperimentState,
    ExperimentWeighting,
)
from tidemill.inference.v1.experiment_service_pb2 import GetExperimentRequest, ListExperimentsRequest
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, moment, plain, show, table, word
from tidemill_cli.pages import lists
from tidemill_client.declared import Experiments

experiments = Commands(help="Experiments: arms of a deployment, compared on its live requests.")

NameArgument = Annotated[str, typer.Argument(help="The experiment, for example tone.")]


@lists(
    experiments,
    "list",
    lambda c: c.experiments.ListExperiments,
    ("experiment", "deployment", "run", "state", "reason", "best"),
    lambda e: (
        e.id,
        e.deployment,
        e.run.id,
        word(ExperimentState, e.run.state),
        e.run.reason or "-",
        e.run.best or "-",
    ),
)
def list_experiments() -> ListExperimentsRequest:
    """List the project's experiments."""
    return ListExperimentsRequest()


@experiments.command("show")
def show_experiment(name: NameArgument) -> None:
    """Show an experiment, and what is known of its arms."""
    _show(call(lambda c: c.experiments.GetExperiment(GetExperimentRequest(id=name))).experiment)


@experiments.command("stop")
def stop(name: NameArgument) -> None:
    """Stop an experiment: what is live answers all requests again."""
    _show(call(lambda c: Experiments(c).stop(name)))


@experiments.command("delete")
def delete(name: NameArgument) -> None:
    """Delete an experiment that has ended."""
    experiment = call(lambda c: Experiments(c).delete(name))
    show(plain(experiment), f"{experiment.id} is deleted")


def _show(experiment: Experiment) -> None:
    run = experiment.run
    facts = {
        "experiment": experiment.id,
        "deployment": experiment.deployment,
        "run": run.id,
        "state": word(ExperimentState, run.state),
        "reason": run.reason,
        "best": run.best,
        "what is known": run.message,
        "weights": word(ExperimentWeighting, experiment.weighting),
        "error": f"{experiment.alpha:g}",
        "began": moment(run.start_time),
        "ended": moment(run.finish_time),
        "stopped by": run.decided_by,
    }
    measures = [score.measure for score in _scores(run.arms[0])] if run.arms else []
    heads = ("arm", "share", "users", "answers", "failed", *measures, "stopped")
    rows = [
        (
            arm.name,
            f"{arm.weight} %",
            str(arm.users),
            str(arm.answers),
            str(arm.failures),
            *(_score(each) for each in _scores(arm)),
            f"{arm.stop_reason}: {arm.stop_message}" if arm.stop_reason else "-",
        )
        for arm in run.arms
    ]
    picture: list[RenderableType] = [
        card({name: value for name, value in facts.items() if value}),
        "",
        table(heads, rows),
    ]
    if run.cohorts:
        heads = ("cohort", "arm", "users", "answers", "failed", *measures, "p (Holm)")
        picture += ["", table(heads, [_in_cohort(cohort, arm) for cohort in run.cohorts for arm in cohort.arms])]
    show(plain(experiment), Group(*picture))


def _in_cohort(cohort: CohortResult, arm: CohortArmResult) -> tuple[str, ...]:
    """Return a row; of what is not compared `few` says that a side has too few users."""
    value = "(other)" if cohort.other else cohort.value or "(none)"
    is_control = arm.arm == cohort.arms[0].arm
    p_value = f"{arm.adjusted_p_value:.3f}" if arm.HasField("adjusted_p_value") else "-"
    few = not (cohort.other or is_control or arm.enough)
    return (
        f"{cohort.label}: {value}",
        arm.arm,
        str(arm.users),
        str(arm.answers),
        str(arm.failures),
        *(_score(each) for each in _scores(arm)),
        "few" if few else p_value,
    )


def _scores(arm: ArmResult | CohortArmResult) -> list[ArmScore]:
    return [arm.goal, *arm.guardrails]


def _score(score: ArmScore) -> str:
    """Return the mean score with the bounds of its difference to the control, which hold whenever they are read."""
    if not score.HasField("mean"):
        return "-"
    text = f"{score.mean:.3f} of {score.number:.3g}"
    bounds = score.difference
    return f"{text}, difference {bounds.low:+.2f} to {bounds.high:+.2f}" if score.HasField("difference") else text
