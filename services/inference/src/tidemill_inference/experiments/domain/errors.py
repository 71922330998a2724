"""What can go wrong with experiments.

NotFound
└── ExperimentNotFound
PreconditionFailed
├── ExperimentRunning       what would change it has to wait, or it is stopped first
├── NoRunningExperiment     there is nothing to stop
├── DeploymentBusy          a rollout, or another experiment, has the deployment's requests
└── DeploymentChanged       another configuration is live than the run began with
"""

from tidemill_core.errors import NotFound, PreconditionFailed


class ExperimentNotFound(NotFound):
    """No experiment with this id in the caller's project."""

    reason = "EXPERIMENT_NOT_FOUND"

    def __init__(self, experiment: str) -> None:
        super().__init__(f"there is no experiment {experiment} in this project", experiment=experiment)


class ExperimentRunning(PreconditionFailed):
    """It runs, so that it is not changed or deleted."""

    reason = "EXPERIMENT_RUNNING"

    def __init__(self, experiment: str, *, what: str) -> None:
        text = f"experiment {experiment} runs: stop it before {what}"
        super().__init__(text, experiment=experiment)


class NoRunningExperiment(PreconditionFailed):
    """It has ended."""

    reason = "NO_RUNNING_EXPERIMENT"

    def __init__(self, experiment: str) -> None:
        super().__init__(f"experiment {experiment} does not run: there is nothing to stop", experiment=experiment)


class DeploymentBusy(PreconditionFailed):
    """Another comparison has the live requests of the deployment."""

    reason = "DEPLOYMENT_BUSY"

    def __init__(self, deployment: str, *, what: str) -> None:
        text = f"deployment {deployment} has {what}: wait for its end, or end it first"
        super().__init__(text, deployment=deployment)


class DeploymentChanged(PreconditionFailed):
    """What is live is not what the run began with."""

    reason = "DEPLOYMENT_CHANGED"

    def __init__(self, deployment: str) -> None:
        text = f"deployment {deployment} has another live configuration than the control, or ended the run already"
        super().__init__(text, deployment=deployment)
