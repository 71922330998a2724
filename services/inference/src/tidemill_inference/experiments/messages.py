"""Experiments as messages of the contract."""

from tidemill.inference.v1 import configuration_pb2, experiment_pb2
from tidemill_inference.deployments.messages import configuration_message, retrieval_message, retrieval_of
from tidemill_inference.experiments.domain.cohorts import CohortArm, CohortCounts
from tidemill_inference.experiments.domain.experiment import DEFAULT_ALPHA, Experiment
from tidemill_inference.experiments.domain.plan import DEFAULT_MAX_COHORTS, Arm, CohortPlan
from tidemill_inference.experiments.domain.run import ExperimentRun, RunArm
from tidemill_kit.mapping import from_message, to_message


def experiment_of(message: experiment_pb2.Experiment, *, project: str) -> Experiment:
    """Return an experiment, with defaults for what it leaves out.

    Raises:
        InvalidInput: a word or number is none of those that there are.

    """
    return from_message(
        Experiment,
        message,
        prefix="experiment",
        project=project,
        run=None,
        arms=tuple(_arm_of(each, f"experiment.arms[{number}]") for number, each in enumerate(message.arms)),
        alpha=message.alpha or DEFAULT_ALPHA,
        cohorts=CohortPlan(
            labels=tuple(message.cohorts.labels), max_values=message.cohorts.max_values or DEFAULT_MAX_COHORTS
        ),
    )


def experiment_message(experiment: Experiment) -> experiment_pb2.Experiment:
    """Return the whole resource."""
    run = experiment.run
    return to_message(
        experiment_pb2.Experiment,
        experiment,
        arms=[_arm_message(each) for each in experiment.arms],
        run=_run_message(run) if run else None,
    )


def _arm_of(message: experiment_pb2.ExperimentArm, path: str) -> Arm:
    retrieval = retrieval_of(message.retrieval, prefix=f"{path}.retrieval") if message.HasField("retrieval") else None
    return from_message(Arm, message, prefix=path, retrieval=retrieval)


def _arm_message(arm: Arm) -> experiment_pb2.ExperimentArm:
    sampling = to_message(configuration_pb2.Sampling, arm.sampling) if arm.sampling else None
    return to_message(experiment_pb2.ExperimentArm, arm, sampling=sampling, retrieval=retrieval_message(arm.retrieval))


def _run_message(run: ExperimentRun) -> experiment_pb2.ExperimentRun:
    return to_message(
        experiment_pb2.ExperimentRun,
        run,
        reason=run.reason.value if run.reason else "",
        arms=[_result(each) for each in run.arms],
        baseline_configuration=run.baseline,
        cohorts=[_cohort(each) for each in run.cohorts],
    )


def _result(arm: RunArm) -> experiment_pb2.ArmResult:
    return to_message(
        experiment_pb2.ArmResult,
        arm,
        arm.counts,
        configuration=configuration_message(arm.configuration),
        stop_reason=arm.stop_reason.value if arm.stop_reason else "",
    )


def _cohort(cohort: CohortCounts) -> experiment_pb2.CohortResult:
    return to_message(experiment_pb2.CohortResult, cohort, arms=[_in_cohort(each) for each in cohort.arms])


def _in_cohort(arm: CohortArm) -> experiment_pb2.CohortArmResult:
    return to_message(experiment_pb2.CohortArmResult, arm, arm.counts)
